"""This module makes ONNX files of a few nodes, and runs them by ONNX Runtime."""

import collections
import contextlib

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper, shape_inference

import minidl as md
from tests.support.arrays import within


def draw(*shape, dtype=np.float32, seed=0):
    """Return normal numbers that depend on the shape and the seed alone."""
    rng = np.random.default_rng([seed, *shape])
    return rng.standard_normal(shape).astype(dtype)


def file_of(nodes, inputs, outputs, arrays=(), opset=21, ir_version=8):
    """Return the bytes of a model. `inputs` are (name, shape) or (name, shape, dtype). `outputs`
    are likewise, or are names of floats of any shape. `arrays` are initializers by name.
    """

    def told(value):
        if isinstance(value, str):
            return helper.make_tensor_value_info(value, TensorProto.FLOAT, None)
        name, shape, *dtype = value
        number = helper.np_dtype_to_tensor_dtype(np.dtype(dtype[0])) if dtype else TensorProto.FLOAT
        return helper.make_tensor_value_info(name, number, shape)

    initializers = [numpy_helper.from_array(a, name) for name, a in dict(arrays).items()]
    graph = helper.make_graph(
        list(nodes), "test", [told(v) for v in inputs], [told(v) for v in outputs], initializers
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = ir_version
    with contextlib.suppress(shape_inference.InferenceError):
        model = shape_inference.infer_shapes(model)  # infers the shapes of outputs
    return model.SerializeToString()


node = helper.make_node


def network(opset=21):
    """Return a convolution, a normalization, a ReLU, a dropout, a flattening and a dense layer, as
    PyTorch writes them.
    """
    return file_of(
        [
            node(
                "Conv",
                ["x", "body.conv.weight", "body.conv.bias"],
                ["a"],
                name="/body/conv/Conv",
                pads=[1, 1, 1, 1],
            ),
            node(
                "BatchNormalization",
                [
                    "a",
                    *("body.norm." + n for n in ("weight", "bias", "running_mean", "running_var")),
                ],
                ["b"],
                epsilon=1e-3,
                momentum=0.8,
            ),
            node("Relu", ["b"], ["c"]),
            node("Dropout", ["c", "ratio"], ["d"], name="/drop/Dropout"),
            node("Flatten", ["d"], ["e"]),
            node("Gemm", ["e", "head.weight", "head.bias"], ["y"], transB=1),
        ],
        [("x", ("N", 3, 4, 5))],
        [("y", ("N", 7))],
        {
            "body.conv.weight": draw(6, 3, 3, 3),
            "body.conv.bias": draw(6),
            "body.norm.weight": draw(6, seed=1),
            "body.norm.bias": draw(6, seed=2),
            "body.norm.running_mean": draw(6, seed=3),
            "body.norm.running_var": draw(6) ** 2 + 1,
            "head.weight": draw(7, 120),
            "head.bias": draw(7),
            "ratio": np.array(0.25, np.float32),
        },
        opset,
    )


def run(content, *arrays):
    """Return a list of the outputs that ONNX Runtime computes."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return session.run(None, dict(zip([i.name for i in session.get_inputs()], arrays, strict=True)))


def operators(content):
    """Return the operators of a file, in order."""
    return [n.op_type for n in onnx.load_model_from_string(content).graph.node]


def assert_close(ours, expected, tolerance=1e-5):
    """Check that dtypes and shapes are the same, and that max|a - b| <= tolerance max|b|."""
    ours, expected = np.asarray(ours), np.asarray(expected)
    assert ours.dtype == expected.dtype
    within(ours, expected, tolerance if ours.dtype.kind == "f" else 0)


def operations(model, *examples):
    """Return how often each operation is in a trace of a model."""
    return collections.Counter(n.operation for n in md.trace(model, *examples))
