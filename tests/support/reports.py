"""This module has models and pictures for the tests of reports."""

import numpy as np
import pytest

import minidl as md
from minidl import data, models, nn, optim, train


class Brightness(nn.Layer):
    """Classifies pictures by their brightness: the score of class k is largest where the mean is
    nearest to k / (classes - 1).
    """

    def __init__(self, classes=3):
        super().__init__()
        self.middles = np.linspace(0, 1, classes, dtype=np.float32)

    def forward(self, x):
        mean = md.flatten(x, 1).mean(axis=1, keepdims=True)
        return -20 * (mean - self.middles) ** 2


def bright(levels, side=8, channels=3):
    """Return pictures of one colour each, whose brightness is a share of 255."""
    pixels = (np.array(levels) * 255).astype(np.uint8)[:, None, None, None]
    return np.broadcast_to(pixels, (len(levels), side, side, channels)).copy()


def saved(classes=("dark", "grey", "light"), preprocess=None):
    return models.Saved(Brightness(len(classes)), classes, preprocess)


def noise(count=40, side=16, channels=3, seed=0):
    """Return pictures of coarse squares in pale colours, which all differ."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(40, 216, (count, side // 4, side // 4, 1))
    coloured = coarse + rng.integers(-40, 41, (count, side // 4, side // 4, channels))
    return coloured.repeat(4, axis=1).repeat(4, axis=2).astype(np.uint8)


def settings():
    """Return Matplotlib's settings without the backend, because asking for the backend chooses
    one.
    """
    matplotlib = pytest.importorskip("matplotlib")
    return {name: matplotlib.rcParams[name] for name in matplotlib.rcParams if name != "backend"}


def small_network(seed=0):
    """Return conv - BatchNorm - ReLU - mean over all positions - dense, for pictures with one
    channel.
    """
    md.manual_seed(seed)
    return nn.Sequential(
        nn.Conv(1, 4, 3, padding=1), nn.BatchNorm(4), nn.ReLU(), nn.GlobalAvgPool(), nn.Dense(4, 3)
    )


def pictures(count=60, seed=0):
    """Return grey pictures in three classes: a bright spot at the left, in the middle, or at the
    right.
    """
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 60, (count, 12, 12, 1)).astype(np.uint8)
    labels = np.arange(count) % 3
    for image, label in zip(images, labels, strict=True):
        image[4:8, 4 * label : 4 * label + 4] += 150
    return data.ArrayDataset(images, labels, classes=["left", "middle", "right"])


def trained(callbacks=(), epochs=2, **options):
    """Return (model, history) of a short training."""
    model = small_network()
    loader = data.DataLoader(pictures(), 16, shuffle=True, seed=0)
    trainer = train.Trainer(
        model,
        optim.SGD(model.parameters(), lr=0.2, momentum=0.9),
        progress=False,
        callbacks=callbacks,
        **options,
    )
    return model, trainer.fit(loader, valid=pictures(30, seed=1), epochs=epochs)
