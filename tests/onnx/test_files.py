"""These tests read files that are damaged or refused, and models in several files."""

import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import minidl as md
from minidl import nn
from tests.support.onnx_files import assert_close, draw, file_of, network, node

# --------------------------------------------------------------------------------- what is refused


def one(
    operator,
    inputs=("x",),
    arrays=(),
    opset=21,
    shape=("N", 3, 4, 4),
    dtype=np.float32,
    domain="",
    **attributes,
):
    return file_of(
        [helper.make_node(operator, list(inputs), ["y"], "mine", domain=domain, **attributes)],
        [("x", shape, dtype)],
        ["y"],
        arrays,
        opset,
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (one("NonMaxSuppression", ("x", "x")), "the operator NonMaxSuppression of node 'mine'"),
        (one("Relu", domain="com.example"), r"Relu \(domain com.example\) of node 'mine'"),
        (one("MaxPool", kernel_shape=[2, 2, 2], shape=("N", 3, 4, 4, 4)), "MaxPool of node 'mine'"),
        (one("Resize", ("x", "", "s"), {"s": np.ones(4, np.float32)}, mode="cubic"), "cubic"),
        (one("Relu", dtype=np.float16), "Relu of node 'mine': values of float16"),
        (one("Add", ("x", "w"), {"w": draw(4, dtype=np.float16)}), "Add of node 'mine': .*float16"),
        (one("Relu", dtype=np.int32), "Relu of node 'mine': values of int32"),
        (one("Cast", to=TensorProto.FLOAT16), "Cast of node 'mine'"),
        (
            one(
                "LSTM",
                ("x", "w", "r", "", "", "", "", "p"),
                {"w": draw(1, 8, 3), "r": draw(1, 8, 2), "p": draw(1, 6)},
                shape=(5, "N", 3),
                hidden_size=2,
            ),
            "LSTM of node 'mine': peepholes",
        ),
        (one("Relu", opset=5), "the operator Relu of node 'mine' is not supported in opset 5"),
        (one("Relu", opset=1000), "in opset 1000"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_not_supported_is_named(content, message):
    with pytest.raises(NotImplementedError, match=f"md.onnx.load: .*{message}") as caught:
        md.onnx.load(content)
    assert "not supported" in str(caught.value)


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        (b"no model", ValueError, "no ONNX model"),
        (b"", ValueError, "no ONNX model"),
        (network()[:200], ValueError, "ONNX model"),
        (3, TypeError, "path_or_bytes must be"),
        (one("Relu", ("z",)), ValueError, "no valid ONNX model"),
        (
            one("Reshape", ("s", "t"), {"s": np.arange(3), "t": np.array([2, 2])}),
            ValueError,
            "Reshape",
        ),
        (
            one("Flatten", ("s",), {"s": np.eye(2, 3, dtype=int)}, axis=3),
            ValueError,
            "axis 3 is none of 2",
        ),
        (
            one("Gather", ("s", "t"), {"s": np.arange(3), "t": np.array(1)}, axis=2**31),
            ValueError,
            "axis 2147483648 is none of 1",
        ),
        (one("Relu", ("x",), keepdims=1), NotImplementedError, "attribute keepdims"),
        (one("ReduceMax", ("x",), keepdims=3), ValueError, "keepdims must be 0 or 1, got 3"),
    ],
)
def test_what_is_no_model(source, error, message):
    with pytest.raises(error, match=message):
        md.onnx.load(source)


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        md.onnx.load(tmp_path / "none.onnx")
    with pytest.raises(ValueError, match="layout must be"):
        md.onnx.load(network(), "NWHC")


@pytest.mark.parametrize("shape", [(), (3,), (2, 3, 4), (1, 2, 3, 4, 5)])
def test_a_transpose_of_other_axes_names_the_node(shape):
    model = md.onnx.load(
        file_of(
            [
                node("Relu", ["x"], ["a"]),
                node("Transpose", ["a"], ["y"], name="turn", perm=[3, 1, 0, 2]),
            ],
            [("x", None)],
            ["y"],
        )
    )
    with pytest.raises(ValueError, match="Transpose of node 'turn': perm must hold the axes of"):
        model(draw(*shape))


def test_errors_name_the_node():
    content = file_of(
        [node("Add", ["x", "w"], ["y"], name="sum")], [("x", None)], ["y"], {"w": draw(3)}
    )
    with pytest.raises(ValueError, match="Add of node 'sum': add: shapes"):
        md.onnx.load(content)(draw(2, 4))


# --------------------------------------------------------------------------------- other files


def save_in_two_files(folder):
    """Save a network as net.onnx, with its weights beside it in weights.bin."""
    onnx.save_model(
        onnx.load_model_from_string(network()),
        folder / "net.onnx",
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
    )


def test_weights_in_a_file_of_their_own(tmp_path):
    save_in_two_files(tmp_path)
    assert (tmp_path / "weights.bin").exists()
    x = draw(2, 4, 5, 3)
    assert_close(md.onnx.load(tmp_path / "net.onnx")(x).data, md.onnx.load(network())(x).data)


def test_bytes_lead_to_no_other_file(tmp_path, monkeypatch):
    """A file in the current folder is not read either, even if it has the name."""
    save_in_two_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"'body\.conv\.weight' stand in another file"):
        md.onnx.load((tmp_path / "net.onnx").read_bytes())


def test_functions_of_the_file_are_inlined():
    model = onnx.load_model_from_string(one("Twice", shape=("N", 3), domain="mine"))
    model.functions.append(
        helper.make_function(
            "mine",
            "Twice",
            ["a"],
            ["b"],
            [node("Add", ["a", "a"], ["b"])],
            [helper.make_opsetid("", 21)],
        )
    )
    model.opset_import.append(helper.make_opsetid("mine", 1))
    x = draw(2, 3)
    assert_close(md.onnx.load(model.SerializeToString())(x).data, 2 * x)


def test_the_latest_opset():
    content = one("Relu", opset=onnx.defs.onnx_opset_version())
    assert (md.onnx.load(content, "NCHW")(draw(1, 3, 4, 4)).data >= 0).all()


@pytest.mark.parametrize("function", ["load", "export"])
@pytest.mark.parametrize("package", ["onnx", "onnx_ir"])
def test_packages_that_are_missing_are_named(function, package, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, package, None)
    arguments = (b"",) if function == "load" else (nn.Dense(2, 1), tmp_path / "f", md.zeros(1, 2))
    with pytest.raises(ImportError, match=rf"md.onnx.{function} needs .*minidl\[onnx\]"):
        getattr(md.onnx, function)(*arguments)


def test_damaged_files_are_errors():
    """Changed bytes and attributes give one of a few errors, or another model."""
    rng = np.random.default_rng(0)
    original, x = network(), draw(2, 4, 5, 3)
    errors = 0
    for _ in range(300):
        content = bytearray(original)
        for place in rng.integers(0, 500, 3):
            content[place] = rng.integers(256)
        try:
            md.onnx.load(content)(x)
        except (ValueError, TypeError, IndexError, NotImplementedError, MemoryError):
            errors += 1
    assert errors > 200
    for value in (-1, 0, 2**31, 2**62):
        for place, name in ((0, "pads"), (0, "strides"), (4, "axis")):
            model = onnx.load_model_from_string(original)
            attribute = model.graph.node[place].attribute
            del attribute[:]
            attribute.append(
                helper.make_attribute(
                    name, value if name == "axis" else [value] * (4 if name == "pads" else 2)
                )
            )
            with pytest.raises(
                (ValueError, TypeError, IndexError, NotImplementedError, MemoryError)
            ):
                md.onnx.load(model.SerializeToString())(draw(2, 4, 5, 3) if value else x[..., :2])
