"""Reads the bytes of a file into steps. A file that is no ONNX is refused here, and so is, node by
node, what is not supported, before anything is computed."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from .dtypes import DTYPES, NUMBER_OF, UNSUPPORTED
from .inlining import inlined
from .operators import OPERATORS
from .steps import Step

# Attributes that must be 0 or 1.
FLAGS = frozenset(
    (
        "allowzero",
        "antialias",
        "broadcast",
        "ceil_mode",
        "count_include_pad",
        "detect_negative",
        "detect_positive",
        "exclude_outside",
        "exclusive",
        "fmod",
        "input_forget",
        "is_test",
        "keepdims",
        "largest",
        "layout",
        "linear_before_reset",
        "noop_with_empty_axes",
        "reverse",
        "saturate",
        "select_last_index",
        "sorted",
        "spatial",
        "storage_order",
        "training_mode",
        "transA",
        "transB",
        "upper",
    )
)
OLDEST = 6  # the oldest operator set that can be read
ERRORS = (ValueError, TypeError, IndexError, KeyError, AttributeError, OverflowError, RuntimeError)


class Source:
    """What a file, `proto`, holds: steps in order, `arrays` by name (of initializers and Constant
    nodes), those of them that are `initializers`, the names of inputs and outputs, and dtypes and
    shapes of values as far as the file tells them."""

    def __init__(self, model: Any) -> None:
        self.proto = model
        graph = model.graph
        self.opset = _opset(model)
        for t in graph.initializer:
            if t.data_type not in DTYPES:
                user = self._first_user(graph, t.name, "the array")
                raise NotImplementedError(
                    f"md.onnx.load: {user}: values of {_dtype_name(t.data_type)} are not "
                    f"supported ({t.name!r})"
                )
        self.initializers = {t.name: _array(t, t.name) for t in graph.initializer}
        self.arrays = dict(self.initializers)
        self.types: dict[str, int] = {}
        self.shapes: dict[str, tuple[int | None, ...]] = {}
        for value in (*graph.value_info, *graph.input, *graph.output):
            self._learn(value)
        for name, array in self.initializers.items():
            self.shapes[name] = array.shape
        self.inputs = [v.name for v in graph.input if v.name not in self.initializers]
        self.outputs = [v.name for v in graph.output]
        for name in self.inputs:
            number = self.types.get(name, 1)
            if number not in DTYPES:
                user = self._first_user(graph, name, "the input")
                raise NotImplementedError(
                    f"md.onnx.load: {user}: values of {_dtype_name(number)} are not "
                    f"supported ({name!r})"
                )
        self.steps: list[Step] = []
        self.same: dict[str, str] = {}  # by outputs of Identity, the arrays that they only rename
        for node in graph.node:
            self._read(node)

    @staticmethod
    def _first_user(graph: Any, name: str, kind: str) -> str:
        """The first node that takes an input or an array, for an error message; the input or array
        itself where no node takes it."""
        for node in graph.node:
            if name in node.input:
                return f"{node.op_type} of node {node.name or next(iter(node.output), '')!r}"
        return f"{kind} {name!r}"

    def _learn(self, value: Any) -> None:
        """Note the dtype and the shape that the file tells of a value."""
        kind = value.type.WhichOneof("value")
        if kind == "tensor_type":
            told = value.type.tensor_type
            if told.elem_type:
                self.types[value.name] = told.elem_type
            if told.HasField("shape"):
                self.shapes[value.name] = tuple(
                    [d.dim_value if d.HasField("dim_value") else None for d in told.shape.dim]
                )

    def _read(self, node: Any) -> None:
        """Make a step of a node, unless it only names an array."""
        inputs = tuple([self.same.get(name, name) or None for name in node.input])
        outputs = tuple([name or None for name in node.output])
        name = node.name or next(filter(None, outputs), "")
        step = Step(node.op_type, name, inputs, outputs, {}, self.opset)
        operator = OPERATORS[node.op_type]
        for attribute in node.attribute:
            if attribute.name not in operator.attributes:
                raise step.refuse(f"the attribute {attribute.name} is not supported")
            value = step.attributes[attribute.name] = _attribute(attribute, step)
            if attribute.name in FLAGS and value not in (0, 1):
                raise ValueError(
                    f"{step.operator} of node {step.name!r}: {attribute.name} must be "
                    f"0 or 1, got {value!r}"
                )
        self._check_dtypes(step, node)
        step.types = tuple([self._dtype(n) for n in inputs])
        step.shapes = tuple([None if n is None else self.shapes.get(n) for n in inputs])
        step.known = tuple([None if n is None else self.arrays.get(n) for n in inputs])
        first = next(iter(step.types), None)
        if first is not None and first.name not in operator.types:
            raise step.refuse(f"values of {first} are not supported")
        if operator.check is not None:
            operator.check(step)
        for output, dtype in zip(outputs, operator.dtypes(step), strict=False):
            if output is not None and dtype is not None:
                self.types.setdefault(output, NUMBER_OF[dtype.name])
        if node.op_type == "Identity" and outputs[0] and inputs[0] in self.arrays:
            given, named = str(inputs[0]), outputs[0]
            if self._is_copied(given, named):
                array = self.arrays[given].copy()
                self.initializers[named] = self.arrays[named] = array
                self.shapes[named] = array.shape
                return
            self.same[named] = given
            if named not in self.outputs:
                return
        if node.op_type == "Constant" and outputs[0]:
            with np.errstate(all="ignore"):
                self.arrays[outputs[0]] = operator.run(step).tensor.data
            if outputs[0] in self.outputs:
                self.steps.append(step)
            return
        self.steps.append(step)

    def _is_copied(self, name: str, output: str) -> bool:
        """Whether an Identity gives the weights of a second layer, which are to be learned apart.

        PyTorch stores arrays of equal values once: all scales, and all variances, of a network that
        has not been trained. Weights that its layers really share have one name, and no Identity.
        """
        return (
            name in self.initializers
            and output not in self.outputs
            and self.arrays[name].dtype.kind == "f"
            and self.arrays[name].ndim > 0
        )

    def _dtype(self, name: str | None) -> np.dtype | None:
        if name is None:
            return None
        if name in self.arrays:
            return self.arrays[name].dtype
        number = self.types.get(name)
        return None if number is None else np.dtype(DTYPES[number])

    def _check_dtypes(self, step: Step, node: Any) -> None:
        for name in (*node.input, *node.output):
            number = self.types.get(name)
            if number is not None and number not in DTYPES:
                raise step.refuse(f"values of {_dtype_name(number)} are not supported ({name!r})")


def read(path_or_bytes: Any) -> Source:
    """Read a path, bytes or a ModelProto. ValueError for what is no ONNX model,
    NotImplementedError for what is not supported."""
    model = _model(path_or_bytes)
    if not model.HasField("graph"):
        raise ValueError("md.onnx.load: the file is no ONNX model: it has no graph")
    try:
        if model.functions:
            model = inlined(model)
        _check_operators(model)
        source = Source(model)
        # A file may leave the shapes of inputs and outputs out, which the checker does not accept.
        for value in (*model.graph.input, *model.graph.output):
            if value.type.HasField("tensor_type"):
                value.type.tensor_type.shape.SetInParent()
        onnx.checker.check_model(_as_checked(model))
    except NotImplementedError:
        raise
    except (*ERRORS, onnx.checker.ValidationError) as error:
        raise ValueError(f"md.onnx.load: the file is no valid ONNX model: {error}") from None
    return source


def _as_checked(model: Any) -> Any:
    """The model as the checker takes it. It refuses the GroupNormalization of opsets 18 to 20,
    which has one factor for each group, since opset 21 took its place, though runtimes compute it.
    An InstanceNormalization, of the same inputs and outputs, stands for it in a copy."""
    if not any(_is_old_group_norm(node, model) for node in model.graph.node):
        return model
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for node in copy.graph.node:
        if _is_old_group_norm(node, model):
            node.op_type = "InstanceNormalization"
            own = [a for a in node.attribute if a.name == "epsilon"]
            del node.attribute[:]
            node.attribute.extend(own)
    return copy


def _is_old_group_norm(node: Any, model: Any) -> bool:
    return node.op_type == "GroupNormalization" and 18 <= _opset(model) < 21


def _model(source: Any) -> Any:
    if isinstance(source, onnx.ModelProto):
        return source
    if isinstance(source, (bytes, bytearray, memoryview)):
        try:
            return onnx.load_model_from_string(bytes(source))
        except Exception as error:  # protobuf raises a class of its own
            raise ValueError(f"md.onnx.load: the bytes are no ONNX model: {error}") from None
    if not isinstance(source, (str, os.PathLike)):
        raise TypeError(
            f"md.onnx.load: path_or_bytes must be a path or bytes, got {type(source).__name__}"
        )
    path = os.fspath(source)
    with open(path, "rb"):  # its errors name the file
        pass
    try:
        return onnx.load_model(path)
    except Exception as error:
        raise ValueError(f"md.onnx.load: {path} is no ONNX model: {error}") from None


def _opset(model: Any) -> int:
    return max([o.version for o in model.opset_import if o.domain in ("", "ai.onnx")], default=0)


def _check_operators(model: Any) -> None:
    """Refuse operators that are not known, and files of versions of the standard that are not
    supported. A version before OLDEST is accepted if all operators of the file are the same in
    both."""
    version, newest = _opset(model), onnx.defs.onnx_opset_version()
    for node in model.graph.node:
        standard = node.domain in ("", "ai.onnx")
        name = node.name or next(filter(None, node.output), "")
        domain = "" if standard else f" (domain {node.domain})"
        what = (
            f"md.onnx.load: the operator {node.op_type}{domain} of node {name!r} is not supported"
        )
        if not standard or node.op_type not in OPERATORS:
            raise NotImplementedError(what)
        if version > newest or (version < OLDEST and _since(node.op_type) > version):
            raise NotImplementedError(f"{what} in opset {version}, only in {OLDEST} to {newest}")
    if model.graph.sparse_initializer:
        raise NotImplementedError("md.onnx.load: sparse initializers are not supported")


def _since(operator: str) -> int:
    """The version that gave an operator the form which it has in the version OLDEST."""
    try:
        return int(onnx.defs.get_schema(operator, OLDEST).since_version)
    except onnx.defs.SchemaError:  # the operator is younger
        return OLDEST


def _array(tensor: Any, name: str) -> np.ndarray:
    """An initializer, or an attribute, as an array."""
    if tensor.data_location == onnx.TensorProto.EXTERNAL:  # those of a path have been read
        raise ValueError(
            f"the values of {name!r} stand in another file, which only the path of "
            f"the model leads to, not its bytes"
        )
    return np.array(numpy_helper.to_array(tensor), order="C")


def _dtype_name(number: int) -> str:
    """A dtype that is not supported, by its number in TensorProto, in words for an error."""
    names: Iterable[tuple[str, int]] = onnx.TensorProto.DataType.items()
    name = next((name.lower() for name, n in names if n == number), str(number))
    return UNSUPPORTED.get(number) or f"the dtype {name}"


def _attribute(attribute: Any, step: Step) -> Any:
    """The value of an attribute in Python or NumPy. Files hold numbers in float32: where they say
    0.10000000149, 0.1 was meant."""
    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, onnx.TensorProto):
        if value.data_type not in DTYPES:
            raise step.refuse(f"a tensor of {_dtype_name(value.data_type)} is not supported")
        return _array(value, step.name)
    if isinstance(value, (int, float)):
        return float(str(np.float32(value))) if isinstance(value, float) else value
    items = list(value) if isinstance(value, Iterable) else None
    if items is None or not all(isinstance(v, (int, float, bytes)) for v in items):
        raise step.refuse(f"the attribute {attribute.name} is not supported")
    return [v.decode("utf-8", "replace") if isinstance(v, bytes) else v for v in items]
