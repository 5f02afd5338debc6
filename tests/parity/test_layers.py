"""These tests compare every layer with PyTorch's: outputs, gradients of the input and of all
parameters.
"""

import numpy as np
import pytest
import torch
from torch import nn as tn

import minidl as md
from minidl import nn
from tests.support.parity import (
    Padded,
    assert_close,
    both_floats,
    compare,
    copy_state,
    draw,
    off_kinks,
    torch_type,
)
from tests.support.torch_layers import TLU, FilterResponseNorm, Flat, GlobalMean, MeanOfTaps

LAYERS = {
    # Each entry has our layer, PyTorch's, and the shape of x. Conv is below, and BatchNorm in
    # test_norm.
    "Dense": (lambda: nn.Dense(20, 30), lambda: tn.Linear(20, 30), (16, 20)),
    "Dense, no bias": (
        lambda: nn.Dense(784, 256, bias=False),
        lambda: tn.Linear(784, 256, bias=False),
        (32, 784),
    ),
    "Dense, one row": (lambda: nn.Dense(7, 1), lambda: tn.Linear(7, 1), (1, 7)),
    "ReLU": (nn.ReLU, tn.ReLU, (8, 33)),
    "ReLU, images": (nn.ReLU, tn.ReLU, (2, 7, 9, 3)),
    "LayerNorm": (lambda: nn.LayerNorm(33), lambda: tn.LayerNorm(33), (8, 33)),
    "RMSNorm": (lambda: nn.RMSNorm(33), lambda: tn.RMSNorm(33, eps=1e-5), (8, 33)),
    "LayerNorm, no bias": (
        lambda: nn.LayerNorm(33, bias=False),
        lambda: tn.LayerNorm(33, bias=False),
        (8, 33),
    ),
    "LayerNorm, not affine": (
        lambda: nn.LayerNorm(33, affine=False),
        lambda: tn.LayerNorm(33, elementwise_affine=False),
        (8, 33),
    ),
    "RMSNorm, not affine": (
        lambda: nn.RMSNorm(33, affine=False),
        lambda: tn.RMSNorm(33, eps=1e-5, elementwise_affine=False),
        (8, 33),
    ),
    "GroupNorm, not affine": (
        lambda: nn.GroupNorm(4, 24, affine=False),
        lambda: tn.GroupNorm(4, 24, affine=False),
        (3, 7, 5, 24),
    ),
    "GroupNorm": (lambda: nn.GroupNorm(4, 24), lambda: tn.GroupNorm(4, 24), (3, 7, 5, 24)),
    "GroupNorm, one": (lambda: nn.GroupNorm(1, 6), lambda: tn.GroupNorm(1, 6), (3, 7, 5, 6)),
    "InstanceNorm": (lambda: nn.InstanceNorm(6), lambda: tn.InstanceNorm2d(6), (3, 7, 5, 6)),
    "InstanceNorm, affine": (
        lambda: nn.InstanceNorm(6, affine=True),
        lambda: tn.InstanceNorm2d(6, affine=True),
        (3, 7, 5, 6),
    ),
    "FilterResponseNorm": (
        lambda: nn.FilterResponseNorm(24),
        lambda: FilterResponseNorm(24),
        (3, 7, 5, 24),
    ),
    "FilterResponseNorm, sequences": (
        lambda: nn.FilterResponseNorm(6, 0.1),
        lambda: FilterResponseNorm(6, 0.1),
        (3, 9, 6),
    ),
    "FilterResponseNorm, learn_eps": (
        lambda: nn.FilterResponseNorm(6, learn_eps=True),
        lambda: FilterResponseNorm(6, learn_eps=True),
        (3, 2, 2, 6),
    ),
    "TLU": (lambda: nn.TLU(6), lambda: TLU(6), (3, 7, 5, 6)),
    "LeakyReLU": (lambda: nn.LeakyReLU(0.2), lambda: tn.LeakyReLU(0.2), (8, 33)),
    "GELU": (nn.GELU, tn.GELU, (8, 33)),
    "GELU, tanh": (lambda: nn.GELU("tanh"), lambda: tn.GELU("tanh"), (8, 33)),
    "SiLU": (nn.SiLU, tn.SiLU, (8, 33)),
    "Softmax": (nn.Softmax, lambda: tn.Softmax(-1), (8, 33)),
    "Sigmoid": (nn.Sigmoid, tn.Sigmoid, (8, 33)),
    "Tanh": (nn.Tanh, tn.Tanh, (8, 33)),
    "MaxPool": (lambda: nn.MaxPool(2), lambda: tn.MaxPool2d(2), (4, 8, 10, 32)),
    "MaxPool, odd size": (lambda: nn.MaxPool(2), lambda: tn.MaxPool2d(2), (2, 7, 9, 5)),
    "MaxPool, overlapping": (lambda: nn.MaxPool(3, 2), lambda: tn.MaxPool2d(3, 2), (2, 9, 11, 6)),
    "MaxPool, padding": (lambda: nn.MaxPool(3, 2, 1), lambda: tn.MaxPool2d(3, 2, 1), (2, 8, 9, 17)),
    "MaxPool, pairs": (
        lambda: nn.MaxPool((3, 2), (1, 2), (1, 0)),
        lambda: tn.MaxPool2d((3, 2), (1, 2), (1, 0)),
        (2, 8, 9, 4),
    ),
    "MaxPool, gaps": (lambda: nn.MaxPool(2, 3), lambda: tn.MaxPool2d(2, 3), (2, 8, 9, 4)),
    "AvgPool": (lambda: nn.AvgPool(2), lambda: tn.AvgPool2d(2), (4, 8, 10, 32)),
    "AvgPool, overlapping": (lambda: nn.AvgPool(3, 1), lambda: tn.AvgPool2d(3, 1), (2, 8, 9, 5)),
    "AvgPool, padding counts": (
        lambda: nn.AvgPool(3, 2, 1),
        lambda: tn.AvgPool2d(3, 2, 1, count_include_pad=True),
        (2, 8, 9, 17),
    ),
    "AvgPool, pairs": (
        lambda: nn.AvgPool((2, 3), (2, 1), (0, 1)),
        lambda: tn.AvgPool2d((2, 3), (2, 1), (0, 1)),
        (2, 8, 9, 4),
    ),
    "MaxPool, ceil": (
        lambda: nn.MaxPool(3, 2, ceil_mode=True),
        lambda: tn.MaxPool2d(3, 2, ceil_mode=True),
        (2, 8, 10, 6),
    ),
    "MaxPool, ceil, 2x2": (
        lambda: nn.MaxPool(2, ceil_mode=True),
        lambda: tn.MaxPool2d(2, ceil_mode=True),
        (2, 7, 9, 16),
    ),
    "MaxPool, ceil, padding": (
        lambda: nn.MaxPool(2, 3, 1, True),
        lambda: tn.MaxPool2d(2, 3, 1, ceil_mode=True),
        (2, 8, 9, 6),
    ),
    "MaxPool, dilation": (
        lambda: nn.MaxPool(3, 2, 1, True, (2, 3)),
        lambda: tn.MaxPool2d(3, 2, 1, (2, 3), ceil_mode=True),
        (2, 9, 12, 6),
    ),
    "MaxPool, uneven": (
        lambda: nn.MaxPool(3, 2, ((2, 0), (0, 1))),
        lambda: Padded(tn.MaxPool2d(3, 2), (0, 1, 2, 0), -np.inf),
        (2, 8, 9, 17),
    ),
    "MaxPool, same": (
        lambda: nn.MaxPool(2, 1, "same"),
        lambda: Padded(tn.MaxPool2d(2, 1), (0, 1, 0, 1), -np.inf),
        (2, 6, 7, 5),
    ),
    "AvgPool, ceil": (
        lambda: nn.AvgPool(3, 2, ceil_mode=True),
        lambda: tn.AvgPool2d(3, 2, ceil_mode=True),
        (2, 8, 10, 6),
    ),
    "AvgPool, ceil, padding": (
        lambda: nn.AvgPool(2, 3, 1, True),
        lambda: tn.AvgPool2d(2, 3, 1, True),
        (2, 8, 9, 6),
    ),
    "AvgPool, ceil, padding does not count": (
        lambda: nn.AvgPool(3, 2, 1, True, count_padding=False),
        lambda: tn.AvgPool2d(3, 2, 1, True, False),
        (2, 8, 9, 17),
    ),
    "AvgPool, padding does not count": (
        lambda: nn.AvgPool(3, 1, (0, 1), count_padding=False),
        lambda: tn.AvgPool2d(3, 1, (0, 1), count_include_pad=False),
        (2, 8, 9, 4),
    ),
    "AvgPool, uneven": (
        lambda: nn.AvgPool(3, 2, ((2, 0), (0, 1))),
        lambda: Padded(tn.AvgPool2d(3, 2), (0, 1, 2, 0)),
        (2, 8, 9, 17),
    ),
    "AvgPool, uneven, dilation": (
        lambda: nn.AvgPool((3, 2), 2, ((2, 0), (1, 2)), dilation=(2, 3)),
        lambda: MeanOfTaps((3, 2), 2, (1, 2, 2, 0), (2, 3), True),
        (2, 8, 9, 4),
    ),
    "AvgPool, uneven, dilation, padding does not count": (
        lambda: nn.AvgPool((3, 2), 2, ((2, 0), (1, 2)), dilation=(2, 3), count_padding=False),
        lambda: MeanOfTaps((3, 2), 2, (1, 2, 2, 0), (2, 3), False),
        (2, 8, 9, 4),
    ),
    "AvgPool, same does not count": (
        lambda: nn.AvgPool(2, 1, "same", count_padding=False),
        lambda: MeanOfTaps((2, 2), 1, (0, 1, 0, 1), 1, False),
        (2, 6, 7, 5),
    ),
    "MaxPool1d": (lambda: nn.MaxPool1d(3, 2, 1), lambda: tn.MaxPool1d(3, 2, 1), (4, 9, 17)),
    "MaxPool1d, options": (
        lambda: nn.MaxPool1d(3, 2, 1, True, 2),
        lambda: tn.MaxPool1d(3, 2, 1, 2, ceil_mode=True),
        (4, 10, 6),
    ),
    "MaxPool1d, causal": (
        lambda: nn.MaxPool1d(3, 1, "causal"),
        lambda: Padded(tn.MaxPool1d(3, 1), (2, 0), -np.inf),
        (4, 9, 6),
    ),
    "AvgPool1d": (lambda: nn.AvgPool1d(3, 2, 1), lambda: tn.AvgPool1d(3, 2, 1), (4, 9, 17)),
    "AvgPool1d, options": (
        lambda: nn.AvgPool1d(3, 2, 1, True, count_padding=False),
        lambda: tn.AvgPool1d(3, 2, 1, True, False),
        (4, 10, 6),
    ),
    "Conv1d": (lambda: nn.Conv1d(5, 7, 3), lambda: tn.Conv1d(5, 7, 3), (3, 9, 5)),
    "Conv1d, padding": (
        lambda: nn.Conv1d(16, 32, 5, padding=2, bias=False),
        lambda: tn.Conv1d(16, 32, 5, padding=2, bias=False),
        (3, 40, 16),
    ),
    "Conv1d, same": (
        lambda: nn.Conv1d(5, 7, 4, padding="same", dilation=3),
        lambda: tn.Conv1d(5, 7, 4, padding="same", dilation=3),
        (3, 12, 5),
    ),
    "Conv1d, stride and groups": (
        lambda: nn.Conv1d(6, 9, 3, 2, 2, 2, 3),
        lambda: tn.Conv1d(6, 9, 3, 2, 2, 2, 3),
        (3, 12, 6),
    ),
    "Conv1d, depthwise": (
        lambda: nn.Conv1d(32, 32, 3, padding=1, groups=32),
        lambda: tn.Conv1d(32, 32, 3, padding=1, groups=32),
        (3, 12, 32),
    ),
    "GlobalAvgPool": (nn.GlobalAvgPool, GlobalMean, (3, 7, 5, 24)),
    "AdaptiveAvgPool": (
        lambda: nn.AdaptiveAvgPool((3, 4)),
        lambda: tn.AdaptiveAvgPool2d((3, 4)),
        (3, 7, 5, 24),
    ),
    "AdaptiveAvgPool, sequences": (
        lambda: nn.AdaptiveAvgPool(3),
        lambda: tn.AdaptiveAvgPool1d(3),
        (3, 7, 24),
    ),
    "Upsample": (
        lambda: nn.Upsample(scale_factor=2),
        lambda: tn.Upsample(scale_factor=2),
        (3, 7, 5, 24),
    ),
    "Upsample, sequences": (
        lambda: nn.Upsample(scale_factor=3),
        lambda: tn.Upsample(scale_factor=3),
        (3, 7, 24),
    ),
    "Upsample, linear": (
        lambda: nn.Upsample(scale_factor=(2, 3), mode="linear"),
        lambda: tn.Upsample(scale_factor=(2, 3), mode="bilinear"),
        (3, 7, 5, 24),
    ),
    "Upsample, size": (
        lambda: nn.Upsample((5, 11), mode="linear"),
        lambda: tn.Upsample((5, 11), mode="bilinear"),
        (3, 7, 5, 24),
    ),
    "Flatten": (nn.Flatten, Flat, (3, 4, 5, 6)),
    "Dropout, eval": (lambda: nn.Dropout(0.5).eval(), lambda: tn.Dropout(0.5).eval(), (8, 33)),
    "Dropout, p = 0": (lambda: nn.Dropout(0), lambda: tn.Dropout(0), (8, 33)),
    "Lambda": (lambda: nn.Lambda(md.tanh), tn.Tanh, (4, 5)),
    "Identity": (
        lambda: nn.Sequential(nn.Identity()),
        lambda: tn.Sequential(tn.Identity()),
        (4, 5),
    ),
}


@pytest.mark.parametrize("name", LAYERS)
@both_floats
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
def test_layer(name, dtype):
    make, make_theirs, shape = LAYERS[name]
    layer = make().astype(dtype)
    module = make_theirs().to(torch_type(dtype))
    copy_state(layer, module)
    x = off_kinks(name, shape, dtype)
    compare(layer, module, x)


def test_the_tables_have_every_layer():
    there = {name.split(",")[0] for name in LAYERS} | {
        "Conv",
        "ConvTranspose",
        "BatchNorm",
        "Embedding",
    }
    layers = {
        name
        for name in nn.__all__
        if isinstance(getattr(nn, name), type) and issubclass(getattr(nn, name), nn.Layer)
    }
    elsewhere = {"RNN", "GRU", "LSTM", "MultiHeadAttention"}  # in test_recurrent and test_attention
    assert layers - there - elsewhere == {
        "Layer",
        "LayerList",
        "Normalization",
        "Sequential",
        "StepNorm",
    }  # PyTorch does not have these


@both_floats
@pytest.mark.parametrize("learned", [False, True])
def test_filter_response_norm(learned, dtype):
    """This includes its threshold: max(y, tau)."""
    x, affine = draw("x", (4, 6, 5, 16), dtype), [draw(n, (16,), dtype) for n in ("g", "b", "tau")]
    eps = [draw("eps", (16,), dtype)] if learned else []
    dy = draw("dy", x.shape, dtype)
    inputs = [md.tensor(a, requires_grad=True) for a in (x, *affine, *eps)]
    theirs = [torch.from_numpy(a.copy()).requires_grad_() for a in (x, *affine, *eps)]
    t, gamma, beta, tau, *rest = inputs
    y = md.tlu(md.filter_response_norm(t, gamma, beta, rest[0] if rest else 1e-6), tau)
    a, g, b, threshold, *rest = theirs
    root = torch.sqrt((a * a).mean((1, 2), keepdim=True) + (abs(rest[0]) if rest else 1e-6))
    expected = torch.maximum(g * a / root + b, threshold)
    assert_close(y.data, expected.detach().numpy())
    y.backward(dy)
    expected.backward(torch.from_numpy(dy.copy()))
    for ours, their in zip(inputs, theirs, strict=True):
        assert_close(ours.grad, their.grad.numpy())


@both_floats
def test_dense_on_sequences(dtype):
    layer = nn.Dense(12, 7).astype(dtype)
    module = tn.Linear(12, 7).to(torch_type(dtype))
    copy_state(layer, module)
    compare(layer, module, draw("sequences", (3, 5, 12), dtype), images=False)


AXES = (2, 3, 2, 5, 4)


@pytest.mark.parametrize(
    "make, make_theirs",
    [
        (lambda: nn.LayerNorm(AXES), lambda: tn.LayerNorm(AXES)),
        (lambda: nn.LayerNorm(AXES, bias=False), lambda: tn.LayerNorm(AXES, bias=False)),
        (lambda: nn.RMSNorm(AXES), lambda: tn.RMSNorm(AXES, eps=1e-5)),
    ],
    ids=["LayerNorm", "LayerNorm, no bias", "RMSNorm"],
)
@both_floats
def test_normalizations_of_several_axes(make, make_theirs, dtype):
    layer = make().astype(dtype)
    for k, p in enumerate(layer.parameters()):
        p.data[...] = draw(f"parameter {k}", p.shape, dtype)
    module = make_theirs().to(torch_type(dtype))
    copy_state(layer, module)
    compare(layer, module, draw("several axes", (3, *AXES), dtype), images=False)


@both_floats
def test_embedding(dtype):
    layer = nn.Embedding(9, 5).astype(dtype)
    module = tn.Embedding(9, 5, _weight=torch.from_numpy(layer.weight.data.copy()))
    ids = np.array([[1, 8, 1], [0, 3, 3]])
    y, expected = layer(ids), module(torch.from_numpy(ids))
    dy = draw("dy", y.shape, dtype)
    y.backward(dy)
    expected.backward(torch.from_numpy(dy))
    assert_close(y.data, expected.detach().numpy())
    assert_close(layer.weight.grad, module.weight.grad.numpy())
