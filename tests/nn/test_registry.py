"""These tests check what a layer holds: which attributes are parameters, buffers and layers, and by
what names.
"""

import collections
import copy
import pickle

import numpy as np
import pytest

import minidl as md
from minidl import nn
from tests.support.arrays import uniform
from tests.support.layers import Everything
from tests.support.tensors import parameter

PARAMETERS = [
    "weight",
    "dense.weight",
    "dense.bias",
    "listed.0.weight",
    "listed.1",
    "pair.0.gamma",
    "pair.0.beta",
    "heads.a.weight",
    "heads.a.bias",
    "heads.b.0",
    "_private",
    "_hidden.0.weight",
    "_hidden.0.bias",
]
BUFFERS = ["scale", "pair.0.running_mean", "pair.0.running_var", "pair.0.num_batches", "pair.1"]
LAYERS = ["", "dense", "listed.0", "pair.0", "heads.a", "heads.b.2", "_hidden.0"]


def test_names():
    model = Everything()
    assert [name for name, _ in model.named_parameters()] == PARAMETERS
    assert [name for name, _ in model.named_buffers()] == BUFFERS
    assert [name for name, _ in model.named_layers()] == LAYERS


def test_the_objects_themselves_are_listed():
    model = Everything()
    named = dict(model.named_parameters())
    assert named["dense.weight"] is model.dense.weight
    assert named["heads.b.0"] is model.heads["b"][0]
    assert all(p is q for p, q in zip(model.parameters(), named.values(), strict=True))
    assert dict(model.named_buffers())["pair.0.running_mean"] is model.pair[0].running_mean
    layers = dict(model.named_layers())
    assert layers[""] is model and layers["pair.0"] is model.pair[0]


def test_children_are_the_layers_directly_inside():
    model = nn.Sequential(nn.Sequential(nn.ReLU(), nn.Tanh()), nn.Dense(2, 2))
    assert model.children() == [model[0], model[1]]
    everything = Everything()
    assert everything.children() == [
        everything.dense,
        everything.listed[0],
        everything.pair[0],
        everything.heads["a"],
        everything.heads["b"][2],
        everything._hidden[0],
    ]
    assert nn.ReLU().children() == []


def test_a_shared_parameter_is_listed_once_and_learns_from_each_use():
    class Tied(nn.Layer):
        def __init__(self):
            self.first, self.second = nn.Dense(3, 3), nn.Dense(3, 3)
            self.second.weight = self.first.weight

        def forward(self, x):
            return self.second(self.first(x))

    model = Tied()
    assert [name for name, _ in model.named_parameters()] == [
        "first.weight",
        "first.bias",
        "second.bias",
    ]
    x = uniform(4, 3)
    model(x).sum().backward()
    w, ones = model.first.weight.data, np.ones((4, 3), np.float32)
    expected = x.T @ (ones @ w.T) + (x @ w).T @ ones
    np.testing.assert_allclose(model.first.weight.grad, expected, rtol=1e-5)


def test_a_shared_layer_has_its_parameters_once():
    layer = nn.Dense(3, 3)
    model = nn.Sequential(layer, nn.ReLU(), layer)
    assert [name for name, _ in model.named_parameters()] == ["0.weight", "0.bias"]


def test_the_registry_follows_assignment():
    model = Everything()
    model.dense = nn.Dense(2, 7, bias=False)
    del model.scale
    model.pair = model.heads = model.listed = None
    model._private = model._hidden = None
    model.late = parameter(1)
    model.constant = parameter(2)
    assert [name for name, _ in model.named_parameters()] == [
        "weight",
        "dense.weight",
        "constant",
        "late",
    ]
    assert dict(model.named_parameters())["dense.weight"].shape == (2, 7)
    assert list(model.named_buffers()) == []


def test_super_init_is_not_needed():
    model = Everything()
    assert model.training
    assert model(uniform(5, 2)).shape == (5, 3)
    assert not model.eval().training
    assert not model.dense.training


def test_an_empty_layer():
    layer = nn.Layer()
    assert layer.parameters() == layer.children() == list(layer.named_buffers()) == []
    assert layer.state_dict() == {}
    with pytest.raises(NotImplementedError, match="Layer does not define forward"):
        layer(uniform(1))


def test_apply_reaches_inner_layers_first_and_returns_the_layer():
    model = nn.Sequential(nn.Sequential(nn.ReLU()), nn.Tanh())
    visited = []
    assert model.apply(visited.append) is model
    assert visited == [model[0][0], model[0], model[1], model]


def test_a_parameter_is_a_leaf_that_wants_a_gradient():
    values = uniform(2, 2)
    p = nn.Parameter(values)
    assert isinstance(p, md.Tensor)
    assert p.requires_grad and p.grad is None and p.dtype == np.float32
    assert repr(p).startswith("Parameter([[")
    (p * 3).sum().backward()
    np.testing.assert_array_equal(p.grad, np.full((2, 2), 3, np.float32))
    assert not nn.Parameter(values, requires_grad=False).requires_grad
    with pytest.raises(TypeError, match="int64"):
        nn.Parameter(np.arange(3))


@pytest.mark.parametrize("shape", [(), (1,), (2, 3)])
def test_the_values_of_a_parameter_may_be_assigned(shape):
    p = parameter(*shape)
    p.data = np.full(shape, 5, np.float32)
    assert p.shape == shape
    assert (p.data == 5).all()
    for wrong in (np.full((*shape, 2), 5, np.float32), np.full(shape, 5.0)):
        with pytest.raises(ValueError, match="data"):
            p.data = wrong
    assert (p.data == 5).all()


def test_zero_grad_forgets_all_gradients():
    model = nn.Sequential(nn.Dense(2, 3), nn.Dense(3, 1))
    model(uniform(4, 2)).sum().backward()
    assert all(p.grad is not None for p in model.parameters())
    model.zero_grad()
    assert all(p.grad is None for p in model.parameters())


# Circles, and layers in several places


class Child(nn.Layer):
    def __init__(self, parent):
        self._parent = parent
        self.fc = nn.Dense(3, 3)

    def forward(self, x):
        return self.fc(x)


class Parent(nn.Layer):
    """A layer whose child refers to it, and which has two names for the child."""

    def __init__(self):
        self.scale = parameter(3)
        self.child = Child(self)
        self.again = [self.child]
        self.norm = nn.BatchNorm(3)

    def forward(self, x):
        return self.norm(self.child(x) + self.again[0](x) * self.scale)


ONCE = ["scale", "child.fc.weight", "child.fc.bias", "norm.gamma", "norm.beta"]


def test_a_circle_is_walked_once():
    model = Parent()
    assert [name for name, _ in model.named_parameters()] == ONCE
    assert [name for name, _ in model.named_layers()] == ["", "child", "child.fc", "norm"]
    assert list(model.state_dict()) == [
        *ONCE,
        "norm.running_mean",
        "norm.running_var",
        "norm.num_batches",
    ]
    visited = []
    model.apply(visited.append)
    assert visited == [model.child.fc, model.child, model.norm, model]
    assert {name for name, _ in model.child.named_layers()} == {"", "_parent", "_parent.norm", "fc"}


@pytest.mark.filterwarnings("ignore:fold")
def test_attributes_may_be_set_during_a_walk():
    """The walk itself or another thread may set them: `train()` sets one in each layer."""
    net = nn.Sequential(nn.Dense(2, 2), nn.Dense(2, 2))
    names = []
    for name, _ in net.named_parameters():
        net.train(False)[0].note = "set"
        names.append(name)
    assert names == ["0.weight", "0.bias", "1.weight", "1.bias"]


def test_what_walks_through_a_circle():
    model = Parent()
    x = uniform(8, 3)
    model(x).sum().backward()
    model.zero_grad()
    assert all(p.grad is None for p in model.parameters())
    assert not model.eval().child.fc.training and model.train().child.training
    assert not any(p.requires_grad for p in model.freeze().parameters())
    assert all(p.requires_grad for p in model.unfreeze().parameters())
    assert "(_parent): ..." in repr(model) and "(fc): Dense" in repr(model)
    lines = model.summary((3,)).splitlines()
    assert [line.split()[0] for line in lines[2:5]] == ["child", "child.fc", "norm"]
    assert lines[-1] == "21 parameters, 21 of them trained"
    y = model.predict(x)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert twin.child._parent is twin and twin.again[0] is twin.child
        np.testing.assert_array_equal(twin.predict(x), y)
    other = Parent()
    other.load_state_dict(model.state_dict())
    np.testing.assert_array_equal(other.predict(x), y)
    assert model.astype(np.float64).predict(x.astype(np.float64)).dtype == np.float64
    assert nn.fold(model.eval()).fold_report.folded == []


def test_a_state_may_name_a_layer_by_any_of_its_places():
    block = nn.Sequential(nn.Dense(3, 3), nn.Tanh())
    model = nn.Sequential(block, nn.ReLU(), block)
    values = {"0.0.weight": uniform(3, 3), "0.0.bias": uniform(3)}
    assert list(model.state_dict()) == list(values)
    elsewhere = {name.replace("0.", "2.", 1): value for name, value in values.items()}
    for state in (
        values,
        elsewhere,
        {**values, **{n: v + 1 for n, v in elsewhere.items()}},
        {"0.0.weight": values["0.0.weight"], "2.0.bias": values["0.0.bias"]},
    ):
        block[0].bias.data[...] = 7
        model.load_state_dict(state)
        for name, value in model.state_dict().items():
            np.testing.assert_array_equal(value, values[name])
    around = Parent()
    around.load_state_dict(
        {
            (n if "fc" not in n else f"again.0._parent.{n}"): v
            for n, v in around.state_dict().items()
        }
    )
    with pytest.raises(nn.StateError, match=r"unexpected: 2\.1\.weight, 9\.bias"):
        model.load_state_dict({**values, "2.1.weight": np.ones(1), "9.bias": np.ones(1)})


# Silent traps


@pytest.mark.parametrize(
    "value",
    [np.ones((2, 3), np.float32), md.ones(2, 3), [[1.0] * 3] * 2, 2.0, np.float32(1)],
    ids=lambda v: type(v).__name__,
)
def test_nothing_else_takes_the_place_of_a_parameter(value):
    model = Everything()
    before = model.weight
    with pytest.raises(TypeError, match=r"Everything\.weight is a Parameter.*weight\.data ="):
        model.weight = value
    with pytest.raises(TypeError, match=r"nn\.Parameter"):
        model._private = value
    assert model.weight is before
    model.nothing = value  # it is not registered, so it may hold anything
    model.weight = None
    model.weight = value
    model.weight = parameter(2)
    assert dict(model.named_parameters())["weight"].shape == (2,)


def test_a_sum_in_place_of_a_parameter_is_refused():
    model = Everything()
    with pytest.raises(TypeError, match="a Tensor in its place would not learn"):
        model.weight += 1


def test_private_arrays_are_the_layers_own():
    """They are neither saved nor converted, so that files of models that have them can still be
    loaded.
    """
    model = Everything()
    assert not any("_array" in name or "_hidden.1" in name for name in model.state_dict())
    model.astype(np.float32)
    assert model._array.dtype == np.float64


def test_unregistered_is_no_part():
    layer = nn.Dense(2, 2)
    layer.unregistered.teacher = nn.Dense(5, 5)
    assert len(layer.parameters()) == 2 and layer.children() == []
    layer.eval()
    assert layer.unregistered.teacher.training
    layer.unregistered = (nn.Dense(3, 3),)  # whatever the attribute holds
    assert len(layer.parameters()) == 2
    assert len(copy.deepcopy(layer).unregistered) == 1


def test_containers_without_an_order_are_refused():
    layer = nn.Layer()
    layer.names = {"a", "b"}
    layer.parts = collections.deque([nn.Dense(2, 2)])
    assert [name for name, _ in layer.named_parameters()] == ["parts.0.weight", "parts.0.bias"]
    layer.parts = {nn.Dense(2, 2)}
    with pytest.raises(TypeError, match=r"Layer\.parts is a set.*use a list"):
        layer.parameters()
