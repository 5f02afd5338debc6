"""Compose: a sequence of transforms."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..draws import Draws
from .base import Labels, LabelTransform, Transform, as_transform, run


class Compose(Transform):
    """Applies transforms and functions one after the other.

    transforms: transforms, or functions of (images), (images, rng), (images, labels) or (images,
                labels, rng), as a loader takes them; or a single list of them

    Each has its own random numbers. If one of them takes labels, the composition is called with
    labels and returns (images, labels). TypeError for a member that cannot be called.

    >>> augment = T.Compose(T.RandomCrop(32, padding=4), T.RandomFlip(), lambda images: images * 2)
    >>> augment(np.zeros((8, 32, 32, 3), np.uint8)).shape
    (8, 32, 32, 3)
    """

    _any_array = True  # each member checks its own input

    def __init__(self, *transforms: Any) -> None:
        if len(transforms) == 1 and isinstance(transforms[0], (list, tuple)):
            transforms = tuple(transforms[0])
        self.transforms = transforms
        self._members = [
            as_transform(transform, "Compose", f"transforms[{i}]")
            for i, transform in enumerate(transforms)
        ]
        self.takes_labels = any(getattr(member, "takes_labels", False) for member in self._members)

    def apply_batch(
        self, images: np.ndarray, labels: Labels, draws: Draws
    ) -> tuple[np.ndarray, Labels]:
        for place, member in enumerate(self._members):
            images, labels = run(member, images, labels, draws.at(place))
        return images, labels

    def __call__(self, images: Any, *rest: Any, **options: Any) -> Any:
        kind = LabelTransform if self.takes_labels else Transform
        return kind.__call__(self, images, *rest, **options)

    def __repr__(self) -> str:
        return f"Compose({', '.join(map(repr, self.transforms))})"
