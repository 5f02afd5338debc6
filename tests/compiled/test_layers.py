"""These tests check that plans compute every kind and option of layer as evaluation mode does, and
that an operation is fused into the one before it if nobody else reads the result in between.
"""

from functools import partial

import numpy as np
import pytest

import minidl as md
from minidl import nn
from tests.support.compiled_models import (
    assert_equal,
    check,
    conv,
    draw,
    evaluated,
    module,
    network,
    settled,
    steps,
)
from tests.support.curves import CURVES

X = draw(2, 9, 7, 8)
WIDE = draw(2, 9, 7, 16)


# ---------------------------------------------------------------------------------- convolutions


@pytest.mark.parametrize("window", [1, 3, (2, 5)])
@pytest.mark.parametrize("stride", [1, 2, (2, 3)])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("groups", [1, 2])
def test_convolutions(window, stride, dilation, groups):
    x = draw(2, 9, 11, 8)
    for padding in (0, 2, "same") if stride == 1 else (0, (2, 1)):
        layer = nn.Conv(
            8, 20, window, stride=stride, dilation=dilation, groups=groups, padding=padding
        )
        compiled = check(network(layer, nn.BatchNorm(20), nn.ReLU()), x, sizes=(1, 3), teams=(2,))
        assert len(compiled.steps) <= 2  # a convolution, and a copy of the image with a border


@pytest.mark.parametrize("channels", [1, 3, 5, 8, 16, 17, 24, 40])
def test_numbers_of_channels(channels):
    for out in (1, 5, 16, 24, 33):
        check(
            network(conv(channels, out), nn.ReLU()),
            draw(2, 6, 7, channels),
            sizes=(1, 3),
            teams=(2,),
        )
    for options in ({}, {"stride": 2, "padding": 1}, {"dilation": 2}):
        layer = conv(channels, channels, groups=channels, **options)
        check(
            network(layer, nn.BatchNorm(channels), nn.SiLU()),
            draw(2, 6, 7, channels),
            sizes=(1, 3),
            teams=(2,),
        )
    check(
        network(conv(channels, 2 * channels, groups=channels)),
        draw(2, 6, 7, channels),
        sizes=(1,),
        teams=(2,),
    )


def test_images_smaller_than_a_window():
    for size in ((1, 1), (1, 5), (2, 2), (3, 1)):
        check(network(conv(16, 16), nn.ReLU()), draw(2, *size, 16), sizes=(1, 3), teams=(1, 2))


@pytest.mark.parametrize("sizes", [(8, 3), (130, 70), (784, 300), (5, 1)])
def test_dense_layers(sizes):
    """Dense layers take rows, time steps and pixels. A few rows and many give the same bits."""
    model = network(nn.Dense(*sizes), nn.BatchNorm(sizes[1]), nn.ReLU())
    for between in ((), (3,), (2, 3)):
        compiled = check(model, draw(2, *between, sizes[0]), sizes=(1, 2, 13))
        assert steps(compiled) == ["conv 1x1, relu"]
    x = draw(13, sizes[0])
    compiled = md.compile(model, x)
    np.testing.assert_array_equal(compiled(x)[:1], compiled(x[:1]))


def test_products():
    weight = draw(8, 5, seed=4)
    assert steps(check(lambda x: x @ weight + 1, draw(2, 8))) == ["conv 1x1"]
    assert steps(check(lambda x: x @ x.transpose(1, 0), draw(2, 8)))[-1] == "call MatMul"
    check(lambda x: md.tensor(weight.T) @ x.transpose(1, 0), draw(2, 8))


def test_convolutions_of_sequences():
    if hasattr(nn, "Conv1d"):
        check(network(nn.Conv1d(8, 12, 3, padding=1), nn.BatchNorm(12), nn.ReLU()), draw(2, 9, 8))


# ------------------------------------------------------------------------------- what follows

ENDS = {
    "bn": ([nn.BatchNorm(16)], "conv 3x3"),
    "bn, relu": ([nn.BatchNorm(16), nn.ReLU()], "conv 3x3, relu"),
    "bn without parameters": ([nn.BatchNorm(16, affine=False), nn.ReLU()], "conv 3x3, relu"),
    "bn, bn": ([nn.BatchNorm(16), nn.BatchNorm(16)], "conv 3x3"),
    "scale, shift, relu": ([lambda x: x * 3 - 1, nn.ReLU()], "conv 3x3, relu"),
    "dropout": ([nn.Dropout(0.5), nn.ReLU()], "conv 3x3, relu"),
    "pool": ([nn.MaxPool(2)], "conv 3x3, max_pool 2x2"),
    "relu, pool": ([nn.ReLU(), nn.MaxPool(2)], "conv 3x3, max_pool 2x2, relu"),
    "pool, relu": ([nn.MaxPool(2), nn.ReLU()], "conv 3x3, max_pool 2x2, relu"),
}


@pytest.mark.parametrize("name", ENDS)
@pytest.mark.parametrize("size", [(8, 8), (9, 7), (2, 3)])
def test_ends_of_a_convolution(name, size):
    layers, expected = ENDS[name]
    compiled = check(network(conv(16, 16), *layers), draw(2, *size, 16), sizes=(1, 3))
    assert steps(compiled) == ["map", expected]


@pytest.mark.parametrize(
    "layers",
    [
        [nn.MaxPool(2), nn.MaxPool(2)],
        [nn.MaxPool(2), nn.BatchNorm(16), nn.ReLU()],
        [nn.GELU(), nn.MaxPool(2)],
        [nn.MaxPool(2), nn.GELU()],
        [nn.ReLU(), nn.BatchNorm(16)],
        [nn.ReLU(), nn.ReLU()],
        [nn.ReLU(), nn.AvgPool(2)],
        [nn.MaxPool(2), lambda x: x + 1],
        [nn.MaxPool(2), conv(16, 16), nn.MaxPool(2)],
    ],
)
def test_what_does_not_fit_at_the_end_comes_after(layers):
    check(network(conv(16, 16), *layers), draw(2, 10, 11, 16), sizes=(1, 3))


SUMS = {
    "with the input": lambda x, a, b, c, bn: md.relu(a(x) + x),
    "the input first": lambda x, a, b, c, bn: md.relu(x + a(x)),
    "of two": lambda x, a, b, c, bn: md.relu(a(x) + b(x)),
    "of two, the later first": lambda x, a, b, c, bn: (lambda y: md.relu(b(x) + y))(a(x)),
    "with a normalized one": lambda x, a, b, c, bn: md.relu(bn(a(x)) + x),
    "two of them normalized": lambda x, a, b, c, bn: md.relu(bn(a(x)) + bn(b(x))),
    "of three": lambda x, a, b, c, bn: md.relu(a(x) + b(x) + c(x)),
    "of a sum": lambda x, a, b, c, bn: a(x) + (b(x) + c(x)),
    "twice the same": lambda x, a, b, c, bn: (lambda y: md.relu(y + y))(a(x)),
    "used again": lambda x, a, b, c, bn: (lambda y: b(md.relu(y + x)) + y)(a(x)),
    "normalized after": lambda x, a, b, c, bn: md.relu(bn(a(x) + x)),
    "broadcast": lambda x, a, b, c, bn: a(x) + md.mean(x, axis=(1, 2), keepdims=True),
    "pooled": lambda x, a, b, c, bn: md.max_pool(md.relu(a(x) + x), 2),
    "sum of pools": lambda x, a, b, c, bn: md.max_pool(a(x), 2) + md.max_pool(b(x), 2),
}


@pytest.mark.parametrize("name", SUMS)
@pytest.mark.parametrize("window", [1, 3])
def test_sums(name, window):
    parts = [conv(16, 16, window) for _ in range(3)]
    compiled = check(module(SUMS[name], *parts, nn.BatchNorm(16)), WIDE, sizes=(1, 3))
    if name in ("with the input", "the input first", "with a normalized one"):
        assert steps(compiled)[-1] == f"conv {window}x{window}, + another, relu"


def test_what_is_returned_or_used_twice_is_not_hidden():
    check(module(lambda x, a: (lambda y: (y, md.relu(y)))(a(x)), conv()), X)
    check(module(lambda x, a: (lambda y: (md.relu(y), y, y))(a(x)), conv()), X)
    check(module(lambda x, a, b: (lambda y: b(md.relu(y)) + y)(a(x)), conv(), conv(16, 16)), X)


# ------------------------------------------------------------------------- one value at a time

CURVES = {"relu": md.relu, **CURVES}


@pytest.mark.parametrize("name", CURVES)
def test_activations(name):
    """An activation is computed after every kind of kernel, and as a step of its own."""
    for layers, x in (
        ([nn.Dense(8, 21)], draw(2, 8)),
        ([conv(8, 5)], X),
        ([conv(16, 16)], WIDE),
        ([conv(17, 17, groups=17)], draw(2, 5, 5, 17)),
        ([], 3 * X),
    ):
        compiled = check(network(*layers, CURVES[name]), x, sizes=(1, 3), teams=(1, 2))
        assert len(compiled.steps) <= 2


CHANNELS = np.arange(1, 9, dtype=np.float32)
ARITHMETIC = {
    "x + 2": lambda x: x + 2,
    "2 + x": lambda x: 2 + x,
    "x - 2": lambda x: x - 2,
    "2 - x": lambda x: 2 - x,
    "x * 3": lambda x: x * 3,
    "x / 3": lambda x: x / 3,
    "x * c": lambda x: x * CHANNELS,
    "c - x": lambda x: CHANNELS - x,
    "x / c": lambda x: x / CHANNELS,
    "x + c of four axes": lambda x: x + CHANNELS.reshape(1, 1, 1, 8),
    "in a row": lambda x: md.relu((x - 0.5) / 0.25 * 2 + 1),
}
CALLED = {
    "3 / x": lambda x: 3 / (x * x + 1),
    "x / 0": lambda x: x / np.zeros(8, np.float32),
    "x * x": lambda x: x * x,
    "-x": lambda x: -x,
    "of a row": lambda x: x + draw(7, 1),
    "of an image": lambda x: x + draw(9, 7, 8),
    "of more axes": lambda x: x + draw(1, 1, 1, 1, 8),
    "float64": lambda x: x + np.ones(8),
    "of a tiny one": lambda x: x / 1e-42,
    "with its mean": lambda x: x - x.mean(axis=-1, keepdims=True),
}


@pytest.mark.parametrize("name", ARITHMETIC)
def test_arithmetic_with_constants(name):
    assert len(steps(check(ARITHMETIC[name], X, sizes=(1, 3)))) == 1


@pytest.mark.parametrize("name", CALLED)
def test_other_arithmetic_is_called(name):
    with np.errstate(all="ignore"):
        assert any(step.startswith("call") for step in check(CALLED[name], X, sizes=(1, 3)).steps)


def test_what_is_far_from_zero_keeps_its_digits():
    """(x - mean) * scale differs from x * scale - mean * scale where the mean is many deviations
    away from 0.
    """
    far = nn.BatchNorm(8)
    far.running_mean[...], far.running_var[...] = 1e5, 4
    x = 1e5 + 2 * X
    compiled = md.compile(nn.Sequential(far, nn.ReLU()), x)
    assert steps(compiled) == ["call BatchNorm", "map, relu"]
    expected = np.maximum((x.astype(np.float64) - 1e5) / np.sqrt(4 + 1e-5), 0)
    assert_equal(compiled(x), expected.astype(np.float32))
    for f in (lambda x: md.relu((x - 1e5) / 2), lambda x: x - 1e5):
        compiled = md.compile(f, x)
        assert_equal(compiled(x), evaluated(f, x))
    assert steps(md.compile(nn.Sequential(nn.Dense(8, 8), far), X)) == ["conv 1x1"]
    assert steps(check(network(nn.BatchNorm(8), nn.ReLU()), X)) == ["map, scale and shift, relu"]


# --------------------------------------------------------------------------------------- pools


@pytest.mark.parametrize("window", [2, 3, (2, 3)])
@pytest.mark.parametrize("stride", [None, 1, 2])
@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("kind", [nn.MaxPool, nn.AvgPool])
def test_pools(kind, window, stride, padding):
    pool = kind(window, stride, padding)
    check(network(pool), X, sizes=(1, 3), teams=(1, 2))
    check(network(conv(8, 19), pool, nn.ReLU()), X, sizes=(1, 3), teams=(1, 2))


@pytest.mark.parametrize("kind", [nn.MaxPool, nn.AvgPool, partial(nn.AvgPool, count_padding=False)])
@pytest.mark.parametrize(
    "options",
    [
        {"padding": ((1, 0), (0, 1))},
        {"padding": "same", "stride": 2},
        {"dilation": 2},
        {"padding": ((0, 1), (1, 1)), "stride": (2, 3), "ceil_mode": True, "dilation": (1, 2)},
    ],
)
def test_options_of_pools(kind, options):
    check(network(conv(8, 19), kind(3, **options)), X, sizes=(1, 3), teams=(1, 2))


@pytest.mark.parametrize("padding", ["causal", (2, 0), 1, "same"])
def test_sequences(padding):
    model = nn.Sequential(
        nn.Conv1d(5, 16, 3, padding=padding, dilation=2),
        nn.BatchNorm(16),
        nn.ReLU(),
        nn.MaxPool1d(2, ceil_mode=True),
        nn.AvgPool1d(3, 1, 1),
        nn.Conv1d(16, 4, 2, padding=(0, 1)),
    )
    compiled = check(settled(model), draw(2, 9, 5), sizes=(1, 3), teams=(1, 2))
    assert any("relu" in text and "conv" in text for text in compiled.steps)


@pytest.mark.parametrize("padding", [((2, 0), (0, 1)), ((0, 0), (3, 1))])
def test_uneven_padding(padding):
    for layer, x in (
        (conv(8, 19, padding=padding), X),
        (conv(16, 16, padding=padding), WIDE),
        (conv(8, 24, 3, stride=2, padding=padding), X),
    ):
        check(network(layer, nn.ReLU()), x, sizes=(1, 3), teams=(1, 2))


def test_means_of_images():
    for f in (
        md.global_avg_pool,
        lambda x: md.mean(x, axis=(1, 2)),
        lambda x: md.mean(x, axis=(1, 2), keepdims=True),
    ):
        assert len(check(f, draw(2, 5, 6, 70)).steps) == 1
    assert len(check(lambda x: md.mean(x, axis=1), draw(2, 5, 6)).steps) == 1
    for axis in (0, -1, (0, 1), None):
        check(lambda x, axis=axis: md.mean(x, axis=axis), draw(2, 5, 6, 3))


def test_a_mean_of_many_pixels_keeps_its_digits():
    x = np.full((1, 300, 300, 3), 0.1, np.float32)
    np.testing.assert_allclose(md.compile(md.global_avg_pool, x)(x), 0.1, rtol=3e-7)


# --------------------------------------------------------------------------- NaN and infinities


@pytest.mark.parametrize(
    "model",
    [
        network(conv(16, 16), nn.ReLU()),
        network(conv(16, 16), nn.MaxPool(2), nn.ReLU()),
        network(conv(16, 5, 1), nn.BatchNorm(5), nn.ReLU()),
        network(nn.MaxPool(3, 1, 1)),
        network(conv(16, 16, groups=16), nn.SiLU()),
        network(conv(16, 6, (2, 5), padding=0), md.tanh),
        network(nn.BatchNorm(16), nn.ReLU(), nn.AvgPool(2)),
        network(md.global_avg_pool, nn.Dense(16, 3)),
        network(conv(16, 16, 3, padding=0), nn.Flatten(), nn.Dense(7 * 5 * 16, 4)),
    ],
)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinities(model, value):
    x = draw(3, 9, 7, 16)
    x[0, 4, 3, 5] = x[2, 0, 0, 0] = value
    compiled = md.compile(model, WIDE)
    with np.errstate(all="ignore"):
        expected = evaluated(model, x)
        ours = compiled(x)
    np.testing.assert_array_equal(np.isnan(ours), np.isnan(expected))
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(ours[~finite], expected[~finite])
    np.testing.assert_allclose(ours[finite], expected[finite], rtol=0, atol=1e-4)
