"""These tests check that all functions treat arguments alike: a wrong type is a TypeError, a wrong
value a ValueError, and the message names the function, the argument and what was given.
"""

import math

import numpy as np
import pytest

import minidl as md
from minidl import checks, data, models, nn, optim
from tests.support.errors import refuses

X = md.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
NONE = np.zeros(0)  # an array has no truth


# A function of every family: its call with one argument left open, the name of that argument, and
# values of a wrong type and wrong values.
W, IMAGES = md.ones(2, 2, 1, 1), md.ones(1, 4, 4, 1)
PAIRS = data.ArrayDataset(np.zeros((4, 2)), np.zeros(4))
CALLS = {
    "sum": (lambda v: md.sum(X, axis=v), "axis", ["a", 1.5, True], [2, (0, 0)]),
    "softmax": (lambda v: md.softmax(X, v), "axis", [None, 0.0, (0,)], [-3]),
    "sort": (lambda v: md.sort(X, v), "axis", ["a", 0.0, (0,)], [2]),
    "topk": (lambda v: md.topk(X, v), "k", [None, 1.0, True], [-1, 9]),
    "resize": (lambda v: md.resize(IMAGES, v), "size", [None, 2.0, "a"], [0, (1, 2, 3)]),
    "rms_norm": (lambda v: md.rms_norm(X, None, axis=v), "axis", ["a", 0.5], [0, 5, ()]),
    "scaled_dot_product_attention": (
        lambda v: md.scaled_dot_product_attention(X, X, X, causal=v),
        "causal",
        ["a", None],
        [],
    ),
    "split": (lambda v: md.split(X, v), "sections", [True, 2.0, "a", None], []),
    "any": (lambda v: md.any(X, keepdims=v), "keepdims", ["a", 2, None], []),
    "argmax": (lambda v: md.argmax(X, v), "axis", ["a", True], [5]),
    "flatten": (lambda v: md.flatten(X, v), "first_axis", [None, 1.0], [2]),
    "var": (lambda v: md.var(X, ddof=v), "ddof", ["a", None, True], [math.nan]),
    "logsumexp": (lambda v: md.logsumexp(X, keepdims=v), "keepdims", ["a", 2], []),
    "pad": (lambda v: md.pad(X, 1, v), "mode", [3, None], ["mirror"]),
    "conv": (lambda v: md.conv(IMAGES, W, stride=v), "stride", [1.5, "a", True], [0, (1, 2, 3)]),
    "max_pool": (lambda v: md.max_pool(IMAGES, v), "window", [None, 2.0], [0, 2**31]),
    "group_norm": (lambda v: md.group_norm(X, v, None, None), "groups", ["a", 1.0], [0]),
    "batch_norm": (
        lambda v: md.batch_norm(X, None, None, training=True, eps=v),
        "eps",
        ["a", None],
        [-1, math.nan],
    ),
    "layer_norm": (lambda v: md.layer_norm(X, None, None, eps=v), "eps", ["a"], [-1.0, math.inf]),
    "dropout": (lambda v: md.dropout(X, v), "p", ["a", True], [1.5]),
    "softplus": (lambda v: md.softplus(X, beta=v), "beta", ["a"], [0, -1]),
    "huber_loss": (lambda v: md.huber_loss(X, X, delta=v), "delta", ["a"], [0]),
    "cross_entropy": (
        lambda v: md.cross_entropy(X, [0, 1], label_smoothing=v),
        "label_smoothing",
        ["a", True],
        [2],
    ),
    "mse_loss": (lambda v: md.mse_loss(X, X, v), "reduction", [None, 3], ["average"]),
    "one_hot": (lambda v: md.one_hot([0], v), "depth", [1.5, "a"], [0]),
    "normal": (lambda v: nn.init.normal(v), "shape", [3, "ab", (1.5,)], []),
    "Dense": (lambda v: nn.Dense(3, v), "out_features", ["a", 1.5, True, None], [0, -1, 2**70]),
    "Conv": (lambda v: nn.Conv(1, 1, v), "kernel_size", ["a", (1, 1.5)], [0, (1,)]),
    "MaxPool": (
        lambda v: nn.MaxPool(2, padding=v),
        "padding",
        [None, 0.5, ((1, 0), 1)],
        [-1, "full", ((1, 0), (0, -1))],
    ),
    "AvgPool": (lambda v: nn.AvgPool(2, count_padding=v), "count_padding", ["a", 2], []),
    "avg_pool1d": (lambda v: md.avg_pool1d(md.ones(1, 4, 1), v), "window", [None, 2.0, (2,)], [0]),
    "Conv1d": (
        lambda v: nn.Conv1d(1, 1, 2, padding=v),
        "padding",
        [None, 0.5, ((1, 0), (1, 0))],
        [-1, "full", (1, 0, 1)],
    ),
    "BatchNorm": (lambda v: nn.BatchNorm(3, momentum=v), "momentum", ["a", True], [-1, 2]),
    "LayerNorm": (lambda v: nn.LayerNorm(v), "features", ["a", 2.0, (2, 1.5)], [0, (), (3, 0)]),
    "RMSNorm": (lambda v: nn.RMSNorm(3, bias=v), "bias", ["a", 2], []),
    "GroupNorm": (lambda v: nn.GroupNorm(1, 3, affine=v), "affine", ["a", None], []),
    "StepNorm": (lambda v: nn.StepNorm(3, 2, affine=v), "affine", ["a", None], []),
    "Upsample": (lambda v: nn.Upsample(scale_factor=v), "scale_factor", ["a", 1.5], [0, (1, 2, 3)]),
    "AdaptiveAvgPool": (lambda v: nn.AdaptiveAvgPool(v), "size", ["a", 1.5, None], [0, (1, 0)]),
    "MultiHeadAttention": (lambda v: nn.MultiHeadAttention(4, v), "heads", ["a", 2.0], [0]),
    "Renorm": (lambda v: nn.Renorm(r_max=v), "r_max", ["a"], [0.5]),
    "LSTM": (lambda v: nn.LSTM(2, 3, norm=v), "norm", [1, True], ["group"]),
    "Dropout": (lambda v: nn.Dropout(v), "p", ["a"], [-0.5]),
    "Softmax": (lambda v: nn.Softmax(v), "axis", ["a", 1.5, True], []),
    "freeze_stats": (lambda v: nn.BatchNorm(1).freeze_stats(v), "frozen", ["a", 3], []),
    "apply": (lambda v: nn.ReLU().apply(v), "f", [None, 3], []),
    "predict": (lambda v: nn.ReLU().predict(X, v), "batch_size", ["a", 1.5], [0]),
    "recalibrate": (lambda v: nn.recalibrate(nn.BatchNorm(2), [], v), "batches", [1.5], [0]),
    "MLP": (lambda v: models.MLP(hidden=v), "hidden", ["a", 1.5], [0]),
    "SGD": (lambda v: optim.SGD([X], v), "lr", ["a", None, True], [-1, math.nan, math.inf]),
    "Adam": (lambda v: optim.Adam([X], betas=v), "betas", [0.9, "ab", ("a", 0)], [(0.9,), (1, 0)]),
    "RMSprop": (lambda v: optim.RMSprop([X], alpha=v), "alpha", ["a"], [1, -0.1]),
    "clip_grad_norm": (lambda v: optim.clip_grad_norm([X], v), "max_norm", ["a", True], [-1]),
    "StepLR": (lambda v: optim.StepLR(optim.SGD([X], 1), v), "step_size", [1.5, "a"], [0, 2**60]),
    "ReduceOnPlateau": (
        lambda v: optim.ReduceOnPlateau(optim.SGD([X], 1), mode=v),
        "mode",
        [3],
        ["most"],
    ),
    "DataLoader": (lambda v: data.DataLoader(PAIRS, v), "batch_size", ["a", 1.5, True], [0, -1]),
    "MNIST": (lambda v: data.MNIST(split=v), "split", [None, 3], ["valid"]),
    "set_num_threads": (lambda v: md.set_num_threads(v), "n", [2.0, "2", True], [0, 1025]),
    "set_precision": (lambda v: md.set_precision(v), "precision", [None, 32], ["low"]),
    "use_backend": (lambda v: md.use_backend(v).__enter__(), "name", [None], ["cuda"]),
    "manual_seed": (lambda v: md.manual_seed(v), "seed", [1.5, "0", None, True], [-1]),
    "save": (lambda v: md.save(v, {}), "path", [3, None], ["a\0"]),
}


@pytest.mark.parametrize("name", CALLS)
def test_wrong_types_and_values_raise_the_same_errors_everywhere(name):
    call, argument, wrong_type, wrong_value = CALLS[name]
    for error, values in ((TypeError, wrong_type), (ValueError, wrong_value)):
        for value in values:
            with refuses(error, f"{name}: {argument}", "must be", "got "):
                call(value)


@pytest.mark.parametrize(
    "call",
    [
        lambda: md.softmax(X, np.int8(0)),
        lambda: md.dropout(X, np.float32(0.5)),
        lambda: md.conv(IMAGES, W, stride=np.int64(2), groups=np.uint8(1)),
        lambda: nn.Dense(np.int16(3), np.uint8(200)),
        lambda: nn.BatchNorm(2, np.float16(1e-3)),
        lambda: optim.SGD([X], np.float32(0.1), np.float64(0.9), np.True_),
        lambda: data.DataLoader(PAIRS, np.int32(2), np.False_),
        lambda: md.manual_seed(np.uint64(3)),
    ],
)
def test_scalars_of_numpy_are_accepted(call):
    call()


# Errors in rarely used calls name the function, too, even if NumPy or Python raise them.
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


def test_rows_without_values_are_no_members_without_end():
    few, many = np.zeros((checks.MOST_EMPTY, 0)), np.zeros((checks.MOST_EMPTY + 1, 0))
    assert len(list(checks.members(few, "f", "x", "a list of names"))) == checks.MOST_EMPTY
    for array in (many, md.Tensor(many)):
        with refuses(ValueError, "f: x must be a list of names, not 65537 empty rows"):
            checks.members(array, "f", "x", "a list of names")
    with refuses(
        ValueError, "ArrayDataset: classes must be a list of names", "33554432 empty rows"
    ):
        data.ArrayDataset(np.zeros(2), classes=md.zeros(2**25, 0))
    with refuses(ValueError, "stack: tensors must be a list of tensors", "33554432 empty rows"):
        md.stack(md.zeros(2**25, 0))


def test_what_scalars_of_numpy_give():
    assert md.any(X, keepdims=np.True_).shape == md.all(X, keepdims=np.True_).shape == (1, 1)
    for two in (np.int8(2), np.array(2), md.tensor(2)):
        assert [part.shape for part in md.split(X, two)] == [(1, 2), (1, 2)]
        assert md.broadcast_to(1.0, two).shape == (2,)
    for factor in (np.float32(2), np.float64(2), np.int64(2)):
        assert nn.Upsample(scale_factor=factor)(IMAGES).shape == (1, 8, 8, 1)
