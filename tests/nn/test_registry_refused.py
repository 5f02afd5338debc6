"""These tests check what a layer refuses to hold because it would get lost: duplicate names, and
parts in wrong places.
"""

import copy
import pickle

import numpy as np
import pytest

import minidl as md
from minidl import nn
from tests.support.errors import refuses
from tests.support.layers import Everything
from tests.support.tensors import parameter

# Names that collide


def colliding_keys(a, b):
    layer = nn.Layer()
    layer.d = {1: a, "1": b}
    return layer


def colliding_dots(a, b):
    layer = nn.Layer()
    layer.d = {"a.b": a, "a": {"b": b}}
    return layer


def colliding_attributes(a, b):
    layer = nn.Layer()
    layer.a = nn.Layer()
    layer.a.b = a
    setattr(layer, "a.b", b)
    return nn.Sequential(layer)


COLLIDING = [
    (colliding_keys, "Layer.d[1]", "Layer.d['1']"),
    (colliding_dots, "Layer.d['a.b']", "Layer.d['a']['b']"),
    (colliding_attributes, "Sequential[0].a.b", "Sequential[0].__dict__['a.b']"),
]


@pytest.mark.parametrize("make, first, second", COLLIDING)
@pytest.mark.parametrize(
    "part",
    [lambda: parameter(1), lambda: np.ones(1), lambda: nn.Dense(1, 1)],
    ids=["parameter", "buffer", "layer"],
)
def test_two_things_of_one_name_are_refused(make, first, second, part):
    model = make(part(), part())
    for walk in (
        model.state_dict,
        lambda: model.load_state_dict({}),
        lambda: model.load_state_dict({}, strict=False),
        lambda: list(model.named_parameters()) + list(model.named_buffers()),
    ):
        with refuses(ValueError, first, second, "rename one"):
            walk()
    shared = part()
    assert make(shared, shared).state_dict()  # one object that several names lead to


def test_layers_of_one_name_are_refused():
    with refuses(ValueError, "Layer.d[1]", "Layer.d['1']"):
        list(colliding_keys(nn.Dense(1, 1), nn.BatchNorm(1)).named_layers())


# Containers that hold themselves, and arrays of layers


def test_containers_that_hold_themselves():
    layer = nn.Layer()
    layer.parts = [nn.Dense(1, 1, bias=False), np.ones(2)]
    layer.parts.append(layer.parts)
    layer.named = {"p": parameter(1)}
    layer.named["again"] = (layer.named,)
    assert list(layer.state_dict()) == ["parts.0.weight", "parts.1", "named.p"]
    layer.astype(np.float64)
    assert {v.dtype for v in layer.state_dict().values()} == {np.dtype(np.float64)}


@pytest.mark.parametrize("name", ["parts", "_parts"])
def test_arrays_of_layers_are_refused(name):
    layer = nn.Layer()
    setattr(layer, name, np.array([nn.Dense(1, 1), None], object))
    with refuses(TypeError, f"Layer.{name}", "use a list"):
        layer.parameters()


# Parts that would get lost


@pytest.mark.parametrize("value", [np.ones(2), md.ones(2)], ids=["array", "tensor"])
def test_no_array_takes_the_place_of_a_child(value):
    model = Everything()
    before = model.dense
    with refuses(TypeError, "Everything.dense is a layer (Dense)", "None"):
        model.dense = value
    assert model.dense is before
    for other in (nn.ReLU(), parameter(2), None, value, [nn.ReLU()], md.relu):
        model.dense = other


def test_no_tensor_takes_the_place_of_a_buffer():
    norm = nn.BatchNorm(2)
    with refuses(TypeError, "BatchNorm.running_mean is a buffer", "running_mean[...] ="):
        norm.running_mean = md.ones(2)
    # A number would not be saved either, nor would a NumPy scalar, which `count + 1` is.
    norm.count = np.zeros(())
    for name, value in (
        ("running_mean", [1.0, 2.0]),
        ("running_mean", 0.0),
        ("running_var", range(2)),
        ("count", norm.count + 1),
    ):
        with refuses(TypeError, f"BatchNorm.{name} is a buffer", f"{name}[...] =", "None first"):
            setattr(norm, name, value)
    norm.count += 1
    assert norm.state_dict()["count"] == 1
    norm.count = [np.zeros(2)]  # a buffer as before, in a list
    assert "count.0" in norm.state_dict()
    norm.running_mean = np.ones(2, np.float32)
    assert norm.state_dict()["running_mean"].tolist() == [1, 1]
    model = Everything()
    model.constant = md.zeros(2)
    model._array = md.ones(2)  # private arrays are allowed
    model.scale = parameter(3)


@pytest.mark.parametrize(
    "value",
    [
        lambda: nn.Dense(2, 2),
        lambda: parameter(2),
        lambda: [nn.ReLU()],
        lambda: {"a": (parameter(1),)},
    ],
    ids=["layer", "parameter", "list", "dict"],
)
def test_parts_are_no_attributes_of_a_class(value):
    with refuses(TypeError, "class Net: fc holds a", "write self.fc = ... in __init__"):
        type("Net", (nn.Layer,), {"fc": value()})


def test_other_attributes_of_a_class():
    class Net(nn.Layer):
        fc: nn.Dense
        norm: nn.Layer | None = None
        kinds = [nn.Dense, nn.ReLU]
        table = np.zeros(2)

    assert Net().state_dict() == {}


# Parameters


class Tagged(nn.Parameter):
    """A subclass, which may have attributes of its own."""


def test_a_parameter_has_no_attributes_but_its_own():
    p = parameter(2)
    with pytest.raises(AttributeError, match="require_grad"):
        p.require_grad = False
    p.requires_grad = False
    tagged = Tagged([1.0])
    tagged.tag = "a"
    for twin in (copy.copy(tagged), copy.deepcopy(tagged), pickle.loads(pickle.dumps(tagged))):
        assert type(twin) is Tagged and twin.tag == "a" and twin.learned is None


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p))]
)
def test_copies_of_a_parameter_keep_what_it_is(copied):
    layer = nn.Dense(2, 2).freeze()
    twin = copied(layer.weight)
    assert twin.learned is True and not twin.requires_grad and not twin.constant
    layer.bias.fix()
    twin = copied(layer.bias)
    assert twin.constant and not twin.data.flags.writeable
