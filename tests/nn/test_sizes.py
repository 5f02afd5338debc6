"""These tests check that a layer, or a function of `nn.init`, says itself that there can be no
array of a size.
"""

import pytest

from minidl import nn

MOST = 2**61  # so many float32 values have more bytes than an index can count

LAYERS = {
    "Dense in": lambda: nn.Dense(MOST, 1),
    "Dense out": lambda: nn.Dense(1, MOST),
    "Conv in": lambda: nn.Conv(MOST, 1, 1),
    "Conv out": lambda: nn.Conv(1, MOST, 1, bias=False),
    "Conv kernel": lambda: nn.Conv(1, 1, 2**31 - 1),
    "Conv1d": lambda: nn.Conv1d(MOST, 1, 1),
    "ConvTranspose": lambda: nn.ConvTranspose(1, MOST, 1),
    "Embedding rows": lambda: nn.Embedding(MOST, 1),
    "Embedding features": lambda: nn.Embedding(1, MOST),
    "BatchNorm": lambda: nn.BatchNorm(MOST),
    "BatchNorm running": lambda: nn.BatchNorm(MOST, affine=False),
    "LayerNorm": lambda: nn.LayerNorm((2, MOST)),
    "RMSNorm": lambda: nn.RMSNorm(MOST),
    "GroupNorm": lambda: nn.GroupNorm(2, MOST),
    "InstanceNorm": lambda: nn.InstanceNorm(MOST, affine=True),
    "FilterResponseNorm": lambda: nn.FilterResponseNorm(MOST),
    "FilterResponseNorm eps": lambda: nn.FilterResponseNorm(MOST, learn_eps=True, affine=False),
    "TLU": lambda: nn.TLU(MOST),
    "StepNorm": lambda: nn.StepNorm(MOST, 2, affine=False),
    "StepNorm steps": lambda: nn.StepNorm(2, MOST),
    "MultiHeadAttention": lambda: nn.MultiHeadAttention(MOST, 1),
    "MultiHeadAttention key": lambda: nn.MultiHeadAttention(1, 1, key_features=MOST),
    "MultiHeadAttention value": lambda: nn.MultiHeadAttention(1, 1, value_features=MOST),
    **{
        f"{name} in": lambda name=name: getattr(nn, name)(MOST, 1)
        for name in ("RNN", "GRU", "LSTM")
    },
    **{
        f"{name} hidden": lambda name=name: getattr(nn, name)(1, MOST)
        for name in ("RNN", "GRU", "LSTM")
    },
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_that_no_memory_holds_names_itself(name):
    with pytest.raises(MemoryError, match=rf"^{name.split()[0]}: "):
        LAYERS[name]()


@pytest.mark.parametrize(
    "name",
    [
        "normal",
        "uniform",
        "he_normal",
        "he_uniform",
        "xavier_normal",
        "xavier_uniform",
        "lecun_normal",
        "lecun_uniform",
        "orthogonal",
        "constant",
        "fans",
    ],
)
def test_initial_values_that_no_memory_holds_name_their_function(name):
    with pytest.raises(MemoryError, match=f"^{name}: .*no memory"):
        getattr(nn.init, name)((MOST, 4))
