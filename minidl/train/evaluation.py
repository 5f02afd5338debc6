"""Loss and metrics of a model over a data set, also of outputs averaged over changed images."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from .. import checks
from ..mode import evaluation
from ..nn.layer import Layer
from ..tensor import Tensor
from .batches import Example, Reader
from .metrics import Totals

Note = Callable[[Totals, Any, Any, Example], None]
View = Callable[[np.ndarray, int], np.ndarray]


def evaluate(
    model: Layer,
    batches: Iterable[Any],
    loss: Callable[[Any, Example], Tensor],
    note: Callable[..., None],
    views: list[View],
    where: str,
) -> dict[str, float]:
    """The means over all items, each batch by its size, in evaluation mode of this thread."""
    totals, reader = Totals(), Reader(model)
    # Batches are made outside of the block: what makes them may well train another model.
    for number, batch in enumerate(batches):
        example = reader(batch)
        with evaluation():
            outputs = model(*example.inputs, **example.named)
            if views:
                outputs = _averaged(model, example, outputs, views, number, where)
            note(totals, loss(outputs, example).item(), outputs, example)
    if not totals.sums:
        raise ValueError(f"{where}: the loader has no batch")
    return totals.means()


def views_of(tta: Any) -> list[View]:
    """What test-time augmentation makes of images, as functions of (images, number of the batch).
    TypeError or ValueError for what is no transform."""
    if tta is None:
        return []
    if isinstance(tta, (list, tuple)):
        return [view for one in tta for view in views_of(one)]
    if isinstance(tta, str):
        checks.choice(tta, "evaluate", "tta", ("flip", None))
        return [_mirrored]
    checks.function(tta, "evaluate", "tta", '"flip", a transform of images, or a list of these')
    draws = _takes_rng(tta)

    def view(images: np.ndarray, number: int) -> np.ndarray:
        rng = [np.random.default_rng(number)] if draws else []
        result = tta(images, *rng)
        if not isinstance(result, np.ndarray) or len(result) != len(images):
            raise TypeError(
                f"evaluate: tta must return as many images as it got, {len(images)}, "
                f"in an array; got {checks.shown(result)}"
            )
        return np.ascontiguousarray(result, images.dtype)

    return [view]


def _takes_rng(transform: Callable[..., Any]) -> bool:
    """As for a loader: those of minidl draw, and functions that have a second parameter for it."""
    if hasattr(transform, "apply_batch"):
        return True
    try:
        second = list(inspect.signature(transform).parameters.values())[1:2]
    except ValueError:  # of what is compiled
        return False
    return any(
        p.name == "rng" or (p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD)
        for p in second
    )


def _mirrored(images: np.ndarray, number: int) -> np.ndarray:
    """Images (N, H, W, C), left and right exchanged."""
    if images.ndim != 4:
        raise ValueError(
            f'evaluate: tta="flip" needs images (N, H, W, C), got an input of shape {images.shape}'
        )
    return np.ascontiguousarray(images[:, :, ::-1])


def _averaged(
    model: Layer, example: Example, outputs: Any, views: list[View], number: int, where: str
) -> Tensor:
    """The mean of the outputs for the images as they are and as each view shows them."""
    if not isinstance(outputs, Tensor) or len(list(example)) != 1:
        raise TypeError(f"{where}: tta needs a model of one input, the images, and one output")
    images = next(iter(example)).data
    total = np.array(outputs.data)
    for view in views:
        x = Tensor(view(np.array(images), number))
        changed = model(x) if example.inputs else model(**dict.fromkeys(example.named, x))
        total += changed.data
    return Tensor(total / total.dtype.type(1 + len(views)))
