"""What a model looks at: Grad-CAM, after Selvaraju et al. 2017, "Grad-CAM: Visual Explanations from
Deep Networks via Gradient-based Localization".

Of the feature maps A (h, w, channels) behind the last convolution, and the score y of a class:

    weight of a channel = the mean over all positions of dy/dA
    map = max(sum over channels of weight A, 0)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...backward import grad
from ...mode import evaluation
from ...nn.layer import Layer
from ...tensor import Tensor
from ...tracers import following

CONVOLUTIONS = ("Conv", "ConvTranspose")


def grad_cam(model: Layer, x: np.ndarray, classes: np.ndarray) -> np.ndarray | None:
    """How much each place of each picture speaks for a class: (N, h, w), 0 or more, as `model`
    evaluates; None if it has no convolution whose maps have several places.

    x: (N, H, W, C), as the model takes it; classes: (N,), whose scores (outputs) are explained
    """
    search = _LastMaps()
    inputs = Tensor(np.array(x))
    inputs.requires_grad = True  # a model that does not learn has a graph then, too
    with evaluation(gradients=True), following(search):
        outputs = model(inputs)
        if search.maps is None:
            return None
        score = outputs[np.arange(len(x)), np.asarray(classes)].sum()
    gradients = grad(score, search.maps)
    weights = gradients.mean(axis=(1, 2), keepdims=True)
    return np.maximum((weights * search.maps.data).sum(axis=3), 0)


class _LastMaps:
    """Follows a pass, and finds the maps that the last convolution makes: its output, after the
    normalization and the activation behind it, which have the same shape.

    A convolution that is computed several times counts the first time: a model that averages over
    several views of a picture begins with the picture itself, and maps of a mirrored or shifted
    view would not lie on it.
    """

    def __init__(self) -> None:
        self.maps: Tensor | None = None
        # By id, of what lives as long as this: no id comes again.
        self._made: dict[int, Tensor] = {}  # what is made of that convolution
        self._seen: dict[int, Any] = {}  # the layers and the weights so far
        # Whether the innermost layer has been called before: it may compute weights for each call.
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
                self._made = {id(output): output}
                self.maps = output
        elif (
            self.maps is not None
            and output.shape == self.maps.shape
            and any(id(x) in self._made for x in inputs)
        ):
            self._made[id(output)] = self.maps = output

    def call(
        self, layer: Any, run: Callable[..., Any], inputs: tuple[Any, ...], options: dict[str, Any]
    ) -> Any:
        outer, self._again = self._again, not self._is_new(layer)
        try:
            return run(*inputs, **options)
        finally:
            self._again = outer

    def _is_new(self, thing: Any) -> bool:
        """Whether it is seen for the first time."""
        new = id(thing) not in self._seen
        self._seen[id(thing)] = thing
        return new

    def read(self, tensor: Any) -> None:
        pass

    def copied(self, tensor: Any, array: Any) -> None:
        pass
