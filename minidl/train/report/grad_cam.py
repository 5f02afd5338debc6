"""Grad-CAM, which shows the regions of a picture that speak for a class (Selvaraju et al. 2017,
"Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization").

With A (h, w, channels) the feature maps after the last convolution and y the score of a class:

    weight[c] = mean over all positions of dy/dA[..., c]
    map = max(sum over c of weight[c] A[..., c], 0)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...backward import grad
from ...mode import evaluation
from ...nn.layer import Layer
from ...tensor import Tensor
from ...tracers import Tracer, following

CONVOLUTIONS = ("Conv", "ConvTranspose")


def grad_cam(model: Layer, x: np.ndarray, classes: np.ndarray) -> np.ndarray | None:
    """Return the Grad-CAM map of a class for each picture, (N, h, w), computed in evaluation mode.
    None if the model has no convolution whose output has more than one position.

    x:       (N, H, W, C), prepared for the model
    classes: (N,), the class of each picture whose score (output) is explained
    """
    search = _LastMaps()
    inputs = Tensor(np.array(x))
    inputs.requires_grad = True  # so that a frozen model records a graph, too
    with evaluation(gradients=True), following(search):
        outputs = model(inputs)
        if search.maps is None:
            return None
        score = outputs[np.arange(len(x)), np.asarray(classes)].sum()
    gradients = grad(score, search.maps)
    weights = gradients.mean(axis=(1, 2), keepdims=True)
    return np.maximum((weights * search.maps.data).sum(axis=3), 0)


class _LastMaps(Tracer):
    """A tracer that finds the feature maps of the last convolution: its output after the
    normalization and the activation that follow it, which keep the shape.

    If a convolution is computed several times, the first time counts: a model that averages over
    several views starts with the unchanged picture, and the maps of a mirrored or shifted view
    would not match the picture's positions.
    """

    def __init__(self) -> None:
        self.maps: Tensor | None = None
        # The keys are ids. The values keep the objects alive, so that no id is used again.
        self._derived: dict[int, Tensor] = {}  # the convolution's output and results computed of it
        self._seen: dict[int, Any] = {}  # the layers and the weights that were used so far
        # Whether the innermost layer was called before. The weights alone do not show that, since a
        # layer may compute new ones in each call.
        self._again = False

    def operation(
        self,
        function: Any,
        inputs: tuple[Any, ...],
        options: dict[str, Any],
        outputs: tuple[Any, ...],
    ) -> None:
        output = outputs[0]
        if not isinstance(output, Tensor) or output.ndim != 4:
            return
        if function.__name__ in CONVOLUTIONS:
            first = self._is_new(inputs[1]) and not self._again
            if first and output.shape[1] * output.shape[2] > 1:
                self._derived = {id(output): output}
                self.maps = output
        elif (
            self.maps is not None
            and output.shape == self.maps.shape
            and any(id(x) in self._derived for x in inputs)
        ):
            self._derived[id(output)] = self.maps = output

    def call(
        self, layer: Any, run: Callable[..., Any], inputs: tuple[Any, ...], options: dict[str, Any]
    ) -> Any:
        outer, self._again = self._again, not self._is_new(layer)
        try:
            return run(*inputs, **options)
        finally:
            self._again = outer

    def _is_new(self, thing: Any) -> bool:
        """Return whether a layer or weight is seen for the first time."""
        new = id(thing) not in self._seen
        self._seen[id(thing)] = thing
        return new
