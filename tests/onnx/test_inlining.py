"""These tests check functions of a file: the functions compute what their calls ask for, and
endless calls are an error.
"""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import minidl as md
from minidl.onnx import inlining
from tests.support.onnx_files import assert_close, draw, node, run

OPSETS = [helper.make_opsetid("", 21), helper.make_opsetid("own", 1)]
X = draw(2, 3)


def function(name, inputs, outputs, nodes, attributes=(), opsets=OPSETS, **more):
    """Return a function of the file."""
    return helper.make_function("own", name, inputs, outputs, nodes, opsets, attributes, **more)


def call(name, inputs, outputs, **attributes):
    """Return a node that calls a function."""
    return node(name, inputs, outputs, domain="own", **attributes)


def file(functions, nodes, outputs=("y",)):
    """Return the bytes of a model of x (2, 3), with the array "two"."""
    told = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (2, 3))],
        told,
        [helper.make_tensor("two", TensorProto.FLOAT, [], [2.0])],
    )
    model = helper.make_model(graph, opset_imports=OPSETS, functions=functions, ir_version=10)
    return model.SerializeToString()


def attribute(kind, name, of):
    """Return an attribute of a node of a function that refers to one of the function's
    attributes.
    """
    return onnx.AttributeProto(name=name, type=kind, ref_attr_name=of)


def leaky():
    """Return LeakyRelu with the function's attribute `slope` as its slope, or 0.5."""
    inner = node("LeakyRelu", ["a"], ["b"])
    inner.attribute.append(attribute(onnx.AttributeProto.FLOAT, "alpha", "slope"))
    return function(
        "Leaky", ["a"], ["b"], [inner], attribute_protos=[helper.make_attribute("slope", 0.5)]
    )


FILES = {
    "called twice, with values of its own": (
        [
            function(
                "F",
                ["a", "k"],
                ["c"],
                [node("Mul", ["a", "k"], ["mid"]), node("Add", ["mid", "a"], ["c"])],
            )
        ],
        [call("F", ["x", "two"], ["mid"]), call("F", ["mid", "two"], ["y"])],
    ),
    "a function in a function": (
        [
            function("G", ["a"], ["b"], [node("Neg", ["a"], ["b"])]),
            function("F", ["a"], ["c"], [call("G", ["a"], ["b"]), node("Relu", ["b"], ["c"])]),
        ],
        [call("F", ["x"], ["y"])],
    ),
    "an attribute": ([leaky()], [call("Leaky", ["x"], ["y"], slope=0.1)]),
    "an attribute that is left out": ([leaky()], [call("Leaky", ["x"], ["y"])]),
    "an attribute handed on": (
        [
            leaky(),
            function(
                "F",
                ["a"],
                ["b"],
                [
                    onnx.NodeProto(
                        op_type="Leaky",
                        domain="own",
                        input=["a"],
                        output=["b"],
                        attribute=[attribute(onnx.AttributeProto.FLOAT, "slope", "s")],
                    )
                ],
                ["s"],
            ),
        ],
        [call("F", ["x"], ["y"], s=0.2)],
    ),
    "an input that is left out": (
        [function("F", ["a", "low", "high"], ["b"], [node("Clip", ["a", "low", "high"], ["b"])])],
        [call("F", ["x", "", "two"], ["y"])],
    ),
    "an output that is left out": (
        [function("F", ["a"], ["b", "c"], [node("Neg", ["a"], ["b"]), node("Exp", ["a"], ["c"])])],
        [call("F", ["x"], ["", "y"])],
    ),
    "outputs in another order": (
        [function("F", ["a"], ["b", "c"], [node("Neg", ["a"], ["b"]), node("Abs", ["b"], ["c"])])],
        [call("F", ["x"], ["c", "b"]), node("Sub", ["c", "b"], ["y"])],
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_a_function_computes_what_its_nodes_do(name):
    content = file(*FILES[name])
    assert_close(md.onnx.load(content)(X).data, run(content, X)[0])


def test_an_output_that_is_an_input():
    content = file(
        [function("F", ["a"], ["a", "b"], [node("Neg", ["a"], ["b"])])],
        [call("F", ["x"], ["u", "v"]), node("Sub", ["u", "v"], ["y"])],
    )
    assert_close(md.onnx.load(content)(X).data, 2 * X)


def doubling(depth):
    """Return functions each of which calls the next one twice."""
    return [
        function(
            f"F{k}",
            ["a"],
            ["c"],
            [
                (node if k == depth - 1 else call)(
                    "Relu" if k == depth - 1 else f"F{k + 1}",
                    ["a" if j == 0 else "b"],
                    ["b" if j == 0 else "c"],
                )
                for j in range(2)
            ],
        )
        for k in range(depth)
    ]


def chain(depth):
    """Return functions each of which calls the next one."""
    return [
        function(
            f"F{k}",
            ["a"],
            ["b"],
            [node("Relu", ["a"], ["b"]) if k == depth - 1 else call(f"F{k + 1}", ["a"], ["b"])],
        )
        for k in range(depth)
    ]


@pytest.mark.parametrize(
    "functions, words",
    [
        ([function("F0", ["a"], ["b"], [call("F0", ["a"], ["b"])])], "F0 calls itself"),
        (
            [
                function("F0", ["a"], ["b"], [call("F1", ["a"], ["b"])]),
                function("F1", ["a"], ["b"], [call("F0", ["a"], ["b"])]),
            ],
            "F0 calls itself",
        ),
        (doubling(40), "stand for more than 50,000 nodes"),
        (chain(100), "is called too deep"),
        (
            [function("F0", [], ["b"], [node("Relu", ["b"], ["b"])])],
            "takes 0 and gives 1 values, not 1 and 1",
        ),
    ],
)
def test_what_does_not_end_or_fit_is_an_error(functions, words):
    with pytest.raises(ValueError, match=f"no valid ONNX model: .*{words}"):
        md.onnx.load(file(functions, [call("F0", ["x"], ["y"])]))


def test_a_function_of_another_opset():
    older = function(
        "F", ["a"], ["b"], [node("Relu", ["a"], ["b"])], opsets=[helper.make_opsetid("", 15)]
    )
    with pytest.raises(NotImplementedError, match="the function F is of opset 15, the file of ops"):
        md.onnx.load(file([older], [call("F", ["x"], ["y"])]))


def test_many_calls_take_no_long_search_for_names():
    functions, nodes = doubling(10), [call("F0", ["x"], ["y"])]
    made = inlining.inlined(onnx.load_model_from_string(file(functions, nodes)))
    assert len(made.graph.node) == 1024 and not made.functions
    names = [name for inner in made.graph.node for name in inner.output]
    assert len(set(names)) == 1024
    assert np.array_equal(md.onnx.load(file(functions, nodes))(X).data, np.maximum(X, 0))


@pytest.mark.parametrize("place", [b"inside", b"middle"])
def test_names_in_a_function_that_are_no_text_are_an_error(place):
    """The name of a node is joined to that of the call, and a value gets another name."""
    nodes = [node("Relu", ["a"], ["middle"], name="inside"), node("Relu", ["middle"], ["b"])]
    content = file([function("F", ["a"], ["b"], nodes)], [call("F", ["x"], ["y"])])
    assert np.array_equal(md.onnx.load(content)(X).data, np.maximum(X, 0))
    with pytest.raises(ValueError, match="the file is no valid ONNX model: "):
        md.onnx.load(content.replace(place, b"\xff" + place[1:]))
