"""Every layer on its own: values, gradients, shapes, dtypes, repr, what it starts with, errors.

One line of `LAYERS` a layer; the reference is NumPy. BatchNorm has more in `test_norm`.
"""

import copy
import math

import numpy as np
import pytest

import minidl as md
from minidl import nn, optim
from tests.support.arrays import close, uniform
from tests.support.errors import refuses
from tests.support.marks import both_backends
from tests.support.reference import conv as convolutions
from tests.support.reference import norm as norms
from tests.support.reference import pool as pools
from tests.support.reference import resample as sizes
from tests.support.reference.attention import multi_head


def windows(x, k, stride, padding, fill):
    """(N, OH, OW, k, k, C): the windows of images, padded with `fill`."""
    p = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    x = np.pad(x, p, constant_values=fill)
    view = np.lib.stride_tricks.sliding_window_view(x, (k, k), axis=(1, 2))
    return view[:, ::stride, ::stride].transpose(0, 1, 2, 4, 5, 3)


def convolution(reference, *options):
    """What a reference makes of a layer's weights, and of those options that the layer has."""
    def answer(layer, x):
        bias = None if layer.bias is None else layer.bias.data
        return reference(x, layer.weight.data, bias, **{o: getattr(layer, o) for o in options})
    return answer


conv = convolution(convolutions.conv, "stride", "padding", "dilation", "groups")
conv1d = convolution(convolutions.conv1d, "stride", "padding", "dilation", "groups")
conv_transpose = convolution(convolutions.conv_transpose, "stride", "padding", "output_padding",
                             "groups", "dilation")


def dense(layer, x):
    return x @ layer.weight.data + layer.bias.data


def transformed(reference):
    """The reference of a layer that computes with a function of its weight."""
    def answer(layer, x):
        plain, v = copy.copy(layer), layer.weight.data
        plain.weight = nn.Parameter(
            norms.weight_norm(v, layer.transform.gain.data) if layer.transform.parameters()
            else norms.weight_standardization(v, layer.transform.eps))
        return reference(plain, x)
    return answer


def gelu(layer, x):
    if layer.approximate == "tanh":
        return x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    return x / 2 * (1 + np.vectorize(math.erf)(x / np.sqrt(2)))


def softmax(layer, x):
    return np.exp(x) / np.exp(x).sum(layer.axis, keepdims=True)


def batch_norm(layer, x):
    axes = tuple(range(x.ndim - 1))
    return (x - x.mean(axes)) / np.sqrt(x.var(axes) + 1e-5)


# name, how it is made, repr, shape of x, NumPy's answer, shapes of parameters
LAYERS = [
    ("Dense", lambda: nn.Dense(4, 3), "Dense(4, 3, bias=True)", (5, 4),
     lambda layer, x: x @ layer.weight.data + layer.bias.data,
     {"weight": (4, 3), "bias": (3,)}),
    ("Dense, sequences, no bias", lambda: nn.Dense(4, 3, bias=False),
     "Dense(4, 3, bias=False)", (2, 5, 4),
     lambda layer, x: x @ layer.weight.data, {"weight": (4, 3)}),
    ("Conv", lambda: nn.Conv(2, 3, 3), "Conv(2, 3, kernel_size=(3, 3), bias=True)",
     (2, 5, 6, 2), conv, {"weight": (3, 3, 2, 3), "bias": (3,)}),
    ("Conv, options", lambda: nn.Conv(4, 6, 3, stride=2, padding=1, groups=2, bias=False),
     "Conv(4, 6, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1), groups=2, bias=False)",
     (2, 5, 6, 4), conv, {"weight": (3, 3, 2, 6)}),
    ("Conv, uneven padding", lambda: nn.Conv(2, 3, 3, padding=((2, 0), (0, 1))),
     "Conv(2, 3, kernel_size=(3, 3), padding=((2, 0), (0, 1)), bias=True)", (2, 5, 6, 2), conv,
     {"weight": (3, 3, 2, 3), "bias": (3,)}),
    ("Conv1d", lambda: nn.Conv1d(2, 3, 3), "Conv1d(2, 3, kernel_size=3, bias=True)", (2, 5, 2),
     conv1d, {"weight": (3, 2, 3), "bias": (3,)}),
    ("Conv1d, options", lambda: nn.Conv1d(4, 6, 3, 2, "causal", 2, 2, False),
     "Conv1d(4, 6, kernel_size=3, stride=2, padding='causal', dilation=2, groups=2, bias=False)",
     (2, 5, 4), conv1d, {"weight": (3, 2, 6)}),
    ("Conv1d, two paddings", lambda: nn.Conv1d(2, 3, 3, padding=(1, 2), bias=False),
     "Conv1d(2, 3, kernel_size=3, padding=(1, 2), bias=False)", (2, 5, 2), conv1d,
     {"weight": (3, 2, 3)}),
    ("ConvTranspose", lambda: nn.ConvTranspose(2, 3, 2, stride=2),
     "ConvTranspose(2, 3, kernel_size=(2, 2), stride=(2, 2), bias=True)", (2, 3, 4, 2),
     conv_transpose, {"weight": (2, 2, 2, 3), "bias": (3,)}),
    ("ConvTranspose, options",
     lambda: nn.ConvTranspose(4, 6, 3, 2, padding=1, output_padding=1, groups=2, bias=False),
     "ConvTranspose(4, 6, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1), "
     "output_padding=(1, 1), groups=2, bias=False)", (2, 3, 4, 4),
     conv_transpose, {"weight": (3, 3, 2, 6)}),
    ("Dense, weight_norm", lambda: nn.weight_norm(nn.Dense(4, 3)),
     "Dense(4, 3, bias=True\n  (transform): WeightNorm(3)\n)", (5, 4),
     transformed(dense),
     {"weight": (4, 3), "bias": (3,), "transform.gain": (3,)}),
    ("Dense, weight_standardization", lambda: nn.weight_standardization(nn.Dense(4, 3), 0.1),
     "Dense(4, 3, bias=True\n  (transform): WeightStandardization(eps=0.1)\n)", (5, 4),
     transformed(dense),
     {"weight": (4, 3), "bias": (3,)}),
    ("Conv, weight_norm", lambda: nn.weight_norm(nn.Conv(4, 6, 3, stride=2, groups=2, bias=False)),
     "Conv(4, 6, kernel_size=(3, 3), stride=(2, 2), groups=2, bias=False\n"
     "  (transform): WeightNorm(6)\n)", (2, 5, 6, 4), transformed(conv),
     {"weight": (3, 3, 2, 6), "transform.gain": (6,)}),
    ("Conv, weight_standardization", lambda: nn.weight_standardization(nn.Conv(2, 3, 3)),
     "Conv(2, 3, kernel_size=(3, 3), bias=True\n"
     "  (transform): WeightStandardization(eps=1e-05)\n)", (2, 5, 6, 2),
     transformed(conv), {"weight": (3, 3, 2, 3), "bias": (3,)}),
    ("ConvTranspose, weight_norm", lambda: nn.weight_norm(nn.ConvTranspose(2, 3, 2, stride=2)),
     "ConvTranspose(2, 3, kernel_size=(2, 2), stride=(2, 2), bias=True\n"
     "  (transform): WeightNorm(3)\n)", (2, 3, 4, 2), transformed(conv_transpose),
     {"weight": (2, 2, 2, 3), "bias": (3,), "transform.gain": (3,)}),
    ("ConvTranspose, weight_standardization",
     lambda: nn.weight_standardization(nn.ConvTranspose(2, 3, 2, stride=2, bias=False)),
     "ConvTranspose(2, 3, kernel_size=(2, 2), stride=(2, 2), bias=False\n"
     "  (transform): WeightStandardization(eps=1e-05)\n)", (2, 3, 4, 2),
     transformed(conv_transpose), {"weight": (2, 2, 2, 3)}),
    ("BatchNorm", lambda: nn.BatchNorm(3), "BatchNorm(3, eps=1e-05, momentum=0.1)",
     (2, 3, 4, 3), batch_norm, {"gamma": (3,), "beta": (3,)}),
    ("BatchNorm, options", lambda: nn.BatchNorm(3, 1e-5, None, affine=False, track_stats=False),
     "BatchNorm(3, eps=1e-05, momentum=None, affine=False, track_stats=False)", (8, 3),
     batch_norm, {}),
    ("BatchNorm, no bias", lambda: nn.BatchNorm(3, bias=False),
     "BatchNorm(3, eps=1e-05, momentum=0.1, bias=False)", (8, 3), batch_norm, {"gamma": (3,)}),
    ("ReLU", nn.ReLU, "ReLU()", (4, 3), lambda layer, x: np.maximum(x, 0), {}),
    ("LayerNorm", lambda: nn.LayerNorm(4), "LayerNorm(4, eps=1e-05)", (2, 3, 4),
     lambda layer, x: norms.layer_norm(x, None, None), {"gamma": (4,), "beta": (4,)}),
    ("LayerNorm, no bias", lambda: nn.LayerNorm(4, bias=False),
     "LayerNorm(4, eps=1e-05, bias=False)", (2, 3, 4),
     lambda layer, x: norms.layer_norm(x, None, None), {"gamma": (4,)}),
    ("LayerNorm, not affine", lambda: nn.LayerNorm(4, affine=False),
     "LayerNorm(4, eps=1e-05, affine=False)", (2, 3, 4),
     lambda layer, x: norms.layer_norm(x, None, None), {}),
    ("LayerNorm, two axes", lambda: nn.LayerNorm((3, 4)), "LayerNorm((3, 4), eps=1e-05)",
     (2, 5, 3, 4), lambda layer, x: norms.layer_norm(x, None, None, axis=(-2, -1)),
     {"gamma": (3, 4), "beta": (3, 4)}),
    ("LayerNorm, all axes, no bias", lambda: nn.LayerNorm([2, 3, 4], bias=False),
     "LayerNorm((2, 3, 4), eps=1e-05, bias=False)", (2, 3, 4),
     lambda layer, x: norms.layer_norm(x, None, None, axis=(0, 1, 2)), {"gamma": (2, 3, 4)}),
    ("RMSNorm", lambda: nn.RMSNorm(4, 0.1), "RMSNorm(4, eps=0.1)", (2, 3, 4),
     lambda layer, x: norms.rms_norm(x, None, 0.1), {"gamma": (4,)}),
    ("RMSNorm, two axes, bias", lambda: nn.RMSNorm((3, 4), bias=True),
     "RMSNorm((3, 4), eps=1e-05, bias=True)", (5, 3, 4),
     lambda layer, x: norms.rms_norm(x, None, axis=(-2, -1)), {"gamma": (3, 4), "beta": (3, 4)}),
    ("RMSNorm, not affine", lambda: nn.RMSNorm(4, affine=False),
     "RMSNorm(4, eps=1e-05, affine=False)", (2, 3, 4),
     lambda layer, x: norms.rms_norm(x, None), {}),
    ("GroupNorm", lambda: nn.GroupNorm(2, 4), "GroupNorm(2, 4, eps=1e-05)", (2, 3, 3, 4),
     lambda layer, x: norms.group_norm(x, 2, None, None), {"gamma": (4,), "beta": (4,)}),
    ("GroupNorm, no bias", lambda: nn.GroupNorm(2, 4, bias=False),
     "GroupNorm(2, 4, eps=1e-05, bias=False)", (2, 3, 3, 4),
     lambda layer, x: norms.group_norm(x, 2, None, None), {"gamma": (4,)}),
    ("GroupNorm, not affine", lambda: nn.GroupNorm(2, 4, affine=False, bias=False),
     "GroupNorm(2, 4, eps=1e-05, affine=False)", (2, 3, 3, 4),
     lambda layer, x: norms.group_norm(x, 2, None, None), {}),
    ("InstanceNorm, no bias", lambda: nn.InstanceNorm(4, affine=True, bias=False),
     "InstanceNorm(4, eps=1e-05, affine=True, bias=False)", (2, 3, 3, 4),
     lambda layer, x: norms.instance_norm(x, None, None), {"gamma": (4,)}),
    ("InstanceNorm", lambda: nn.InstanceNorm(4), "InstanceNorm(4, eps=1e-05)", (2, 3, 3, 4),
     lambda layer, x: norms.instance_norm(x, None, None), {}),
    ("InstanceNorm, affine", lambda: nn.InstanceNorm(4, affine=True),
     "InstanceNorm(4, eps=1e-05, affine=True)", (2, 3, 3, 4),
     lambda layer, x: norms.instance_norm(x, None, None), {"gamma": (4,), "beta": (4,)}),
    ("FilterResponseNorm", lambda: nn.FilterResponseNorm(4), "FilterResponseNorm(4, eps=1e-06)",
     (2, 3, 3, 4), lambda layer, x: norms.filter_response_norm(x, None, None),
     {"gamma": (4,), "beta": (4,)}),
    ("FilterResponseNorm, learn_eps", lambda: nn.FilterResponseNorm(4, learn_eps=True),
     "FilterResponseNorm(4, learn_eps=True)", (2, 3, 3, 4),
     lambda layer, x: norms.filter_response_norm(x, None, None, layer.eps.data),
     {"eps": (4,), "gamma": (4,), "beta": (4,)}),
    ("FilterResponseNorm, no bias", lambda: nn.FilterResponseNorm(4, bias=False),
     "FilterResponseNorm(4, eps=1e-06, bias=False)", (2, 3, 3, 4),
     lambda layer, x: norms.filter_response_norm(x, None, None), {"gamma": (4,)}),
    ("FilterResponseNorm, eps alone",
     lambda: nn.FilterResponseNorm(4, learn_eps=True, affine=False),
     "FilterResponseNorm(4, learn_eps=True, affine=False)", (2, 3, 3, 4),
     lambda layer, x: norms.filter_response_norm(x, None, None, layer.eps.data), {"eps": (4,)}),
    ("TLU", lambda: nn.TLU(3), "TLU(3)", (2, 5, 3), lambda layer, x: np.maximum(x, 0),
     {"tau": (3,)}),
    ("LeakyReLU", lambda: nn.LeakyReLU(0.2), "LeakyReLU(slope=0.2)", (4, 3),
     lambda layer, x: np.where(x > 0, x, 0.2 * x), {}),
    ("GELU", nn.GELU, "GELU(approximate='none')", (4, 3), gelu, {}),
    ("GELU, tanh", lambda: nn.GELU("tanh"), "GELU(approximate='tanh')", (4, 3), gelu, {}),
    ("SiLU", nn.SiLU, "SiLU()", (4, 3), lambda layer, x: x / (1 + np.exp(-x)), {}),
    ("Softmax", nn.Softmax, "Softmax(axis=-1)", (4, 3), softmax, {}),
    ("Softmax, axis", lambda: nn.Softmax(0), "Softmax(axis=0)", (4, 3), softmax, {}),
    ("Sigmoid", nn.Sigmoid, "Sigmoid()", (4, 3), lambda layer, x: 1 / (1 + np.exp(-x)), {}),
    ("Tanh", nn.Tanh, "Tanh()", (4, 3), lambda layer, x: np.tanh(x), {}),
    ("MaxPool", lambda: nn.MaxPool(2), "MaxPool((2, 2))", (2, 4, 6, 3),
     lambda layer, x: x.reshape(2, 2, 2, 3, 2, 3).max((2, 4)), {}),
    ("MaxPool, options", lambda: nn.MaxPool(3, stride=2, padding=1),
     "MaxPool((3, 3), stride=(2, 2), padding=(1, 1))", (2, 5, 6, 3),
     lambda layer, x: windows(x, 3, 2, 1, -np.inf).max((3, 4)), {}),
    ("AvgPool", lambda: nn.AvgPool(2), "AvgPool((2, 2))", (2, 4, 6, 3),
     lambda layer, x: x.reshape(2, 2, 2, 3, 2, 3).mean((2, 4)), {}),
    ("AvgPool, padding counts", lambda: nn.AvgPool(3, 2, 1),
     "AvgPool((3, 3), stride=(2, 2), padding=(1, 1))", (2, 5, 6, 3),
     lambda layer, x: windows(x, 3, 2, 1, 0).mean((3, 4)), {}),
    ("MaxPool, all options", lambda: nn.MaxPool(2, 3, ((1, 0), (0, 1)), True, (1, 2)),
     "MaxPool((2, 2), stride=(3, 3), padding=((1, 0), (0, 1)), ceil_mode=True, dilation=(1, 2))",
     (2, 5, 6, 3), lambda layer, x: pools.max_pool(x, 2, 3, ((1, 0), (0, 1)), True, (1, 2)), {}),
    ("MaxPool, same", lambda: nn.MaxPool(2, padding="same"), "MaxPool((2, 2), padding='same')",
     (2, 5, 6, 3), lambda layer, x: pools.max_pool(x, 2, padding="same"), {}),
    ("AvgPool, all options", lambda: nn.AvgPool(2, 3, ((1, 0), (0, 1)), True, (1, 2), False),
     "AvgPool((2, 2), stride=(3, 3), padding=((1, 0), (0, 1)), ceil_mode=True, dilation=(1, 2), "
     "count_padding=False)", (2, 5, 6, 3),
     lambda layer, x: pools.avg_pool(x, 2, 3, ((1, 0), (0, 1)), True, (1, 2), False), {}),
    ("MaxPool1d", lambda: nn.MaxPool1d(2), "MaxPool1d(2)", (2, 4, 3),
     lambda layer, x: pools.max_pool1d(x, 2), {}),
    ("MaxPool1d, options", lambda: nn.MaxPool1d(3, 2, (1, 0), True, 2),
     "MaxPool1d(3, stride=2, padding=(1, 0), ceil_mode=True, dilation=2)", (2, 6, 3),
     lambda layer, x: pools.max_pool1d(x, 3, 2, (1, 0), True, 2), {}),
    ("AvgPool1d", lambda: nn.AvgPool1d(2, padding=1), "AvgPool1d(2, padding=1)", (2, 4, 3),
     lambda layer, x: pools.avg_pool1d(x, 2, padding=1), {}),
    ("AvgPool1d, options", lambda: nn.AvgPool1d(3, 2, "same", False, 2, False),
     "AvgPool1d(3, stride=2, padding='same', dilation=2, count_padding=False)", (2, 6, 3),
     lambda layer, x: pools.avg_pool1d(x, 3, 2, "same", False, 2, False), {}),
    ("GlobalAvgPool", nn.GlobalAvgPool, "GlobalAvgPool()", (2, 4, 6, 3),
     lambda layer, x: x.mean((1, 2)), {}),
    ("AdaptiveAvgPool", lambda: nn.AdaptiveAvgPool(3), "AdaptiveAvgPool(3)", (2, 4, 6, 3),
     lambda layer, x: sizes.adaptive_avg_pool(x, 3), {}),
    ("AdaptiveAvgPool, sequences", lambda: nn.AdaptiveAvgPool(2), "AdaptiveAvgPool(2)", (2, 5, 3),
     lambda layer, x: sizes.adaptive_avg_pool(x, 2), {}),
    ("AdaptiveAvgPool, pair", lambda: nn.AdaptiveAvgPool([2, 4]), "AdaptiveAvgPool((2, 4))",
     (2, 4, 6, 3), lambda layer, x: sizes.adaptive_avg_pool(x, (2, 4)), {}),
    ("Upsample", lambda: nn.Upsample(scale_factor=2), "Upsample(scale_factor=2, mode='nearest')",
     (2, 4, 6, 3), lambda layer, x: x.repeat(2, 1).repeat(2, 2), {}),
    ("Upsample, linear", lambda: nn.Upsample(None, (2.0, 3), "linear"),
     "Upsample(scale_factor=(2, 3), mode='linear')", (2, 4, 3, 3),
     lambda layer, x: sizes.resize(x, (8, 9), "linear"), {}),
    ("Upsample, size of sequences", lambda: nn.Upsample(7), "Upsample(7, mode='nearest')",
     (2, 4, 3), lambda layer, x: sizes.resize(x, 7), {}),
    ("Upsample, sequences", lambda: nn.Upsample(scale_factor=np.int8(3)),
     "Upsample(scale_factor=3, mode='nearest')", (2, 4, 3), lambda layer, x: x.repeat(3, 1), {}),
    ("MultiHeadAttention", lambda: nn.MultiHeadAttention(6, 2, dropout=0.5).eval(),
     "MultiHeadAttention(6, heads=2, dropout=0.5\n  (query): Dense(6, 6, bias=True)\n"
     "  (key): Dense(6, 6, bias=True)\n  (value): Dense(6, 6, bias=True)\n"
     "  (output): Dense(6, 6, bias=True)\n)", (3, 5, 6), multi_head,
     {f"{part}.{name}": shape for part in ("query", "key", "value", "output")
      for name, shape in (("weight", (6, 6)), ("bias", (6,)))}),
    ("MultiHeadAttention, no bias", lambda: nn.MultiHeadAttention(4, 4, bias=False),
     "MultiHeadAttention(4, heads=4\n  (query): Dense(4, 4, bias=False)\n"
     "  (key): Dense(4, 4, bias=False)\n  (value): Dense(4, 4, bias=False)\n"
     "  (output): Dense(4, 4, bias=False)\n)", (1, 3, 4), multi_head,
     {f"{part}.weight": (4, 4) for part in ("query", "key", "value", "output")}),
    ("Flatten", nn.Flatten, "Flatten()", (2, 4, 6, 3), lambda layer, x: x.reshape(2, 72), {}),
    ("Flatten, rows", nn.Flatten, "Flatten()", (5,), lambda layer, x: x.reshape(5, 1), {}),
    ("Dropout, p = 0", lambda: nn.Dropout(0), "Dropout(p=0)", (4, 3), lambda layer, x: x, {}),
    ("Dropout, eval", lambda: nn.Dropout().eval(), "Dropout(p=0.5)", (4, 3),
     lambda layer, x: x, {}),
    ("Identity", nn.Identity, "Identity()", (4, 3), lambda layer, x: x, {}),
    ("Lambda", lambda: nn.Lambda(md.tanh), "Lambda(tanh)", (4, 3), lambda layer, x: np.tanh(x), {}),
    ("Sequential", lambda: nn.Sequential(nn.Dense(4, 3), nn.Tanh()),
     "Sequential(\n  (0): Dense(4, 3, bias=True)\n  (1): Tanh()\n)", (5, 4),
     lambda layer, x: np.tanh(x @ layer[0].weight.data), {"0.weight": (4, 3), "0.bias": (3,)}),
]
LINES = [pytest.param(*line[1:], id=line[0]) for line in LAYERS]
each = pytest.mark.parametrize("make, text, shape, reference, parameters", LINES)


def test_the_table_has_every_layer():
    there = {line[0].split(",")[0] for line in LAYERS}
    layers = {name for name in nn.__all__ if isinstance(getattr(nn, name), type)
              and issubclass(getattr(nn, name), nn.Layer)}
    assert layers - there == {"Layer", "LayerList", "Normalization",    # no forward
                              "Embedding",              # which takes integers
                              "RNN", "GRU", "LSTM", "StepNorm"}     # in test_recurrent


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
def test_inputs_of_any_memory_order_are_read_and_not_written(make, text, shape, reference,
                                                             parameters):
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
    """A list: a clear error, or the answer that the array would have had. Others: an error."""
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


ERRORS = [
    # making a layer
    (lambda: nn.Dense(0, 3), ["Dense", "in_features", "0"]),
    (lambda: nn.Conv(0, 3, 3), ["Conv", "in_channels", "0"]),
    (lambda: nn.Conv(3, 4, 0), ["Conv", "kernel_size", "0"]),
    (lambda: nn.Conv(3, 4, (3, 3, 3)), ["Conv", "kernel_size", "pair"]),
    (lambda: nn.Conv(3, 4, 3, stride=0), ["Conv", "stride", "0"]),
    (lambda: nn.Conv(3, 4, 3, padding=-1), ["Conv", "padding", "-1"]),
    (lambda: nn.Conv(3, 4, 3, padding="full"), ["Conv", "padding", "'full'", '"same"']),
    (lambda: nn.Conv(3, 4, 3, groups=2), ["Conv", "3", "groups 2"]),
    (lambda: nn.Conv(4, 3, 3, groups=2), ["Conv", "3", "groups 2"]),
    (lambda: nn.Conv(3, 4, 3, padding=((1, 0), (0, -1))), ["Conv: padding", "got (0, -1)"]),
    (lambda: nn.Conv1d(0, 3, 3), ["Conv1d", "in_channels", "0"]),
    (lambda: nn.Conv1d(3, 4, 0), ["Conv1d", "kernel_size", "0"]),
    (lambda: nn.Conv1d(3, 4, 3, groups=2), ["Conv1d", "3", "groups 2"]),
    (lambda: nn.Conv1d(3, 4, 3, padding="full"), ["Conv1d", "padding", '"causal"', "'full'"]),
    (lambda: nn.ConvTranspose(3, 0, 2), ["ConvTranspose", "out_channels", "0"]),
    (lambda: nn.ConvTranspose(3, 4, 2, stride=2, output_padding=2),
     ["ConvTranspose", "output_padding", "stride (2, 2)"]),
    (lambda: nn.ConvTranspose(3, 4, 3, groups=2), ["ConvTranspose", "3", "groups 2"]),
    (lambda: nn.Embedding(0, 3), ["Embedding", "rows", "0"]),
    (lambda: nn.Embedding(5, -1), ["Embedding", "features", "-1"]),
    (lambda: nn.GELU("erf"), ["GELU", "approximate", "'erf'"]),
    (lambda: nn.BatchNorm(0), ["BatchNorm", "features", "0"]),
    (lambda: nn.BatchNorm(3, eps=-1e-5), ["BatchNorm", "eps", "-1e-05"]),
    (lambda: nn.BatchNorm(3, eps=np.nan), ["BatchNorm", "eps", "nan"]),
    (lambda: nn.BatchNorm(3, momentum=1.5), ["BatchNorm", "momentum", "1.5"]),
    (lambda: nn.MaxPool(0), ["MaxPool", "window", "0"]),
    (lambda: nn.AvgPool(2, stride=0), ["AvgPool", "stride", "0"]),
    (lambda: nn.AvgPool(2, padding="causal"), ["AvgPool", "padding", "'causal'"]),
    (lambda: nn.MaxPool(2, dilation=0), ["MaxPool", "dilation", "0"]),
    (lambda: nn.MaxPool1d(0), ["MaxPool1d", "window", "0"]),
    (lambda: nn.AvgPool1d(2, padding=(1, 0, 1)), ["AvgPool1d", "padding", "(before, after)"]),
    (lambda: nn.Dropout(1.5), ["Dropout", "p", "1.5"]),
    (lambda: nn.Dropout(-0.1), ["Dropout", "p", "-0.1"]),
    (lambda: nn.Dropout(np.nan), ["Dropout", "p", "nan"]),
    # calling it
    (lambda: nn.Dense(4, 3)(uniform(2, 5)), ["Dense expected 4 features", "(2, 5)"]),
    (lambda: nn.Dense(4, 3)(uniform(2, 2, 2, 1)), ["(2, 2, 2, 1)", "flatten"]),
    (lambda: nn.Dense(4, 3)(np.float32(1)), ["Dense", "()"]),
    (lambda: nn.Conv(3, 4, 3)(uniform(2, 3, 8, 8)), ["(N, H, W, 3)", "(2, 3, 8, 8)"]),
    (lambda: nn.Conv(3, 4, 3)(uniform(8, 8, 3)), ["(N, H, W, 3)", "(8, 8, 3)"]),
    (lambda: nn.Conv(3, 4, 3)(uniform(1, 8, 2, 3)), ["width", "kernel"]),
    (lambda: nn.BatchNorm(3)(uniform(2, 4)), ["BatchNorm expected (..., 3)", "(2, 4)"]),
    (lambda: nn.BatchNorm(3)(uniform(3)), ["BatchNorm", "two axes", "(3,)"]),
    (lambda: nn.MaxPool(2)(uniform(4, 4)), ["max_pool", "(N, H, W, C)", "(4, 4)"]),
    (lambda: nn.MaxPool(5)(uniform(1, 4, 8, 1)), ["max_pool", "window", "(1, 4, 8, 1)"]),
    (lambda: nn.AvgPool(2, padding=2)(uniform(1, 4, 4, 1)), ["avg_pool", "padding", "half"]),
    (lambda: nn.MaxPool(2, padding=((2, 0), (0, 0)))(uniform(1, 4, 4, 1)),
     ["max_pool", "padding", "less than window (2, 2)"]),
    (lambda: nn.MaxPool1d(5)(uniform(1, 4, 2)), ["max_pool1d", "window 5", "(1, 4, 2)"]),
    (lambda: nn.AvgPool1d(2)(uniform(1, 4, 4, 2)), ["avg_pool1d", "(N, T, C)", "(1, 4, 4, 2)"]),
    (lambda: nn.Conv1d(3, 4, 3)(uniform(2, 8, 8, 3)),
     ["Conv1d expected sequences (N, T, 3)", "(2, 8, 8, 3)"]),
    (lambda: nn.Conv1d(3, 4, 3)(uniform(1, 2, 3)), ["conv1d", "length", "kernel"]),
    (lambda: nn.GlobalAvgPool()(uniform(4, 4)), ["global_avg_pool", "(4, 4)"]),
    (lambda: nn.ConvTranspose(3, 4, 2)(uniform(2, 8, 8, 4)), ["ConvTranspose", "(2, 8, 8, 4)"]),
    (lambda: nn.Embedding(5, 3)([0, 5]), ["embedding", "5", "0..4"]),
    (lambda: nn.Softmax(2)(uniform(4, 4)), ["softmax", "axis", "got 2"]),
    (lambda: nn.LayerNorm(0), ["LayerNorm", "features", "0"]),
    (lambda: nn.LayerNorm(3, eps=-1), ["LayerNorm", "eps", "-1"]),
    (lambda: nn.LayerNorm(3)(uniform(2, 4)), ["LayerNorm expected (..., 3)", "(2, 4)"]),
    (lambda: nn.RMSNorm(3)(uniform(2, 4)), ["RMSNorm expected (..., 3)", "(2, 4)"]),
    (lambda: nn.GroupNorm(2, 3), ["GroupNorm", "3 features", "2 groups"]),
    (lambda: nn.GroupNorm(0, 4), ["GroupNorm", "groups", "0"]),
    (lambda: nn.GroupNorm(2, 4)(uniform(2, 5, 6)), ["GroupNorm expected (..., 4)", "(2, 5, 6)"]),
    (lambda: nn.InstanceNorm(3)(uniform(2, 4, 2)), ["InstanceNorm expected (..., 3)"]),
    (lambda: nn.FilterResponseNorm(0), ["FilterResponseNorm", "features", "0"]),
    (lambda: nn.FilterResponseNorm(3, eps=-1), ["FilterResponseNorm", "eps", "-1"]),
    (lambda: nn.FilterResponseNorm(3)(uniform(2, 4, 2)),
     ["FilterResponseNorm expected (..., 3)", "(2, 4, 2)"]),
    (lambda: nn.FilterResponseNorm(3)(uniform(2, 3)), ["filter_response_norm", "3 axes", "(2, 3)"]),
    (lambda: nn.LayerNorm((3, 0)), ["LayerNorm", "features", "(3, 0)"]),
    (lambda: nn.LayerNorm((3, 4))(uniform(2, 4, 3)), ["LayerNorm expected (..., 3, 4)"]),
    (lambda: nn.RMSNorm((3, 4))(uniform(4)), ["RMSNorm expected (..., 3, 4)", "(4,)"]),
    (lambda: nn.AdaptiveAvgPool(0), ["AdaptiveAvgPool", "size", "0"]),
    (lambda: nn.AdaptiveAvgPool(2)(uniform(2, 3)), ["adaptive_avg_pool", "(2, 3)"]),
    (lambda: nn.AdaptiveAvgPool((2, 2))(uniform(2, 3, 4)), ["adaptive_avg_pool", "(2, 2)"]),
    (lambda: nn.Upsample(2, mode="bilinear"), ["Upsample", "mode", "'bilinear'"]),
    (lambda: nn.Upsample(scale_factor=2)(uniform(2, 3)), ["resize", "(N, H, W, C)", "(2, 3)"]),
    (lambda: nn.Upsample(scale_factor=(2, 2))(uniform(2, 3, 4)), ["Upsample", "(2, 3, 4)"]),
    (lambda: nn.MultiHeadAttention(0, 1), ["MultiHeadAttention", "features", "0"]),
    (lambda: nn.MultiHeadAttention(6, 4), ["MultiHeadAttention", "6 features", "4 heads"]),
    (lambda: nn.MultiHeadAttention(6, 2, 1.5), ["MultiHeadAttention", "dropout", "1.5"]),
    (lambda: nn.MultiHeadAttention(6, 2, key_features=0), ["MultiHeadAttention", "key_features"]),
    (lambda: nn.MultiHeadAttention(6, 2)(uniform(5, 6)), ["MultiHeadAttention", "x[None]"]),
    (lambda: nn.TLU(-1), ["TLU", "features", "-1"]),
    (lambda: nn.TLU(3)(uniform(2, 4)), ["TLU expected (..., 3)", "(2, 4)"]),
    # hints
    (lambda: nn.Conv(3, 4, 3)(uniform(2, 3, 8, 8)), ["channels come last", "transpose"]),
    (lambda: nn.Conv(1, 4, 3)(uniform(2, 8, 8)), ["channel axis is missing", "[..., None]"]),
    (lambda: nn.Conv(3, 4, 3)(uniform(8, 8, 3)), ["batch axis is missing", "x[None]"]),
    (lambda: nn.Conv1d(3, 4, 3)(uniform(2, 3, 8)), ["channels come last", "transpose(0, 2, 1)"]),
    (lambda: nn.Conv1d(1, 4, 3)(uniform(2, 8)), ["channel axis is missing", "[..., None]"]),
    # in a Sequential
    (lambda: nn.Sequential(nn.Dense(4, 3), nn.Dense(4, 3))(uniform(2, 4)),
     ["layer 1, Dense: Dense expected 4 features", "(2, 3)"]),
    (lambda: nn.Sequential(nn.ReLU(), nn.Lambda(lambda x: x.reshape(7)))(uniform(2, 4)),
     ["layer 1, Lambda: reshape", "7"]),
    (lambda: nn.Sequential(nn.Flatten(), nn.Sequential(nn.ReLU(), nn.Dense(4, 3)))(uniform(2, 5)),
     ["layer 1, Sequential: layer 1, Dense: Dense expected 4 features"]),
]
INTEGERS = [nn.ReLU, nn.Sigmoid, nn.Tanh, nn.LeakyReLU, nn.GELU, nn.SiLU, nn.Softmax]


@pytest.mark.parametrize("call, words", ERRORS, ids=[" ".join(words) for _, words in ERRORS])
def test_errors_name_the_layer_and_what_is_wrong(call, words):
    with refuses(ValueError, *words):
        call()


@pytest.mark.parametrize("make", INTEGERS)
def test_activations_refuse_integers(make):
    with refuses(TypeError, make.__name__.lower().replace("leakyrelu", "leaky_relu"), "int64",
                 "astype"):
        make()(np.arange(4))


def test_summary_of_layers_that_need_more_than_one_example():
    model = nn.Sequential(nn.Dense(4, 3), nn.BatchNorm(3, track_stats=False))
    assert "(3,)" in model.summary(4)
    assert model.summary(4) == model.summary((4,))


def test_numpy_integers_are_sizes():
    two, three = np.int64(2), np.int32(3)
    assert nn.Dense(two, three).weight.shape == (2, 3)
    assert nn.Conv(two, two, three, groups=two)(uniform(1, 5, 5, 2)).shape == (1, 3, 3, 2)
    assert md.conv(uniform(1, 5, 5, 2), uniform(3, 3, 1, 2), groups=two).shape == (1, 3, 3, 2)


@pytest.mark.parametrize("make, words", [
    (lambda: nn.Dense(3, 2.5), ["Dense", "out_features", "2.5"]),
    (lambda: nn.Dense(True, 3), ["Dense", "in_features"]),
    (lambda: nn.Conv(3, 4, 3, dilation=1.5), ["Conv", "dilation", "1.5"]),
    (lambda: nn.ConvTranspose(3, 4, 2, padding="same"), ["ConvTranspose", "padding", "'same'"]),
    (lambda: nn.Conv1d(3, 4, (3,)), ["Conv1d", "kernel_size", "(3,)"]),
    (lambda: nn.Conv1d(3, 4, 3, stride=1.5), ["Conv1d", "stride", "1.5"]),
    (lambda: nn.MaxPool1d((2, 2)), ["MaxPool1d", "window", "(2, 2)"]),
    (lambda: nn.AvgPool(2, ceil_mode=2), ["AvgPool", "ceil_mode", "True or False", "2"]),
    (lambda: nn.AvgPool1d(2, count_padding="no"), ["AvgPool1d", "count_padding", "'no'"]),
    (lambda: nn.LeakyReLU("a"), ["LeakyReLU", "slope", "'a'"]),
    (lambda: nn.BatchNorm(3, eps="a"), ["BatchNorm", "eps", "'a'"]),
    (lambda: nn.BatchNorm(3, momentum="a"), ["BatchNorm", "momentum", "'a'"]),
    (lambda: nn.LayerNorm(3, eps="a"), ["LayerNorm", "eps", "'a'"]),
    (lambda: nn.FilterResponseNorm(3, eps="a"), ["FilterResponseNorm", "eps", "'a'"]),
    (lambda: nn.TLU(3)(uniform(2, 3, dtype=np.float64)), ["tlu", "x float64", "tau float32"]),
    (lambda: nn.Upsample(), ["Upsample", "either size or scale_factor"]),
    (lambda: nn.Upsample(2, 2), ["Upsample", "either size or scale_factor"]),
    (lambda: nn.Dense(2, 3).apply(3), ["apply", "function", "got 3"]),
    (lambda: md.softmax(uniform(2, 3), (0, 1)), ["softmax", "axis", "(0, 1)"]),
    (lambda: md.flatten(uniform(2, 3), None), ["flatten", "axis", "None"]),
    (lambda: md.concatenate([uniform(2)], axis=(0, 1)), ["concatenate", "axis", "(0, 1)"]),
    (lambda: md.reshape(uniform(2), "a"), ["reshape", "shape", "'a'"]),
    (lambda: md.cross_entropy(uniform(2, 3), [0, 1], label_smoothing="a"),
     ["cross_entropy", "label_smoothing", "'a'"]),
    (lambda: md.cross_entropy(uniform(2, 3), [0, 1], ignore_index=1.5),
     ["cross_entropy", "ignore_index", "1.5"]),
    (lambda: optim.SGD(nn.Dense(2, 3), 0.1), ["SGD", "params", "parameters()"]),
    (lambda: nn.Softmax("x"), ["Softmax", "axis", "'x'"]),
    (lambda: nn.init.orthogonal((2, 2), dtype=int), ["orthogonal", "dtype", "int64"]),
    (lambda: md.huber_loss(uniform(2), uniform(2), delta="a"), ["huber_loss", "delta", "'a'"]),
    (lambda: md.concatenate(3), ["concatenate", "tensors", "got 3"]),
    (lambda: md.split(uniform(4), 2.0), ["split", "sections", "2.0"]),
])
def test_options_of_a_wrong_type(make, words):
    with refuses(TypeError, *words):
        make()


def test_an_error_that_is_not_a_text_passes_a_sequential_as_it_is():
    class Failing(nn.Layer):
        def forward(self, x):
            raise ValueError(1, 2)

    with pytest.raises(ValueError) as info:
        nn.Sequential(Failing())(uniform(2))
    assert info.value.args == (1, 2)


def test_embedding():
    layer = nn.Embedding(6, 3)
    assert repr(layer) == "Embedding(6, 3)"
    assert layer.weight.shape == (6, 3)
    ids = np.array([[1, 5, 1], [0, 2, 2]])
    y = layer(ids)
    np.testing.assert_array_equal(y.data, layer.weight.data[ids])
    y.sum().backward()
    np.testing.assert_array_equal(layer.weight.grad[:, 0], [1, 2, 2, 0, 0, 1])
    exact = layer.astype(np.float64)(ids)
    assert exact.dtype == np.float64
    large = nn.Embedding(200, 100).weight.data
    assert abs(large.mean()) < 0.05
    assert abs(large.std() - 1) < 0.05


STARTS = {"gamma": 1, "beta": 0, "running_mean": 0, "running_var": 1}


def test_weights_start_he_normal_and_biases_at_zero():
    for layer, fan_in in ((nn.Dense(300, 400), 300), (nn.Conv(64, 96, 3), 576),
                          (nn.Conv(64, 256, 5, groups=2), 800),
                          (nn.Conv1d(64, 400, 5, groups=2), 160)):
        w = layer.weight.data
        assert abs(w.mean()) < 4 * np.sqrt(2 / fan_in / w.size)
        np.testing.assert_allclose(w.var(), 2 / fan_in, rtol=0.03)
        assert np.abs(w).max() > 3.5 * np.sqrt(2 / fan_in)      # normal, not uniform
        assert not layer.bias.data.any()
    norm = nn.BatchNorm(5)
    for name, value in STARTS.items():
        np.testing.assert_array_equal(norm.state_dict()[name], np.full(5, value))
    assert norm.num_batches == 0


def test_dropout_drops_scales_and_gives_the_same_mask_to_the_gradient():
    md.manual_seed(1)
    layer = nn.Dropout(0.25)
    x = md.tensor(uniform(400, 250, low=1, high=2), requires_grad=True)
    y = layer(x)
    kept = y.data != 0
    assert abs(kept.mean() - 0.75) < 4 * np.sqrt(0.75 * 0.25 / kept.size)
    close(y.data, x.data / 0.75 * kept)
    y.sum().backward()
    close(x.grad, kept / 0.75)
    assert not np.array_equal(layer(x).data, y.data)
    md.manual_seed(1)
    np.testing.assert_array_equal(layer(x).data, y.data)
    np.testing.assert_array_equal(layer.eval()(x).data, x.data)
    assert not nn.Dropout(1.0)(x).data.any()


def test_sizes_and_rates_may_be_numpys():
    """Small integers of NumPy would overflow in products of sizes."""
    small, rate = np.uint8(100), np.float32(0.5)
    lstm = nn.LSTM(small, small, dropout=rate, num_layers=np.int8(2))
    assert lstm.cells[0].weight_x.shape == (100, 400)
    assert lstm(md.zeros(2, 3, 100))[0].shape == (2, 3, 100)
    for layer in (nn.Dense(small, small), nn.Conv(small, small, np.int8(1), groups=small),
                  nn.Conv1d(small, small, np.int8(1), padding=(np.int8(1), 0)),
                  nn.AvgPool(np.int8(2), padding=np.int8(1), ceil_mode=np.True_),
                  nn.Embedding(small, small), nn.BatchNorm(small, ghost_batch=small),
                  nn.LayerNorm(small), nn.LayerNorm((small, np.int64(3))),
                  nn.GroupNorm(np.uint8(4), small), nn.TLU(small),
                  nn.MultiHeadAttention(small, np.int8(4)), nn.Upsample(scale_factor=small),
                  nn.StepNorm(small, small), nn.Dropout(rate)):
        values = [v for v in vars(layer).values() if not isinstance(v, np.ndarray)]
        assert not any(isinstance(v, np.generic) for v in values)


def test_hints_of_layers():
    with refuses(TypeError, "Conv", "uint8", "/ 255", "predict"):
        nn.Conv(3, 4, 3)(np.zeros((2, 8, 8, 3), np.uint8))
    with refuses(ValueError, "(N, T, C)", "nn.Conv1d", "x[None]"):
        nn.Conv(3, 4, 3)(np.zeros((2, 8, 3), np.float32))
    with refuses(TypeError, "int64", "astype"):
        nn.Dense(3, 4)(np.zeros((2, 3), int))
    assert nn.Conv1d(3, 4, 3)(uniform(2, 8, 3)).shape == (2, 6, 4)
