"""Builds a model from the steps of a file: decides which arrays are parameters, which nodes become
layers and what these are called, and computes once what depends on constants alone."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np

from ..nn import Layer, Parameter
from ..random import own_generator
from . import layers
from .layouts import consumers_of, flattened_images, order_of_input, order_of_output, producers_of
from .model import ERRORS, MALFORMED, Model, Part, Program, run
from .operators.normalization import check_statistics
from .reading import Source
from .steps import Step
from .values import Held, constant

# By operator, the numbers of the inputs that are settings: a network cannot learn them.
SETTINGS = {
    "Clip": (1, 2),
    "Pad": (1, 2, 3),
    "Resize": (1, 2, 3),
    "Upsample": (1,),
    "Dropout": (1, 2),
    "QuantizeLinear": (1, 2),
    "DequantizeLinear": (0, 1, 2),
    "BatchNormalization": (3, 4),
    "OneHot": (1, 2),
    "Range": (0, 1, 2),
    "Shape": (0,),
    "Size": (0,),
    "CastLike": (1,),
    "EyeLike": (0,),
}


class Builder:
    """Makes a model of what a file holds."""

    def __init__(self, source: Source, layout: str) -> None:
        self.source, self.layout = source, layout
        self.consumers = consumers_of(source.steps)
        self.producers = producers_of(source.steps)
        self.names: dict[str, str] = {}  # names in the file, by the places of parameters
        self.model = Model(self.names)
        self.keys = {id(step): _key(step) for step in source.steps}
        self.training: list[Layer] = []  # layers that the file has in training mode
        self.made: dict[tuple[Any, ...], str] = {}  # places of layers, by the keys of steps

    def build(self) -> Model:
        source = self.source
        for step in source.steps:
            step.outputs = tuple(
                [
                    name if name in self.consumers or name in source.outputs else None
                    for name in step.outputs
                ]
            )
            if step.operator == "BatchNormalization":
                check_statistics(step)
            self._keep_places(step)
        source.steps = [step for step in source.steps if not self._fuse_bias(step)]
        with own_generator():  # layers draw random weights, which those of the file replace
            for step in source.steps:
                self._make_layer(step)
        parameters = self._make_parameters()
        taken = {name for step in source.steps for name in step.inputs}
        constants = {
            name: constant(array)
            for name, array in source.arrays.items()
            if name not in parameters and (name in taken or name in source.outputs)
        }
        steps = [step for step in source.steps if not _computed(step, constants)]
        _note_last_uses(steps, source.outputs)
        needed = {name for step in steps for name in step.inputs} | set(source.outputs)
        constants = {name: value for name, value in constants.items() if name in needed}
        last = self.layout == "NHWC"
        self.model.unregistered.program = Program(
            [(name, source._dtype(name), source.shapes.get(name)) for name in source.inputs],
            source.outputs,
            steps,
            constants,
            parameters,
            [order_of_input(name, self.consumers) if last else None for name in source.inputs],
            [order_of_output(name, self.producers) if last else None for name in source.outputs],
        )
        for step in steps:  # a model that is built has its weights in parameters
            step.known = step.types = step.shapes = ()
        self.model.eval()
        for layer in self.training:
            layer.training = True
        return self.model

    # ------------------------------------------------------------------------------- the layers

    def _keep_places(self, step: Step) -> None:
        """Where images are flattened for a product with weights of the file, reorder the rows of
        the weights, once, rather than each image: the file has the channels first, minidl last."""
        found = flattened_images(step, self.consumers, self.producers)
        if found is None or step.outputs[0] in self.source.outputs:
            return
        product, channels = found
        weight = product.inputs[1]
        rows = 1 if product.operator == "Gemm" and product.get("transB", 0) else 0
        array = self.source.arrays.get(weight or "")
        if (
            weight is not None
            and array is not None
            and len(self.consumers[weight]) == 1
            and array.ndim == 2
            and array.size
            and array.shape[rows] % channels == 0
            and not product.get("transA", 0)
        ):
            step.attributes["keeps_places"] = channels
            moved = np.moveaxis(array, rows, 0).reshape(channels, -1, array.shape[1 - rows])
            moved = moved.swapaxes(0, 1).reshape(array.shape[rows], -1)
            self.source.arrays[weight] = np.ascontiguousarray(np.moveaxis(moved, 0, rows))

    def _fuse_bias(self, step: Step) -> bool:
        """Make the Add of a bias part of the product with weights that it follows, since together
        they are a dense layer. Returns whether the step is such an Add."""
        arrays, names = self.source.arrays, [name for name in step.inputs if name is not None]
        if step.operator != "Add" or len(names) != 2 or step.get("broadcast", 0):
            return False
        for x, bias in (names, names[::-1]):
            product = self.producers.get(x)
            if (
                product is not None
                and product.operator == "MatMul"
                and bias in arrays
                and product.inputs[1] in arrays
                and len(self.consumers[x]) == 1
                and x not in self.source.outputs
                and len(product.inputs) == 2
                and arrays[str(product.inputs[1])].ndim == 2
                and arrays[bias].shape == arrays[str(product.inputs[1])].shape[1:]
            ):
                product.inputs, product.outputs = (*product.inputs, bias), step.outputs
                self.consumers[bias] = [product if s is step else s for s in self.consumers[bias]]
                self.producers[str(step.outputs[0])] = product
                self.keys[id(product)] = _key(product)
                return True
        return False

    def _make_layer(self, step: Step) -> None:
        if step.operator == "Dropout":
            layer = layers.dropout_of(step)
            if layer is not None:
                step.layer = tuple(self._placed(layer, _segments(step.name)).split("."))
                self.training += [layer] * layers.trains(step)
                step.inputs = step.inputs[:1]
            return
        kind = layers.KINDS.get(step.operator)
        names = [name for name in step.inputs[1:] if name is not None]
        arrays = [self.source.arrays[name] for name in names if name in self.source.arrays]
        if (
            kind is None
            or not names
            or len(arrays) < len(names)
            or any(a.dtype.name not in ("float32", "float64") for a in arrays)
            or len({a.dtype for a in arrays}) > 1
            or not kind.fits(step, [a.shape for a in arrays])
        ):
            return
        key = self.keys[id(step)]
        if any(self.keys[id(other)] != key for name in names for other in self.consumers[name]):
            return
        if key not in self.made:
            try:
                layer = kind.make(step, *[a.copy() for a in arrays])
            except (*ERRORS, *MALFORMED) as error:
                raise ValueError(
                    f"md.onnx.load: {step.operator} of node {step.name!r}: {error}"
                ) from error
            self.training += [layer] * layers.trains(step)
            place = self._placed(layer, _common(names) or _segments(step.name))
            self.made[key] = place
            for inner, name in zip(kind.names, names, strict=False):
                self.names[f"{place}.{inner}"] = name
        step.layer = tuple(self.made[key].split("."))
        step.inputs = step.inputs[:1]

    def _make_parameters(self) -> dict[str, str]:
        """Make a parameter of each array of floats that some step computes with. Returns the places
        of the parameters, by the names of the arrays."""
        learned = {
            name
            for step in self.source.steps
            if step.layer is None
            for k, name in enumerate(step.inputs)
            if name is not None
            and k not in SETTINGS.get(step.operator, ())
            and name in self.source.initializers
        }
        places = {}
        for name in self.source.initializers:
            array = self.source.arrays[name]
            if name in learned and array.dtype.name in ("float32", "float64") and array.ndim:
                place = self._placed(Parameter(array.copy()), _segments(name))
                places[name] = place
                self.names[place] = name
        return places

    def _placed(self, value: Any, path: list[str]) -> str:
        """Put a layer or parameter into the tree at a path. Returns the place that it has got,
        which differs from the path where a name is taken."""
        part: Any = self.model
        place = []
        for segment in path[:-1]:
            segment = _free(part, segment, Part)
            if segment not in part.__dict__:
                setattr(part, segment, Part())
            part = part.__dict__[segment]
            place.append(segment)
        last = _free(part, path[-1], None)
        setattr(part, last, value)
        return ".".join([*place, last])


def _free(part: Layer, segment: str, kind: type | None) -> str:
    """The segment as a name that an attribute of `part` may have: changed if layers need the name
    for themselves, and numbered if it is taken by anything but an attribute of this kind."""
    if (
        hasattr(Model, segment)
        or segment in ("unregistered", "training", "frozen")
        or segment.startswith("_")
    ):
        segment = f"{segment.strip('_')}_"
    made, count = segment, 0
    while made in part.__dict__ and not (kind and isinstance(part.__dict__[made], kind)):
        count += 1
        made = f"{segment}_{count}"
    return made


def _segments(name: str) -> list[str]:
    """The segments of a name in a file, which dots and slashes separate."""
    return [part for part in re.split(r"[./]", name) if part] or ["part"]


def _common(names: list[str]) -> list[str]:
    """The segments before the last dot, if these are the same in all names; else none."""
    before = {name.rpartition(".")[0] for name in names}
    return _segments(before.pop()) if len(before) == 1 and "" not in before else []


def _key(step: Step) -> tuple[Any, ...]:
    return (step.operator, step.inputs[1:], repr(sorted(step.attributes.items())))


def _computed(step: Step, constants: dict[str, Held]) -> bool:
    """Whether a step depends on constants alone. If so, its outputs are computed and put among
    the constants."""
    if step.layer is not None or not all(n is None or n in constants for n in step.inputs):
        return False
    try:
        made = run(step, [None if n is None else constants[n] for n in step.inputs])
    except ERRORS as error:
        raise ValueError(f"md.onnx.load: {error}") from error
    for name, value in zip(step.outputs, made, strict=False):
        if name is not None:
            constants[name] = value
    return True


def _note_last_uses(steps: Iterable[Step], outputs: list[str]) -> None:
    """Note for each step which values no later step takes, so that they can be released."""
    steps = list(steps)
    left = Counter(name for step in steps for name in {*step.inputs} if name is not None)
    for step in steps:
        names = {name for name in step.inputs if name is not None}
        left.subtract(names)
        unused = {name for name in step.outputs if name is not None and not left[name]}
        finished = {name for name in names if not left[name]} | unused
        step.released = tuple(sorted(finished - set(outputs)))
