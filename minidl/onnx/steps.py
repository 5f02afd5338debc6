"""A `Step` is a node of an imported graph, an `Operator` what minidl does for nodes of a kind."""

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
    """A node of the graph.

    `name` is its name in the file, or that of its first output. `inputs` and `outputs` are the
    names of the values that it takes and makes, None for one that is left out. `opset` is the
    version of the operator set.

    `types` and `shapes` are those of the inputs as far as the file tells them, and `known` has the
    arrays of inputs that are constants; all three are emptied when the model is built. `layer` is
    the path of the layer that computes the node, if one does. `released` are the values that no
    later step takes.
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
    released: tuple[str, ...] = ()

    def get(self, attribute: str, default: Any = None) -> Any:
        """An attribute, or its default where the file does not give it."""
        return self.attributes.get(attribute, default)

    def axis(self, ndim: int, default: int) -> int:
        """The attribute `axis` for a value of `ndim` axes, counted from 0."""
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
    `attributes` are those that it knows, `types` the dtypes that its first input may have.
    `check(step)` refuses, before anything is computed, what is not supported.

    `places` says what it does with the order of axes: "images" if it wants the channels last,
    "any" if it works with any order and keeps it, None if it wants the file's own. `gives` is the
    dtype of the outputs: the number of an input that has the same one, a name, or a function of the
    node; a tuple has one for each output.
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
