"""This module makes values from their descriptions, which `fuzz.draw` explains."""

import importlib
from typing import Any

import numpy as np


class Invalid(Exception):
    """Raised for a description that no value can have, such as that of an array that is too
    large.
    """


class Subclass(np.ndarray):
    """An array of a class that a user has derived."""


class Foreign:
    """The array of another library, which has nothing but `__array__`."""

    def __init__(self, values: Any) -> None:
        self.values = values

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.values, dtype)


def value_of(given: Any) -> Any:
    """Return the value that a description stands for. Raises Invalid if there is none."""
    if isinstance(given, list):
        return [value_of(item) for item in given]
    if not isinstance(given, dict):
        return given
    if "array" in given:
        return array_of(given)
    for key, make in MAKERS.items():
        if key in given:
            try:
                return make(given)
            except Exception as error:
                raise Invalid(f"{key}: {error}") from None
    if given:
        raise Invalid(f"no description: {given}")
    return {}


def values_of(args: dict[str, Any]) -> dict[str, Any]:
    """Return the values of named arguments. Some are results of a kernel's twin for the other
    arguments.
    """
    values = {name: None if _derived(given) else value_of(given) for name, given in args.items()}
    for name, given in args.items():
        if _derived(given):
            values[name] = _twin_result(given, values)
    return values


def _derived(given: Any) -> bool:
    return isinstance(given, dict) and "twin" in given


def _twin_result(given: dict[str, Any], values: dict[str, Any]) -> Any:
    """Return what a backward kernel gets from its forward: {"twin": [family, kernel], "item": which
    of its results, "of": the names of arguments, "fixed": others}.
    """
    family, name = given["twin"]
    twin = getattr(importlib.import_module(f"minidl.kernels.reference.{family}"), name)
    try:
        return twin(**{n: values[n] for n in given["of"] if n in values}, **given["fixed"])[
            given["item"]
        ]
    except Exception as error:
        raise Invalid(f"the forward refuses it: {error}") from None


def _tensor(given: dict[str, Any]) -> Any:
    import minidl as md

    array = value_of(given["tensor"])
    return md.Tensor(array, requires_grad=bool(given.get("grad")) and array.dtype.kind == "f")


def _parameter(given: dict[str, Any]) -> Any:
    from minidl import nn

    made = nn.Parameter(value_of(given["parameter"]))
    if given.get("grad"):
        made.grad = np.ones(made.shape, made.dtype)
    return made


def _optimizer(given: dict[str, Any]) -> Any:
    from minidl import optim

    return optim.SGD([value_of(item) for item in given["optimizer"]], lr=0.1)


def _layer(given: dict[str, Any]) -> Any:
    from minidl import nn

    return getattr(nn, given["layer"])()


def _dataset(given: dict[str, Any]) -> Any:
    from minidl import data

    return data.ArrayDataset(*map(value_of, given["dataset"]))


MAKERS = {
    "parameter": _parameter,
    "optimizer": _optimizer,
    "layer": _layer,
    "dataset": _dataset,
    "tuple": lambda given: tuple(value_of(item) for item in given["tuple"]),
    "dict": lambda given: {key: value_of(item) for key, item in given["dict"].items()},
    "set": lambda given: set(given["set"]),
    "number": lambda given: float(given["number"]),
    "scalar": lambda given: np.dtype(given["scalar"]).type(given["value"]),
    "complex": lambda given: complex(given["complex"], 1),
    "bytes": lambda given: given["bytes"].encode(),
    "slice": lambda given: slice(*given["slice"]),
    "dtype_of": lambda given: np.dtype(given["dtype_of"]),
    "foreign": lambda given: Foreign(given["foreign"]),
    "object": lambda given: object(),
    "ellipsis": lambda given: ...,
    "tensor": _tensor,
}


def array_of(given: dict[str, Any]) -> np.ndarray:
    """Return the array of a description."""
    shape, dtype = tuple(given["array"]), np.dtype(given["dtype"])
    rng = np.random.default_rng(given.get("seed", 0))
    try:
        if given.get("memory") == "broadcast":
            one = _filled(rng, (1,) * len(shape), dtype, given)
            return np.broadcast_to(one, shape)
        if np.prod(shape, dtype=object) > 1 << 24:
            raise Invalid(f"{shape}: too large")
        return _in_memory(_filled(rng, shape, dtype, given), given.get("memory", "plain"))
    except (TypeError, ValueError, OverflowError, MemoryError) as error:
        raise Invalid(str(error)) from None


def _filled(
    rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype, given: dict[str, Any]
) -> np.ndarray:
    kind = given.get("values", "normal")
    if dtype.kind in "iu":
        low, high = given.get("low", 0), given.get("high", 9)
        return rng.integers(low, high, shape, np.int64, endpoint=True).astype(dtype)
    if dtype.kind == "b":
        return rng.random(shape) < {"zeros": 0, "equal": 1}.get(kind, 0.6)
    if dtype.kind not in "fc":
        return np.zeros(shape, dtype)
    x = rng.standard_normal(shape)
    with np.errstate(over="ignore"):
        return np.asarray(_spread(x, rng, kind, dtype)).astype(dtype)


def _spread(x: np.ndarray, rng: np.random.Generator, kind: str, dtype: np.dtype) -> Any:
    """Convert standard normal numbers to numbers of another distribution."""
    wide = dtype.itemsize >= 8
    if kind == "uniform":
        return rng.random(x.shape)
    if kind == "positive":
        return np.abs(x) + 0.1
    if kind == "shares":  # probabilities along the last axis
        shares = np.exp(x)
        return shares / shares.sum(axis=-1, keepdims=True) if x.ndim else shares
    if kind == "factors":  # factors of a normalization, whose last row is mean_lo
        factors = np.abs(x) + 0.1
        if x.ndim:
            factors[4:] *= np.finfo(dtype).eps
        return factors
    if kind == "whole":
        return np.round(2 * x)
    if kind == "offset":
        return 1000 + x
    if kind == "tiny":
        return x * (1e-120 if wide else 1e-30)
    if kind == "huge":
        return x * (1e120 if wide else 1e30)
    if kind == "denormal":
        return x * (1e-310 if wide else 1e-40)
    if kind in ("zeros", "equal"):
        return np.full(x.shape, 0.0 if kind == "zeros" else 0.1)
    if kind == "mixed":
        return x * 10.0 ** rng.integers(-20, 20, x.shape)
    if kind == "special":
        info = np.finfo(dtype)
        some = np.array(
            [
                np.nan,
                np.inf,
                -np.inf,
                -0.0,
                0.0,
                info.max,
                -info.max,
                info.tiny,
                info.smallest_subnormal,
                -1.0,
                1.0,
            ]
        )
        return np.where(rng.random(x.shape) < 0.15, rng.choice(some, x.shape), x)
    return x


def _in_memory(x: np.ndarray, how: str) -> np.ndarray:
    """Return the same values in another kind of memory."""
    if how == "readonly":
        x.flags.writeable = False
    elif how == "strided" and x.ndim:
        x = np.repeat(x, 2, axis=-1)[..., ::2]
    elif how == "reversed" and x.ndim:
        x = np.ascontiguousarray(x[::-1])[::-1]
    elif how == "fortran":
        x = np.asfortranarray(x)
    elif how == "bigendian":
        x = x.astype(x.dtype.newbyteorder(">"))
    # "shifted" is aligned to the size of a value and to nothing larger.
    elif how in ("unaligned", "shifted"):
        before = 1 if how == "unaligned" else x.itemsize
        raw = np.zeros(x.nbytes + before, np.uint8)[before:]
        moved = raw.view(x.dtype).reshape(x.shape) if x.size else x
        moved[...] = x
        x = moved
    elif how == "subclass":
        x = x.view(Subclass)
    return x


def arrays_in(value: Any) -> list[np.ndarray]:
    """Return all arrays inside a value, in order."""
    if isinstance(value, np.ndarray | np.generic):
        return [np.asarray(value)]
    if isinstance(value, list | tuple):
        return [array for item in value for array in arrays_in(item)]
    if isinstance(value, dict):
        return [array for item in value.values() for array in arrays_in(item)]
    data = getattr(value, "data", None)  # a tensor
    return [data] if isinstance(data, np.ndarray) else []


def bits(value: Any) -> list[bytes]:
    """Return the bytes of all arrays inside a value, each with its shape and dtype."""
    return [
        f"{a.shape}{a.dtype}".encode() + a.tobytes()
        for a in arrays_in(value)
        if a.size < 1e7 and a.dtype != object
    ]


def shown(given: Any) -> str:
    """Return a description in the form that is easiest to read."""
    if isinstance(given, list):
        return "[" + ", ".join(map(shown, given)) + "]"
    if not isinstance(given, dict):
        return repr(given)
    if "array" in given:
        words = [given["dtype"], given.get("values", "normal"), given.get("memory", "")]
        numbers = [f"{k}={given[k]}" for k in ("low", "high", "seed") if k in given]
        return f"<{tuple(given['array'])} {' '.join(filter(None, words))} {' '.join(numbers)}>"
    if "twin" in given:
        return f"<result {given['item']} of {given['twin'][1]}>"
    if "tensor" in given:
        return f"Tensor({shown(given['tensor'])}{', requires_grad' if given.get('grad') else ''})"
    if "tuple" in given:
        return "(" + "".join(shown(item) + ", " for item in given["tuple"]) + ")"
    ((key, value), *_) = given.items() or [("dict", "")]
    return f"{key}({value!r})"
