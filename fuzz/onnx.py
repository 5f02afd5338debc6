"""This fuzzer loads ONNX files, valid and damaged, by `md.onnx.load`, and runs the result. Where
nothing is wrong, it is compared with ONNX's own reference.

A case is a model as data (`fuzz.onnx_nodes`), in which something may be wrong
(`fuzz.onnx_changes`), and changes of the file's bytes. It must load, or `md.onnx.load` must refuse
it by NotImplementedError or ValueError. A loaded model must run and go backward, or say which node
cannot. ONNX's reference is written in Python, so that it cannot end the process.
"""

import math
import warnings
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import minidl as md
from minidl.onnx.model import written_out

from .draw import Draw
from .file_formats import changed, mutation
from .onnx_changes import change
from .onnx_models import random_model
from .values import Invalid, value_of
from .watch import Fault, Watch, internal_error, place_of

MOST = 1 << 16  # the largest number of values of an input
REFUSALS = (NotImplementedError, ValueError)
ERRORS = (ValueError, TypeError, IndexError, NotImplementedError)
TOLERANCE = 1e-4
# For some sizes and options of these operators, ONNX's reference departs from the standard, and
# ONNX Runtime follows the standard. (tests/onnx/test_pools.py tries all options of pools.)
DIFFERENT = {"AveragePool", "LRN", "LpNormalization", "LpPool", "MaxPool"}


def make(draw: Draw) -> dict[str, Any]:
    """Return a model; one in five is valid."""
    model = random_model(draw)
    wrong = draw.pick(0, 1, 1, 2, 3)
    damaged = draw.pick(0, 0, 0, 1, 2) if wrong else 0
    for _ in range(wrong if not damaged or draw.chance(0.3) else 0):
        change(draw, model)
    return {
        **model,
        "valid": not wrong,
        "layout": draw.pick("NCHW", "NCHW", "NHWC"),
        "mutations": [mutation(draw, "") for _ in range(damaged)],
    }


def title(case: dict[str, Any]) -> str:
    """Return the title that a finding of this case is filed under: its operators."""
    return "-".join(sorted({str(node["op"]) for node in case["nodes"]}))[:40]


def describe(case: dict[str, Any]) -> str:
    """Return a description of the case in one line."""
    nodes = "; ".join(
        f"{', '.join(node['out'])} = {node['op']}({', '.join(node['in'])}){node['options'] or ''}"
        for node in case["nodes"]
    )
    arrays = {**case["inputs"], **case["arrays"]}
    shapes = ", ".join(
        f"{name} {item.get('array', item.get('numbers'))}" for name, item in arrays.items()
    )
    said = f"opset {case['opset']}, {case['layout']}: {nodes} of {shapes} {case['mutations']}"
    return said[:2000]


def run(case: dict[str, Any], watch: Watch) -> str:
    """Run a case. Return how far it got, or the name of the documented error."""
    with watch.reference():
        content = changed(_file(case), case["mutations"], "")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model = md.onnx.load(content, case["layout"])
        except (*REFUSALS, MemoryError) as error:
            _check(error, case, ("md.onnx.load",))
            return f"load {type(error).__name__}"
        except Exception as error:
            raise internal_error(error) from None
        inputs = _inputs(model, case)
        if inputs is None:
            return "loaded"
        try:
            made = model(*inputs)
            outputs = list(made) if isinstance(made, tuple) else [made]
            watch.allowed = sum(y.data.nbytes for y in outputs)
        except (*ERRORS, MemoryError) as error:
            _check(error, case, ("of node", "the model"))
            return f"run {type(error).__name__}"
        except Exception as error:
            raise internal_error(error) from None
        if (
            case["valid"]
            and case["layout"] == "NCHW"
            and DIFFERENT.isdisjoint(node["op"] for node in case["nodes"])
        ):
            _compare(outputs, content, inputs, model, watch)
        _go_backward(outputs)
    return "ran"


def _check(error: Exception, case: dict[str, Any], words: tuple[str, ...]) -> None:
    """Raise Fault unless an error says where it comes from. A valid model must not have one."""
    if isinstance(error, MemoryError):
        return
    if case["valid"]:
        raise Fault("refused", f"{type(error).__name__}: {error}", place_of(error))
    if not any(word in str(error) for word in words):
        raise Fault(
            "unnamed error",
            f"{type(error).__name__}: {error}",
            f"{type(error).__name__} {place_of(error)}",
        )


def _inputs(model: Any, case: dict[str, Any]) -> list[np.ndarray] | None:
    """Return the inputs that a model asks for; None if they are too large."""
    program = model.unregistered.program
    inputs = []
    for (name, dtype, shape), order in zip(program.inputs, program.input_orders, strict=True):
        own = case["inputs"].get(name)
        array = (
            np.asarray(value_of(own))
            if own is not None and "array" in own
            else np.ones((2, 4, 5, 6), np.float32)
        )
        given = array.shape if shape is None else shape
        sizes = [
            n if n is not None else array.shape[k] if len(given) == array.ndim else 2
            for k, n in enumerate(given)
        ]
        if math.prod(sizes) > MOST or min(sizes, default=0) < 0:
            return None
        if tuple(sizes) != array.shape or (dtype is not None and array.dtype != dtype):
            array = np.random.default_rng(0).standard_normal(sizes).astype(dtype or np.float32)
        axes = written_out(order, array.ndim)
        inputs.append(array if axes is None else array.transpose(axes))
    return inputs


def _compare(
    outputs: list[Any], content: bytes, inputs: list[np.ndarray], model: Any, watch: Watch
) -> None:
    """Compare with what ONNX's reference computes, if it can."""
    names = [name for name, _, _ in model.unregistered.program.inputs]
    with watch.reference(), np.errstate(all="ignore"):
        try:
            expected = ReferenceEvaluator(content).run(None, dict(zip(names, inputs, strict=True)))
        except Exception:
            return
    for name, y, right in zip(model.unregistered.program.outputs, outputs, expected, strict=True):
        got, right = np.asarray(y.data), np.asarray(right)
        if (got.shape, got.dtype) != (right.shape, right.dtype):
            raise Fault(
                "difference", f"{name}: {got.shape} {got.dtype}, right {right.shape} {right.dtype}"
            )
        scale = np.abs(right[np.isfinite(right)]).max(initial=1)
        if not np.allclose(got, right, 0, TOLERANCE * scale, equal_nan=True):
            raise Fault("difference", f"{name}: {got.ravel()[:6]}, right {right.ravel()[:6]}")


def _go_backward(outputs: list[Any]) -> None:
    try:
        sums = [y.sum() for y in outputs if y.requires_grad and y.dtype.kind == "f"]
        if sums:
            sum(sums[1:], sums[0].astype(np.float64)).backward()
    except MemoryError:
        pass
    except Exception as error:
        raise internal_error(error) from None


# ------------------------------------------------------------------------- from data to a file


def _file(case: dict[str, Any]) -> bytes:
    """Return the bytes of a model. Raises Invalid if no file can hold it."""
    try:
        graph = helper.make_graph(
            [_node(node) for node in case["nodes"]],
            "fuzz",
            [_told(name, item, item.get("told", "own")) for name, item in case["inputs"].items()],
            [_told(name, {"dtype": dtype}, None) for name, dtype in case["outputs"].items()],
            [_tensor(name, item) for name, item in case["arrays"].items()],
        )
        opsets = [helper.make_opsetid("", case["opset"]), helper.make_opsetid("own", 1)]
        functions = [
            helper.make_function(
                "own", f["name"], f["in"], f["out"], [_node(node) for node in f["nodes"]], opsets
            )
            for f in case.get("functions", ())
        ]
        model = helper.make_model(graph, opset_imports=opsets, functions=functions)
        model.ir_version = case.get("ir", 10)
        return bytes(model.SerializeToString())
    except (
        TypeError,
        ValueError,
        KeyError,
        OverflowError,
        AttributeError,
        MemoryError,
        NotImplementedError,
    ) as error:
        raise Invalid(str(error)) from None


def _node(node: dict[str, Any]) -> Any:
    made = helper.make_node(
        node["op"],
        node["in"],
        node["out"],
        name=node.get("name", ""),
        domain=node.get("domain", ""),
    )
    for name, value in node["options"].items():
        if isinstance(value, dict):
            value = _tensor("", value["tensor"])
        made.attribute.append(helper.make_attribute(name, value))
    return made


def _tensor(name: str, item: dict[str, Any]) -> Any:
    if "numbers" in item:
        array = np.array(item["numbers"], item["dtype"])
    else:
        array = np.asarray(value_of(item))
    if array.size > MOST:
        raise Invalid(f"{array.shape}: too large")
    tensor = numpy_helper.from_array(array, name)
    if "dims" in item:
        tensor.dims[:] = item["dims"]
    if "type" in item:
        tensor.data_type = item["type"]
    if "elsewhere" in item:
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=item["elsewhere"])
    return tensor


def _told(name: str, item: dict[str, Any], shape: Any) -> Any:
    """Return what a file says of an input or output. With `shape` "none" it does not even give its
    dtype.
    """
    dtype = np.dtype(item["dtype"])
    number = TensorProto.STRING if dtype.kind == "O" else helper.np_dtype_to_tensor_dtype(dtype)
    if shape == "own":
        shape = item.get("array", np.shape(item.get("numbers", ())))
    made = helper.make_tensor_value_info(name, number, None if shape == "none" else shape)
    if shape == "none":
        made.ClearField("type")
    return made


__all__ = ["Invalid", "describe", "make", "run", "title"]
