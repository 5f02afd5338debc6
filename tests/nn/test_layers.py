"""These tests check the values, gradients, shapes, dtypes and repr of every layer.

`LAYERS` (tests/support/layer_table.py) has a line for each layer. More tests of BatchNorm are in
`test_norm`.
"""

import numpy as np
import pytest

import minidl as md
from minidl import nn
from tests.support.arrays import close, uniform
from tests.support.errors import refuses
from tests.support.layer_table import LAYERS
from tests.support.marks import both_backends

LINES = [pytest.param(*line[1:], id=line[0]) for line in LAYERS]
each = pytest.mark.parametrize("make, text, shape, reference, parameters", LINES)


def test_the_table_has_every_layer():
    there = {line[0].split(",")[0] for line in LAYERS}
    layers = {
        name
        for name in nn.__all__
        if isinstance(getattr(nn, name), type) and issubclass(getattr(nn, name), nn.Layer)
    }
    assert layers - there == {
        "Layer",
        "LayerList",
        "Normalization",  # it has no forward
        "Embedding",  # it takes integers
        "RNN",
        "GRU",
        "LSTM",
        "StepNorm",
    }  # those are in test_recurrent


@each
@both_backends
def test_values_and_gradients(make, text, shape, reference, parameters, backend):
    with md.use_backend(backend):
        layer = make().astype(np.float64)
        x = md.tensor(uniform(*shape, dtype=np.float64), requires_grad=True)
        y = layer(x)
        close(y.data, reference(layer, x.data))
        assert y.requires_grad
        assert md.gradcheck(lambda x, *rest: layer(x), [x, *layer.parameters()])


@each
def test_float32_and_float64(make, text, shape, reference, parameters):
    x = uniform(*shape, dtype=np.float64)
    layer = make()
    y = layer(x.astype(np.float32))
    assert y.dtype == np.float32
    exact = layer.astype(np.float64)(x)
    assert exact.dtype == np.float64
    close(y.data, exact.data)


@each
def test_names_repr_and_modes(make, text, shape, reference, parameters):
    layer = make()
    assert repr(layer) == text
    assert {name: p.shape for name, p in layer.named_parameters()} == parameters
    assert all(p.dtype == np.float32 and p.requires_grad for p in layer.parameters())
    assert layer.train().training
    assert not layer.eval().training


@each
def test_inputs_of_any_memory_order_are_read_and_not_written(
    make, text, shape, reference, parameters
):
    layer = make()
    x = uniform(*shape)
    expected = np.array(layer(x).data)
    frozen = np.array(x)
    frozen.flags.writeable = False
    backwards = np.ascontiguousarray(x[::-1])[::-1]
    for given in (frozen, np.asfortranarray(x), np.repeat(x, 2, axis=0)[::2], backwards):
        np.testing.assert_array_equal(np.asarray(layer(given)), expected)
        np.testing.assert_array_equal(given, x)


@each
def test_what_is_no_array_is_refused_or_right(make, text, shape, reference, parameters):
    """A list gives a clear error, or the answer that an array would give. Anything else is an
    error.
    """
    layer = make().astype(np.float64)
    if isinstance(layer, nn.Identity):
        return
    x = uniform(*shape, dtype=np.float64)
    expected = layer(x).data
    try:
        y = layer(x.tolist())
    except (TypeError, ValueError) as error:
        assert "list" in str(error) or "float32" in str(error)
    else:
        close(y.data, expected)
    for stranger in (None, "x"):
        with pytest.raises(TypeError, match=type(stranger).__name__):
            layer(stranger)


@each
def test_integers_are_refused(make, text, shape, reference, parameters):
    layer = make()
    if not isinstance(layer, nn.Identity | nn.Flatten):
        with refuses(TypeError, "int64", "float32"):
            layer(np.ones(shape, np.int64))
