"""This fuzzer runs native kernels beside their NumPy twins. They must give the same values or be
refused.

A case is {"kernel": name, "args": {name: description}, "out": how, "valid": whether the arguments
are valid}. The native kernel runs on 1, 2 and 3 threads, which must give the same bits, with and
without `out`. It must not change what it refuses, and what it returns must be the twin's result
within the bound of `fuzz.kernel_rules`.
"""

import importlib
import inspect
from typing import Any

import numpy as np

from minidl import kernels
from minidl.kernels import FAMILIES

from . import kernel_rules
from .draw import Draw
from .kernel_cases import arguments
from .mutate import corrupted
from .values import Invalid, arrays_in, bits, shown, values_of
from .watch import Fault, Watch, internal_error

FAMILY = {name: family for family, names in FAMILIES.items() for name in names}
# Kernels that change their arguments. They must not have changed any of them when they refuse.
UPDATES = (*FAMILIES["optim.updates"][:-1], "running_update")
WITH_OUT = frozenset(
    name for name in FAMILY if "out" in inspect.signature(getattr(kernels, name)).parameters
)
NO_THREADS = ("batch_norm_factors", "batch_norm_finish", "running_update")
# These kernels may be given positions that no forward pass gives. They only compare them and never
# use them as addresses, so that a wrong one wins nothing; to check each of them would take as long
# as the kernel.
UNCHECKED = ("max_pool_backward",)
REFUSALS = (TypeError, ValueError, ArithmeticError, IndexError)


def make(draw: Draw) -> dict[str, Any]:
    """Return a call of a random kernel; four in ten have something wrong."""
    name = draw.pick(*FAMILY)
    case = {"kernel": name, "args": arguments(draw, name), "valid": True, "out": None}
    if name in WITH_OUT and draw.chance(0.4):
        case["out"] = draw.pick(
            "fresh", "fresh", "same", "overlap", "overlap", "readonly", "strided", "shape", "dtype"
        )
        case["shift"] = draw.integer(0, 70)
        case["over"] = draw.integer(0, 3)
    if name in UPDATES and draw.chance(0.4):
        case["shared"] = [draw.integer(0, 30), draw.integer(0, 30), draw.integer(0, 70)]
    if draw.chance(0.4):
        case["args"] = corrupted(draw, case["args"])
        case["valid"] = False
        if draw.chance(0.3):
            case["args"] = corrupted(draw, case["args"])
        if draw.chance(0.05):
            case["args"]["threads"] = draw.pick(0, -1, 5, -(2**31), 2**31, 2**63, None, "two", 1.5)
    return case


def title(case: dict[str, Any]) -> str:
    """Return the title that a finding of this case is filed under."""
    return str(case["kernel"])


def describe(case: dict[str, Any]) -> str:
    """Return a description of the case in one line."""
    args = ", ".join(f"{name}={shown(value)}" for name, value in case["args"].items())
    out = f", out={case['out']}" if case.get("out") else ""
    return f"kernels.{case['kernel']}({args}{out})"


def run(case: dict[str, Any], watch: Watch) -> str:
    """Run a case, and return "agrees", "refused" or "no reference"."""
    name = case["kernel"]
    kernel = getattr(importlib.import_module(f"minidl_ext.{FAMILY[name]}"), name)
    args = _arguments(case, watch)
    result, error = _called(kernel, name, args, 1)
    if error is None:
        watch.allowed = sum(a.nbytes for a in arrays_in(result))
        if name not in (*NO_THREADS, *kernel_rules.PRIVATE):
            _same_on_threads(kernel, name, case, result, args, watch)
    elif bits(args) != bits(_arguments(case, watch)):
        raise Fault("half-changed", f"refused ({error}), but arguments have changed")
    elif not case["valid"] or isinstance(error, MemoryError):
        return "refused"
    with watch.reference():
        twin = getattr(importlib.import_module(f"minidl.kernels.reference.{FAMILY[name]}"), name)
        rule = kernel_rules.Rule(name, twin, case)
        try:
            want, changed = rule.reference()
        except Exception as problem:
            if (
                error is not None
                or not isinstance(problem, ValueError | IndexError)
                or name in UNCHECKED
            ):
                return "no reference"
            raise Fault(
                "accepted", f"the twin refuses it: {type(problem).__name__}: {problem}"
            ) from None
        if error is not None:
            raise Fault("refused", f"{type(error).__name__}: {error}", type(error).__name__)
        rule.check(result, want)
        if name in UPDATES:
            rule.check(args, changed)
            _with_shared(kernel, twin, name, case)
        elif bits(args) != bits(values_of(case["args"])) and "masked_out" not in case["args"]:
            raise Fault("changed input", "an argument has changed")
    if case.get("out"):
        return _with_out(kernel, name, case, result, watch)
    return "agrees"


def _arguments(case: dict[str, Any], watch: Watch) -> dict[str, Any]:
    """Return new arguments. A backward gets some of them from the twin of its forward, whose memory
    does not count as the kernel's.
    """
    with watch.reference():
        return values_of(case["args"])


def _called(
    kernel: Any, name: str, args: dict[str, Any], threads: int
) -> tuple[Any, Exception | None]:
    """Return the result of a native kernel, or its refusal. Raises Fault if it fails in another
    way.
    """
    options = {} if name in NO_THREADS or "threads" in args else {"threads": threads}
    try:
        return kernel(**args, **options), None
    except (MemoryError, *REFUSALS) as error:
        return None, error
    except Exception as error:
        raise internal_error(error) from None


def _same_on_threads(
    kernel: Any, name: str, case: dict[str, Any], result: Any, args: Any, watch: Watch
) -> None:
    for threads in (2, 3):
        again = _arguments(case, watch)
        other, error = _called(kernel, name, again, threads)
        if isinstance(error, MemoryError):
            return
        if error is not None:
            raise Fault("threads", f"refused on {threads} threads: {error}")
        if bits(other) != bits(result) or bits(again) != bits(args):
            raise Fault("threads", f"other bits on {threads} threads than on one")


def _with_out(kernel: Any, name: str, case: dict[str, Any], result: Any, watch: Watch) -> str:
    """Repeat the call with an `out`. It must hold the same bits, or be refused without any
    change.
    """
    first = result[0] if isinstance(result, tuple) else result
    if not isinstance(first, np.ndarray):
        return "agrees"
    args = _arguments(case, watch)
    try:
        out = _out(case, args, first)
    except (ValueError, TypeError, MemoryError) as problem:
        # The array is empty or of objects, or an axis would be twice as long.
        raise Invalid(f"out: {problem}") from None
    before = bits([args, out])
    given, error = _called(kernel, name, args | {"out": out}, 2)
    if error is not None:
        if bits([args, out]) != before:
            raise Fault("half-changed", f"refused out ({error}), but arrays have changed")
        if case["out"] == "fresh" and not isinstance(error, MemoryError):
            raise Fault("refused", f"out: {error}", "out")
        return "out refused"
    written = given[0] if isinstance(given, tuple) else given
    if written is not out:
        raise Fault("out", f"the result is not out ({case['out']})")
    if case["out"] == "readonly":
        raise Fault("out", "a read-only out was written")
    if out.dtype != first.dtype or out.shape != first.shape:
        return "agrees"  # NumPy has converted or broadcast the result
    if bits(given) != bits(result):
        raise Fault("out", f"another result with out={case['out']}")
    return "agrees"


def _with_shared(kernel: Any, twin: Any, name: str, case: dict[str, Any]) -> None:
    """Repeat the update with two of its arrays in the same memory. Native kernel and twin must both
    refuse it without any change, or both accept it.
    """
    ours, theirs = values_of(case["args"]), values_of(case["args"])
    if not (case.get("shared") and _share(case, ours) and _share(case, theirs)):
        return
    before = bits(ours)
    _, error = _called(kernel, name, ours, 2)
    if error is not None and bits(ours) != before:
        raise Fault("half-changed", f"refused ({error}), but arrays have changed")
    try:
        twin(**theirs)
    except ValueError as problem:
        if error is None:
            raise Fault("accepted", f"the twin refuses shared memory: {problem}") from None
    else:
        if error is not None:
            raise Fault("refused", f"shared memory, which the twin accepts: {error}")


def _share(case: dict[str, Any], args: dict[str, Any]) -> bool:
    """Put two arrays of the arguments, or of lists among them, into the same memory, the second
    some values after the first. Return False if there are not two arrays.
    """
    lists = [args, *[value for value in args.values() if isinstance(value, list)]]
    places = [
        (values, key)
        for values in lists
        for key, a in (values.items() if isinstance(values, dict) else enumerate(values))
        if isinstance(a, np.ndarray) and a.size
    ]
    first, second, shift = case["shared"]
    if not places or first % len(places) == second % len(places):
        return False
    (one, i), (other, j) = places[first % len(places)], places[second % len(places)]
    one[i], other[j] = _one_memory(one[i], other[j], shift)
    return True


def _one_memory(a: np.ndarray, like: np.ndarray, shift: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a, and an array like the other one that begins `shift` of its values after the start
    of a, or at the end of a.
    """
    start = min(shift, a.nbytes // like.itemsize) * like.itemsize
    memory = np.zeros(max(a.nbytes, start + like.nbytes), np.uint8)
    moved = memory[: a.nbytes].view(a.dtype).reshape(a.shape)
    moved[...] = a
    return moved, memory[start : start + like.nbytes].view(like.dtype).reshape(like.shape)


def _out(case: dict[str, Any], args: dict[str, Any], like: np.ndarray) -> np.ndarray:
    """Return an array to write to. "same" and "overlap" share memory with one of the arguments."""
    kind, out = case["out"], np.full(like.shape, 7, like.dtype)
    names = [
        n
        for n, a in args.items()
        if isinstance(a, np.ndarray) and a.size and a.flags.c_contiguous and a.flags.writeable
    ]
    if kind == "same":
        fit = [n for n in names if (args[n].shape, args[n].dtype) == (like.shape, like.dtype)]
        return args[fit[case["over"] % len(fit)]] if fit else out
    if kind == "overlap" and names:
        name = names[case["over"] % len(names)]
        args[name], out = _one_memory(args[name], like, case["shift"])
        return out
    if kind == "readonly":
        out.flags.writeable = False
    elif kind == "strided" and out.ndim:
        out = np.full((*like.shape[:-1], 2 * like.shape[-1]), 7, like.dtype)[..., ::2]
    elif kind == "shape":
        out = np.full((*like.shape, 1), 7, like.dtype)
    elif kind == "dtype":
        out = out.astype("float64" if like.dtype == np.float32 else "float32")
    return out


__all__ = ["Invalid", "describe", "make", "run", "title"]
