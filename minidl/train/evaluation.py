"""Evaluate a model: loss and metrics over a data set, with or without test-time augmentation."""

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
    """Return the mean loss and metrics over all items, computed in the thread's evaluation mode."""
    totals, reader = Totals(), Reader(model)
    # Batches are loaded outside of evaluation mode: the loader's code may train another model.
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
    """Return the views of test-time augmentation as functions of (images, number of the batch).

    tta: None, "flip", a transform, or a list of these. TypeError or ValueError for anything else.
    """
    if tta is None:
        return []
    if isinstance(tta, (list, tuple)):
        return [view for one in tta for view in views_of(one)]
    if isinstance(tta, str):
        checks.choice(tta, "evaluate", "tta", ("flip", None))
        return [_mirrored]
    checks.function(tta, "evaluate", "tta", '"flip", a transform of images, or a list of these')
    is_random = _takes_rng(tta)

    def view(images: np.ndarray, number: int) -> np.ndarray:
        # The generator's seed is the batch's number: each evaluation sees the same views.
        rng = [np.random.default_rng(number)] if is_random else []
        result = tta(images, *rng)
        if not isinstance(result, np.ndarray) or len(result) != len(images):
            raise TypeError(
                f"evaluate: tta must return as many images as it got, {len(images)}, "
                f"in an array; got {checks.shown(result)}"
            )
        return np.ascontiguousarray(result, images.dtype)

    return [view]


def _takes_rng(transform: Callable[..., Any]) -> bool:
    """Return whether a transform takes a random generator, by the rule of `DataLoader`: minidl's
    transforms do, and functions whose second parameter is required or named `rng`."""
    if hasattr(transform, "apply_batch"):
        return True
    try:
        second = list(inspect.signature(transform).parameters.values())[1:2]
    except ValueError:  # compiled functions may have no signature
        return False
    return any(
        p.name == "rng" or (p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD)
        for p in second
    )


def _mirrored(images: np.ndarray, number: int) -> np.ndarray:
    """Mirror images (N, H, W, C) horizontally."""
    if images.ndim != 4:
        raise ValueError(
            f'evaluate: tta="flip" needs images (N, H, W, C), got an input of shape {images.shape}'
        )
    return np.ascontiguousarray(images[:, :, ::-1])


def _averaged(
    model: Layer, example: Example, outputs: Any, views: list[View], number: int, where: str
) -> Tensor:
    """Return the mean of the outputs for the unchanged images and for each of their views."""
    if not isinstance(outputs, Tensor) or len(list(example)) != 1:
        raise TypeError(f"{where}: tta needs a model of one input, the images, and one output")
    images = next(iter(example)).data
    total = np.array(outputs.data)
    for view in views:
        x = Tensor(view(np.array(images), number))
        changed = model(x) if example.inputs else model(**dict.fromkeys(example.named, x))
        total += changed.data
    return Tensor(total / total.dtype.type(1 + len(views)))
