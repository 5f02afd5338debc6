"""NumPy's functions called with tensors: np.mean(t), np.exp(t), np.stack([t, u]).

Where minidl has the function, with the arguments that are given, minidl computes it and records a
graph. NumPy computes everything else from the values, unless a gradient would be lost by that.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ..foreign_names import FUNCTIONS as FUNCTIONS_ELSEWHERE
from ..grad_mode import is_recording
from ..tensor import Tensor
from . import create, logic, math, order, reduce, select, shape, trigonometry
from .activation import tanh
from .einsum import einsum
from .linalg import matmul

COMPARISONS = (np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal)
BITWISE = (
    *(np.bitwise_and, np.bitwise_or, np.bitwise_xor),
    *(np.invert, np.left_shift, np.right_shift),
)
UFUNCS: dict[np.ufunc, Callable[..., Any]] = {
    np.add: math.add,
    np.subtract: math.subtract,
    np.multiply: math.multiply,
    np.divide: math.divide,
    np.floor_divide: logic.floor_divide,
    np.remainder: math.remainder,
    np.power: math.power,
    np.maximum: math.maximum,
    np.minimum: math.minimum,
    np.matmul: matmul,
    np.negative: math.negative,
    np.absolute: math.abs,
    np.exp: math.exp,
    np.log: math.log,
    np.sqrt: math.sqrt,
    np.tanh: tanh,
    np.sin: trigonometry.sin,
    np.cos: trigonometry.cos,
    np.square: lambda x: math.multiply(x, x),
    **{f: partial(logic.compare, f) for f in COMPARISONS},
    **{f: partial(logic.bitwise, f) for f in BITWISE},
}

AXIS = {"a": "x", "axis": "axis"}
REDUCTION = {**AXIS, "keepdims": "keepdims"}
LIKE = {"a": "x", "dtype": "dtype"}
# By NumPy's function: minidl's, and the names there of NumPy's arguments. With any other argument
# NumPy computes.
FUNCTIONS: dict[Any, tuple[Callable[..., Any], dict[str, str]]] = {
    np.sum: (reduce.sum, REDUCTION),
    np.mean: (reduce.mean, REDUCTION),
    np.max: (reduce.max, REDUCTION),
    np.amax: (reduce.max, REDUCTION),
    np.min: (reduce.min, REDUCTION),
    np.amin: (reduce.min, REDUCTION),
    np.var: (reduce.var, {**REDUCTION, "ddof": "ddof"}),
    np.std: (reduce.std, {**REDUCTION, "ddof": "ddof"}),
    np.any: (logic.any, REDUCTION),
    np.all: (logic.all, REDUCTION),
    np.argmax: (reduce.argmax, REDUCTION),
    np.argmin: (reduce.argmin, REDUCTION),
    np.sort: (order.sort, AXIS),
    np.argsort: (order.argsort, AXIS),
    np.cumsum: (lambda x, axis=None: order.cumsum(x, axis), AXIS),  # NumPy's default
    np.clip: (
        select.clip,
        {"a": "x", "a_min": "a_min", "a_max": "a_max", "min": "min", "max": "max"},
    ),
    np.where: (select.where, {"condition": "condition", "x": "a", "y": "b"}),
    np.reshape: (shape.reshape, {"a": "x", "shape": "shape", "newshape": "shape"}),
    np.ravel: (shape.flatten, {"a": "x"}),
    np.transpose: (shape.transpose, {"a": "x", "axes": "axes"}),
    np.expand_dims: (shape.expand_dims, AXIS),
    np.squeeze: (shape.squeeze, AXIS),
    np.broadcast_to: (shape.broadcast_to, {"array": "x", "shape": "shape"}),
    np.flip: (shape.flip, {"m": "x", "axis": "axis"}),
    np.pad: (
        shape.pad,
        {
            "array": "x",
            "pad_width": "pad_width",
            "mode": "mode",
            "constant_values": "constant_values",
        },
    ),
    np.concatenate: (shape.concatenate, {"arrays": "tensors", "axis": "axis"}),
    np.stack: (shape.stack, {"arrays": "tensors", "axis": "axis"}),
    np.split: (shape.split, {"ary": "x", "indices_or_sections": "sections", "axis": "axis"}),
    np.einsum: (einsum, {}),
    np.zeros_like: (create.zeros_like, LIKE),
    np.ones_like: (create.ones_like, LIKE),
    np.full_like: (create.full_like, {**LIKE, "fill_value": "value"}),
    # These only look at the tensor, so that a Lazy result need not be computed.
    np.shape: (lambda x: x.shape, {"a": "x"}),
    np.ndim: (lambda x: x.ndim, {"a": "x"}),
    np.size: (lambda x: x.size, {"a": "x"}),
}

# The names of the arguments that functions write to, which are their first.
WRITERS: dict[Any, str] = {
    np.copyto: "dst",
    np.put: "a",
    np.place: "arr",
    np.putmask: "a",
    np.put_along_axis: "arr",
    np.fill_diagonal: "a",
}

# Signatures of functions in C, which older versions of NumPy do not tell.
SIGNATURES: dict[Any, Callable[..., Any]] = {
    np.where: lambda condition, x=None, y=None: None,
    np.concatenate: lambda arrays, axis=0, out=None, *, dtype=None, casting="same_kind": None,
}


def apply_ufunc(
    ufunc: np.ufunc, method: str, inputs: tuple[Any, ...], options: dict[str, Any]
) -> Any:
    """Compute what `Tensor.__array_ufunc__` was asked for and UFUNCS does not have."""
    name = ufunc.__name__ if method == "__call__" else f"{ufunc.__name__}.{method}"
    if any(isinstance(out, Tensor) for out in options.get("out", ())):
        raise _written_to(name, "out")
    if method == "at" and isinstance(inputs[0], Tensor):
        raise _written_to(name, "the first argument")
    return _of_values(name, getattr(ufunc, method), inputs, options)


def apply_function(function: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Compute what `Tensor.__array_function__` was asked for."""
    found = FUNCTIONS.get(function)
    if found is not None:
        ours, names = found
        if function is np.einsum:
            if not options and isinstance(args[0], str):
                return ours(*args)
        elif (given := _renamed(function, names, args, options)) is not None:
            first = next(iter(given))
            return ours(given.pop(first), **given)
    module = function.__module__.removeprefix("numpy").removeprefix(".")
    name = f"{module}.{function.__name__}" if module else function.__name__
    target = WRITERS.get(function)
    if target is not None and isinstance(args[0] if args else options.get(target), Tensor):
        raise _written_to(name, target)
    return _of_values(name, function, args, options)


def _renamed(
    function: Any, names: dict[str, str], args: tuple[Any, ...], options: dict[str, Any]
) -> dict[str, Any] | None:
    """The arguments by minidl's names; None if minidl's function does not have all of them."""
    signature = inspect.signature(SIGNATURES.get(function, function))
    given = dict(signature.bind(*args, **options).arguments)
    given.update(given.pop("kwargs", {}))  # np.pad takes its options so
    if function is np.where and len(given) != 3:
        return None
    result = {}
    for name, value in given.items():
        parameter = signature.parameters.get(name)
        if name in names:
            result[names[name]] = value
        elif parameter is None or value is not parameter.default:
            return None
    return result


def _of_values(name: str, function: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """NumPy's result for the values of the tensors; an error if that would lose a gradient."""
    wanted = False

    def plain(value: Any) -> Any:
        nonlocal wanted
        if isinstance(value, Tensor):
            wanted = wanted or value.requires_grad
            return value.data
        if type(value) in (list, tuple):
            return type(value)([plain(v) for v in value])
        return value

    values, rest = plain(args), {key: plain(value) for key, value in options.items()}
    lost = wanted and is_recording()
    if lost and "out" in rest and _has_floats(rest["out"]):  # checked before NumPy writes to it
        raise _gradient_lost(name)
    result = function(*values, **rest)
    if lost and _has_floats(result):
        raise _gradient_lost(name)
    return result


def _written_to(name: str, argument: str) -> TypeError:
    return TypeError(
        f"np.{name}: {argument} is a tensor, which is not written to: give an array (of a leaf its "
        f".data)"
    )


def _gradient_lost(name: str) -> TypeError:
    ours = FUNCTIONS_ELSEWHERE.get(name.rpartition(".")[2], "np.")
    instead = "compose the operation of minidl's" if ours.startswith("np.") else f"write {ours}"
    return TypeError(
        f"np.{name}: minidl has no such operation with these arguments, and NumPy "
        f"would lose the gradient: give it the values, x.data, or {instead}"
    )


def _has_floats(result: Any) -> bool:
    if isinstance(result, (list, tuple)):
        return any(_has_floats(item) for item in result)
    return isinstance(result, (np.ndarray, np.floating)) and result.dtype.kind == "f"
