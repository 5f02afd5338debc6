"""A node of an imported graph as the layer keeps it, and what an operator is."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

Types = tuple[np.dtype | None, ...]

FLOATS = ("float32", "float64")
NUMBERS = (*FLOATS, "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
ANY = (*NUMBERS, "bool")


@dataclasses.dataclass
class Step:
    """A node: its operator, its name in the file (or that of its first output), the names of what
    it takes (None: left out) and makes, its attributes, and the version of the operator set.

    `types` and `shapes` are those of its inputs as far as the file tells, `known` the arrays of
    those inputs that are constants: until the model is built. `layer` is the place of the layer
    that does it, if one does, name by name; `done` names what no later step takes.
    """

    operator: str
    name: str
    inputs: tuple[str | None, ...]
    outputs: tuple[str | None, ...]
    attributes: dict[str, Any]
    opset: int
    types: Types = ()
    shapes: tuple[tuple[int | None, ...] | None, ...] = ()
    known: tuple[np.ndarray | None, ...] = ()
    layer: tuple[str, ...] | None = None
    done: tuple[str, ...] = ()

    def get(self, attribute: str, default: Any = None) -> Any:
        """An attribute, or what it is where the file does not give it."""
        return self.attributes.get(attribute, default)

    def axis(self, ndim: int, default: int) -> int:
        """The attribute `axis` of a value of so many axes, counted from 0."""
        axis: int = self.attributes.get("axis", default)
        if not -ndim <= axis < ndim:
            raise ValueError(f"axis {axis} is none of {ndim} axes")
        return axis % ndim

    def has(self, k: int) -> bool:
        """Whether input k is given."""
        return k < len(self.inputs) and self.inputs[k] is not None

    def makes(self, k: int) -> bool:
        """Whether output k is asked for."""
        return k < len(self.outputs) and self.outputs[k] is not None

    def refuse(self, why: str) -> NotImplementedError:
        """The error for what is not supported."""
        return NotImplementedError(f"md.onnx.load: {self.operator} of node {self.name!r}: {why}")


def refuse(step: Step, condition: Any, why: str) -> None:
    """NotImplementedError if the condition holds."""
    if condition:
        raise step.refuse(why)


@dataclasses.dataclass(frozen=True)
class Operator:
    """What minidl does for an operator of the standard.

    `run(step, *values)` computes the outputs from the inputs (`Held`, None where one is left out).
    `attributes` are those that it knows. `types` are the dtypes of its first input (of all inputs
    if `same`). `check(step)` refuses what is known beforehand not to be supported.

    `places` says what it does with the order of axes: "images" if it wants the channels last,
    "any" if it takes them as they come, None otherwise. `gives` is the dtype of the outputs: the
    number of the input that has it too, a name, or a function of the node; a tuple for several.
    """

    run: Callable[..., Any]
    attributes: tuple[str, ...] = ()
    types: tuple[str, ...] = FLOATS
    check: Callable[[Step], None] | None = None
    places: str | None = None
    gives: Any = 0

    def dtypes(self, step: Step) -> list[np.dtype | None]:
        """The dtypes of a node's outputs, None where that of an input is not known."""
        given = self.gives if isinstance(self.gives, tuple) else (self.gives,) * len(step.outputs)
        found: list[np.dtype | None] = []
        for what in given:
            what = what(step) if callable(what) else what
            if isinstance(what, int):
                what = step.types[what] if what < len(step.types) else None
            found.append(None if what is None else np.dtype(what))
        return found
