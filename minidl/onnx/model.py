"""The layer that an imported graph becomes, and the parts of it that hold its parameters."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from .. import checks
from ..nn import Layer
from ..ops.common import as_tensor
from ..tensor import Tensor
from . import layers
from .layouts import Order
from .operators import OPERATORS
from .steps import Step
from .values import Axes, Held, channels_last, unrecorded

ERRORS = (ValueError, TypeError, IndexError)
# What a function that expects a well-formed node may raise for a malformed one.
MALFORMED = (AttributeError, KeyError, ArithmeticError, AssertionError)


@dataclasses.dataclass
class Program:
    """What a model computes.

    `inputs` are (name, dtype, shape in the file). `input_orders` and `output_orders` say in which
    order the caller gives and takes the axes. `constants` are by name; `parameters` are the places
    in the model, by name, of those that belong to no layer.
    """

    inputs: list[tuple[str, np.dtype | None, tuple[int | None, ...] | None]]
    outputs: list[str]
    steps: list[Step]
    constants: dict[str, Held]
    parameters: dict[str, str]
    input_orders: list[Order]
    output_orders: list[Order]


class Part(Layer):
    """A part of an imported model: it holds what the names in the file have after a dot."""

    def forward(self, *inputs: Any) -> Any:
        raise TypeError("a part of an imported model has no forward of its own: call the model")


class Model(Part):
    """An imported model: called with arrays or tensors in the order of the file's inputs, it gives
    a tensor, or a tuple of them where the file has several outputs.

    Parameters have the names of the file. Its layers (convolutions, dense layers, BatchNorms,
    dropouts) form a tree by these names: the layer of `layer1.0.conv1.weight` is
    `model["layer1.0.conv1"]`, and another layer may be put in its place.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     md.onnx.export(nn.Sequential(nn.Dense(4, 3)), folder + "/model.onnx", md.zeros(1, 4))
    ...     model = md.onnx.load(folder + "/model.onnx")
    >>> model["0"] = nn.Dense(4, 2)
    >>> model(md.zeros(5, 4)).shape
    (5, 2)
    """

    def __init__(self, names: dict[str, str]) -> None:
        super().__init__()
        self.unregistered.names = names  # names in the file, by the places of parameters here

    @property
    def metadata(self) -> dict[str, str]:
        """What the file says of itself, as `md.onnx.export(metadata=)` writes it."""
        return dict(self.unregistered.metadata)

    @property
    def input_shape(self) -> tuple[int, ...] | None:
        """The shape of one input, (H, W, C) for images, as the caller gives it; None if the model
        has several inputs or the file does not fix the shape."""
        program = self.unregistered.program
        shape = program.inputs[0][2] if len(program.inputs) == 1 else None
        if not shape or any(size is None for size in shape[1:]):
            return None
        axes = written_out(program.input_orders[0], len(shape)) or tuple(range(len(shape)))
        return tuple([int(shape[axis]) for axis in axes[1:]])

    def __getitem__(self, name: str | int) -> Any:
        """The layer, or part, of a name; a number is a name of digits, as in a Sequential."""
        name = _segments(name)
        part: Any = self
        for segment in name.split("."):
            part = part.__dict__.get(segment) if isinstance(part, Layer) else None
            if part is None:
                raise KeyError(f"the model has no part {name!r}")
        return part

    def __setitem__(self, name: str | int, layer: Layer) -> None:
        """Put another layer in the place of one."""
        name = _segments(name)
        checks.instance(layer, "md.onnx.Model", name, Layer, "a layer")
        self[name]  # for the KeyError
        above, _, last = name.rpartition(".")
        setattr(self[above] if above else self, last, layer)

    def _walk(self, prefix: str = "", seen: set[int] | None = None) -> Iterator[tuple[str, Any]]:
        names = self.unregistered.names
        for name, value in super()._walk("", seen):
            yield prefix + names.get(name, name), value

    def astype(self, dtype: Any) -> Any:
        super().astype(dtype)
        program = self.unregistered.program
        for name, value in program.constants.items():
            if value.dtype.kind == "f":
                program.constants[name] = Held(Tensor(value.array().astype(dtype)), None, True)
        return self

    def _dtype_of_bytes(self) -> np.dtype | None:
        """None if the file asks for bytes, as quantized models do."""
        asked = [dtype for _, dtype, _ in self.unregistered.program.inputs]
        return None if np.dtype(np.uint8) in asked else self._dtype()

    def forward(self, *inputs: Any) -> Any:
        program: Program = self.unregistered.program
        values = dict(program.constants)
        self._take(program, inputs, values)
        for name, place in program.parameters.items():
            values[name] = Held(self[place])
        for step in program.steps:
            given = [None if name is None else values[name] for name in step.inputs]
            layer: Any = None
            if step.layer is not None:
                layer = self
                for segment in step.layer:
                    layer = layer.__dict__[segment]
            made = run(step, given, layer)
            for output, value in zip(step.outputs, made, strict=False):
                if output is not None:
                    values[output] = value
            for name in step.released:
                del values[name]
        outputs = tuple(
            [
                _returned(values[name], order)
                for name, order in zip(program.outputs, program.output_orders, strict=True)
            ]
        )
        return outputs[0] if len(outputs) == 1 else outputs

    def _take(self, program: Program, inputs: tuple[Any, ...], values: dict[str, Held]) -> None:
        """Put the inputs among the values, if they are what the file asks for."""
        if len(inputs) != len(program.inputs):
            names = ", ".join(name for name, _, _ in program.inputs)
            raise TypeError(
                f"the model takes {len(program.inputs)} input(s) ({names}), got {len(inputs)}"
            )
        own = self._dtype()
        for x, (name, dtype, shape), order in zip(
            inputs, program.inputs, program.input_orders, strict=True
        ):
            t = as_tensor(x, "the model", f"input {name!r}")
            if dtype is not None:
                wanted = own if dtype == np.float32 and own == np.float64 else dtype
                if t.dtype != wanted:
                    raise TypeError(
                        f"the model: input {name!r} must be {wanted}, got {t.dtype}; "
                        f"convert it with astype"
                    )
            axes = written_out(order, t.ndim)
            if shape is not None and not _fits(t, axes, shape):
                why = ""
                if _fits(t, axes, (None, *shape[1:])):
                    why = (
                        f": the file fixes the first axis to {shape[0]}; export it anew with a "
                        f"dynamic one (in PyTorch dynamic_axes={{{name!r}: {{0: 'N'}}}})"
                    )
                raise ValueError(
                    f"the model: input {name!r} must have shape "
                    f"{_as_given(shape, order)}, got {t.shape}{why}"
                )
            values[name] = Held(t, axes)

    def extra_repr(self) -> str:
        program = self.unregistered.program
        return f"{', '.join(name for name, _, _ in program.inputs)} -> {', '.join(program.outputs)}"


def _segments(name: Any) -> str:
    """The name of a part, for which a number may be given."""
    if isinstance(name, int | np.integer) and not isinstance(name, bool):
        return str(name)
    return checks.instance(
        name,
        "md.onnx.Model",
        "the name of a part",
        str,
        'a string, such as "layer1.0.conv1", or a number',
    )


def run(step: Step, given: list[Held | None], layer: Any = None) -> tuple[Any, ...]:
    """The outputs of a step. What depends on none of the model's inputs and parameters is neither
    part of a trace nor of the graph of gradients."""
    try:
        if layer is not None:
            return (layers.run(step, layer, given[0]),)
        operator = OPERATORS[step.operator].run
        if all(value is None or value.constant for value in given):
            with unrecorded():
                made = operator(step, *given)
                made = made if isinstance(made, tuple) else (made,)
            for value in made:
                value.constant = True
            return made
        made = operator(step, *given)
    except ERRORS as error:
        kind = next(k for k in ERRORS if isinstance(error, k))
        raise kind(f"{step.operator} of node {step.name!r}: {error}") from error
    except MALFORMED as error:
        raise ValueError(
            f"{step.operator} of node {step.name!r} cannot be computed: {error!r}"
        ) from error
    return made if isinstance(made, tuple) else (made,)


def written_out(order: Order, ndim: int) -> Axes | None:
    """The order as a tuple, for a value of `ndim` axes; None if it is the file's own."""
    if order == "last":
        return channels_last(ndim)
    return None if order is None or len(order) != ndim else tuple(order)  # type: ignore[arg-type]


def _returned(value: Held, order: Order) -> Tensor:
    """The tensor of an output with its axes in the order in which the caller takes them."""
    axes = written_out(order, value.ndim)
    return value.plain if axes is None else value.ordered(axes)


def _fits(t: Tensor, axes: Axes | None, shape: tuple[int | None, ...]) -> bool:
    """Whether a tensor whose axes are in this order has the shape, in which None is any size."""
    order = axes if axes is not None else tuple(range(t.ndim))
    return t.ndim == len(shape) and all(
        shape[axis] in (None, n) for axis, n in zip(order, t.shape, strict=True)
    )


def _as_given(shape: tuple[int | None, ...], order: Order) -> str:
    """A shape of the file as text, with its axes in the order in which the caller gives them."""
    axes = written_out(order, len(shape)) or tuple(range(len(shape)))
    return "(" + ", ".join("?" if shape[a] is None else str(shape[a]) for a in axes) + ")"
