"""Data sets and the loader that makes batches of them.

    train = data.MNIST(split="train")
    for images, labels in data.DataLoader(train, batch_size=128, shuffle=True):
        ...  # images: float32 tensor (128, 28, 28, 1) in [0, 1]; labels: int64 array (128,)

`MNIST`, `FashionMNIST` and `CIFAR10` read the official files; `ArrayDataset` takes arrays of any
origin. A damaged file raises `DataFileError`.
"""

from .cifar import CIFAR10
from .dataset import ArrayDataset
from .loader import DataLoader
from .mnist import MNIST, FashionMNIST
from .store import DataFileError

__all__ = ["CIFAR10", "MNIST", "ArrayDataset", "DataFileError", "DataLoader", "FashionMNIST"]
