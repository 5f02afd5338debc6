"""This module has random data to use instead of data sets, which take seconds to load."""

import numpy as np


def data(*shape):
    """Return 400 random images in the form of `problems.mnist` or `problems.cifar10`, which they
    replace.
    """
    rng = np.random.default_rng(0)
    images, labels = rng.standard_normal((400, *shape)).astype(np.float32), rng.integers(0, 10, 400)
    return lambda part: (images, labels)
