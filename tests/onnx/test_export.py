"""These tests check that exported files pass the checker, that ONNX Runtime computes what the model
does for any batch size, and that `load` returns a model that does so, too.
"""

import numpy as np
import onnx
import pytest

import minidl as md
from minidl import models, nn
from tests.support.onnx_exports import check, exported, outputs_of, settled
from tests.support.onnx_files import assert_close, draw, file_of, node, operators, run

# --------------------------------------------------------------------------------- whole models

SHAPES = {"mlp": (28, 28, 1), "mnist-cnn": (28, 28, 1), "lenet": (28, 28, 1)}


@pytest.mark.parametrize("name", models.names())
def test_a_model(name, tmp_path):
    shape = SHAPES.get(name, (32, 32, 3))
    model = settled(models.create(name), *shape)
    content = check(model, draw(2, *shape), tmp_path / "model.onnx")
    # The transposition of the input.
    assert operators(content).count("Transpose") == (name != "mlp")
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
    if not options:  # without options, the product with the input belongs to it, and a head follows
        assert operators(content).count("MatMul") == 0


def test_an_rnn_with_relu(tmp_path):
    check(Reader(nn.RNN, nonlinearity="relu").eval(), draw(3, 6, 5), tmp_path / "m.onnx")


class Given(nn.Layer):
    """A recurrent layer whose input is not a plain product, with a given initial state."""

    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(5, 4)

    def forward(self, x, h):
        h = md.expand_dims(h, 0)
        output, (_, c) = self.rnn(md.tanh(x), (h, h * 2))
        return output, c[0]


def test_a_state_that_is_given(tmp_path):
    check(Given().eval(), (draw(3, 6, 5), draw(3, 4)), tmp_path / "m.onnx")


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
    """As in a trace, images of bytes are divided by 255 first."""
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
        (lambda x: md.layer_norm(x.T, None, None), "LayerNorm of .* along the batch axis"),
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


def test_a_user_defined_function_is_named(tmp_path):
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
def test_wrong_arguments_are_refused(arguments, error, message, tmp_path, monkeypatch):
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
