"""This fuzzer calls public functions and layers with absurd arguments. Each call must give a
result, or an error that says what is wrong.

A case is {"call": dotted name, "args": {"0": ..., "name": ...}, "input": ..., "valid": bool}. What
a call returns is then used: tensors are read and walked backward, layers are called on `input`,
optimizers and schedules step, and loaders are iterated.
"""

import itertools
import os
import tempfile
from typing import Any

import numpy as np

import minidl as md
from minidl import data, nn, ops, optim

from .call_cases import CALLS, anything, example
from .draw import Draw
from .mutate import corrupted
from .values import Invalid, arrays_in, shown, value_of
from .watch import Fault, Watch, internal_error, place_of

ERRORS = (
    TypeError,
    ValueError,
    IndexError,
    KeyError,
    RuntimeError,
    MemoryError,
    OverflowError,
    NotImplementedError,
    OSError,
    BufferError,
)
# These kinds of RuntimeError are not meant for users.
INTERNAL = (NotImplementedError, RecursionError)
PLACES = {
    "md": md,
    "nn": nn,
    "optim": optim,
    "data": data,
    "init": nn.init,
    "Tensor": md.Tensor,
    "T": data.transforms,
}

_folder = tempfile.TemporaryDirectory()


def make(draw: Draw) -> dict[str, Any]:
    """Return a call of a random public name; one in eight is valid."""
    name = draw.pick(*CALLS)
    case = {"call": name, **example(draw, name), "valid": name not in REFUSED}
    wrong = draw.pick(0, 1, 1, 1, 1, 2, 2, 3)
    for _ in range(wrong):
        part = "input" if "input" in case and draw.chance(0.25) else "args"
        kept = {"0": case[part]["0"]} if name.startswith("Tensor.") else {}
        case[part] = corrupted(draw, case[part], anything) | kept  # a method always has its tensor
        case["valid"] = False
    return case


def title(case: dict[str, Any]) -> str:
    """Return the title that a finding of this case is filed under."""
    return str(case["call"])


def describe(case: dict[str, Any]) -> str:
    """Return a description of the case in one line."""
    args = ", ".join(
        shown(v) if k.isdigit() else f"{k}={shown(v)}" for k, v in case["args"].items()
    )
    inputs = f" on {', '.join(map(shown, case['input'].values()))}" if "input" in case else ""
    return f"{case['call']}({args}){inputs}"


def run(case: dict[str, Any], watch: Watch) -> str:
    """Run a case. Return "returned", or the name of the error if it is one that users may get."""
    os.chdir(_folder.name)  # what is saved under absurd names stays in there
    place, _, name = case["call"].rpartition(".")
    before: list[np.ndarray] = []
    args, options = _split(case["args"])
    inputs = _split(case["input"])[0] if "input" in case else ()
    try:
        function = getattr(PLACES[place], name)
        if case["call"] in PURE:
            before = [a.copy() for a in arrays_in(args)]
        result = _used(function(*args, **options), inputs)
        watch.allowed = sum(a.nbytes for a in arrays_in(result))
    except Invalid:
        raise
    except ERRORS as error:
        if case["valid"] and not isinstance(error, MemoryError):
            raise Fault("refused", f"{type(error).__name__}: {error}", place_of(error)) from None
        _check(error, name)
        return type(error).__name__
    except Exception as error:
        raise internal_error(error) from None
    finally:
        md.set_num_threads(2)
        md.set_precision("default")
    for a, b in zip(before, arrays_in(args), strict=False):
        if a.dtype != object and a.tobytes() != b.tobytes():
            raise Fault("changed input", "an argument has changed")
    return "returned"


# These are always refused, or are without a file.
REFUSED = ("Tensor.__setitem__", "nn.fold", "md.load")
PURE = frozenset(f"md.{name}" for name in md.ops.__all__ if name != "batch_norm")


def _split(args: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Return the positional and the named arguments. A case stores the positional ones under their
    numbers.
    """
    positional = [value_of(args[key]) for key in sorted(filter(str.isdigit, args), key=int)]
    return positional, {key: value_of(v) for key, v in args.items() if not key.isdigit()}


def _check(error: Exception, name: str) -> None:
    """Raise Fault unless an error is meant for the user: it must have a plain type and name the
    function.
    """
    text = str(error)
    where = place_of(error)
    if isinstance(error, INTERNAL) or type(error).__name__ == "UFuncNoLoopError":
        raise internal_error(error)
    if isinstance(error, MemoryError | OSError):
        return
    if not where:
        if isinstance(error, TypeError):
            return  # Python itself raises it for a call that does not fit the signature
        raise Fault("unexpected", f"{type(error).__name__}: {text}", type(error).__name__)
    if not text or not any(word in text for word in (name, *OTHER_NAMES.get(name, ()))):
        raise Fault(
            "unnamed error", f"{type(error).__name__}: {text}", f"{type(error).__name__} {where}"
        )


# The names in errors of functions that users know by another name, or that call another function.
OTHER_NAMES = {
    # A layer whose name has the letters of an operation's leaves the words to that.
    **{
        layer: (operation,)
        for layer in nn.__all__
        for operation in ops.__all__
        if layer.lower() == operation.replace("_", "")
    },
    "__getitem__": ("index", "getitem"),
    "__setitem__": ("index", "assign"),
    "item": ("element",),
    "__truediv__": ("divide",),
    "__add__": ("add",),
    "__matmul__": ("matmul",),
    "__pow__": ("power",),
    "argmax": ("index",),
    "StepNorm": ("step",),
    "backward": ("grad",),
    "Upsample": ("resize",),
    "adaptive_avg_pool": ("avg_pool",),
    "Parameter": ("Tensor", "tensor"),
    "Tensor": ("tensor",),
    "Sequential": ("layer ",),
    "LayerList": ("layer ",),  # the error says which layer it is, in that layer's own words
    **{
        name: (f"{name.lower()}_update",)  # in a step, the error is that of the update
        for name in ("SGD", "Adam", "RMSprop", "Adagrad", "LARS")
    },
    "AdamW": ("adam_update",),
    "use_backend": ("backend",),
    "ArrayDataset": ("images", "labels"),
    "mean_std": ("dataset", "ArrayDataset"),
    "DataLoader": ("dataset", "batch_size", "seed", "prefetch", "transform"),
}


def _used(result: Any, inputs: Any) -> Any:
    """Use a result as a user would."""
    if isinstance(result, nn.Layer):
        if not inputs:
            return repr(result)
        used = [_used(result(*inputs), ()), _used(result.eval()(*inputs), ())]
        repr(result), result.state_dict()
        return used
    if tensors := _tensors(result):
        repr(tensors)
        sums = [
            tensor.sum()
            for tensor in tensors
            if tensor.requires_grad and tensor.dtype in (np.float32, np.float64)
        ]  # tensors of other dtypes have no sum
        if sums:
            sum(sums[1:], sums[0]).backward()
    elif isinstance(result, optim.Optimizer):
        for group in result.state_dict().get("groups", []):
            repr(group)
        for _ in range(2):
            result.step()
        result.load_state_dict(result.state_dict())
    elif isinstance(result, optim.Schedule | optim.ReduceOnPlateau):
        for metric in (1.0, 2.0, 2.0):
            result.step(metric) if isinstance(result, optim.ReduceOnPlateau) else result.step()
        result.load_state_dict(result.state_dict())
    elif isinstance(result, data.DataLoader):
        return list(itertools.islice(result, 3))
    elif isinstance(result, data.transforms.Transform):
        return result(*inputs, np.random.default_rng(0))
    elif isinstance(result, data.ArrayDataset):
        return [result[0], repr(result)] if len(result) else repr(result)
    elif hasattr(result, "__enter__") and not isinstance(result, np.ndarray):
        with result:
            pass
    return result


def _tensors(result: Any) -> list[md.Tensor]:
    """Return all tensors in a result."""
    if isinstance(result, md.Tensor):
        return [result]
    if isinstance(result, tuple | list):
        return [tensor for value in result for tensor in _tensors(value)]
    return []


__all__ = ["Invalid", "describe", "make", "run", "title"]
