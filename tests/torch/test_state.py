"""These tests check what `load_state` and `state_dict` take and return, and that arrays do not need
PyTorch.
"""

import numpy as np
import pytest

import minidl as md
from minidl import nn
from tests.support.cases import errors_of
from tests.support.processes import python

STATE = {"weight": np.ones((2, 3), np.float32), "bias": np.ones(2, np.float32)}


class Theirs:
    """Resembles a PyTorch tensor that requires a gradient and is on another device."""

    def __init__(self, array, dtype="torch.float32", ready=False):
        self.array, self.dtype, self.ready = array, dtype, ready

    def detach(self):
        return self

    def cpu(self):
        return Theirs(self.array, self.dtype, True)

    def float(self):
        return Theirs(self.array, "torch.float32", self.ready)

    def __array__(self, dtype=None, copy=None):
        assert self.ready and self.dtype != "torch.bfloat16"
        return self.array


@pytest.mark.parametrize("dtype", ["torch.float32", "torch.bfloat16"])
def test_tensors(dtype):
    layer = nn.Dense(3, 2)
    md.torch.load_state(layer, {name: Theirs(a, dtype) for name, a in STATE.items()})
    assert (layer.weight.data == 1).all()


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_values_become_those_of_the_model(dtype):
    layer = nn.Dense(3, 2)
    md.torch.load_state(layer, {name: a.astype(dtype) for name, a in STATE.items()})
    assert layer.weight.dtype == np.float32 and (layer.weight.data == 1).all()


def test_arrays_of_minidl_and_lists():
    layer = nn.Dense(3, 2)
    md.torch.load_state(layer, {"weight": md.ones((2, 3)), "bias": [1.0, 1.0]})
    assert (layer.bias.data == 1).all()


def test_what_holds_no_numbers_is_left():
    report = md.torch.load_state(nn.Dense(3, 2), STATE | {"_extra_state": None}, strict=False)
    assert report.unexpected == ["_extra_state"]


def test_optimizers_go_on_with_what_was_loaded():
    layer = nn.Dense(3, 2)
    kept = layer.weight.data
    md.torch.load_state(layer, STATE)
    assert layer.weight.data is kept and layer.weight.requires_grad


def test_a_folded_model_takes_a_state():
    folded = nn.fold(nn.Sequential(nn.Dense(3, 2), nn.BatchNorm(2)).eval())
    md.torch.load_state(folded, {f"0.{name}": array for name, array in STATE.items()})
    assert (folded[0].weight.data == 1).all() and not folded[0].weight.data.flags.writeable


def test_pytorch_is_not_imported_for_arrays():
    python("""
        import sys
        import numpy as np
        import minidl as md
        from minidl import nn
        assert "minidl.torch" not in sys.modules
        layer = nn.Dense(3, 2)
        md.torch.load_state(layer, md.torch.state_dict(layer, arrays=True))
        assert "torch" not in sys.modules
    """)


def test_without_pytorch_there_are_no_tensors(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    with pytest.raises(ImportError, match="arrays=True"):
        md.torch.state_dict(nn.Dense(3, 2))


class Module:
    def state_dict(self):
        return STATE


test_errors = errors_of(
    [
        (lambda: md.torch.load_state(STATE, STATE), TypeError, "model must be a Layer"),
        (
            lambda: md.torch.load_state(nn.Dense(3, 2), Module()),
            TypeError,
            "give module.state_dict()",
        ),
        (lambda: md.torch.load_state(nn.Dense(3, 2), [1]), TypeError, "state_dict must be a dict"),
        (
            lambda: md.torch.load_state(nn.Dense(3, 2), {"state": STATE, "epoch": 3}),
            TypeError,
            "'state' holds a dict",
        ),
        (lambda: md.torch.load_state(nn.Dense(3, 2), STATE, {1: "a"}), TypeError, "mapping"),
        (lambda: md.torch.load_state(nn.Dense(3, 2), STATE, "a"), TypeError, "mapping"),
        (lambda: md.torch.load_state(nn.Dense(3, 2), STATE, strict="no"), TypeError, "strict"),
        (
            lambda: md.torch.load_state(nn.Dense(3, 2), STATE | {"bias": np.array([1j, 2])}),
            nn.StateError,
            "missing: bias | unexpected: bias",
        ),
        (lambda: md.torch.state_dict(STATE), TypeError, "model must be a Layer"),
        (lambda: md.torch.state_dict(nn.Dense(3, 2), arrays=2), TypeError, "arrays"),
        (lambda: md.torch.state_dict(nn.Dense(3, 2), [1], arrays=True), TypeError, "mapping"),
        (
            lambda: md.torch.state_dict(nn.Dense(3, 2), {"weight": 3}, arrays=True),
            TypeError,
            "mapping must be a dict of names to names",
        ),
        (
            lambda: md.torch.state_dict(nn.Dense(3, 2), {"fc": "head"}, arrays=True),
            nn.StateError,
            "mapping: the model has nothing named 'fc'",
        ),
        (
            lambda: md.torch.state_dict(nn.Dense(3, 2), {"bias": "weight"}, arrays=True),
            ValueError,
            "two entries would be named 'weight'",
        ),
    ]
)


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Dense(3, 3), nn.BatchNorm(3)),
        nn.Sequential(nn.Dense(3, 3), nn.Dense(3, 2)),
        nn.Sequential(nn.Dense(3, 3), nn.LSTM(3, 4)),
    ],
    ids=["a gamma", "a shape", "a cell"],
)
@pytest.mark.parametrize("strict", [True, False])
def test_a_state_of_minidl_is_recognized(model, strict):
    before = {name: array.copy() for name, array in model.state_dict().items()}
    with pytest.raises(nn.StateError, match=r"a state of minidl's.*model\.load_state_dict"):
        md.torch.load_state(model, model.state_dict(), strict=strict)
    assert all(np.array_equal(model.state_dict()[name], array) for name, array in before.items())


def test_attention_with_other_layers_in_it_keeps_their_names():
    attention = nn.MultiHeadAttention(4, 2)
    attention.key = nn.weight_norm(attention.key)
    state = md.torch.state_dict(attention, arrays=True)
    assert {"query.weight", "key.bias", "output.weight"} <= state.keys()
    assert not any("proj" in name for name in state)
    md.torch.load_state(attention, state)
    attention = nn.MultiHeadAttention(4, 2)
    attention.key = attention.query
    state = md.torch.state_dict(attention, arrays=True)
    assert np.array_equal(state["key.weight"], attention.query.weight.data.T)
