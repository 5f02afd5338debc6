"""These tests check how the names of a file become a tree of layers: what is a parameter in it,
what several nodes share, and what is not a parameter.
"""

import numpy as np

import minidl as md
from minidl import models, nn
from tests.support.onnx_files import assert_close, draw, file_of, node, operations, run


def test_names_without_dots_and_names_that_layers_have():
    content = file_of(
        [
            node("MatMul", ["x", "forward"], ["a"]),
            node("Add", ["a", "_b"], ["b"]),
            node("Mul", ["b", "a.b"], ["c"]),
            node("Mul", ["c", "a.b.c"], ["d"]),
            node("Gemm", ["d", "w", "other"], ["y"], name="last"),
        ],
        [("x", ("N", 3))],
        ["y"],
        {
            "forward": draw(3, 4),
            "_b": draw(4),
            "a.b": draw(4, seed=1),
            "a.b.c": draw(4, seed=2),
            "w": draw(4, 2),
            "other": draw(2),
        },
    )
    model = md.onnx.load(content)
    assert {name for name, _ in model.named_parameters()} == {
        "forward",
        "_b",
        "a.b",
        "a.b.c",
        "w",
        "other",
    }
    assert isinstance(model["last"], nn.Dense)
    assert_close(model(draw(5, 3)).data, run(content, draw(5, 3))[0])
    model.load_state_dict(model.state_dict())


def test_weights_that_two_nodes_share():
    conv = node("Conv", ["x", "c.weight"], ["a"], pads=[1, 1, 1, 1])
    same = node("Conv", ["a", "c.weight"], ["b"], pads=[1, 1, 1, 1])
    other = node("Conv", ["b", "c.weight"], ["y"], pads=[1, 1, 1, 1], dilations=[1, 1])
    arrays = {"c.weight": draw(3, 3, 3, 3)}
    shared = file_of([conv, same], [("x", ("N", 3, 5, 5))], ["b"], arrays)
    assert operations(md.onnx.load(shared), draw(1, 5, 5, 3)) == {"Conv": 2}
    assert len(md.onnx.load(shared).parameters()) == 1
    content = file_of([conv, same, other], [("x", ("N", 3, 5, 5))], ["y"], arrays)
    model, x = md.onnx.load(content, "NCHW"), draw(2, 3, 5, 5)
    assert [name for name, _ in model.named_parameters()] == ["c.weight"]
    assert_close(model(x).data, run(content, x)[0])


def test_an_identity_of_weights_gives_weights_of_their_own(tmp_path):
    """PyTorch stores weights of equal values once, and names the others by an Identity."""
    content = file_of(
        [
            node("Identity", ["w"], ["v"]),
            node("MatMul", ["x", "w"], ["a"]),
            node("MatMul", ["a", "v"], ["y"]),
        ],
        [("x", ("N", 3))],
        ["y"],
        {"w": draw(3, 3)},
    )
    model = md.onnx.load(content)
    assert [name for name, _ in model.named_parameters()] == ["w", "v"]
    assert_close(model(draw(2, 3)).data, run(content, draw(2, 3))[0])
    model.parameters()[1].data = draw(3, 3, seed=1)
    models.save(tmp_path / "model.safetensors", model)
    loaded = models.load(tmp_path / "model.safetensors").model
    assert np.array_equal(loaded.predict(draw(2, 3)), model.predict(draw(2, 3)))
    assert np.array_equal(loaded.state_dict()["w"], draw(3, 3))


def test_normalizations_whose_arrays_are_equal_train_apart():
    """So are the scales, shifts and statistics of a network of PyTorch that was never trained."""
    names = ["scale", "shift", "mean", "var"]
    one, other = [[f"{k}.{name}" for name in names] for k in "ab"]
    content = file_of(
        [
            *[node("Identity", [one[0]], [name]) for name in (one[3], other[0], other[3])],
            *[node("Identity", [one[1]], [name]) for name in (one[2], other[1], other[2])],
            node("BatchNormalization", ["x", *one], ["r"]),
            node("BatchNormalization", ["r", *other], ["y"]),
        ],
        [("x", ("N", 3, 2, 2))],
        ["y"],
        {one[0]: np.ones(3, np.float32), one[1]: np.zeros(3, np.float32)},
    )
    model, x = md.onnx.load(content), draw(4, 2, 2, 3)
    assert_close(model(x).data, run(content, x.transpose(0, 3, 1, 2))[0].transpose(0, 2, 3, 1))
    assert [name for name, _ in model.named_parameters()] == [*one[:2], *other[:2]]
    assert isinstance(model["b"], nn.BatchNorm)
    model.train()(x)
    state = model.state_dict()
    assert np.abs(state["a.mean"]).min() > 1e-4
    assert (state["a.shift"] == 0).all()
    assert not np.array_equal(state["a.var"], state["b.var"])


def test_numbers_and_settings_are_no_parameters():
    content = file_of(
        [
            node("Clip", ["x", "low", "high"], ["a"]),
            node("Mul", ["a", "half"], ["b"]),
            node("Add", ["b", "shift"], ["c"]),
            node("Pad", ["c", "pads", "value"], ["y"]),
        ],
        [("x", ("N", 3))],
        ["y"],
        {
            "low": np.array(-1, np.float32),
            "high": np.array(1, np.float32),
            "half": np.array(0.5, np.float32),
            "shift": draw(3),
            "pads": np.array([0, 1, 0, 0]),
            "value": np.array(2, np.float32),
        },
    )
    model = md.onnx.load(content)
    assert [name for name, _ in model.named_parameters()] == ["shift"]
    assert_close(model(draw(2, 3)).data, run(content, draw(2, 3))[0])


def test_a_product_and_its_bias_are_a_dense_layer():
    """Other exporters write dense layers like this: with a bias on either side, as a product
    without one, or with weights that several products share.
    """
    content = file_of(
        [
            node("MatMul", ["x", "fc/kernel"], ["a"], name="fc/MatMul"),
            node("Add", ["a", "fc/bias"], ["b"]),
            node("Tanh", ["b"], ["c"]),
            node("MatMul", ["c", "w"], ["d"], name="middle"),
            node("MatMul", ["d", "shared"], ["e"]),
            node("Add", ["bias", "e"], ["f"]),
            node("MatMul", ["f", "shared"], ["g"]),
            node("Add", ["g", "c"], ["y"]),
        ],
        [("x", ("N", 5, 3))],
        ["y"],
        {
            "fc/kernel": draw(3, 4),
            "fc/bias": draw(4),
            "w": draw(4, 4),
            "shared": draw(4, 4, seed=1),
            "bias": draw(4, seed=1),
        },
    )
    model, x = md.onnx.load(content), draw(2, 5, 3)
    assert_close(model(x).data, run(content, x)[0])
    assert {name for name, _ in model.named_parameters()} == {
        "fc/kernel",
        "fc/bias",
        "w",
        "shared",
        "bias",
    }
    assert model["fc.MatMul"].extra_repr() == "3, 4, bias=True"
    assert model["middle"].extra_repr() == "4, 4, bias=False"
    model["fc.MatMul"] = nn.Dense(3, 4)
    assert model(x).shape == (2, 5, 4)
