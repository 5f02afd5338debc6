"""These tests compare convolutions with PyTorch's: all geometries, uneven padding, transposed."""

import numpy as np
import pytest
import torch
from torch import nn as tn

import minidl as md
from minidl import nn
from tests.support.parity import (
    Padded,
    assert_close,
    assert_same_gradients,
    both_floats,
    compare,
    copy_state,
    draw,
    torch_type,
)

CONVOLUTIONS = {
    # Each entry has the channels in and out, the options of both, and (N, H, W).
    "stem of mnist-cnn": (1, 32, {"kernel_size": 3, "padding": 1, "bias": False}, (8, 28, 28)),
    "second of mnist-cnn": (32, 64, {"kernel_size": 3, "padding": 1, "bias": False}, (4, 14, 14)),
    "stem of CIFAR": (3, 16, {"kernel_size": 3, "padding": 1}, (4, 32, 32)),
    "wide": (64, 128, {"kernel_size": 3, "padding": 1}, (2, 8, 8)),
    "no padding": (5, 7, {"kernel_size": 3}, (2, 9, 8)),
    "1x1": (16, 24, {"kernel_size": 1}, (3, 6, 5)),
    "1x1, stride 2": (16, 32, {"kernel_size": 1, "stride": 2, "bias": False}, (3, 7, 8)),
    "stride 2": (16, 32, {"kernel_size": 3, "stride": 2, "padding": 1}, (3, 8, 8)),
    "stride 2, odd size": (6, 5, {"kernel_size": 3, "stride": 2, "padding": 1}, (2, 9, 7)),
    "stride 3, rest unused": (4, 5, {"kernel_size": 2, "stride": 3}, (2, 9, 10)),
    "5x5": (6, 16, {"kernel_size": 5, "padding": 2}, (2, 10, 9)),
    "7x7, stride 2": (3, 8, {"kernel_size": 7, "stride": 2, "padding": 3}, (2, 15, 14)),
    "whole image": (4, 10, {"kernel_size": (6, 5)}, (3, 6, 5)),
    "pairs": (4, 6, {"kernel_size": (3, 2), "stride": (2, 1), "padding": (0, 1)}, (2, 9, 7)),
    "dilation": (4, 6, {"kernel_size": 3, "dilation": 2, "padding": 2}, (2, 9, 8)),
    "dilation and stride": (
        4,
        6,
        {"kernel_size": 3, "dilation": (2, 3), "stride": 2, "padding": (1, 3)},
        (2, 11, 12),
    ),
    "2 groups": (8, 12, {"kernel_size": 3, "padding": 1, "groups": 2}, (2, 7, 6)),
    "groups, stride, dilation": (
        6,
        9,
        {"kernel_size": 3, "stride": 2, "padding": 2, "dilation": 2, "groups": 3},
        (2, 9, 9),
    ),
    "depthwise": (32, 32, {"kernel_size": 3, "padding": 1, "groups": 32, "bias": False}, (2, 9, 8)),
    "depthwise, stride 2": (
        16,
        16,
        {"kernel_size": 3, "stride": 2, "padding": 1, "groups": 16},
        (2, 8, 9),
    ),
    "depthwise, two outputs each": (6, 12, {"kernel_size": 3, "groups": 6}, (2, 6, 6)),
    "same": (4, 5, {"kernel_size": 3, "padding": "same"}, (2, 7, 8)),
    "same, even kernel": (4, 5, {"kernel_size": (4, 2), "padding": "same"}, (2, 7, 8)),
    "same, dilation": (
        4,
        5,
        {"kernel_size": (2, 3), "padding": "same", "dilation": (3, 2)},
        (2, 9, 8),
    ),
    "valid": (4, 5, {"kernel_size": 3, "padding": "valid", "stride": 2}, (2, 7, 8)),
    "more padding than kernel": (2, 3, {"kernel_size": 2, "padding": 3}, (2, 3, 4)),
    "one image, one pixel": (3, 4, {"kernel_size": 3, "padding": 1}, (1, 1, 1)),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
@both_floats
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
def test_conv(name, dtype):
    inputs, outputs, options, (n, h, w) = CONVOLUTIONS[name]
    layer = nn.Conv(inputs, outputs, **options).astype(dtype)
    if layer.bias is not None:
        layer.bias.data = draw("bias", (outputs,), dtype)
    module = tn.Conv2d(inputs, outputs, **options).to(torch_type(dtype))
    copy_state(layer, module)
    compare(layer, module, draw(name, (n, h, w, inputs), dtype))


@pytest.mark.parametrize("size, kernel, stride", [(8, 3, 2), (7, 3, 2), (9, 2, 3), (5, 1, 2)])
@both_floats
def test_conv_same_with_stride(size, kernel, stride, dtype):
    """PyTorch has no "same" with a stride. It means ceil(size / stride) places, with an odd padding
    at the end.
    """
    layer = nn.Conv(3, 4, kernel, stride, padding="same").astype(dtype)
    total = max(0, (-(-size // stride) - 1) * stride + kernel - size)
    before, after = total // 2, total - total // 2
    conv = tn.Conv2d(3, 4, kernel, stride).to(torch_type(dtype))
    copy_state(layer, conv)
    x = draw("same", (2, size, size, 3), dtype)
    padded = tn.functional.pad(
        torch.from_numpy(x.transpose(0, 3, 1, 2).copy()), (before, after, before, after)
    )
    assert layer(x).shape == (2, -(-size // stride), -(-size // stride), 4)
    assert_close(layer(x).data, conv(padded).detach().numpy().transpose(0, 2, 3, 1))


UNEVEN = {
    # Each entry has the channels in and out, the kernel, the stride, ((top, bottom), (left,
    # right)), other options, and (N, H, W).
    "direct": (5, 7, 3, 2, ((2, 0), (0, 1)), {}, (2, 9, 8)),
    "Winograd": (16, 32, 3, 1, ((2, 0), (0, 1)), {}, (2, 9, 8)),
    "Winograd, much": (16, 16, 3, 1, ((0, 5), (4, 1)), {}, (2, 6, 7)),
    "depthwise": (32, 32, 3, 2, ((0, 1), (2, 0)), {"groups": 32}, (2, 9, 8)),
    "1x1": (16, 24, 1, 1, ((1, 0), (0, 2)), {}, (2, 6, 5)),
    "dilation and groups": (
        6,
        9,
        2,
        1,
        ((3, 0), (1, 2)),
        {"groups": 3, "dilation": (3, 2)},
        (2, 6, 7),
    ),
}


@pytest.mark.parametrize("name", UNEVEN)
@both_floats
def test_conv_with_uneven_padding(name, dtype):
    inputs, outputs, kernel, stride, padding, options, (n, h, w) = UNEVEN[name]
    layer = nn.Conv(inputs, outputs, kernel, stride, padding, **options).astype(dtype)
    conv = tn.Conv2d(inputs, outputs, kernel, stride, **options)
    copy_state(layer, conv)
    conv = conv.to(torch_type(dtype))
    x = draw(name, (n, h, w, inputs), dtype)
    ours = md.tensor(x, requires_grad=True)
    theirs = torch.from_numpy(x.transpose(0, 3, 1, 2).copy()).requires_grad_()
    y, expected = layer(ours), Padded(conv, (*padding[1], *padding[0]))(theirs)
    assert_close(y.data, expected.detach().numpy().transpose(0, 2, 3, 1))
    dy = draw("dy", y.shape, dtype)
    y.backward(dy)
    expected.backward(torch.from_numpy(dy.transpose(0, 3, 1, 2).copy()))
    assert_close(ours.grad, theirs.grad.numpy().transpose(0, 2, 3, 1), "input")
    assert_same_gradients(layer, conv)


@both_floats
def test_causal_conv1d(dtype):
    layer = nn.Conv1d(5, 7, 3, padding="causal", dilation=2).astype(dtype)
    conv = tn.Conv1d(5, 7, 3, dilation=2).to(torch_type(dtype))
    copy_state(layer, conv)
    x = draw("causal", (3, 11, 5), dtype)
    ours, theirs = (
        md.tensor(x, requires_grad=True),
        torch.from_numpy(x.transpose(0, 2, 1).copy()).requires_grad_(),
    )
    y, expected = layer(ours), Padded(conv, (4, 0))(theirs)
    assert_close(y.data, expected.detach().numpy().transpose(0, 2, 1))
    dy = draw("dy", y.shape, dtype)
    y.backward(dy)
    expected.backward(torch.from_numpy(dy.transpose(0, 2, 1).copy()))
    assert_close(ours.grad, theirs.grad.numpy().transpose(0, 2, 1), "input")
    assert_same_gradients(layer, conv)


TRANSPOSED = {
    # Each entry has the channels in and out, the options of both, and (N, H, W).
    "upsampling": (16, 8, {"kernel_size": 2, "stride": 2}, (3, 7, 5)),
    "decoder": (
        32,
        16,
        {"kernel_size": 3, "stride": 2, "padding": 1, "output_padding": 1},
        (2, 7, 7),
    ),
    "stride 1": (3, 5, {"kernel_size": 3, "padding": 1, "bias": False}, (2, 6, 7)),
    "pairs": (4, 6, {"kernel_size": (3, 2), "stride": (2, 1), "padding": (0, 1)}, (2, 5, 7)),
    "dilation": (
        4,
        6,
        {"kernel_size": 3, "dilation": 2, "stride": 3, "output_padding": 2},
        (2, 4, 3),
    ),
    "groups": (6, 9, {"kernel_size": 3, "stride": 2, "groups": 3}, (2, 4, 5)),
    "one pixel": (5, 4, {"kernel_size": 7}, (2, 1, 1)),
}


@pytest.mark.parametrize("name", TRANSPOSED)
@both_floats
def test_conv_transpose(name, dtype):
    inputs, outputs, options, (n, h, w) = TRANSPOSED[name]
    layer = nn.ConvTranspose(inputs, outputs, **options).astype(dtype)
    module = tn.ConvTranspose2d(inputs, outputs, **options).to(torch_type(dtype))
    groups = layer.groups
    if layer.bias is not None:
        layer.bias.data = draw("bias", (outputs,), dtype)
        module.bias.data = torch.from_numpy(layer.bias.data.copy())

    def turned(a):  # PyTorch's weight is (in, out / groups, KH, KW)
        kh, kw = a.shape[:2]
        parts = a.reshape(kh, kw, inputs // groups, groups, outputs // groups)
        return np.ascontiguousarray(parts.transpose(3, 2, 4, 0, 1)).reshape(
            inputs, outputs // groups, kh, kw
        )

    module.weight.data = torch.from_numpy(turned(layer.weight.data))
    x = draw(name, (n, h, w, inputs), dtype)
    mine = md.tensor(x, requires_grad=True)
    other = torch.from_numpy(x.transpose(0, 3, 1, 2).copy()).requires_grad_()
    y, expected = layer(mine), module(other)
    assert_close(y.data, expected.detach().numpy().transpose(0, 2, 3, 1), "value")
    dy = draw("dy", y.shape, dtype)
    y.backward(dy)
    expected.backward(torch.from_numpy(dy.transpose(0, 3, 1, 2).copy()))
    assert_close(mine.grad, other.grad.numpy().transpose(0, 2, 3, 1), "input")
    assert_close(turned(layer.weight.grad), module.weight.grad.numpy(), "weight")
    if layer.bias is not None:
        assert_close(layer.bias.grad, module.bias.grad.numpy(), "bias")
