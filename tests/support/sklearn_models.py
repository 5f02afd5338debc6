"""This module has networks and data for the tests of scikit-learn's estimators. The processes of a
grid search import them from here.
"""

import numpy as np

from minidl import nn
from tests.support.arrays import uniform


def convolutions(shape, outputs):
    """Return a convolution for images (H, W, C), followed by the mean over all positions."""
    return nn.Sequential(
        nn.Conv(shape[-1], 8, 3),
        nn.BatchNorm(8),
        nn.ReLU(),
        nn.GlobalAvgPool(),
        nn.Dense(8, outputs),
    )


def dropping(in_features, outputs):
    return nn.Sequential(
        nn.Dense(in_features, 16), nn.ReLU(), nn.Dropout(0.3), nn.Dense(16, outputs)
    )


def blobs(count=90, features=4):
    """Return rows of three classes that are far from each other, and their names."""
    rng = np.random.default_rng(0)
    numbers = np.arange(count) % 3
    X = rng.normal(size=(count, features)) + 4 * np.eye(3, features)[numbers]
    return X, np.array(["cat", "dog", "emu"])[numbers]


def pictures(count=60):
    """Return bytes of images that are dark or bright."""
    labels = np.arange(count) % 2
    noise = uniform(count, 6, 5, 3, low=0, high=100, seed=1)
    return (noise + 150 * labels[:, None, None, None]).astype(np.uint8), labels
