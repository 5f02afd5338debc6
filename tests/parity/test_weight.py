"""These tests compare weight normalization with PyTorch's, and weight standardization with the
plain formula in PyTorch's autograd: values, gradients, several optimizer steps.
"""

import numpy as np
import pytest
import torch
from torch import nn as tn
from torch.nn.utils import parametrizations, parametrize

import minidl as md
from minidl import nn, optim
from tests.support.parity import (
    assert_close,
    both_floats,
    channels_first,
    channels_last,
    draw,
    torch_type,
    weight_from_torch,
    weight_to_torch,
)

OURS = {"norm": nn.weight_norm, "standardization": nn.weight_standardization}
# Each entry has our layer, PyTorch's, and the shape of x.
LAYERS = {
    "Dense": (lambda: nn.Dense(20, 30), lambda: tn.Linear(20, 30), (16, 20)),
    "Dense, one output": (lambda: nn.Dense(20, 1), lambda: tn.Linear(20, 1), (16, 20)),
    "Conv": (
        lambda: nn.Conv(3, 16, 3, padding=1),
        lambda: tn.Conv2d(3, 16, 3, padding=1),
        (4, 8, 9, 3),
    ),
    "Conv, Winograd": (lambda: nn.Conv(16, 32, 3), lambda: tn.Conv2d(16, 32, 3), (2, 9, 8, 16)),
    "Conv, groups": (
        lambda: nn.Conv(8, 12, 3, stride=2, groups=2),
        lambda: tn.Conv2d(8, 12, 3, stride=2, groups=2),
        (2, 9, 8, 8),
    ),
    "Conv, depthwise": (
        lambda: nn.Conv(16, 16, 3, groups=16),
        lambda: tn.Conv2d(16, 16, 3, groups=16),
        (2, 6, 7, 16),
    ),
}


class Standardization(tn.Module):
    """The plain formula, for autograd. PyTorch's weights have the outputs on the first axis."""

    def forward(self, v):
        axes = tuple(range(1, v.ndim))
        mean = v.mean(axes, keepdim=True)
        return (v - mean) / torch.sqrt(((v - mean) ** 2).mean(axes, keepdim=True) + 1e-5)


def pair_of(name, kind, dtype):
    """Return the same layer of both, in training mode."""
    make, make_theirs, _ = LAYERS[name]
    layer = OURS[kind](make()).astype(dtype)
    module = make_theirs().to(torch_type(dtype))
    layer.bias.data = draw("bias", layer.bias.shape, dtype)
    module.weight.data = torch.from_numpy(np.array(weight_to_torch(layer.weight.data)))
    module.bias.data = torch.from_numpy(np.array(layer.bias.data))
    if kind == "norm":
        parametrizations.weight_norm(module)
    else:
        parametrize.register_parametrization(module, "weight", Standardization())
    return layer, module


def pairs_of_parameters(layer, module):
    """Return (name, ours, theirs). g is (out, 1, ...), and v the original weight."""
    original = module.parametrizations.weight
    gained = layer.transform.parameters()
    yield "weight", layer.weight, original.original1 if gained else original.original
    yield "bias", layer.bias, module.bias
    if gained:
        yield "gain", layer.transform.gain, original.original0


def in_our_layout(name, theirs):
    return theirs.reshape(-1) if name == "gain" else weight_from_torch(theirs)


@pytest.mark.parametrize("kind", OURS)
@pytest.mark.parametrize("name", LAYERS)
@both_floats
def test_values_gradients_and_steps(name, kind, dtype):
    layer, module = pair_of(name, kind, dtype)
    if kind == "norm":  # away from its initial value
        gain = draw("gain", layer.transform.gain.shape, dtype, 0.5, 2)
        layer.transform.gain.data = gain
        module.parametrizations.weight.original0.data.view(-1)[:] = torch.from_numpy(gain)
    shape = LAYERS[name][2]
    optimizer = optim.SGD(layer.parameters(), lr=0.05, momentum=0.9)
    theirs = torch.optim.SGD(module.parameters(), lr=0.05, momentum=0.9)
    for step in range(5):
        values = draw(f"x {step}", shape, dtype)
        x = md.tensor(values, requires_grad=True)
        their_x = torch.from_numpy(channels_first(values).copy()).requires_grad_()
        y, their_y = layer(x), module(their_x)
        assert_close(y.data, channels_last(their_y.detach().numpy()), f"output {step}")
        dy = draw(f"dy {step}", y.shape, dtype) / y.size
        layer.zero_grad()
        module.zero_grad()
        y.backward(dy)
        their_y.backward(torch.from_numpy(channels_first(dy).copy()))
        assert_close(x.grad, channels_last(their_x.grad.numpy()), f"gradient of x {step}")
        for what, ours, their in pairs_of_parameters(layer, module):
            assert_close(ours.grad, in_our_layout(what, their.grad.numpy()), f"{what}.grad {step}")
        optimizer.step()
        theirs.step()
        for what, ours, their in pairs_of_parameters(layer, module):
            assert_close(ours.data, in_our_layout(what, their.detach().numpy()), f"{what} {step}")


@both_floats
@pytest.mark.parametrize("shape", [(20, 30), (3, 3, 16, 32), (5, 5, 1, 7)])
def test_functions(shape, dtype):
    v, gain = draw("v", shape, dtype), draw("gain", shape[-1:], dtype)
    dw = draw("dw", shape, dtype)
    axes = tuple(range(len(shape) - 1))

    def standardization(v):
        return (v - v.mean(axes)) / torch.sqrt(v.var(axes, correction=0) + 1e-5)

    def norm(v, gain):
        return gain * v / torch.sqrt((v * v).sum(axes))

    for ours, theirs, arrays in (
        (md.weight_standardization, standardization, (v,)),
        (md.weight_norm, norm, (v, gain)),
    ):
        inputs = [md.tensor(a, requires_grad=True) for a in arrays]
        their_inputs = [torch.from_numpy(a.copy()).requires_grad_() for a in arrays]
        w, their_w = ours(*inputs), theirs(*their_inputs)
        assert_close(w.data, their_w.detach().numpy())
        w.backward(dw)
        their_w.backward(torch.from_numpy(dw.copy()))
        for t, expected in zip(inputs, their_inputs, strict=True):
            assert_close(t.grad, expected.grad.numpy())
