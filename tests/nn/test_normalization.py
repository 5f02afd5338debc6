"""These tests check which layers count as a Normalization."""

import pytest

from minidl import nn

LAYERS = {
    "BatchNorm": lambda: nn.BatchNorm(4),
    "LayerNorm": lambda: nn.LayerNorm(4),
    "GroupNorm": lambda: nn.GroupNorm(2, 4),
    "InstanceNorm": lambda: nn.InstanceNorm(4),
    "RMSNorm": lambda: nn.RMSNorm(4),
    "FilterResponseNorm": lambda: nn.FilterResponseNorm(4),
    "StepNorm": lambda: nn.StepNorm(4, 3),
}


@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
def test_the_normalizations_of_the_library_count(make):
    assert isinstance(make(), nn.Normalization)


def test_no_other_layer_counts():
    assert {
        name
        for name in nn.__all__
        if isinstance(getattr(nn, name), type) and issubclass(getattr(nn, name), nn.Normalization)
    } == {*LAYERS, "Normalization"}
    assert not isinstance(nn.weight_norm(nn.Dense(4, 2)).transform, nn.Normalization)
