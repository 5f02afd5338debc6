"""Where values ceased to be finite: what a trainer says when it stops at NaN or infinity."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from ..grad_mode import no_grad
from ..nn.layer import Layer
from ..tensor import Tensor
from ..tracers import following

SHOWN = 3  # names of parameters in a message


def why(model: Layer, inputs: Iterable[Any], labels: Any, run: Callable[[], Any]) -> str:
    """Which layer first had an output that was not finite, when `run` computes the loss again; or
    what was wrong before any layer had one."""
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
        return "the outputs of all layers are finite: the loss function made it of them"
    return f"the first layer whose output is not finite is {search.found}"


def bad_gradients(model: Layer) -> str:
    """Which gradients are not finite, those nearest to the loss first, since a backward pass
    begins there."""
    bad = [name for name, p in model.named_parameters() if not _finite(p.grad)]
    if not bad:
        return "their norm is too large for a number"
    return f"those of {_listed(bad[::-1])} are not (the nearest to the loss first)"


class _Search:
    """Follows a pass of this thread, and keeps the first layer with an output that is not finite;
    an inner layer ends before the one around it, so it is the innermost."""

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

    def operation(
        self,
        function: Any,
        inputs: tuple[Any, ...],
        options: dict[str, Any],
        outputs: tuple[Any, ...],
    ) -> None:
        pass

    def read(self, tensor: Any) -> None:
        pass

    def copied(self, tensor: Any, array: Any) -> None:
        pass


def _finite(x: Any) -> bool:
    """Whether all floats in a value are finite, also in tuples, lists and dicts of arrays."""
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
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(map(repr, names[:SHOWN])) + more
