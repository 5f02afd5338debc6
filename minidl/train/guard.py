"""Find where NaN or infinity first appeared, for the message with which a trainer stops."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from ..grad_mode import no_grad
from ..nn.layer import Layer
from ..tensor import Tensor
from ..tracers import Tracer, following

SHOWN = 3  # parameters that a message names


def why(model: Layer, inputs: Iterable[Any], labels: Any, run: Callable[[], Any]) -> str:
    """Say why the loss of a batch is not finite.

    The inputs, the labels and the weights are checked first. If they are finite, `run` computes the
    loss again, and the first layer whose output is not finite is named.
    """
    for x in inputs:
        if not _finite(x):
            return "the batch itself holds NaN or infinity: look at the data set and its transform"
    if not _finite(labels):
        return "the labels of the batch hold NaN or infinity"
    bad = [name for name, p in model.named_parameters() if not _finite(p)]
    if bad:
        return (
            f"the weights of {_listed(bad)} were no longer finite before this batch: the step "
            f"before was too large (a smaller learning rate, or clip=1.0)"
        )
    search = _Search(model)
    with following(search), no_grad(), np.errstate(all="ignore"):
        run()
    if search.found is None:
        return "the outputs of all layers are finite: it arises in the loss function"
    return f"the first layer whose output is not finite is {search.found}"


def bad_gradients(model: Layer) -> str:
    """Name the parameters whose gradients are not finite, those nearest to the loss first, since
    the backward pass begins there."""
    bad = [name for name, p in model.named_parameters() if not _finite(p.grad)]
    if not bad:
        return "their norm overflows"
    return f"those of {_listed(bad[::-1])} are not (the nearest to the loss first)"


class _Search(Tracer):
    """A tracer that finds the first layer whose output is not finite. Inner layers return before
    the layers that call them, so the layer found is the innermost one."""

    def __init__(self, model: Layer) -> None:
        self.names = {id(layer): name for name, layer in model.named_layers()}
        self.found: str | None = None

    def call(
        self, layer: Any, run: Callable[..., Any], inputs: tuple[Any, ...], options: dict[str, Any]
    ) -> Any:
        output = run(*inputs, **options)
        if self.found is None and not _finite(output):
            name, kind = self.names.get(id(layer), ""), type(layer).__name__
            self.found = f"{name!r} ({kind})" if name else f"the model itself ({kind}.forward)"
        return output


def _finite(x: Any) -> bool:
    """Return whether all floats are finite in an array, or in tuples, lists and dicts of arrays."""
    if isinstance(x, Mapping):
        return all(_finite(part) for part in x.values())
    if isinstance(x, (tuple, list)):
        return all(_finite(part) for part in x)
    array = x.data if isinstance(x, Tensor) else x
    return (
        not isinstance(array, np.ndarray)
        or array.dtype.kind != "f"
        or bool(np.isfinite(array).all())
    )


def _listed(names: list[str]) -> str:
    """Join names for a message: the first few, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(map(repr, names[:SHOWN])) + more
