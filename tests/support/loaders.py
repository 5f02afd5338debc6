"""This module has a data set whose items show their number, and what its loaders yield."""

import threading

import numpy as np

from minidl.data import ArrayDataset


def numbered(count, dtype=np.uint8):
    """Return images (count, 2, 3, 1) that show their own number, which is their label, too."""
    images = np.broadcast_to(np.arange(count).reshape(-1, 1, 1, 1), (count, 2, 3, 1))
    return ArrayDataset(images.astype(dtype), np.arange(count))


def labels_of(batches):
    return [labels.tolist() for _, labels in batches]


def prefetch_threads():
    return [thread for thread in threading.enumerate() if thread.name == "minidl prefetch"]
