"""This table has a line for each layer that takes one array of floats, and for its options: what
the layer must be, and what it computes by NumPy. Every layer of `nn` is in it, or is named where a
test looks for it.
"""

import copy

import numpy as np

import minidl as md
from minidl import nn
from tests.support.reference import activation as activations
from tests.support.reference import conv as convolutions
from tests.support.reference import norm as norms
from tests.support.reference import pool as pools
from tests.support.reference import resample as sizes
from tests.support.reference.attention import multi_head


def windows(x, k, stride, padding, fill):
    """Return (N, OH, OW, k, k, C): the windows of images, padded with `fill`."""
    p = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    x = np.pad(x, p, constant_values=fill)
    view = np.lib.stride_tricks.sliding_window_view(x, (k, k), axis=(1, 2))
    return view[:, ::stride, ::stride].transpose(0, 1, 2, 4, 5, 3)


def convolution(reference, *options):
    """Return a reference that uses a layer's weights, and those of the options that the layer
    has.
    """

    def answer(layer, x):
        bias = None if layer.bias is None else layer.bias.data
        return reference(x, layer.weight.data, bias, **{o: getattr(layer, o) for o in options})

    return answer


conv = convolution(convolutions.conv, "stride", "padding", "dilation", "groups")
conv1d = convolution(convolutions.conv1d, "stride", "padding", "dilation", "groups")
conv_transpose = convolution(
    convolutions.conv_transpose, "stride", "padding", "output_padding", "groups", "dilation"
)


def dense(layer, x):
    return x @ layer.weight.data + layer.bias.data


def transformed(reference):
    """Return the reference of a layer that computes with a function of its weight."""

    def answer(layer, x):
        plain, v = copy.copy(layer), layer.weight.data
        plain.weight = nn.Parameter(
            norms.weight_norm(v, layer.transform.gain.data)
            if layer.transform.parameters()
            else norms.weight_standardization(v, layer.transform.eps)
        )
        return reference(plain, x)

    return answer


def activation(name, *options):
    """The reference of a layer of the options that it has."""
    reference = getattr(activations, name)
    return lambda layer, x: reference(x, **{o: getattr(layer, o) for o in options})


def batch_norm(layer, x):
    axes = tuple(range(x.ndim - 1))
    return (x - x.mean(axes)) / np.sqrt(x.var(axes) + 1e-5)


# name, how it is made, repr, shape of x, NumPy's answer, shapes of parameters. A layer has a line
# or a few, not one for each of these, so that layers are seen beside each other.
# fmt: off
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
     activation("leaky_relu", "slope"), {}),
    ("GELU", nn.GELU, "GELU(approximate='none')", (4, 3),
     activation("gelu", "approximate"), {}),
    ("GELU, tanh", lambda: nn.GELU("tanh"), "GELU(approximate='tanh')", (4, 3),
     activation("gelu", "approximate"), {}),
    ("SiLU", nn.SiLU, "SiLU()", (4, 3), activation("silu"), {}),
    ("Softmax", nn.Softmax, "Softmax(axis=-1)", (4, 3), activation("softmax", "axis"), {}),
    ("Softmax, axis", lambda: nn.Softmax(0), "Softmax(axis=0)", (4, 3),
     activation("softmax", "axis"), {}),
    ("Sigmoid", nn.Sigmoid, "Sigmoid()", (4, 3), activation("sigmoid"), {}),
    ("Tanh", nn.Tanh, "Tanh()", (4, 3), activation("tanh"), {}),
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
# fmt: on
