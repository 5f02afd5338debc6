"""Transforms (augmentations) of whole batches, for `DataLoader(transform=...)`. By convention the
module is imported as `T`.

They work on float images (B, H, W, C); uint8 images are divided by 255 first. Their random numbers
depend only on the loader's seed, the epoch and the item's index in the data set, and not on the
batch, on threads, or on whether the training was resumed. `Mixup` and `CutMix` change labels too.

>>> augment = T.Compose(T.RandomCrop(32, padding=4), T.RandomFlip(), T.Normalize(0.5, 0.25))
>>> pairs = data.ArrayDataset(np.zeros((8, 32, 32, 3), np.uint8), np.arange(8))
>>> images, labels = next(iter(data.DataLoader(pairs, 4, transform=augment, seed=0)))
>>> images.shape
(4, 32, 32, 3)
"""

from typing import TYPE_CHECKING

from .base import LabelTransform, Transform
from .colour import ColorJitter, Normalize
from .compose import Compose
from .mix import CutMix, Mixup
from .place import CenterCrop, Cutout, RandomCrop, RandomFlip, RandomRotation, RandomTranslate
from .scale import RandomResizedCrop, Resize

if not TYPE_CHECKING:  # to a type checker a module with __getattr__ has every name
    from ... import foreign_names, hints

    __getattr__ = hints.attributes_of(__name__, foreign_names.TRANSFORMS)

__all__ = [
    "CenterCrop",
    "ColorJitter",
    "Compose",
    "CutMix",
    "Cutout",
    "LabelTransform",
    "Mixup",
    "Normalize",
    "RandomCrop",
    "RandomFlip",
    "RandomResizedCrop",
    "RandomRotation",
    "RandomTranslate",
    "Resize",
    "Transform",
]
