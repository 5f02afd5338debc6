"""Errors of what is called rarely name the function: also where NumPy or Python raise them."""

import numpy as np
import pytest

import minidl as md
from minidl import data, nn, optim
from minidl.checks import named
from tests.harness import refuses

X = md.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
NONE = np.zeros(0)                                  # an array has no truth
REFUSED = {
    "tensor": (lambda: md.tensor(2**64), TypeError),
    "Tensor": (lambda: md.Tensor([[1.0], [2.0, 3.0]]), ValueError),
    "tensor, dtype": (lambda: md.tensor(1, dtype="a word"), TypeError),
    "zeros": (lambda: md.zeros({0}), TypeError),
    "ones": (lambda: md.ones(requires_grad=NONE), TypeError),
    "full": (lambda: md.full((2,), object()), TypeError),
    "full_like": (lambda: md.full_like(X, [[0, 0, 0]]), ValueError),
    "arange": (lambda: md.arange(0, 1, 0), ValueError),
    "eye": (lambda: md.eye(0, k=[0]), TypeError),
    "rand": (lambda: md.rand(2, dtype=int), TypeError),
    "randn": (lambda: md.randn(True), TypeError),
    "rand_like": (lambda: md.rand_like(0), TypeError),
    "fans": (lambda: nn.init.fans(3), TypeError),
    "normal": (lambda: nn.init.normal((0, -2)), ValueError),
    "uniform": (lambda: nn.init.uniform((2, 2), dtype=int), TypeError),
    "he_uniform": (lambda: nn.init.he_uniform(("a", 2)), TypeError),
    "lecun_normal": (lambda: nn.init.lecun_normal((-1, 2)), ValueError),
    "xavier_uniform": (lambda: nn.init.xavier_uniform((2, 2), groups=0), ValueError),
    "orthogonal": (lambda: nn.init.orthogonal((2, 2.5)), TypeError),
    "constant": (lambda: nn.init.constant(0), TypeError),
    "astype": (lambda: X.astype(1e308), TypeError),
    "astype of a layer": (lambda: nn.Dense(1, 1).astype("i,j->"), TypeError),
    "getitem": (lambda: X[{0}, 0], IndexError),
    "transpose": (lambda: X.transpose({}), TypeError),
    "broadcast_to": (lambda: md.broadcast_to(X, ("", 0)), TypeError),
    "reshape": (lambda: X.reshape(np.array(2.5)), TypeError),
    "expand_dims": (lambda: md.expand_dims(X, None), TypeError),
    "pad": (lambda: md.pad(md.zeros((0, 2)), 1, "reflect"), ValueError),
    "pad, mode": (lambda: md.pad(X, 1, NONE), TypeError),
    "sum": (lambda: md.sum(X, keepdims="no"), TypeError),
    "max": (lambda: md.max(X, keepdims=NONE), TypeError),
    "argmax": (lambda: md.argmax(X, axis=True), TypeError),
    "var": (lambda: md.var(X, ddof={0}), TypeError),
    "any": (lambda: md.any(X, keepdims=2), TypeError),
    "add": (lambda: md.tensor(np.ones(2, np.uint8)) + 256, OverflowError),
    "power": (lambda: X ** [[0], [0, 0]], TypeError),
    "one_hot": (lambda: md.one_hot(np.zeros((2**31, 0), int), 2**30), MemoryError),
    "dropout": (lambda: md.dropout(X, training=NONE), TypeError),
    "gelu": (lambda: md.gelu(X, approximate=NONE), TypeError),
    "cross_entropy": (lambda: md.cross_entropy(X, [0, 1], reduction=NONE), TypeError),
    "l1_loss": (lambda: md.l1_loss(X, [[1.0], [2.0, 0]]), TypeError),
    "batch_norm": (lambda: md.batch_norm(X, None, None, training=True, eps="a"), TypeError),
    "grad": (lambda: md.grad([[[1.0]]], [X]), TypeError),
    "grad, inputs": (lambda: md.grad(X.sum(), 0), TypeError),
    "backward": (lambda: X.sum().backward("a"), TypeError),
    "set_precision": (lambda: md.set_precision(NONE), TypeError),
    "use_backend": (lambda: md.use_backend([]).__enter__(), TypeError),
    "save": (lambda: md.save(0, {}), TypeError),
    "load": (lambda: md.load("a\0"), ValueError),
    "Conv": (lambda: nn.Conv(1, 1, 1, bias=NONE), TypeError),
    "Conv, size": (lambda: nn.Conv(1, 1, np.array(1.5)), TypeError),
    "Dense": (lambda: nn.Dense(1, 1, bias="yes"), TypeError),
    "BatchNorm": (lambda: nn.BatchNorm(1, affine=NONE), TypeError),
    "InstanceNorm": (lambda: nn.InstanceNorm(1, affine=NONE), TypeError),
    "GRU": (lambda: nn.GRU(1, 1, norm=NONE), TypeError),
    "RNN": (lambda: nn.RNN(1, 1, nonlinearity=[]), TypeError),
    "GELU": (lambda: nn.GELU(NONE), TypeError),
    "LayerList": (lambda: nn.LayerList(3), TypeError),
    "SGD": (lambda: optim.SGD(False, 0.1), TypeError),
    "SGD, nesterov": (lambda: optim.SGD([X], 0.1, 0.9, NONE), TypeError),
    "clip_grad_norm": (lambda: optim.clip_grad_norm(0, 1.0), TypeError),
    "DataLoader": (lambda: data.DataLoader([1], drop_last=2), TypeError),
    "dataset": (lambda: data.DataLoader(md.tensor(1.0)), TypeError),
    "ArrayDataset": (lambda: data.ArrayDataset([1], [1], classes=0), TypeError),
}


@pytest.mark.parametrize("name", REFUSED)
def test_errors_name_the_function(name):
    call, error = REFUSED[name]
    with refuses(error, name.partition(",")[0].partition(" ")[0]):
        call()


def test_a_momentum_that_is_none_changes_no_statistics():
    mean, var, count = np.zeros(2), np.ones(2), np.zeros((), np.int64)
    with refuses(TypeError, "batch_norm", "momentum"):
        md.batch_norm(X, None, None, mean, var, training=True, momentum="a", num_batches=count)
    assert count == 0 and not mean.any()


@pytest.mark.parametrize("raised", [OverflowError, ZeroDivisionError, ValueError])
def test_what_others_raise_is_named(raised):
    @named
    def draw():
        """Draws."""
        raise raised("too much")

    assert draw.__name__ == "draw" and draw.__doc__ == "Draws."
    with refuses(ValueError, "draw: too much"):
        draw()


def test_what_names_the_function_stays_as_it_is():
    error = ValueError("draw: too much")

    @named
    def draw():
        raise error

    with pytest.raises(ValueError) as caught:
        draw()
    assert caught.value is error
