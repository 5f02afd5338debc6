"""Data sets and the loader that makes batches of them.

`ImageFolder` reads pictures, `MNIST`, `FashionMNIST` and `CIFAR10` the official files;
`ArrayDataset` takes arrays of any origin. `split` and `Subset` take parts of a data set;
`data.transforms` changes images, batch by batch; `data.cache` holds what was decoded or unpacked
once. A damaged file raises `DataFileError`.

>>> train = data.ArrayDataset(np.zeros((200, 28, 28, 1), np.uint8), np.zeros(200, np.int64))
>>> for images, labels in data.DataLoader(train, batch_size=128, shuffle=True):
...     print(images.shape, images.dtype, labels.shape, labels.dtype)
(128, 28, 28, 1) float32 (128,) int64
(72, 28, 28, 1) float32 (72,) int64
"""

from typing import TYPE_CHECKING

from . import cache, transforms
from .balanced import balanced, class_weights
from .cifar import CIFAR10
from .dataset import ArrayDataset
from .image_folder import ImageFolder
from .loader import DataLoader
from .mnist import MNIST, FashionMNIST
from .split import Subset, split
from .statistics import mean_std
from .store import DataFileError

if not TYPE_CHECKING:  # to a type checker a module with __getattr__ has every name
    from .. import foreign_names, hints

    __getattr__ = hints.attributes_of(__name__, foreign_names.DATA)

__all__ = [
    "CIFAR10",
    "MNIST",
    "ArrayDataset",
    "DataFileError",
    "DataLoader",
    "FashionMNIST",
    "ImageFolder",
    "Subset",
    "balanced",
    "cache",
    "class_weights",
    "mean_std",
    "split",
    "transforms",
]
