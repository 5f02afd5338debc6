"""This module has the marks of pytest that tests share."""

import os

import pytest

from minidl import models
from tests.support.arrays import FLOATS

BACKENDS = ("native", "numpy")

both_backends = pytest.mark.parametrize("backend", BACKENDS)
both_floats = pytest.mark.parametrize("dtype", FLOATS, ids=["float32", "float64"])
# Models of every kind, each with the shape of a small batch.
every_model = pytest.mark.parametrize(
    ("model", "shape"),
    [
        (models.MLP, (4, 784)),
        (models.MnistCNN, (2, 28, 28, 1)),
        (models.VGG8, (2, 32, 32, 3)),
        (models.ResNet20, (2, 16, 16, 3)),
        (models.Mobile, (2, 16, 16, 3)),
    ],
)
# For tests whose batches are so small that BatchNorm warns.
small_batches = pytest.mark.filterwarnings("ignore:BatchNorm.*values a channel")
needs_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0,
    reason="only the superuser becomes another user",
)
