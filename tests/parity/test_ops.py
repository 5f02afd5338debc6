"""These tests compare operations with PyTorch's: values and gradients."""

import numpy as np
import pytest
import torch
from torch.nn import functional as tf

import minidl as md
from tests.support.parity import assert_close, both_floats, draw, off_kinks, run


@pytest.mark.parametrize("low, high", [(-2, 2), (-80, 80), (1e4, 1.001e4)])
@pytest.mark.parametrize(
    "ours, theirs",
    [(md.softmax, torch.softmax), (md.log_softmax, torch.log_softmax)],
    ids=["softmax", "log_softmax"],
)
@pytest.mark.parametrize("axis", [-1, 0, 1])
@both_floats
def test_softmax(ours, theirs, axis, low, high, dtype):
    x = draw("softmax", (4, 5, 6), low=low, high=high)
    run(lambda t: ours(t, axis), lambda t: theirs(t, axis), [x], dtype)


# Each entry has PyTorch's function of the same arrays, the shapes, and the range of values.
OPERATIONS = {
    "exp": (md.exp, torch.exp, [(3, 5)]),
    "log": (lambda x: md.log(md.abs(x)), lambda x: torch.log(x.abs()), [(3, 5)]),
    "sqrt": (lambda x: md.sqrt(md.abs(x)), lambda x: torch.sqrt(x.abs()), [(3, 5)]),
    "sin": (lambda x: md.sin(9 * x), lambda x: torch.sin(9 * x), [(3, 50)]),
    "cos": (lambda x: md.cos(9 * x), lambda x: torch.cos(9 * x), [(3, 50)]),
    "power": (lambda x: md.abs(x) ** 2.5, lambda x: x.abs() ** 2.5, [(3, 5)]),
    "relu": (md.relu, torch.relu, [(3, 50)]),
    "sigmoid": (lambda x: md.sigmoid(10 * x), lambda x: torch.sigmoid(10 * x), [(3, 50)]),
    "tanh": (md.tanh, torch.tanh, [(3, 50)]),
    "leaky_relu": (lambda x: md.leaky_relu(x, 0.2), lambda x: tf.leaky_relu(x, 0.2), [(3, 50)]),
    "elu": (lambda x: md.elu(x, 1.5), lambda x: tf.elu(x, 1.5), [(3, 50)]),
    "softplus": (lambda x: md.softplus(9 * x), lambda x: tf.softplus(9 * x), [(3, 50)]),
    "softplus, options": (
        lambda x: md.softplus(x, 2, 1),
        lambda x: tf.softplus(x, 2, 1),
        [(3, 50)],
    ),
    "silu": (lambda x: md.silu(4 * x), lambda x: tf.silu(4 * x), [(3, 50)]),
    "gelu": (lambda x: md.gelu(2 * x), lambda x: tf.gelu(2 * x), [(3, 50)]),
    "gelu, tanh": (
        lambda x: md.gelu(2 * x, "tanh"),
        lambda x: tf.gelu(2 * x, approximate="tanh"),
        [(3, 50)],
    ),
    "logsumexp": (
        lambda x: md.logsumexp(x, (0, 2)),
        lambda x: torch.logsumexp(x, (0, 2)),
        [(3, 4, 5)],
    ),
    "einsum, product": (
        lambda a, b: md.einsum("bij,bkj->bik", a, b),
        lambda a, b: torch.einsum("bij,bkj->bik", a, b),
        [(2, 3, 5), (2, 4, 5)],
    ),
    "einsum, chain": (
        lambda a, b, c: md.einsum("ij,jk,kl->li", a, b, c),
        lambda a, b, c: torch.einsum("ij,jk,kl->li", a, b, c),
        [(3, 4), (4, 5), (5, 2)],
    ),
    "einsum, diagonal": (
        lambda a: md.einsum("bii->bi", a),
        lambda a: torch.einsum("bii->bi", a),
        [(2, 3, 3)],
    ),
    "embedding": (
        lambda w: md.embedding([[1, 0], [1, 3]], w),
        lambda w: tf.embedding(torch.tensor([[1, 0], [1, 3]]), w),
        [(4, 5)],
    ),
    "mse_loss": (md.mse_loss, tf.mse_loss, [(3, 5), (3, 5)]),
    "l1_loss": (md.l1_loss, tf.l1_loss, [(3, 5), (3, 5)]),
    "huber_loss": (
        lambda a, b: md.huber_loss(a, b, delta=0.7),
        lambda a, b: tf.huber_loss(a, b, delta=0.7),
        [(3, 5), (3, 5)],
    ),
    "clip": (lambda x: md.clip(x, -1, 0.5), lambda x: torch.clip(x, -1, 0.5), [(3, 50)]),
    "maximum": (md.maximum, torch.maximum, [(3, 5), (3, 5)]),
    "broadcasting": (
        lambda a, b: a * b / (1 + b * b) - b,
        lambda a, b: a * b / (1 + b * b) - b,
        [(2, 3, 5), (3, 1)],
    ),
    "matmul": (md.matmul, torch.matmul, [(33, 65), (65, 17)]),
    "matmul, batches": (md.matmul, torch.matmul, [(2, 1, 6, 7), (3, 7, 5)]),
    "matmul, vectors": (md.matmul, torch.matmul, [(2, 6, 7), (7,)]),
    "sum": (lambda x: md.sum(x, (0, 2)), lambda x: x.sum((0, 2)), [(3, 4, 5)]),
    "mean": (lambda x: md.mean(x, 1, keepdims=True), lambda x: x.mean(1, True), [(3, 4, 5)]),
    "var": (lambda x: md.var(x, (0, 1)), lambda x: x.var((0, 1), correction=0), [(3, 4, 5)]),
    "std, ddof 1": (lambda x: md.std(x, -1, ddof=1), lambda x: x.std(-1), [(3, 4, 5)]),
    "max": (lambda x: md.max(x, 1), lambda x: x.amax(1), [(3, 4, 5)]),
    "min": (lambda x: md.min(x, (0, 1)), lambda x: x.amin((0, 1)), [(3, 4, 5)]),
    "cumsum": (lambda x: md.cumsum(x, 1), lambda x: x.cumsum(1), [(3, 40, 5)]),
    "sort": (lambda x: md.sort(x, 1), lambda x: x.sort(1).values, [(3, 40, 5)]),
    "argsort": (
        lambda x: x[:, 0][md.argsort(x, 0)[:, 1]],
        lambda x: x[:, 0][x.argsort(0)[:, 1]],
        [(30, 5)],
    ),
    "topk": (lambda x: md.topk(x, 7, 1)[0], lambda x: x.topk(7, 1).values, [(3, 40, 5)]),
    "topk of all": (lambda x: md.topk(x, 5)[0], lambda x: x.topk(5).values, [(3, 5)]),
    "layer_norm, two axes": (
        lambda x, g, b: md.layer_norm(x, g, b, axis=(-2, -1)),
        lambda x, g, b: tf.layer_norm(x, (4, 5), g, b),
        [(3, 4, 5), (4, 5), (4, 5)],
    ),
    "rms_norm, two axes": (
        lambda x, g: md.rms_norm(x, g, axis=(-2, -1)),
        lambda x, g: tf.rms_norm(x, (4, 5), g, 1e-5),
        [(3, 4, 5), (4, 5)],
    ),
    "conv1d": (
        md.conv1d,
        lambda x, w: tf.conv1d(x.mT, w.permute(2, 1, 0)).mT,
        [(2, 9, 5), (3, 5, 7)],
    ),
    "max_pool1d": (
        lambda x: md.max_pool1d(x, 3, 2, 1, True),
        lambda x: tf.max_pool1d(x.mT, 3, 2, 1, ceil_mode=True).mT,
        [(2, 10, 5)],
    ),
    "avg_pool1d": (
        lambda x: md.avg_pool1d(x, 3, 2, 1, True, 1, False),
        lambda x: tf.avg_pool1d(x.mT, 3, 2, 1, True, False).mT,
        [(2, 10, 5)],
    ),
    "conv_transpose, uneven": (
        lambda x, w: md.conv_transpose(x, w, stride=2, padding=((1, 0), (0, 2))),
        lambda x, w: tf.conv_transpose2d(
            x.permute(0, 3, 1, 2), w.permute(2, 3, 0, 1), stride=2
        ).permute(0, 2, 3, 1)[:, 1:, :-2],
        [(2, 4, 5, 3), (3, 3, 3, 4)],
    ),
    "pad, reflect": (
        lambda x: md.pad(x, ((0, 0), (1, 2)), mode="reflect"),
        lambda x: tf.pad(x, (1, 2), mode="reflect"),
        [(3, 5)],
    ),
    "pad, edge": (
        lambda x: md.pad(x, ((0, 0), (1, 2)), mode="edge"),
        lambda x: tf.pad(x, (1, 2), mode="replicate"),
        [(3, 5)],
    ),
    "pad, wrap": (
        lambda x: md.pad(x, ((0, 0), (1, 2)), mode="wrap"),
        lambda x: tf.pad(x, (1, 2), mode="circular"),
        [(3, 5)],
    ),
    "indexing": (lambda x: x[1:, [0, 2, 2]], lambda x: x[1:, [0, 2, 2]], [(3, 4, 5)]),
    "concatenate": (
        lambda a, b: md.concatenate([a, b, a], axis=1),
        lambda a, b: torch.cat([a, b, a], 1),
        [(3, 4), (3, 2)],
    ),
    "stack": (
        lambda a, b: md.stack([a, b], axis=1),
        lambda a, b: torch.stack([a, b], 1),
        [(3, 4), (3, 4)],
    ),
}


@pytest.mark.parametrize("name", OPERATIONS)
@both_floats
def test_operation(name, dtype):
    ours, theirs, shapes = OPERATIONS[name]
    run(ours, theirs, [off_kinks(f"{name} {k}", shape) for k, shape in enumerate(shapes)], dtype)


# The sizes before and after, of one axis or of two.
SIZES = [
    ((2, 5, 3), 8),
    ((2, 5, 3), 2),
    ((2, 7, 9, 3), (14, 27)),
    ((2, 7, 9, 3), (4, 5)),
    ((2, 3, 4, 5), (7, 3)),
    ((1, 1, 6, 2), (3, 6)),
    ((2, 8, 8, 4), (4, 2)),
    ((1, 3, 33, 2), (50, 20)),
]


def both(f):
    """Return PyTorch's function for one axis of positions or for two."""
    return lambda x, size: f[x.ndim - 3](x, size)


RESIZED = {
    "nearest": (md.resize, lambda x, size: tf.interpolate(x, size, mode="nearest-exact")),
    "linear": (
        lambda x, size: md.resize(x, size, "linear"),
        both(
            [
                lambda x, size: tf.interpolate(x, size, mode="linear", align_corners=False),
                lambda x, size: tf.interpolate(x, size, mode="bilinear", align_corners=False),
            ]
        ),
    ),
    "adaptive_avg_pool": (
        md.adaptive_avg_pool,
        both([tf.adaptive_avg_pool1d, tf.adaptive_avg_pool2d]),
    ),
}


@pytest.mark.parametrize("shape, size", SIZES, ids=str)
@pytest.mark.parametrize("name", RESIZED)
@both_floats
def test_other_sizes(name, shape, size, dtype):
    ours, theirs = RESIZED[name]
    arrays = [off_kinks(f"{name} {shape}", shape).astype(dtype)]
    mine = md.tensor(arrays[0], requires_grad=True)
    other = torch.from_numpy(np.moveaxis(arrays[0], -1, 1).copy()).requires_grad_()
    y, expected = ours(mine, size), theirs(other, size)
    assert_close(y.data, np.moveaxis(expected.detach().numpy(), 1, -1))
    dy = draw("dy", y.shape, dtype)
    y.backward(dy)
    expected.backward(torch.from_numpy(np.moveaxis(dy, -1, 1).copy()))
    assert_close(mine.grad, np.moveaxis(other.grad.numpy(), 1, -1))


@pytest.mark.parametrize("factor", [2, 3, (2, 4)])
def test_nearest_by_whole_factors_is_both_of_theirs(factor):
    x = draw("whole factors", (2, 5, 6, 3), np.float32)
    theirs = tf.interpolate(torch.from_numpy(np.moveaxis(x, -1, 1).copy()), scale_factor=factor)
    size = tuple(np.multiply(factor, (5, 6)).tolist())
    np.testing.assert_array_equal(md.resize(x, size), np.moveaxis(theirs.numpy(), 1, -1))


@both_floats
def test_nan_and_equal_values_in_order(dtype):
    x = np.array([[3, np.nan, 1, 3, np.inf, -1], [2, 2, 2, 2, 2, 2]], dtype)
    t = torch.from_numpy(x)
    np.testing.assert_array_equal(md.sort(x), t.sort(stable=True).values)
    np.testing.assert_array_equal(md.argsort(x), t.argsort(stable=True))
    for k in range(7):
        np.testing.assert_array_equal(md.topk(x, k)[0], t.topk(k).values)


MASKS = {
    "none": {},
    "causal": {"causal": True},
    "booleans": {"mask": draw("booleans", (6, 7)) > 0},
    "of each": {"mask": draw("of each", (2, 1, 6, 7)) > 0},
    "a row without keys": {"mask": np.arange(6)[:, None] % 3 < np.ones(7)},
    "floats": {"mask": draw("floats", (6, 7))},
    "floats and -inf": {"mask": np.where(draw("inf", (6, 7)) > 0.5, -np.inf, 0.25)},
}


@pytest.mark.parametrize("name", MASKS)
@both_floats
def test_scaled_dot_product_attention(name, dtype):
    options = {
        key: value.astype(dtype) if getattr(value, "dtype", bool) == np.float64 else value
        for key, value in MASKS[name].items()
    }
    mask = options.get("mask")
    theirs = {
        "attn_mask": None if mask is None else torch.from_numpy(mask),
        "is_causal": options.get("causal", False),
    }
    run(
        lambda q, k, v: md.scaled_dot_product_attention(q, k, v, **options),
        lambda q, k, v: tf.scaled_dot_product_attention(q, k, v, **theirs),
        [draw("q", (2, 3, 6, 8)), draw("k", (2, 3, 7, 8)), draw("v", (2, 3, 7, 5))],
        dtype,
    )
