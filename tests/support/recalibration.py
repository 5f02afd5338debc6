"""This module has batches and models for the tests of `nn.recalibrate`."""

import numpy as np
import pytest

import minidl as md
from minidl import nn
from tests.support.arrays import uniform

large_gaps = pytest.mark.filterwarnings("ignore:recalibrate. the running statistics")


def batches(sizes=(7, 16, 9), features=3, dtype=np.float32, shift=2.0):
    """Return batches whose means are far apart, so that an average of their variances would be much
    too small.
    """
    return [
        (uniform(n, features, dtype=np.float64, seed=k) + shift * k).astype(dtype)
        for k, n in enumerate(sizes)
    ]


def model_of(*more):
    md.manual_seed(1)
    return nn.Sequential(
        nn.Dense(3, 4), nn.BatchNorm(4), nn.ReLU(), *more, nn.Dense(4, 5), nn.BatchNorm(5)
    )


def everything(model):
    """Return the state and the modes of a model, to be compared."""
    return (
        {name: value.tobytes() for name, value in model.state_dict().items()},
        [(name, layer.training, layer.frozen) for name, layer in model.named_layers()],
    )
