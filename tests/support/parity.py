"""This module has the comparisons with PyTorch: layouts, tolerances, and the comparison of whole
layers.

Our arrays are (N, ..., C) and (KH, KW, in, out), and PyTorch's are (N, C, ...) and (out, in, KH,
KW). Inputs are drawn in float64 and rounded to float32 values, so that both dtypes get the same
numbers.
"""

import zlib

import numpy as np
import pytest
import torch

import minidl as md
from tests.support.arrays import within

torch.set_num_threads(2)
torch.use_deterministic_algorithms(True)

# "Relative": max|a - b| <= tolerance * max|b|, for each array.
TOLERANCE = {np.dtype(np.float32): 1e-4, np.dtype(np.float64): 1e-10}

both_floats = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])

# Our names of parameters and buffers, and PyTorch's where they differ.
NAMES = {"gamma": "weight", "beta": "bias", "num_batches": "num_batches_tracked"}


def torch_type(dtype):
    return torch.float32 if dtype == np.float32 else torch.float64


def assert_close(ours, theirs, what="", tolerance=1.0):
    """Check that two arrays in our layout agree. `tolerance` is a factor for TOLERANCE."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.dtype == theirs.dtype, what
    assert np.isfinite(theirs).all(), what
    within(ours, theirs, tolerance * TOLERANCE[ours.dtype], what)


def draw(name, shape, dtype=np.float64, low=-2.0, high=2.0):
    """Return random values that depend on the name alone, and are the same in both dtypes."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    return rng.uniform(low, high, shape).astype(np.float32).astype(dtype)


def off_kinks(name, shape, dtype=np.float64):
    """Return values that all differ by more than rounding, none of them near 0."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    size = int(np.prod(shape))
    values = (rng.permutation(size) - size // 2 + 0.5) / size * 4
    return values.reshape(shape).astype(np.float32).astype(dtype)


def channels_first(a):
    """Convert (N, ..., C) to (N, C, ...); rows stay as they are."""
    return np.ascontiguousarray(np.moveaxis(a, -1, 1)) if a.ndim > 2 else a


def channels_last(a):
    """Convert (N, C, ...) to (N, ..., C); rows stay as they are."""
    return np.ascontiguousarray(np.moveaxis(a, 1, -1)) if a.ndim > 2 else a


def weight_to_torch(a):
    """Convert a convolution's HWIO to OIHW (and KIO to OIK), and a dense layer's (in, out) to (out,
    in). An array with more axes is that of a normalization.
    """
    if a.ndim in (3, 4):
        return np.ascontiguousarray(np.moveaxis(a, (-1, -2), (0, 1)))
    return np.ascontiguousarray(a.T) if a.ndim == 2 else a


def weight_from_torch(a):
    """Invert `weight_to_torch`."""
    if a.ndim in (3, 4):
        return np.ascontiguousarray(np.moveaxis(a, (0, 1), (-1, -2)))
    return np.ascontiguousarray(a.T) if a.ndim == 2 else a


def their_name(name):
    """Return PyTorch's name of one of our parameters or buffers: "bn1.gamma" is "bn1.weight"."""
    head, _, last = name.rpartition(".")
    last = NAMES.get(last, last)
    return f"{head}.{last}" if head else last


def copy_state(layer, module):
    """Give a PyTorch module the parameters and buffers of our layer."""
    state = {
        their_name(name): torch.from_numpy(np.array(weight_to_torch(value)))
        for name, value in layer.state_dict().items()
    }
    module.load_state_dict(state)


def assert_same_state(layer, module, tolerance=1.0):
    """Check that all parameters and buffers agree."""
    theirs = {name: value.numpy() for name, value in module.state_dict().items()}
    ours = layer.state_dict()
    assert {their_name(name) for name in ours} == set(theirs)
    for name, value in ours.items():
        expected = weight_from_torch(theirs[their_name(name)])
        if value.dtype.kind == "i":
            assert value == expected, name
        else:
            assert_close(value, expected, name, tolerance)


def assert_same_gradients(layer, module, tolerance=1.0):
    """Check that the gradients of all parameters agree."""
    theirs = dict(module.named_parameters())
    ours = dict(layer.named_parameters())
    assert {their_name(name) for name in ours} == set(theirs)
    for name, p in ours.items():
        expected = weight_from_torch(theirs[their_name(name)].grad.numpy())
        assert_close(p.grad, expected, f"gradient of {name}", tolerance)


def compare(layer, module, x, images=True, tolerance=1.0):
    """Compare one forward and one backward of both on x: outputs, all gradients and buffers must
    agree.

    `images` says whether to convert the layout of x and of the output. The dtypes are those of x.
    """
    first = channels_first if images else np.array
    last = channels_last if images else np.array
    ours = md.tensor(x, requires_grad=True)
    theirs = torch.from_numpy(np.array(first(x))).requires_grad_()
    y, their_y = layer(ours), module(theirs)
    assert_close(y.data, last(their_y.detach().numpy()), "output", tolerance)
    dy = draw("the gradient of the output", y.shape, x.dtype)
    layer.zero_grad()
    module.zero_grad()
    y.backward(dy)
    their_y.backward(torch.from_numpy(np.array(first(dy))))
    assert_close(ours.grad, last(theirs.grad.numpy()), "gradient of x", tolerance)
    assert_same_gradients(layer, module, tolerance)
    assert_same_state(layer, module, tolerance)


class Padded(torch.nn.Module):
    """Pads each side as PyTorch does (left, right, top, bottom), and then calls a module."""

    def __init__(self, module, padding, value=0.0):
        super().__init__()
        self.module, self.padding, self.value = module, padding, value

    def forward(self, x):
        return self.module(torch.nn.functional.pad(x, self.padding, value=self.value))


def run(ours, theirs, arrays, dtype, last_to_second=False, tolerance=1.0):
    """Call both on the same arrays. Results, and the gradients of float arrays, must agree.

    With `last_to_second` PyTorch gets arrays of three axes or more with the last axis moved to the
    second place.
    """

    def turned(a):
        return np.moveaxis(a, -1, 1) if last_to_second and a.ndim > 2 else a

    arrays = [a.astype(dtype) if a.dtype.kind == "f" else a for a in arrays]
    mine = [md.tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays]
    other = [torch.from_numpy(np.array(turned(a), order="C")) for a in arrays]
    for t in other:
        t.requires_grad_(t.is_floating_point())
    y, expected = ours(*mine), theirs(*other)
    assert_close(y.data, expected.detach().numpy(), "value", tolerance)
    dy = draw("dy", y.shape, dtype, 0.5, 1.5)
    y.backward(dy)
    expected.backward(torch.from_numpy(dy))
    for k, (a, b) in enumerate(zip(mine, other, strict=True)):
        if a.requires_grad:
            g = b.grad.numpy()
            if last_to_second and g.ndim > 2:
                g = np.moveaxis(g, 1, -1)
            assert_close(a.grad, np.array(g), f"gradient of input {k}", tolerance)
