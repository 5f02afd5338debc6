"""Data sets and the loader that makes batches of them.

`MNIST`, `FashionMNIST` and `CIFAR10` read the official files; `ArrayDataset` takes arrays of any
origin. A damaged file raises `DataFileError`.

>>> train = data.ArrayDataset(np.zeros((200, 28, 28, 1), np.uint8), np.zeros(200, np.int64))
>>> for images, labels in data.DataLoader(train, batch_size=128, shuffle=True):
...     print(images.shape, images.dtype, labels.shape, labels.dtype)
(128, 28, 28, 1) float32 (128,) int64
(72, 28, 28, 1) float32 (72,) int64
"""

from typing import TYPE_CHECKING

from .balanced import balanced, class_weights
from .cifar import CIFAR10
from .dataset import ArrayDataset
from .loader import DataLoader
from .mnist import MNIST, FashionMNIST
from .store import DataFileError

if not TYPE_CHECKING:       # to a type checker a module with __getattr__ has every name
    from .. import hints

    __getattr__ = hints.attributes_of(__name__, hints.DATA)

__all__ = ["CIFAR10", "MNIST", "ArrayDataset", "DataFileError", "DataLoader", "FashionMNIST",
           "balanced", "class_weights"]
