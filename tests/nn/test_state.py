"""These tests check the state of a layer: state_dict and load_state_dict, copies and pickles."""

import copy
import pickle

import numpy as np
import pytest

import minidl as md
from minidl import nn
from tests.support.arrays import uniform
from tests.support.errors import refuses


def net(hidden=6):
    model = nn.Sequential(
        nn.Dense(4, hidden), nn.BatchNorm(hidden), nn.ReLU(), nn.Dense(hidden, 2, bias=False)
    )
    model(uniform(8, 4))  # changes the statistics
    return model


def assert_state(model, state):
    now = model.state_dict()
    assert set(now) == set(state)
    for name, value in state.items():
        np.testing.assert_array_equal(now[name], value, err_msg=name)


def test_a_state_is_a_flat_dict_of_arrays_by_dotted_name():
    class Net(nn.Layer):
        def __init__(self):
            self.bn1 = nn.BatchNorm(3)
            self.blocks = [nn.Conv(3, 4, 1), nn.Sequential(nn.Dense(4, 2))]

    state = Net().state_dict()
    assert {name: (value.shape, value.dtype.name) for name, value in state.items()} == {
        "bn1.gamma": ((3,), "float32"),
        "bn1.beta": ((3,), "float32"),
        "bn1.running_mean": ((3,), "float32"),
        "bn1.running_var": ((3,), "float32"),
        "bn1.num_batches": ((), "int64"),
        "blocks.0.weight": ((1, 1, 3, 4), "float32"),
        "blocks.0.bias": ((4,), "float32"),
        "blocks.1.0.weight": ((4, 2), "float32"),
        "blocks.1.0.bias": ((2,), "float32"),
    }
    assert all(type(value) is np.ndarray for value in state.values())
    assert list(net().state_dict())[:2] == ["0.weight", "0.bias"]


def test_a_state_is_a_copy():
    model = net()
    state = model.state_dict()
    kept = copy.deepcopy(state)
    for p in model.parameters():
        p.data[...] = 0
    model(uniform(8, 4, seed=1))
    for name in kept:
        np.testing.assert_array_equal(state[name], kept[name])
    model.load_state_dict(state)
    state["0.weight"][...] = 9
    assert_state(model, kept)


def test_loading_makes_models_equal():
    model, other = net(), net()
    objects = other.parameters()
    assert not np.array_equal(model[0].weight.data, other[0].weight.data)
    assert other.load_state_dict(model.state_dict()) is None
    assert_state(other, model.state_dict())
    assert all(p is q for p, q in zip(other.parameters(), objects, strict=True))
    x = uniform(5, 4, seed=3)
    np.testing.assert_array_equal(other.eval()(x).data, model.eval()(x).data)


def test_values_may_be_tensors_or_lists_and_are_converted():
    layer = nn.Dense(2, 2)
    layer.load_state_dict({"weight": md.tensor([[1.0, 2], [3, 4]]), "bias": [5, 6]})
    np.testing.assert_array_equal(layer.weight.data, [[1, 2], [3, 4]])
    layer.load_state_dict({"weight": np.eye(2), "bias": np.zeros(2)})  # in float64
    assert layer.weight.dtype == layer.bias.dtype == np.float32
    np.testing.assert_array_equal(layer.weight.data, np.eye(2))


BAD_STATES = [
    # The entries that are removed (None), added or replaced, and what the message names.
    ({"0.bias": None}, ["missing: 0.bias"]),
    ({"0.bias": None, "1.num_batches": None}, ["missing: 0.bias, 1.num_batches"]),
    ({"extra": np.ones(2), "9.weight": np.ones(1)}, ["unexpected: extra, 9.weight"]),
    ({"0.bias": np.ones(5)}, ["0.bias: (6,) expected, got (5,)"]),
    (
        {"0.bias": np.ones((6, 1)), "1.beta": np.float32(1)},
        ["0.bias: (6,) expected, got (6, 1)", "1.beta: (6,) expected, got ()"],
    ),
    ({"1.num_batches": np.float64(3)}, ["1.num_batches", "int64", "float64"]),
    ({"0.weight": np.ones((4, 6), complex)}, ["0.weight", "complex128"]),
    ({"0.weight": np.full((4, 6), "x")}, ["0.weight"]),
    ({"0.weight": [[1, 2], [3]]}, ["0.weight"]),
    (
        {"0.bias": None, "extra": np.ones(2), "1.beta": np.ones(3)},
        ["missing: 0.bias", "unexpected: extra", "1.beta: (6,) expected, got (3,)"],
    ),
]


@pytest.mark.parametrize("changes, words", BAD_STATES)
def test_a_state_that_does_not_fit_changes_nothing(changes, words):
    model = net()
    before = model.state_dict()
    state = {
        name: value
        for name, value in {**net().state_dict(), **changes}.items()
        if value is not None
    }
    with refuses(nn.StateError, "load_state_dict of Sequential", *words):
        model.load_state_dict(state)
    assert_state(model, before)


def test_missing_and_unexpected_are_a_key_error_with_readable_text():
    with pytest.raises(KeyError) as info:
        net().load_state_dict({"other": np.ones(1)})
    assert isinstance(info.value, ValueError)
    assert str(info.value).startswith("load_state_dict of Sequential: missing: 0.weight, 0.bias")
    assert str(info.value).endswith("| unexpected: other")


@pytest.mark.parametrize("state", [None, 3, "model.safetensors", [np.ones(2)]])
def test_a_state_must_be_a_dict(state):
    model = net()
    before = model.state_dict()
    with pytest.raises((TypeError, nn.StateError), match="load_state_dict"):
        model.load_state_dict(state)
    assert_state(model, before)


def test_a_parameter_in_read_only_memory_changes_nothing():
    model = nn.Sequential(nn.Dense(2, 2), nn.Dense(2, 2))
    frozen = np.ones((2, 2), np.float32)
    frozen.flags.writeable = False
    model[1].weight = nn.Parameter(frozen)
    before = model.state_dict()
    with pytest.raises(ValueError, match="read-only"):
        model.load_state_dict({name: value + 1 for name, value in before.items()})
    assert_state(model, before)


def test_strict_is_a_flag():
    model = nn.Dense(2, 2)
    for value in ("no", None, []):
        with refuses(TypeError, "strict must be True or False"):
            model.load_state_dict({}, strict=value)
    model.load_state_dict({}, strict=np.False_)


def test_not_strict_loads_what_matches():
    model = net()
    before = model.state_dict()
    model.load_state_dict({"0.bias": np.full(6, 7), "other": np.ones(3)}, strict=False)
    before["0.bias"] = np.full(6, 7, np.float32)
    assert_state(model, before)
    with refuses(nn.StateError, "0.bias: (6,) expected, got (2,)"):
        model.load_state_dict({"0.bias": np.ones(2), "1.beta": np.ones(6)}, strict=False)
    assert_state(model, before)


def test_shared_parameters_stay_shared():
    def tied():
        model = nn.Sequential(nn.Dense(3, 3), nn.Dense(3, 3))
        model[1].weight = model[0].weight
        return model

    model, other = tied(), tied()
    other.load_state_dict(model.state_dict())
    twin = pickle.loads(pickle.dumps(copy.deepcopy(model)))
    for m in (other, twin):
        assert m[1].weight is m[0].weight
        assert len(m.parameters()) == 3
        np.testing.assert_array_equal(m[0].weight.data, model[0].weight.data)


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["deepcopy", "pickle"]
)
def test_copies_are_equal_and_independent(copied):
    model = net().eval()
    model[0].bias.requires_grad = False
    twin = copied(model)
    assert type(twin) is nn.Sequential
    assert [name for name, _ in twin.named_layers()] == ["", "0", "1", "2", "3"]
    assert {layer.training for _, layer in twin.named_layers()} == {False}
    assert [p.requires_grad for p in twin.parameters()] == [True, False, True, True, True]
    assert all(isinstance(p, nn.Parameter) for p in twin.parameters())
    state = model.state_dict()
    assert_state(twin, state)
    x = uniform(3, 4, seed=5)
    np.testing.assert_array_equal(twin(x).data, model(x).data)
    for p in twin.parameters():
        p.data[...] = 0
    twin.train()(uniform(8, 4))
    assert_state(model, state)


def test_a_state_of_the_layer_itself():
    model = nn.Sequential(nn.Dense(2, 2, bias=False), nn.Dense(2, 2, bias=False))
    one, other = (layer.weight.data.copy() for layer in model)
    model.load_state_dict({"0.weight": model[1].weight, "1.weight": model[0].weight})
    np.testing.assert_array_equal(model[0].weight.data, other)
    np.testing.assert_array_equal(model[1].weight.data, one)


def test_buffers_made_of_results_are_the_layers_own():
    layer = nn.BatchNorm(3)
    layer.running_mean = (md.ones(3) * 2).data
    layer(md.tensor(uniform(8, 3)))
    layer.load_state_dict(layer.state_dict())
