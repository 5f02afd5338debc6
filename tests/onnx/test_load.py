"""These tests check what becomes of files: layers that compute what the file says and can be
trained, constants that are computed once, and inputs that are refused.
"""

import copy
import pickle

import numpy as np
import onnx
import pytest

import minidl as md
from minidl import nn, optim
from tests.support.onnx_files import assert_close, draw, file_of, network, node, operations, run

NAMES = [
    "body.conv.weight",
    "body.conv.bias",
    "body.norm.weight",
    "body.norm.bias",
    "head.weight",
    "head.bias",
]


# -------------------------------------------------------------------------------- what comes out


def test_a_network_is_layers():
    model = md.onnx.load(network())
    kinds = {name: type(layer).__name__ for name, layer in model.named_layers()}
    assert kinds == {
        "": "Model",
        "body": "Part",
        "body.conv": "Conv",
        "body.norm": "BatchNorm",
        "drop": "Part",
        "drop.Dropout": "Dropout",
        "head": "Dense",
    }
    assert [name for name, _ in model.named_parameters()] == NAMES
    assert {name for name, _ in model.named_buffers()} == {
        "body.norm.running_mean",
        "body.norm.running_var",
        "body.norm.num_batches",
    }
    norm = model["body.norm"]
    assert (norm.eps, norm.momentum, model["drop.Dropout"].p) == (1e-3, 0.2, 0.25)
    assert not any(layer.training for _, layer in model.named_layers())
    assert repr(model).startswith("Model(x -> y\n  (body): Part(")


def test_it_computes_what_the_file_says():
    content, x = network(), draw(2, 3, 4, 5)
    expected = run(content, x)[0]
    assert_close(md.onnx.load(content, "NCHW")(x).data, expected)
    assert_close(md.onnx.load(content)(x.transpose(0, 2, 3, 1)).data, expected)
    assert_close(md.onnx.load(content).predict(x.transpose(0, 2, 3, 1)), expected)


def test_nothing_is_transposed():
    """Rows of an image keep minidl's order, and the weights after them are in that order, too."""
    x = draw(2, 4, 5, 3)
    assert operations(md.onnx.load(network()), x) == {
        "Conv": 1,
        "BatchNorm": 1,
        "ReLU": 1,
        "Reshape": 1,
        "Linear": 1,
    }
    first = operations(md.onnx.load(network(), "NCHW"), x.transpose(0, 3, 1, 2))
    assert first["Transpose"] == 1  # the transposition of the input


def test_a_path_and_a_model_are_taken_too(tmp_path):
    (tmp_path / "net.onnx").write_bytes(network())
    x = draw(2, 4, 5, 3)
    for source in (
        tmp_path / "net.onnx",
        str(tmp_path / "net.onnx"),
        onnx.load_model_from_string(network()),
        bytearray(network()),
    ):
        assert_close(md.onnx.load(source)(x).data, md.onnx.load(network())(x).data)


def test_it_is_a_layer_like_others(tmp_path):
    model, x = md.onnx.load(network()), draw(2, 4, 5, 3)
    expected = model(x).data
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert (other(x).data == expected).all()
    md.save(tmp_path / "state.safetensors", model.state_dict())
    changed = md.onnx.load(network())
    changed["head"].weight.data[...] = 0
    changed.load_state_dict(md.load(tmp_path / "state.safetensors"))
    assert (changed(x).data == expected).all()
    assert model.astype(np.float64)(x.astype(np.float64)).dtype == np.float64
    assert_close(model(x.astype(np.float64)).data.astype(np.float32), expected)


def test_it_folds():
    model, x = md.onnx.load(network()), draw(2, 4, 5, 3)
    folded = nn.fold(model, x)
    assert folded.fold_report.folded == [("body.conv", "body.norm")]
    assert_close(folded(x).data, model(x).data)


def test_loading_draws_no_random_numbers():
    md.manual_seed(0)
    md.onnx.load(network())
    drawn = md.rand(3).data
    md.manual_seed(0)
    assert (md.rand(3).data == drawn).all()


# --------------------------------------------------------------------------------- it is trained


def test_it_trains():
    model, rng = md.onnx.load(network()).train(), np.random.default_rng(0)
    x, labels = rng.normal(size=(16, 4, 5, 3)).astype(np.float32), np.arange(16) % 7
    optimizer = optim.Adam(model.parameters(), lr=0.03)
    losses = []
    for _ in range(40):
        loss = md.cross_entropy(model(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]
    assert model["body.norm"].num_batches == 40


def test_a_head_is_replaced_and_the_rest_frozen():
    model = md.onnx.load(network())
    model.freeze()
    model["head"] = nn.Dense(120, 3)
    model.train()
    x = draw(8, 4, 5, 3)
    md.cross_entropy(model(x), np.arange(8) % 3).backward()
    assert [name for name, p in model.named_parameters() if p.grad is not None] == [
        "head.weight",
        "head.bias",
    ]
    assert model.eval()(x).shape == (8, 3)
    assert list(model.body.children()) == [model["body.conv"], model["body.norm"]]


@pytest.mark.parametrize(
    ("name", "layer", "error"),
    [
        ("nose", nn.Dense(2, 2), KeyError),
        ("head.weight.x", nn.Dense(2, 2), KeyError),
        ("head", np.zeros(3), TypeError),
    ],
)
def test_wrong_parts(name, layer, error):
    with pytest.raises(error):
        md.onnx.load(network())[name] = layer


def test_a_model_inside_another():
    model = nn.Sequential(md.onnx.load(network()), nn.Dense(7, 2))
    assert [name for name, _ in model.named_parameters()][:4] == [f"0.{n}" for n in NAMES[:4]]
    assert model(draw(2, 4, 5, 3)).shape == (2, 2)


def test_dropout_follows_the_mode():
    model = md.onnx.load(file_of([node("Dropout", ["x"], ["y"])], [("x", ("N", 4))], ["y"]))
    ones = np.ones((50, 4), np.float32)
    assert (model(ones).data == 1).all()
    assert set(np.unique(model.train()(ones).data)) == {0.0, 2.0}


@pytest.mark.parametrize(
    "arguments", [{"inputs": ["x", "r", "t"], "opset": 13}, {"inputs": ["x"], "opset": 6}], ids=str
)
def test_a_dropout_that_the_file_has_in_training(arguments):
    content = file_of(
        [node("Dropout", arguments["inputs"], ["y"])],
        [("x", ("N", 4))],
        ["y"],
        {"r": np.array(0.5, np.float32), "t": np.array(True)},
        arguments["opset"],
    )
    y = md.onnx.load(content)(np.ones((50, 4), np.float32)).data
    assert set(np.unique(y)) == {0.0, 2.0}


@pytest.mark.parametrize(("opset", "attributes"), [(14, {"training_mode": 1}), (6, {})])
def test_a_normalization_that_the_file_has_in_training(opset, attributes):
    arrays = {"g": draw(3), "b": draw(3, seed=1), "m": draw(3, seed=2), "v": draw(3) ** 2}
    content = file_of(
        [node("BatchNormalization", ["x", *arrays], ["y"], **attributes)],
        [("x", ("N", 3, 4))],
        ["y"],
        arrays,
        opset,
    )
    x = draw(5, 4, 3)
    expected = md.batch_norm(x, arrays["g"], arrays["b"], training=True).data
    model = md.onnx.load(content)
    assert_close(model(x).data, expected)
    norm = next(layer for layer in model.children() if isinstance(layer, nn.BatchNorm))
    assert norm.training and norm.num_batches == 1
    assert not np.allclose(model.eval()(x).data, expected)


def test_statistics_that_nothing_takes():
    """Before opset 14, PyTorch's exporters gave a normalization in training mode five outputs."""
    arrays = {"g": draw(3), "b": draw(3, seed=1), "m": draw(3, seed=2), "v": draw(3) ** 2}
    outputs = ["y", "mean", "var", "saved_mean", "saved_var"]

    def file(*wanted):
        return file_of(
            [node("BatchNormalization", ["x", *arrays], outputs)],
            [("x", ("N", 3, 4))],
            list(wanted),
            arrays,
            9,
        )

    x = draw(5, 4, 3)
    expected = md.batch_norm(x, arrays["g"], arrays["b"], training=True).data
    assert_close(md.onnx.load(file("y"))(x).data, expected)
    with pytest.raises(NotImplementedError, match="BatchNormalization of node 'y': outputs for"):
        md.onnx.load(file("y", "mean"))


def test_the_mask_of_a_dropout():
    content = file_of(
        [node("Dropout", ["x", "r", "t"], ["y", "mask"])],
        [("x", ("N", 4))],
        ["y", ("mask", None, bool)],
        {"r": np.array(0.5, np.float32), "t": np.array(True)},
        13,
    )
    y, mask = md.onnx.load(content)(np.full((50, 4), 3, np.float32))
    assert 50 < mask.data.sum() < 150
    assert (y.data == np.where(mask.data, 6, 0)).all()


# ------------------------------------------------------------------- constants, inputs and outputs


def test_constants_are_computed_once():
    content = file_of(
        [
            node("Constant", [], ["c"], value_floats=[1.0, 2.0]),
            node("Mul", ["c", "c"], ["d"]),
            node("Add", ["x", "d"], ["y"]),
        ],
        [("x", ("N", 2))],
        ["y"],
    )
    model = md.onnx.load(content)
    assert operations(model, draw(3, 2)) == {"Add": 1}
    assert model.parameters() == []
    assert_close(model(draw(3, 2)).data, draw(3, 2) + np.array([1, 4], np.float32))


def test_several_inputs_and_outputs():
    content = file_of(
        [
            node("Add", ["a", "b"], ["y"]),
            node("Sub", ["a", "b"], ["z"]),
            node("Identity", ["a"], ["same"]),
        ],
        [("a", ("N", 2)), ("b", ("N", 2))],
        ["z", "y", "same"],
    )
    a, b = draw(3, 2), draw(3, 2, seed=1)
    made = md.onnx.load(content)(a, b)
    assert type(made) is tuple
    for ours, theirs in zip(made, (a - b, a + b, a), strict=True):
        assert_close(ours.data, theirs)


@pytest.mark.parametrize(
    ("inputs", "error", "message"),
    [
        ((), TypeError, r"takes 1 input\(s\) \(x\), got 0"),
        ((np.zeros((2, 4, 5, 3)),), TypeError, "input 'x' must be float32, got float64"),
        ((draw(2, 3, 4, 5),), ValueError, r"must have shape \(\?, 4, 5, 3\), got \(2, 3, 4, 5\)"),
        (("images",), TypeError, "input 'x' must be a tensor"),
    ],
)
def test_wrong_inputs(inputs, error, message):
    with pytest.raises(error, match=message):
        md.onnx.load(network())(*inputs)
