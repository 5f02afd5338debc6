"""These tests check functions in exported files: ONNX Runtime computes each as minidl does, for one
array, for two, and for images.
"""

import numpy as np
import pytest

import minidl as md
from minidl import nn
from tests.support.onnx_exports import check
from tests.support.onnx_files import draw, run

W = draw(6, 5, seed=1)


PAIRS = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "divide": lambda a, b: a / b,
    "maximum": md.maximum,
    "minimum": md.minimum,
    "remainder": lambda a, b: a % b,
    "floor_divide": lambda a, b: a // b,
    "greater": lambda a, b: a > b,
    "not_equal": lambda a, b: a != b,
    "and": lambda a, b: (a > 0) & ~(b > 0),
    "power": lambda a, b: md.abs(a) ** b,
    "matmul": lambda a, b: md.matmul(a, b.transpose(0, 2, 1)),
    "mse": lambda a, b: md.mse_loss(a, b, "none"),
}

FUNCTIONS = {
    "negative": lambda x: -x,
    "exp": md.exp,
    "log": lambda x: md.log(md.abs(x)),
    "sqrt": lambda x: md.sqrt(md.abs(x)),
    "tanh": md.tanh,
    "sigmoid": md.sigmoid,
    "leaky_relu": lambda x: md.leaky_relu(x, 0.2),
    "elu": lambda x: md.elu(x, 0.7),
    "softplus": md.softplus,
    "softplus with options": lambda x: md.softplus(x, 2, 1),
    "silu": md.silu,
    "gelu": md.gelu,
    "gelu by tanh": lambda x: md.gelu(x, "tanh"),
    "clip": lambda x: md.clip(x, -0.5, 0.5),
    "clip below": lambda x: md.clip(x, 0),
    "clip by tensors": lambda x: md.clip(x, x.mean(-1, keepdims=True), md.ones(6)),
    "where": lambda x: md.where(x > 0, x, 0.0),
    "astype": lambda x: (x * 10).astype(np.int32),
    "numbers": lambda x: 2 * x + 1 - x / 3,
    "a number before": lambda x: 1 / (x * x + 1),
    "integers": lambda x: (x * 9).astype(np.int64) % 4 + (x * 9).astype(np.int64) // 4,
    "sum": lambda x: x.sum(1),
    "mean": lambda x: x.mean((1, 2)),
    "mean, kept": lambda x: x.mean(-1, keepdims=True),
    "max": lambda x: x.max(2),
    "min": lambda x: x.min(1),
    "var": lambda x: x.var(-1),
    "std": lambda x: md.std(x, (1, 2), ddof=1),
    "argmax": lambda x: x.argmax(-1),
    "argmin, kept": lambda x: x.argmin(1, keepdims=True),
    "any": lambda x: (x > 1).any(-1),
    "all": lambda x: (x > -1).all(1),
    "softmax": md.softmax,
    "softmax of axis 1": lambda x: md.softmax(x, 1),
    "log_softmax": md.log_softmax,
    "logsumexp": lambda x: md.logsumexp(x, (1, 2)),
    "reshape": lambda x: x.reshape(len(x), -1),
    "rows": lambda x: x.reshape(-1, x.shape[-1]),
    "more axes": lambda x: x.reshape(len(x), 2, 2, -1),
    "batch twice": lambda x: md.broadcast_to(x[None, :, 0], (len(x), len(x), 6)),
    "transpose": lambda x: x.transpose(0, 2, 1),
    "broadcast_to": lambda x: md.broadcast_to(x[:, :1], x.shape),
    "concatenate": lambda x: md.concatenate([x, x * 2], 1),
    "stack": lambda x: md.stack([x, x], 1),
    "constants of the batch": lambda x: md.concatenate([x, md.ones((len(x), 1, 6))], 1),
    "constants but for one": lambda x: md.concatenate([x[:1], md.ones((len(x) - 1, 4, 6))]),
    "split": lambda x: md.split(x, 2, 1)[1],
    "flip": lambda x: md.flip(x, (1, 2)),
    "pad": lambda x: md.pad(x, ((0, 0), (1, 2), (0, 1)), constant_values=2),
    "reflect": lambda x: md.pad(x, ((0, 0), (1, 2), (2, 1)), "reflect"),
    "slices": lambda x: x[:, 1:3, ::-2],
    "a number": lambda x: x[:, -1],
    "new axes": lambda x: x[:, None, 1:, 2],
    "places": lambda x: x[:, [0, 2, 1]],
    "a table of places": lambda x: x[..., np.array([[0, 1], [2, 2]])],
    "squeeze": lambda x: md.squeeze(x[:, :1], 1),
    "expand_dims": lambda x: md.expand_dims(x, (1, 3)),
    "einsum": lambda x: md.einsum("nij,nkj->nik", x, x),
    "one_hot": lambda x: md.one_hot(x.argmax(-1), 6),
    "detach": lambda x: x.detach() * 2,
    "a matrix": lambda x: x @ W,
    "dense": nn.Dense(6, 3),
    "layer_norm": nn.LayerNorm(6),
    "rms_norm": nn.RMSNorm(6),
    "from the mean of the batch": lambda x: x - x.mean(0),
    "a scalar": lambda x: x * md.tensor(2.0),
    "dropout": nn.Dropout(0.5),
    "sine": md.sin,
    "cosine": md.cos,
    "cumsum": lambda x: md.cumsum(x, 1),
    "sort": lambda x: md.sort(x, 1),
    "argsort": lambda x: md.argsort(x, 1),
    "topk": lambda x: md.topk(x, 2)[0],
    "places of topk": lambda x: md.topk(x, 3, 1)[1],
    "attention": nn.MultiHeadAttention(6, 2),
    "causal attention": lambda x: md.scaled_dot_product_attention(x, x, x, causal=True),
    "sequences": lambda x: md.resize(md.adaptive_avg_pool(x, 3), 7, "linear"),
}

CONV, DENSE = nn.Conv(4, 6, 3), nn.Dense(6, 6)
ON_IMAGES = {
    "conv": nn.Conv(4, 6, 3, stride=2, padding=1),
    "same": nn.Conv(4, 6, 3, 2, "same"),
    "groups and dilation": nn.Conv(4, 8, 3, dilation=2, groups=2),
    "conv_transpose": nn.ConvTranspose(4, 6, 3, stride=2, padding=1, output_padding=1),
    "conv_transpose of groups": nn.ConvTranspose(4, 6, (2, 3), groups=2, dilation=2),
    "max_pool": lambda x: md.max_pool(x, 3, 2, 1),
    "avg_pool": lambda x: md.avg_pool(x, 3, 2, 1),
    "max_pool, options": lambda x: md.max_pool(x, 2, 3, ((1, 0), (0, 1)), True, (1, 2)),
    "avg_pool, part of the padding": lambda x: md.avg_pool(x, 3, 2, ((1, 0), (0, 1)), True),
    "avg_pool, no padding": lambda x: md.avg_pool(x, 3, 2, 1, count_padding=False),
    "avg_pool, ceil": lambda x: md.avg_pool(x, 3, 2, 1, True, count_padding=False),
    "avg_pool, same": lambda x: md.avg_pool(x, 2, 1, "same", dilation=2),
    "resize": lambda x: md.resize(CONV(x), (7, 3)),
    "resize, linear": lambda x: md.resize(CONV(x), (7, 13), "linear"),
    "resize of an input": lambda x: md.resize(x, (7, 13), "linear"),
    "upsample": nn.Sequential(CONV, nn.Upsample(scale_factor=2)),
    "adaptive_avg_pool": lambda x: md.adaptive_avg_pool(CONV(x), (4, 5)),
    "global_avg_pool": md.global_avg_pool,
    "batch_norm": nn.BatchNorm(4),
    "without gamma": nn.BatchNorm(4, affine=False),
    "of the batch": nn.BatchNorm(4, track_stats=False),
    "group_norm": nn.GroupNorm(2, 4),
    "instance_norm": nn.InstanceNorm(4),
    "filter_response_norm": nn.FilterResponseNorm(4),
    "flatten": nn.Sequential(CONV, nn.ReLU(), nn.Flatten(), nn.Dense(216, 5)),
    "flattened beside others": lambda x: md.concatenate([CONV(x).flatten(1), x.flatten(1)], 1),
    "squeeze and excite": lambda x: (
        CONV(x) * md.sigmoid(DENSE(CONV(x).mean((1, 2))))[:, None, None]
    ),
    "a vector": lambda x: CONV(x) + W[:, 0],
    "softmax": lambda x: md.softmax(CONV(x)),
    "mean of channels": lambda x: CONV(x).mean(-1),
    "argmax": lambda x: CONV(x).argmax(-1),
    "slices": lambda x: CONV(x)[:, 1:3, ::2, 1:],
    "split": lambda x: md.split(CONV(x), 2, -1)[1],
    "pad": lambda x: CONV(md.pad(x, ((0, 0), (1, 1), (2, 0), (0, 0)))),
    "concatenate": lambda x: md.concatenate([CONV(x), CONV(x) * 2], -1),
    "layer_norm": lambda x: md.layer_norm(CONV(x), None, None),
    "repeated": lambda x: md.broadcast_to(
        CONV(x)[:, :, None, :, None], (len(x), 6, 2, 6, 2, 6)
    ).reshape(len(x), 12, 12, 6),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function(name, tmp_path):
    check(FUNCTIONS[name], draw(3, 4, 6), tmp_path / "f.onnx")


@pytest.mark.parametrize("name", PAIRS)
def test_a_function_of_two(name, tmp_path):
    check(PAIRS[name], (draw(3, 4, 4), draw(3, 4, 4, seed=1)), tmp_path / "f.onnx")


@pytest.mark.parametrize("name", ON_IMAGES)
def test_a_function_of_images(name, tmp_path):
    check(ON_IMAGES[name], draw(3, 8, 8, 4), tmp_path / "f.onnx")


def test_entries_of_a_table_of_ones_own(tmp_path):
    """The array is no input, its indices are."""
    table, numbers = md.tensor(draw(5, 4, 3)), np.array([1, 3, 0])
    md.onnx.export(lambda i: table[:, i], tmp_path / "f.onnx", numbers)
    (y,) = run((tmp_path / "f.onnx").read_bytes(), numbers[:2])
    np.testing.assert_array_equal(y, table.data[:, numbers[:2]])
