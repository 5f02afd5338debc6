"""Exported files pass the checker, and ONNX Runtime computes what the model does, for any batch;
what comes back by `load` does too."""

import numpy as np
import onnx
import pytest

import minidl as md
from minidl import models, nn
from tests.support.onnx_files import assert_close, draw, file_of, node, operators, run

W = draw(6, 5, seed=1)


def exported(model, example, path, layout="NHWC"):
    md.manual_seed(0)
    md.onnx.export(model, path, example, layout)
    return path.read_bytes()


def outputs_of(model, *inputs):
    if isinstance(model, nn.Layer):
        model.eval()
    with md.no_grad():
        made = model(*[md.tensor(x) for x in inputs])
    return [y.data for y in _flat(made)]


def _flat(made):
    return [made] if isinstance(made, md.Tensor) else [y for item in made for y in _flat(item)]


def check(model, example, path, back=True):
    """The file of a model, after a comparison for batches of one and four."""
    content = exported(model, example, path)
    examples = example if isinstance(example, tuple) else (example,)
    loaded = md.onnx.load(path) if back else None
    for size in (1, 4):
        inputs = [np.resize(x, (size, *x.shape[1:])) for x in examples]
        expected = outputs_of(model, *inputs)
        for ours, theirs in zip(run(content, *inputs), expected, strict=True):
            assert_close(ours, theirs)
        if loaded is not None:
            for ours, theirs in zip(_flat(loaded(*inputs)), expected, strict=True):
                assert_close(ours.data, theirs)
    return content


def settled(model, *shape):
    """A model with statistics of its own."""
    md.manual_seed(0)
    model.train()
    model(md.tensor(draw(16, *shape)))
    return model.eval()


# --------------------------------------------------------------------------------- whole models

SHAPES = {"mlp": (28, 28, 1), "mnist-cnn": (28, 28, 1), "lenet": (28, 28, 1)}


@pytest.mark.parametrize("name", models.names())
def test_a_model(name, tmp_path):
    shape = SHAPES.get(name, (32, 32, 3))
    model = settled(models.create(name), *shape)
    content = check(model, draw(2, *shape), tmp_path / "model.onnx")
    assert operators(content).count("Transpose") == (name != "mlp")  # that of the input
    written = onnx.load_model_from_string(content)
    names = {t.name for t in written.graph.initializer}
    assert names >= {name for name, _ in model.named_parameters()}
    sizes = written.graph.input[0].type.tensor_type.shape.dim
    assert [d.dim_param or d.dim_value for d in sizes] == ["N", *shape]
    assert (written.opset_import[0].version, written.ir_version) == (21, 10)


@pytest.mark.parametrize(
    "given, expected",
    [
        (None, {}),
        ({}, {}),
        (
            {"a": "text", "b": ["grün", 1, None], "c": {"mean": [0.5]}},
            {"a": "text", "b": '["grün", 1, null]', "c": '{"mean": [0.5]}'},
        ),
    ],
)
def test_metadata(given, expected, tmp_path):
    path = tmp_path / "model.onnx"
    md.onnx.export(nn.Dense(4, 2), path, draw(2, 4), metadata=given)
    assert {p.key: p.value for p in onnx.load(path).metadata_props} == expected


@pytest.mark.parametrize("given", ["classes", ["a"], {"a": draw(2)}, {"a": {1, 2}}, {3: "x"}])
def test_metadata_that_cannot_be(given, tmp_path):
    with pytest.raises(TypeError, match=r"md\.onnx\.export: .*metadata must be a"):
        md.onnx.export(nn.Dense(4, 2), tmp_path / "model.onnx", draw(2, 4), metadata=given)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["mnist-cnn", "resnet20"])
def test_channels_first(name, tmp_path):
    shape = SHAPES.get(name, (32, 32, 3))
    model, x = settled(models.create(name), *shape), draw(3, *shape)
    content = exported(model, x, tmp_path / "model.onnx", "NCHW")
    assert "Transpose" not in operators(content)
    assert_close(
        run(content, np.ascontiguousarray(x.transpose(0, 3, 1, 2)))[0], outputs_of(model, x)[0]
    )


def test_images_as_outputs(tmp_path):
    model = nn.Sequential(
        nn.Conv(3, 4, 3, padding=1), nn.ReLU(), nn.ConvTranspose(4, 2, 2, stride=2)
    ).eval()
    x = draw(2, 6, 5, 3)
    content = check(model, x, tmp_path / "last.onnx")
    assert operators(content) == ["Transpose", "Conv", "Relu", "ConvTranspose", "Transpose"]
    content = exported(model, x, tmp_path / "first.onnx", "NCHW")
    assert operators(content) == ["Conv", "Relu", "ConvTranspose"]
    y = run(content, np.ascontiguousarray(x.transpose(0, 3, 1, 2)))[0]
    assert_close(y.transpose(0, 2, 3, 1), outputs_of(model, x)[0])


# --------------------------------------------------------------------------- recurrent networks


class Reader(nn.Layer):
    def __init__(self, cell, **options):
        super().__init__()
        self.rnn = cell(5, 7, **options)
        self.head = nn.Dense(14 if options.get("bidirectional") else 7, 3)

    def forward(self, x, h=None):
        output, _ = self.rnn(x, h)
        return self.head(output[:, -1]), output


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"bidirectional": True},
        {"num_layers": 2},
        {"norm": "layer"},
        {"norm": "batch"},
        {"bias": False},
    ],
    ids=str,
)
@pytest.mark.parametrize("cell", [nn.RNN, nn.GRU, nn.LSTM])
def test_a_recurrent_model(cell, options, tmp_path):
    content = check(settled(Reader(cell, **options), 6, 5), draw(3, 6, 5), tmp_path / "m.onnx")
    directions = 2 if options.get("bidirectional") else options.get("num_layers", 1)
    whole = operators(content).count(cell.__name__)
    assert whole == (0 if "norm" in options else directions)
    if not options:  # its product with the input is part of it, and a head follows
        assert operators(content).count("MatMul") == 0


def test_an_rnn_with_relu(tmp_path):
    check(Reader(nn.RNN, nonlinearity="relu").eval(), draw(3, 6, 5), tmp_path / "m.onnx")


class Given(nn.Layer):
    """A recurrent layer whose input is no plain product, with a state that is given."""

    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(5, 4)

    def forward(self, x, h):
        h = md.expand_dims(h, 0)
        output, (_, c) = self.rnn(md.tanh(x), (h, h * 2))
        return output, c[0]


def test_a_state_that_is_given(tmp_path):
    check(Given().eval(), (draw(3, 6, 5), draw(3, 4)), tmp_path / "m.onnx")


# ------------------------------------------------------------------------------------ functions

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


def test_masked_normalization(tmp_path):
    bn = settled(nn.BatchNorm(4), 5, 4)
    check(
        lambda x, mask: bn(x, mask=mask),
        (draw(3, 5, 4), draw(3, 5) > 0),
        tmp_path / "f.onnx",
        back=False,
    )


@pytest.mark.parametrize("change", [nn.weight_norm, nn.weight_standardization])
def test_weights_that_are_computed(change, tmp_path):
    content = check(change(nn.Conv(4, 6, 3)).eval(), draw(3, 8, 8, 4), tmp_path / "f.onnx")
    assert operators(content) == ["Transpose", "Conv", "Transpose"]


def test_an_embedding(tmp_path):
    check(nn.Embedding(10, 4), np.arange(15).reshape(3, 5) % 10, tmp_path / "f.onnx")


def test_bytes_are_floats_in_the_file(tmp_path):
    """As in a trace, images of bytes are divided by 255 before."""
    content = exported(nn.Conv(1, 2, 3), np.zeros((2, 5, 5, 1), np.uint8), tmp_path / "f.onnx")
    assert run(content, draw(2, 5, 5, 1))[0].shape == (2, 3, 3, 2)


# --------------------------------------------------------------------------------------- errors


def test_a_batch_that_cannot_change_is_fixed(tmp_path):
    with pytest.warns(UserWarning, match="batch axis is fixed"):
        content = exported(lambda x: x.reshape(4, 3), draw(2, 6), tmp_path / "f.onnx")
    assert run(content, draw(2, 6))[0].shape == (4, 3)


@pytest.mark.parametrize(
    ("f", "message"),
    [
        (lambda x: md.cross_entropy(x, [0] * len(x)), "CrossEntropy of the model"),
        (lambda x: x * x.sum().item(), "Python takes values out of"),
        (lambda x: x / len(x), "depends on the size of the batch"),
        (lambda x: x[x > 0], "an index of booleans"),
        (lambda x: x + np.arange(len(x), dtype=np.float32)[:, None], "depends on the size of the"),
    ],
)
def test_what_cannot_be_written_is_named(f, message, tmp_path):
    with pytest.raises(NotImplementedError, match=f"md.onnx.export: .*{message}"):
        exported(f, draw(2, 6), tmp_path / "f.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_function_of_ones_own_is_named(tmp_path):
    class Own(md.Function):
        def forward(self, x):
            return x * 2

    with pytest.raises(NotImplementedError, match=r"Own of the layer '0'"):
        exported(nn.Sequential(Own.apply), draw(2, 6), tmp_path / "f.onnx")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((3, "f.onnx", np.zeros((1, 2))), TypeError, "model must be a layer or a function"),
        ((nn.Dense(2, 1), 3, np.zeros((1, 2), np.float32)), TypeError, "path must be"),
        (
            (nn.Dense(2, 1), "f.onnx", np.zeros((1, 2), np.float32), "HWC"),
            ValueError,
            "layout must be",
        ),
        (
            (nn.Conv(6, 1, 3), "f.onnx", (1, 8, 9, 6)),
            TypeError,
            r"example must be a batch.*got \(1, 8, 9, 6\): give .* np.zeros\(\(1, 8, 9, 6\), ",
        ),
        ((nn.Dense(2, 1), "f.onnx", None), TypeError, "example must be a batch.*got None$"),
        (
            (nn.Dense(2, 1), "f.onnx", np.zeros((0, 2), np.float32)),
            ValueError,
            "at least one entry",
        ),
        (
            (nn.Dense(2, 1), "f.onnx", np.zeros((1, 3), np.float32)),
            ValueError,
            "expected 2 features",
        ),
    ],
)
def test_wrong_arguments(arguments, error, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        md.onnx.export(*arguments)
    assert list(tmp_path.iterdir()) == []


# ----------------------------------------------------------------------- what has come from a file


def test_operations_that_files_have_brought(tmp_path):
    content = file_of(
        [
            node("Conv", ["x", "w"], ["a"]),
            node("PRelu", ["a", "slope"], ["b"]),
            node("Resize", ["b", "", "scales"], ["c"], mode="linear"),
            node("Erf", ["c"], ["d"]),
            node("Floor", ["x"], ["e"]),
            node("ReduceSum", ["e"], ["f"], keepdims=0),
        ],
        [("x", ("N", 3, 5, 6))],
        ["d", "f"],
        {
            "w": draw(4, 3, 2, 2),
            "slope": draw(4, 1, 1),
            "scales": np.array([1, 1, 2, 1.5], np.float32),
        },
    )
    x = draw(2, 3, 5, 6)
    model = md.onnx.load(content, "NCHW")
    assert_close(
        md.onnx.load(content)(x.transpose(0, 2, 3, 1))[0].data,
        run(content, x)[0].transpose(0, 2, 3, 1),
    )
    for ours, theirs in zip(
        run(exported(model, x, tmp_path / "f.onnx"), x), run(content, x), strict=True
    ):
        assert_close(ours, theirs)
