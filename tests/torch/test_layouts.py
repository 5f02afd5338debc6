"""These tests check what PyTorch calls the parameters of each layer, and how it lays them out.

Tests with PyTorch's own modules are in tests/parity/test_torch_state.py.
"""

import numpy as np
import pytest

import minidl as md
from minidl import nn
from tests.support.arrays import uniform


def state(layer):
    """Return the state for PyTorch of a layer, with values that are all different."""
    for k, p in enumerate(layer.parameters()):
        p.data = np.arange(p.size, dtype=p.dtype).reshape(p.shape) + 1000 * k + 1
    return md.torch.state_dict(layer, arrays=True)


def test_a_dense_layer():
    layer = nn.Dense(3, 2)
    theirs = state(layer)
    assert list(theirs) == ["weight", "bias"]
    assert np.array_equal(theirs["weight"], layer.weight.data.T)
    assert np.array_equal(theirs["bias"], layer.bias.data)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_a_convolution(groups):
    layer = nn.Conv(4, 8, (3, 2), groups=groups, bias=False)
    theirs = state(layer)
    assert list(theirs) == ["weight"] and theirs["weight"].shape == (8, 4 // groups, 3, 2)
    assert theirs["weight"][5, 0, 2, 1] == layer.weight.data[2, 1, 0, 5]


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_a_transposed_convolution(groups):
    layer = nn.ConvTranspose(4, 8, (3, 2), groups=groups)
    theirs = state(layer)["weight"]
    inputs, outputs = 4 // groups, 8 // groups
    assert theirs.shape == (4, outputs, 3, 2)
    for i in range(4):
        for o in range(outputs):  # outputs of the group that input i is in
            ours = layer.weight.data[:, :, i % inputs, i // inputs * outputs + o]
            assert np.array_equal(theirs[i, o], ours)


@pytest.mark.parametrize(
    "layer",
    [
        nn.BatchNorm(3),
        nn.LayerNorm(3),
        nn.GroupNorm(1, 3),
        nn.InstanceNorm(3, affine=True),
        nn.RMSNorm(3),
    ],
    ids=repr,
)
def test_a_normalization(layer):
    theirs = state(layer)
    assert np.array_equal(theirs["weight"], layer.gamma.data)
    names = ["weight"] if isinstance(layer, nn.RMSNorm) else ["weight", "bias"]
    if isinstance(layer, nn.BatchNorm):
        names += ["running_mean", "running_var", "num_batches_tracked"]
        layer.running_var[:] = 5
        assert (md.torch.state_dict(layer, arrays=True)["running_var"] == 5).all()
    assert list(theirs) == names


def test_an_embedding_is_the_same():
    layer = nn.Embedding(5, 3)
    assert np.array_equal(state(layer)["weight"], layer.weight.data)


def test_weight_normalization():
    layer = nn.weight_norm(nn.Conv(2, 3, 2))
    theirs = state(layer)
    gain, direction = (f"parametrizations.weight.original{k}" for k in (0, 1))
    assert list(theirs) == ["bias", gain, direction]
    assert theirs[gain].shape == (3, 1, 1, 1) and theirs[direction].shape == (3, 2, 2, 2)
    other = nn.weight_norm(nn.Conv(2, 3, 2))
    older = {"bias": theirs["bias"], "weight_g": theirs[gain], "weight_v": theirs[direction]}
    md.torch.load_state(other, older)
    assert np.array_equal(other.effective_weight().data, layer.effective_weight().data)


def test_weight_standardization_is_a_plain_weight():
    assert list(state(nn.weight_standardization(nn.Conv(2, 3, 2)))) == ["weight", "bias"]


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM])
def test_the_biases_of_a_recurrent_layer_are_added(kind):
    layer = kind(3, 2)
    theirs = state(layer)
    assert list(theirs) == ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"]
    assert not theirs["bias_hh_l0"].any()
    before = layer.cells[0].bias.data.copy()
    theirs["bias_hh_l0"] = np.ones_like(before)
    md.torch.load_state(layer, theirs)
    assert np.array_equal(layer.cells[0].bias.data, before + 1)
    assert np.array_equal(layer.cells[0].weight_x.data, theirs["weight_ih_l0"].T)


def test_a_gru_keeps_the_bias_of_the_state_in_its_new_gate():
    layer = nn.GRU(3, 2)
    bias_ih, bias_hh = uniform(6), uniform(6, seed=1)
    theirs = state(layer) | {"bias_ih_l0": bias_ih, "bias_hh_l0": bias_hh}
    md.torch.load_state(layer, theirs)
    cell = layer.cells[0]
    assert np.array_equal(cell.bias.data[:4], bias_ih[:4] + bias_hh[:4])
    assert np.array_equal(cell.bias.data[4:], bias_ih[4:])
    assert np.array_equal(cell.bias_h.data, bias_hh[4:])


def test_layers_and_directions_of_a_recurrent_network():
    layer = nn.LSTM(3, 2, num_layers=2, bidirectional=True, bias=False)
    theirs = state(layer)
    assert list(theirs) == [
        f"weight_{kind}_{end}"
        for end in ("l0", "l0_reverse", "l1", "l1_reverse")
        for kind in ("ih", "hh")
    ]
    assert np.array_equal(theirs["weight_hh_l1_reverse"], layer.cells[3].weight_h.data.T)


def test_a_single_cell():
    layer = nn.LSTM(3, 2)
    cell = {name.removesuffix("_l0"): array for name, array in state(layer).items()}
    other = nn.LSTM(3, 2)
    md.torch.load_state(other, cell)
    assert np.array_equal(other.cells[0].weight_h.data, layer.cells[0].weight_h.data)


class Own(nn.Layer):
    """A user's layer."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(np.ones((2, 3), np.float32))
        self.gamma, self.weight = nn.Parameter(np.ones(2)), nn.Parameter(np.ones(3))
        self.parts = [nn.Parameter(np.ones(4)), nn.Parameter(np.ones(5))]
        self.table = np.arange(3)


def test_other_arrays_keep_names_and_axes():
    theirs = md.torch.state_dict(Own(), arrays=True)
    assert {name: a.shape for name, a in theirs.items()} == {
        "scale": (2, 3),
        "gamma": (2,),
        "weight": (3,),
        "parts.0": (4,),
        "parts.1": (5,),
        "table": (3,),
    }


LAYERS = [
    lambda: nn.Dense(3, 2, bias=False),
    lambda: nn.Conv(4, 6, 3, groups=2),
    lambda: nn.ConvTranspose(4, 6, (3, 2), groups=2),
    lambda: nn.BatchNorm(3),
    lambda: nn.BatchNorm(3, affine=False),
    lambda: nn.BatchNorm(3, track_stats=False),
    lambda: nn.Embedding(4, 3),
    lambda: nn.RNN(3, 2, bidirectional=True),
    lambda: nn.GRU(3, 2, num_layers=2),
    lambda: nn.LSTM(3, 2),
    lambda: nn.LSTM(3, 2, norm="batch"),
    lambda: nn.GRU(3, 2, norm="layer"),
    lambda: nn.weight_norm(nn.ConvTranspose(4, 6, 3)),
    lambda: nn.FilterResponseNorm(3),
    lambda: nn.TLU(3),
    Own,
]


@pytest.mark.parametrize("make", LAYERS)
def test_there_and_back(make):
    layer, other = make(), make()
    for p in layer.parameters():
        p.data = uniform(*p.shape, dtype=p.dtype, seed=p.size)
    theirs = md.torch.state_dict(nn.Sequential(layer), arrays=True)
    assert all(name.startswith("0.") for name in theirs)
    md.torch.load_state(nn.Sequential(other), theirs)
    for name, array in layer.state_dict().items():
        assert np.array_equal(other.state_dict()[name], array), name


def test_what_is_given_is_a_copy():
    layer = nn.Embedding(5, 3)
    theirs = state(layer)
    theirs["weight"][:] = 0
    assert layer.weight.data.all()
