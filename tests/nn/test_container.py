"""These tests check Sequential, LayerList and Identity."""

import copy
import functools
import pickle

import numpy as np
import pytest

import minidl as md
from minidl import nn
from tests.support.arrays import uniform
from tests.support.errors import refuses


def layers():
    md.manual_seed(0)
    return [nn.Dense(4, 6), nn.Tanh(), nn.Dense(6, 2, bias=False)]


def test_sequential_applies_its_layers_in_order():
    a, b, c = layers()
    model = nn.Sequential(a, b, c)
    x = uniform(5, 4)
    np.testing.assert_array_equal(model(x).data, c(b(a(x))).data)
    x = md.tensor(x, requires_grad=True)
    model(x).sum().backward()
    assert x.grad.shape == (5, 4)
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize("make", [lambda items: nn.Sequential(*items), nn.LayerList])
def test_containers_are_sequences(make):
    items = layers()
    held = make(items[:2])
    held.append(items[2])
    assert len(held) == 3
    assert list(held) == items and held.children() == items
    assert held[0] is items[0] and held[-1] is items[2]
    assert type(held[1:]) is type(held) and list(held[1:]) == items[1:]
    assert list(held[::-2]) == items[::-2]
    assert list(held.state_dict()) == ["0.weight", "0.bias", "2.weight"]
    with pytest.raises(IndexError):
        held[3]
    for stranger, name in (
        (np.tanh, "md.tanh"),
        (None, "NoneType"),
        (3, "int"),
        (nn.ReLU, "write ReLU(...)"),
        ({"a": nn.ReLU()}, "dict: write the values of a dict one by one"),
        ((nn.ReLU() for _ in range(2)), "generator: write the items one by one"),
        (dict, "class dict"),
    ):
        with refuses(TypeError, type(held).__name__, name):
            held.append(stranger)
        with refuses(TypeError, type(held).__name__):
            make([*items, stranger])
    assert len(held) == 3


@pytest.mark.parametrize("kind", [nn.Sequential, nn.LayerList])
def test_a_layer_is_replaced_by_its_place(kind):
    held = kind(layers())
    first, activation, _ = held
    held[-1] = head = nn.Dense(6, 3)
    held[np.int64(0)] = held[0]
    assert list(held) == [first, activation, head]
    assert held.state_dict()["2.weight"].shape == (6, 3)
    for index, value, error in (
        (3, head, IndexError),
        (-4, head, IndexError),
        ("0", head, TypeError),
        (True, head, TypeError),
        (0, 3, TypeError),
        (0, nn.Dense, TypeError),
    ):
        with refuses(error, type(held).__name__):
            held[index] = value
    del held[1]
    assert list(held) == [first, head]
    with refuses(IndexError, "there is no layer 2 of 2"):
        del held[2]


def test_a_new_head_learns():
    model = nn.Sequential(layers()).freeze()
    model[-1] = nn.Dense(6, 3)
    model[1] = md.relu
    model(uniform(2, 4)).sum().backward()
    assert repr(model[1]) == "Lambda(relu)"
    assert [p.grad is None for p in model.parameters()] == [True, True, False, False]


def test_an_empty_sequential_returns_its_input():
    x = md.tensor(uniform(2))
    assert nn.Sequential()(x) is x
    assert nn.Identity()(x) is x
    assert len(nn.LayerList()) == 0


def test_a_list_has_no_forward():
    with pytest.raises(NotImplementedError, match="LayerList"):
        nn.LayerList(layers())(uniform(5, 4))


def test_a_subclass_may_have_parts_of_its_own():
    class Residual(nn.Sequential):
        def __init__(self, *inner):
            super().__init__(*inner)
            self.scale = nn.Parameter(np.float32(2))

        def forward(self, x):
            return x + self.scale * super().forward(x)

    model = Residual(nn.Dense(3, 3, bias=False))
    assert [name for name, _ in model.named_parameters()] == ["0.weight", "scale"]
    x = uniform(4, 3)
    np.testing.assert_allclose(
        model(x).data, x + 2 * (x @ model[0].weight.data), rtol=1e-5, atol=1e-6
    )


def test_a_slice_shares_its_layers():
    model = nn.Sequential(*layers())
    head = model[:2]
    assert head[0] is model[0]
    x = uniform(5, 4)
    np.testing.assert_array_equal(model[2](head(x)).data, model(x).data)


def test_sequential_takes_one_list():
    items = layers()
    x = uniform(5, 4)
    expected = nn.Sequential(*items)(x).data
    for model in (
        nn.Sequential(items),
        nn.Sequential(tuple(items)),
        nn.Sequential(nn.LayerList(items)),
    ):
        assert list(model) == items
        np.testing.assert_array_equal(model(x).data, expected)
    assert len(nn.Sequential([])) == 0
    assert len(nn.Sequential(nn.Sequential(*items))) == 1  # it counts as one layer


def test_functions_among_layers():
    model = nn.Sequential(nn.Dense(4, 3), md.relu, functools.partial(md.sum, axis=1))
    model.append(md.exp)
    x = uniform(5, 4)
    expected = np.exp(np.maximum(x @ model[0].weight.data, 0).sum(1))
    for twin in (model, copy.deepcopy(model), pickle.loads(pickle.dumps(model)), model[:]):
        np.testing.assert_allclose(twin(x).data, expected, rtol=1e-5)
    assert "(1): Lambda(relu)" in repr(model) and "(2): Lambda(sum)" in repr(model)
    assert "1      Lambda" in model.summary((4,))
    assert list(model.state_dict()) == ["0.weight", "0.bias"]
    with pytest.raises((pickle.PicklingError, AttributeError)):
        pickle.dumps(nn.Sequential(lambda x: x))


def test_functions_that_would_lose_parameters():
    layer = nn.Dense(2, 2)
    with refuses(TypeError, "forward", "a method of the layer Dense", "give the layer itself"):
        nn.Sequential(layer.forward)
    for wrapped in (functools.partial(layer), functools.partial(functools.partial(layer), 1)):
        with refuses(TypeError, "partial of the layer Dense", "give the layer itself", "forward"):
            nn.Sequential(wrapped)
    with refuses(TypeError, "forward, a method of the layer Dense", "give the layer itself"):
        nn.Lambda(functools.partial(layer.forward))
    for stranger in (nn.ReLU, layer, 3):
        with refuses(TypeError, "Lambda: needs a function"):
            nn.Lambda(stranger)


def test_errors_of_a_function_name_its_place():
    with refuses(ValueError, "layer 1, Lambda: "):
        nn.Sequential(nn.Dense(2, 2), lambda x: x.reshape(7))(uniform(1, 2))


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Sequential(lambda x: x.exp()),
        lambda: nn.Lambda(lambda x: x.exp()),
        lambda: nn.Sequential(nn.Identity(), lambda x: x.exp()),
    ],
)
def test_functions_get_tensors(make):
    x = uniform(2, 3)
    np.testing.assert_allclose(make()(x).data, np.exp(x), rtol=1e-6)


@pytest.mark.parametrize("make", [nn.Sequential, nn.Identity, lambda: nn.Lambda(lambda x: x)])
def test_arrays_become_tensors_and_all_else_is_left(make):
    layer = make()
    for array in (uniform(2), np.arange(3), np.float64(2)):
        y = layer(array)
        assert isinstance(y, md.Tensor) and y.dtype == array.dtype
        np.testing.assert_array_equal(y.data, array)
    for other in ((md.ones(2), None), "text", np.array(["text"]), {"a": 1}):
        assert layer(other) is other


def test_a_function_of_several_arrays():
    a, b = uniform(2, 3), uniform(2, 3, seed=1)
    y = nn.Lambda(lambda a, b: a.exp() + b.exp())(a, b)
    np.testing.assert_allclose(y.data, np.exp(a) + np.exp(b), rtol=1e-5)
