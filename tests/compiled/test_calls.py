"""These tests check that what has no step of its own in a plan is called between plans, as in
evaluation mode.
"""

import numpy as np
import pytest

import minidl as md
from minidl import nn
from tests.support.compiled_models import check, conv, draw, module, network, steps

X = draw(2, 9, 7, 8)


CALLS = {
    "layer norm": network(nn.Dense(8, 16), nn.LayerNorm(16), nn.ReLU(), nn.Dense(16, 4)),
    "group norm": network(conv(), nn.GroupNorm(4, 16), nn.ReLU(), conv(16, 8)),
    "filter response": network(conv(), nn.FilterResponseNorm(16), nn.TLU(16)),
    "softmax": network(nn.Dense(8, 5), md.softmax),
    "transposed convolution": network(nn.ConvTranspose(8, 16, 3, 2), nn.BatchNorm(16), nn.ReLU()),
    "slices": module(lambda x, a: a(x)[:, 1:3, ::2] * 2, conv()),
    "slices of the batch": module(lambda x, a: a(x)[::-1][:1], conv()),
    "places": lambda x: md.argmax(x, axis=-1),
    "choices": lambda x: md.where(x > 0, md.exp(x), md.clip(x, -0.5, 0.5)),
    "padding": module(lambda x, a: a(md.pad(x, ((0, 0), (1, 1), (2, 0), (0, 0)))), conv()),
    "weight standardization": network(nn.weight_standardization(conv()), nn.ReLU()),
}


@pytest.mark.parametrize("name", CALLS)
def test_other_operations_are_called_between_plans(name):
    check(CALLS[name], X, sizes=(1, 3))


def test_recurrent_layers_and_attention():
    def attention(x, q, k, v):
        return md.softmax(q(x) @ k(x).transpose(0, 2, 1) / 3.0) @ v(x)

    x = draw(2, 6, 8)
    check(module(lambda x, layer, d: d(layer(x)[0][:, -1]), nn.LSTM(8, 12), nn.Dense(12, 3)), x)
    check(module(lambda x, layer: layer(x)[0], nn.GRU(8, 12)), x)
    check(module(attention, *[nn.Dense(8, 8) for _ in range(3)]), x)


def test_weights_that_depend_on_no_input_are_computed_once():
    compiled = check(network(nn.weight_norm(conv()), nn.BatchNorm(16), nn.ReLU()), X)
    assert steps(compiled) == ["map", "conv 3x3, relu"]


def test_only_the_librarys_own_operations_are_planned():
    """A user's operation may have any name."""

    class ReLU(md.Function):
        def forward(self, x):
            return np.minimum(x, 0)

        def backward(self, dy):
            return dy

    assert steps(check(module(lambda x, a: ReLU.apply(a(x)), nn.Dense(8, 4)), draw(2, 8))) == [
        "conv 1x1",
        "call ReLU",
    ]
