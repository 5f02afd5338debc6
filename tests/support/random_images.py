"""Data at random, in place of data sets that take seconds to load."""

import numpy as np


def data(*shape):
    """What to put in the place of `problems.mnist` or `problems.cifar10`: 400 images."""
    rng = np.random.default_rng(0)
    images, labels = rng.standard_normal((400, *shape)).astype(np.float32), rng.integers(0, 10, 400)
    return lambda part: (images, labels)
