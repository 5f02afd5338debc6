"""Loss and metrics of a model over a data set, also of outputs averaged over changed images."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from .. import checks
from ..data.batch import takes_rng, transformed
from ..mode import evaluation
from ..nn.layer import Layer
from ..tensor import Tensor
from .batches import Example, Reader
from .metrics import Totals

Note = Callable[[Totals, Any, Any, Example], None]
View = Callable[[np.ndarray, int], np.ndarray]


def evaluate(model: Layer, batches: Iterable[Any], loss: Callable[[Any, Example], Tensor],
             note: Callable[..., None], views: list[View], where: str) -> dict[str, float]:
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
    if not takes_rng(tta):
        return [lambda images, number: transformed(tta, images)]
    return [lambda images, number: transformed(tta, images, np.random.default_rng(number))]


def _mirrored(images: np.ndarray, number: int) -> np.ndarray:
    """Images (N, H, W, C), left and right exchanged."""
    if images.ndim != 4:
        raise ValueError(f'evaluate: tta="flip" needs images (N, H, W, C), got an input of shape '
                         f"{images.shape}")
    return np.ascontiguousarray(images[:, :, ::-1])


def _averaged(model: Layer, example: Example, outputs: Any, views: list[View], number: int,
              where: str) -> Tensor:
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
