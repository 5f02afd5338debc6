"""Folding: batch normalization as part of the layer before it, for inference."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from ..grad_mode import no_grad
from ..ops.common import warn
from ..tensor import Tensor
from .container import Identity
from .fold_trace import Pairs, neighbours, traced, values_in
from .layer import Layer
from .linear import Weighted
from .norm import BatchNorm
from .parameter import Parameter
from .predict import model_input
from .registry import replaced

# How far outputs for the example may move: of their maximum, and at least. Where the model runs in
# float64 too that is done; rounding is then far below.
TOLERANCE = {np.dtype(np.float32): (1e-4, 1e-7), np.dtype(np.float64): (1e-9, 1e-14)}


@dataclasses.dataclass
class FoldReport:
    """What `fold` did: `folded`, pairs of names (layer, normalization), and `left`, the names of
    the BatchNorms that are still there, with the reason. (Other normalizations stay in any case.)

    >>> nn.fold(nn.Sequential(nn.Dense(2, 3), nn.BatchNorm(3)).eval()).fold_report
    FoldReport(folded=[('0', '1')], left={})
    """

    folded: list[tuple[str, str]]
    left: dict[str, str]


def fold(model: Layer, example: Any = None) -> Layer:
    """A copy of a model for inference, in which every BatchNorm that follows a Dense, Conv or
    ConvTranspose has become part of it (Ioffe & Szegedy 2015, section 3.1):

        W' = W gamma / sqrt(running_var + eps)       along the output channels,
        b' = (b - running_mean) gamma / sqrt(running_var + eps) + beta.

    Without `example` neighbours in `Sequential` are paired, also with an Identity between them, or
    in Sequentials inside one another; a `forward` method that calls layers of a Sequential one by
    one would then see folded ones: give an example. With an example input, a batch as the model
    takes it (a few real images are a good one; uint8 is divided by 255) or a tuple of several
    inputs, the model is run to
    see which layer feeds which, so that the layers of a `forward` method fold too, and again, in
    float64 where it can be, to see that the outputs stay; a normalization for which they would not
    is left alone. A run shows the branches that this example takes.

    A BatchNorm whose place is taken becomes an Identity, weight normalization and standardization
    are folded along. The others are left alone, and so are layers with a forward hook or of a class
    with a `forward` of its own; a warning names them. The copy's `fold_report` has it all.

    The copy's parameters require no gradients and are read-only, so that convolutions can be
    computed together with the sum and the ReLU that follow, and keep what their kernels make of the
    weights (four times the memory of 3x3 weights). To keep a folded model, save the model itself
    and fold it again, or save the copy's state and load it into another folded copy.

    ValueError for a model in training mode (call eval() first), and for an example that shows
    nothing (empty, or with outputs that are not finite); RuntimeError if `forward` gives something
    else each time.

    >>> model = nn.Sequential(nn.Conv(1, 4, 3), nn.BatchNorm(4), nn.ReLU()).eval()
    >>> nn.fold(model)
    Sequential(
      (0): Conv(1, 4, kernel_size=(3, 3), bias=True)
      (1): Identity()
      (2): ReLU()
    )
    """
    if not isinstance(model, Layer):
        raise TypeError(f"fold: model must be a Layer, got {type(model).__name__}")
    training = [name or "model" for name, layer in model.named_layers() if layer.training]
    if training:
        raise ValueError(f"fold: model is in training mode (layer {training[0]}), where batch "
                         f"normalization depends on the batch; call model.eval() first")
    folded = copy.deepcopy(model)
    if example is None:
        pairs, left = neighbours(folded)
    else:
        inputs = _mapped(example if isinstance(example, tuple) else (example,),
                         lambda x: model_input(folded, x))
        pairs, left = traced(copy.deepcopy(folded), inputs)
        pairs = _Check(folded, inputs).kept(pairs, left)
    _apply(folded, pairs)
    for p in folded.parameters():
        p.fix()             # see ops.inference
    folded.fold_report = FoldReport([(layer, norm) for norm, layers in pairs for layer in layers],
                                    left)
    if left:
        reasons = "; ".join(f"{name or 'model'}: {reason}" for name, reason in left.items())
        warn(f"fold: some normalizations were left alone: {reasons}")
    return folded


def _mapped(value: Any, f: Callable[[Any], Any]) -> Any:
    """f of all arrays and tensors in an input; the rest as it is."""
    if isinstance(value, dict):
        return {key: _mapped(item, f) for key, item in value.items()}
    if isinstance(value, tuple) or (isinstance(value, list) and any(
            isinstance(item, (Tensor, np.ndarray, tuple, dict)) for item in value)):
        return type(value)([_mapped(item, f) for item in value])
    return f(value) if isinstance(value, (Tensor, np.ndarray, list)) else value


# ---------------------------------------------------------------------------------- the change

def _apply(model: Layer, pairs: Pairs) -> None:
    """Fold, in this model."""
    layers = dict(model.named_layers())
    for norm, into in pairs:
        for name in into:
            _fold_into(layers[name], layers[norm])
        _replace(model, layers[norm])


def _fold_into(layer: Any, norm: Any) -> None:
    """Give a layer the weight and the bias that include the normalization."""
    assert isinstance(layer, Weighted) and isinstance(norm, BatchNorm)
    with no_grad():
        weight = np.asarray(layer.effective_weight().data, np.float64)
    assert norm.running_mean is not None and norm.running_var is not None
    scale = 1 / np.sqrt(norm.running_var.astype(np.float64) + norm.eps)
    if norm.gamma is not None:
        scale = norm.gamma.data * scale
    bias = (0.0 if layer.bias is None else layer.bias.data) - norm.running_mean.astype(np.float64)
    bias = bias * scale + (0.0 if norm.beta is None else norm.beta.data)
    dtype = layer.weight.dtype
    layer.weight = Parameter((weight * scale).astype(dtype))
    layer.bias = Parameter(bias.astype(dtype))
    layer.__dict__.pop("transform", None)


def _replace(model: Layer, norm: Layer) -> None:
    """Put an Identity in every place of a normalization."""
    identity = Identity().eval()
    for _, layer in list(model.named_layers()):
        for name, value in layer.__dict__.items():
            layer.__dict__[name] = replaced(value, lambda v: identity if v is norm else v)


# ----------------------------------------------------------------------------------- the check

class _Check:
    """Whether a model, folded, still gives the same for an example. In float64 if the model runs
    in it, in its own dtype if not."""

    def __init__(self, model: Layer, inputs: tuple[Any, ...]) -> None:
        try:
            self.model = copy.deepcopy(model).astype(np.float64)
            self.inputs = _mapped(inputs, _doubled)
            self.expected = self._outputs(self.model)
        except Exception:       # constants of one dtype in forward, or what else it insists on
            self.model, self.inputs = copy.deepcopy(model), inputs
            self.expected = self._outputs(self.model)
        if not any(a.size and (a.dtype.kind != "f" or np.isfinite(a).any())
                   for a in self.expected):
            raise ValueError("fold: example shows nothing: the model's output for it is empty, or "
                             "has no finite number")
        if not self._same(self._outputs(self.model)):
            raise RuntimeError("fold: the model gives something else each time it is called with "
                               "the example; fold needs a forward that is a function of its inputs")

    def kept(self, pairs: Pairs, left: dict[str, str]) -> Pairs:
        """The pairs that can be folded; the others go to `left`."""
        if self._agrees(pairs):
            return pairs
        good: Pairs = []
        for pair in pairs:
            if self._agrees([*good, pair]):
                good.append(pair)
            else:
                left[pair[0]] = ("the outputs would change: forward uses it, or what the layer "
                                 "before it gives, in a way that the graph does not show")
        return good

    def _agrees(self, pairs: Pairs) -> bool:
        trial = copy.deepcopy(self.model)
        _apply(trial, pairs)
        try:
            return self._same(self._outputs(trial))
        except Exception:       # whatever a forward does that misses the normalization
            return False

    def _outputs(self, model: Layer) -> list[np.ndarray]:
        with no_grad():
            found = values_in(model(*self.inputs))
        arrays = [np.array(v.data if isinstance(v, Tensor) else v) for v in found]
        odd = next((a for a in arrays if a.dtype.kind == "O"), None)
        if odd is not None:
            raise TypeError(f"fold: the model returns {odd!r:.60}, which cannot be compared")
        return arrays

    def _same(self, outputs: list[np.ndarray]) -> bool:
        return len(outputs) == len(self.expected) and all(
            map(_close, outputs, self.expected))


def _close(a: np.ndarray, b: np.ndarray) -> bool:
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if a.dtype not in TOLERANCE:
        return bool(np.array_equal(a, b))
    finite = np.isfinite(b)
    relative, least = TOLERANCE[a.dtype]
    limit = max(relative * float(np.abs(b[finite]).max(initial=0)), least)
    return bool(np.array_equal(finite, np.isfinite(a))
                and (np.abs(a[finite] - b[finite]) <= limit).all())


def _doubled(value: Any) -> Any:
    floats = isinstance(value, Tensor) and value.dtype.kind == "f"
    return value.astype(np.float64) if floats else value
