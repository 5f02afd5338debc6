"""This module makes valid arguments wrong: it puts another dtype, another shape or an absurd value
in their place.
"""

import copy
from collections.abc import Callable

from .draw import MEMORY, Draw, Value

Args = dict[str, Value]
Anything = Callable[[Draw], Value]

DTYPES = (
    "float16",
    "float64",
    "float32",
    "int64",
    "int32",
    "int8",
    "uint8",
    "bool",
    "complex64",
    "complex128",
    "object",
    "U3",
    "M8[s]",
)
# The keys of descriptions that hold another description, or a list of them.
HOLDERS = ("tensor", "parameter")
LISTS = ("tuple", "optimizer", "dataset")
# Without these distributions a kernel's arguments mean nothing, and no bound holds for its results.
BOUND = ("shares", "factors")


def corrupted(draw: Draw, args: Args, anything: Anything = Draw.absurd) -> Args:
    """Return the arguments with one of them wrong or at least odd, with one missing, or with one
    too many.

    `anything` draws a value that may be in any place.
    """
    args = copy.deepcopy(args)
    if not args or draw.chance(0.02):
        return args | {draw.pick("axis", "dim", "9", "out", "x"): anything(draw)}
    name = draw.pick(*args)
    if draw.chance(0.04):
        del args[name]
    else:
        args[name] = mutated(draw, args[name], anything)
    return args


def mutated(draw: Draw, value: Value, anything: Anything) -> Value:
    """Return another value, chosen at random, to replace this one: a similar or an absurd one."""
    if draw.chance(0.2):
        return anything(draw)
    if isinstance(value, list):
        return _mutated_list(draw, value, anything)
    if isinstance(value, dict):
        if "array" in value:
            return _mutated_array(draw, value)
        for key in HOLDERS:
            if key in value:
                return {**value, key: mutated(draw, value[key], anything)}
        for key in LISTS:
            if key in value:
                return {**value, key: _mutated_list(draw, value[key], anything)}
    return anything(draw)


def _mutated_list(draw: Draw, items: list[Value], anything: Anything) -> list[Value]:
    items = list(items)
    if not items or draw.chance(0.15):
        return list(draw.pick(items * 2, items[:-1], [*items, anything(draw)]))
    at = draw.integer(0, len(items) - 1)
    items[at] = mutated(draw, items[at], anything)
    return items


def _mutated_array(draw: Draw, value: dict[str, Value]) -> dict[str, Value]:
    value, shape = dict(value), list(value["array"])
    what = draw.pick("memory", "memory", "dtype", "shape", "shape", "shape", "values", "absurd")
    if what == "memory":
        value["memory"] = draw.pick(*MEMORY)
    elif what == "dtype":
        value["dtype"] = draw.pick(*DTYPES)
    elif what == "values" and str(value["dtype"]).startswith(("int", "uint")):
        value |= {
            "low": draw.pick(0, -1, -7, -(2**31), -(2**63)),
            "high": draw.pick(5, 300, 2**40, 2**62),
        }
    elif what == "values":
        values = draw.values()
        if value.get("values") not in BOUND and not (value.get("finite") and values == "special"):
            value["values"] = values
    elif shape:
        at = draw.integer(0, len(shape) - 1)
        if what == "shape":
            shape[at] = max(0, shape[at] + draw.pick(-1, 1, 1, -shape[at], shape[at]))
            shape = draw.pick(
                shape, shape, shape, shape[:at] + shape[at + 1 :], [*shape, 1], shape[::-1]
            )
        else:  # an empty array with an axis that is longer than memory
            shape[at] = 2 ** draw.pick(20, 23, 30, 31, 32, 33, 46, 58)
            if len(shape) == 1:
                shape = [0, *shape]
            else:
                shape[(at + 1) % len(shape)] = 0
        value["array"] = shape
    return value
