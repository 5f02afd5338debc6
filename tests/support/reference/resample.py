"""The references of resizing and of adaptive pools compute each pixel of the result as a weighted
sum of pixels.
"""

import numpy as np


def matrix(length, size, mode):
    """Return the weights (size, length) of one axis, by the definition."""
    m = np.zeros((size, length))
    for i in range(size):
        centre = (i + 0.5) * length / size  # in units of x's pixels
        if mode == "nearest":
            m[i, int(np.floor(centre + 1e-12))] = 1
        elif mode == "linear":
            place = min(max(centre - 0.5, 0), length - 1)
            left = int(np.floor(place))
            m[i, left] += 1 - (place - left)
            m[i, min(left + 1, length - 1)] += place - left
        else:
            first = int(np.floor(i * length / size + 1e-12))
            after = int(np.ceil((i + 1) * length / size - 1e-12))
            m[i, first:after] = 1 / (after - first)
    return m


def resample(x, size, mode):
    size = (size,) * (x.ndim - 2) if isinstance(size, int) else size
    for axis, s in enumerate(size, 1):
        x = np.moveaxis(np.tensordot(matrix(x.shape[axis], s, mode), x, (1, axis)), 0, axis)
    return x


def resize(x, size, mode="nearest"):
    return resample(x, size, mode)


def adaptive_avg_pool(x, size):
    return resample(x, size, "windows")
