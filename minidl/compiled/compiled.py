"""`compile` makes a model for inference alone, and `Compiled` is what it makes.

The program of a model (`program`) is cut into parts: layers that one plan of the kernels computes
(`layers`, `planning`), and operations between them, which are called. The plan for a size of the
batch is made when the first batch of this size comes.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import checks, kernels, settings, tracers
from ..arrays import array_like, plain_array
from ..tensor import Tensor
from ..tracing import model_input
from . import file
from .fusion import layers_of
from .layers import Layer
from .planning import Planner
from .program import Operation, Program, Ref, at, computed, program_of, with_arrays

ARENA_FLOATS = 2 * 1024 * 1024  # of one thread: a larger arena would not fit into its caches
MOST_GROUP = 8  # images that a thread computes together
MOST_PLANS = 16  # plans that a part keeps; the oldest is dropped
MOST_SIZES = 64  # sizes of the batch whose shapes are kept


class Part:
    """Layers that one plan computes: the values that they take (`given`) and give (`made`), and the
    plans for sizes of the batch."""

    def __init__(
        self, layers: list[Layer], program: Program, given: list[int], made: list[int], exact: bool
    ) -> None:
        self.given, self.made = given, made
        self.shapes = [program.values[n].shape for n in made]
        self.planner = Planner(layers, program.values, list(given), list(made), exact)
        self.plans: dict[tuple[int, int, bool], kernels.Plan] = {}
        # For a batch and a number of threads: the plan, and the shapes of what it makes.
        self.known: dict[tuple[int, int], tuple[kernels.Plan, list[tuple[int, ...]]]] = {}
        self.lock = threading.Lock()
        self.floats = self.planner.plan(1, 1, False).arena  # for one image

    def plan(self, batch: int, threads: int) -> kernels.Plan:
        """The plan for a batch. With fewer images than threads, all threads share each image; else
        each thread computes groups of images of its own."""
        shared = batch < threads
        group = batch
        if not shared:
            each = -(-batch // threads)
            group = max(1, min(ARENA_FLOATS // max(self.floats, 1), MOST_GROUP, each))
        key = group, threads, shared
        plan = self.plans.get(key)
        if plan is None:
            with self.lock:  # another thread may have made it meanwhile
                plan = self.plans.get(key)
                if plan is None:
                    plan = self.plans[key] = self.planner.plan(group, threads, shared)
                while len(self.plans) > MOST_PLANS:
                    del self.plans[next(iter(self.plans))]
        return plan

    def run(self, arrays: dict[int, np.ndarray], batch: int) -> None:
        key = batch, settings.get_num_threads()
        known = self.known.get(key)
        if known is None:
            known = self.plan(*key), [at(shape, batch) for shape in self.shapes]
            with self.lock:
                while len(self.known) >= MOST_PLANS:
                    del self.known[next(iter(self.known))]
                self.known[key] = known
        plan, shapes = known
        made = [np.empty(shape, np.float32) for shape in shapes]
        given = [arrays[n] for n in self.given]
        if tracers.profilers:
            with tracers.part("Plan.run", "forward"):
                plan.run(given + made, batch)
        else:
            plan.run(given + made, batch)
        for number, array in zip(self.made, made, strict=True):
            arrays[number] = array


class Compiled:
    """A model that only computes: what `md.compile` gives.

    Called with arrays (or tensors) as the model is, it returns what the model returns in evaluation
    mode, with arrays of one's own in place of tensors. Any number of threads may call it at the
    same time. It keeps copies of the weights: what becomes of the model later does not change it.
    It can be copied and pickled, if its operations can.

    `steps` says in words what a call computes; `memory(batch)` how much it needs for that.

    >>> model = nn.Sequential(nn.Dense(4, 3), nn.BatchNorm(3), nn.ReLU())
    >>> compiled = md.compile(model, np.ones((1, 4), np.float32))
    >>> compiled(np.ones((2, 4), np.float32)).shape
    (2, 3)
    """

    def __init__(self, program: Program, exact: bool = False) -> None:
        if not isinstance(program, Program):
            raise TypeError(
                "Compiled: md.compile(model, example) makes one, and "
                "md.Compiled.load(path) reads one"
            )
        self._program, self._exact = program, exact
        self._parts = _parts_of(program, exact)
        self._constants = {
            k: known.array for k, known in enumerate(program.values) if known.array is not None
        }
        self._inputs = [(number, program.values[number].dtype) for number in program.inputs]
        self._repeated = [
            (k, known) for k, known in enumerate(program.values) if known.entry is not None
        ]
        # The values that no part takes after this one.
        last = {n: k for k, part in enumerate(self._parts) for n in (*_reads(part), *_makes(part))}
        kept = {*program.outputs(), *self._constants}
        self._spent = [
            [n for n, k in last.items() if k == at and n not in kept]
            for at in range(len(self._parts))
        ]
        # Outputs that no plan writes may share memory with inputs or constants: they are copied.
        planned = {n for part in self._parts if isinstance(part, Part) for n in part.made}
        self._lent = [n for n in program.outputs() if n not in planned]
        # For a size of the batch: the shapes of the inputs, and the structure that is returned.
        self._sizes: dict[int, tuple[list[tuple[int, ...]], Any]] = {}

    @property
    def steps(self) -> list[str]:
        """What a call computes, in order: layers of plans, and calls of operations."""
        lines = []
        for part in self._parts:
            if isinstance(part, Operation):
                lines.append(f"call {part.kind}")
            else:
                lines += [part.planner.text(layer) for layer in part.planner.layers]
        return lines

    def memory(self, batch: int = 1) -> int:
        """The most bytes that the arenas of plans take at a time in a call for so many images.
        Weights, inputs, outputs and the results of operations that are called come on top."""
        batch = checks.integer(batch, "memory", "batch", 1)
        threads = settings.get_num_threads()
        most = 0
        for part in self._parts:
            if isinstance(part, Part):
                plan = part.plan(batch, threads)
                arenas = 1 if plan.shared else min(threads, -(-batch // plan.group))
                most = max(most, 4 * plan.arena * arenas)
        return most

    def __call__(self, *inputs: Any) -> Any:
        """The outputs for inputs, whose shapes are those of the examples but for the batch, the
        first axis. Images of uint8 are divided by 255 as `predict` does. ValueError for other
        shapes, TypeError for another number of inputs or other dtypes."""
        arrays: dict[int, Any] = dict(self._constants)
        batch, returned = self._take(inputs, arrays)
        planned = kernels.backend() == "native" and batch > 0
        if not planned:
            for operation in self._program.operations:
                self._apply(operation, arrays, batch)
        for part, spent in zip(self._parts, self._spent, strict=True) if planned else ():
            if isinstance(part, Operation):
                self._apply(part, arrays, batch)
            else:
                part.run(arrays, batch)
            for number in spent:
                del arrays[number]
        for number in self._lent if planned else self._program.outputs():
            arrays[number] = np.array(arrays[number])
        return with_arrays(returned, arrays)

    def _take(self, inputs: tuple[Any, ...], arrays: dict[int, Any]) -> tuple[int, Any]:
        """Put the inputs among the arrays, if their shapes and dtypes are right. Returns the size
        of the batch, and the structure that is returned for it."""
        program = self._program
        if len(inputs) != len(program.inputs):
            count = len(program.inputs)
            raise TypeError(
                f"Compiled: {count} input{'s are' if count != 1 else ' is'} needed, "
                f"got {len(inputs)}"
            )
        batch = 1 if program.batch is None else program.batch
        for k, (number, dtype) in enumerate(self._inputs):
            array = self._array(inputs[k], dtype, k)
            if k == 0:
                if program.batch is None and array.ndim:
                    batch = len(array)
                shapes, returned = self._sizes.get(batch) or self._sized(batch)
            if array.shape != shapes[k]:
                raise ValueError(
                    f"Compiled: input {k} must have shape {self._shape(number)}, got {array.shape}"
                )
            arrays[number] = array
        for number, known in self._repeated:
            arrays[number] = known.constant(batch)
        return batch, returned

    def _sized(self, batch: int) -> tuple[list[tuple[int, ...]], Any]:
        """The shapes of the inputs and the returned structure for a size of the batch."""
        program = self._program
        shapes = [at(program.values[number].shape, batch) for number in program.inputs]
        if len(self._sizes) >= MOST_SIZES:
            self._sizes = {}
        sized = self._sizes[batch] = shapes, at(program.returned, batch)
        return sized

    @staticmethod
    def _array(x: Any, dtype: np.dtype, k: int) -> np.ndarray:
        """Input k as an array of a dtype: integers may become wider, and uint8 images floats."""
        if type(x) is not np.ndarray or x.dtype != dtype:
            x = (
                model_input(x, dtype)._values()
                if dtype.kind == "f"
                else plain_array(x.data if isinstance(x, Tensor) else x)
            )
            if dtype.kind in "iu" and x.dtype.kind in "iu" and np.can_cast(x.dtype, dtype):
                x = x.astype(dtype)
            if x.dtype != dtype:
                raise TypeError(
                    f"Compiled: input {k} must be {dtype}, got {x.dtype}; convert it with astype"
                )
        flags = x.flags
        plain = flags.c_contiguous and flags.aligned
        return x if plain else np.require(x, requirements=("C", "A"))

    def _shape(self, number: int) -> str:
        """The shape that an input must have, with N for a batch of any size."""
        program = self._program
        shape = program.values[number].shape
        return _shape_text(shape if program.batch is None else at(shape, program.batch))

    def _apply(self, operation: Operation, arrays: dict[int, Any], batch: int) -> None:
        made = computed(operation, arrays, batch)
        arrays.update(zip(operation.outputs, made, strict=True))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it into one file, which `md.Compiled.load` reads: a safetensors file with the
        weights as they are, and in its metadata, as JSON, what is computed with them. Nothing of
        it is executed when it is read, and weights are packed again for the CPU that reads it.

        TypeError for operations that are no part of minidl. An error leaves no part of a file.

        >>> import tempfile
        >>> compiled = md.compile(nn.Dense(4, 3), np.ones((1, 4), np.float32))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     compiled.save(folder + "/dense.safetensors")
        ...     md.Compiled.load(folder + "/dense.safetensors")
        Compiled((N, 4); 1 steps of plans, 0 calls)
        """
        file.save(checks.path(path, "Compiled.save"), self._program, self._exact)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Compiled:
        """Read what `save` wrote. ValueError for a file that is damaged, that `save` did not write,
        or that a later version wrote; FileNotFoundError and the like as from `md.load`."""
        path = checks.path(path, "Compiled.load")
        program, exact = file.load(path)
        with file.refusing(path):
            return cls(program, exact)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._program, self._exact)

    def __repr__(self) -> str:
        inputs = ", ".join(map(self._shape, self._program.inputs))
        called = sum(isinstance(part, Operation) for part in self._parts)
        return f"Compiled({inputs}; {len(self.steps) - called} steps of plans, {called} calls)"


def _shape_text(shape: tuple[Any, ...]) -> str:
    """A shape as text, with N for the batch."""
    sizes = ["N" if isinstance(n, tuple) and n == (0, 1) else str(n) for n in shape]
    return f"({', '.join(sizes)}{',' if len(sizes) == 1 else ''})"


def compile(model: Callable[..., Any], *examples: Any) -> Compiled:
    """Make a model for inference alone. The model is traced for the examples. Batch normalization
    is folded into the weights; sums, activations and pools become epilogues of the layers before
    them. Weights are packed and memory is planned once, and no Python runs inside a plan.

    model: a layer or a function of tensors. It is traced as by `md.trace`, in evaluation mode:
        branches are taken as for the examples
    examples: what it takes, arrays or tensors with the batch as their first axis, of any size

    The result equals the model's in evaluation mode up to rounding (1e-5 of the largest value).
    Plans compute in float32. An operation that they do not know is called by itself, as
    `Compiled.steps` tells, and so is every operation of a model of another dtype.

    NotImplementedError for a model in which Python takes values out of tensors (`.item()`, `if
    y > 0`), whose results depend on the rest of the batch (`training=True` in a call) or on chance,
    or which makes arrays that differ from image to image (`np.arange(len(x))`). Errors of the model
    for the examples are raised as they are. A model that accepts only the example's size of the
    batch, or computes something else for other sizes, is compiled for this size, with a warning.

    >>> model = md.models.create("mnist-cnn")
    >>> images = np.random.default_rng(0).random((8, 28, 28, 1), np.float32)
    >>> compiled = md.compile(model, images[:1])
    >>> bool(np.abs(compiled(images) - model.predict(images)).max() < 1e-5)
    True
    """
    if isinstance(model, Compiled):
        raise TypeError("compile: model is compiled already")
    given: Any = model
    if not callable(given):
        inside = "; compile its .model" if hasattr(given, "model") else ""
        raise TypeError(
            f"compile: model must be a layer or a function, got {type(given).__name__}{inside}"
        )
    if not examples:
        raise TypeError(
            "compile: an example of what the model takes is needed, as in "
            "md.compile(model, images[:1])"
        )
    for k, example in enumerate(examples):
        if isinstance(example, np.generic) or not (
            isinstance(example, (Tensor, list)) or array_like(example)
        ):
            raise TypeError(
                checks.message(
                    "compile",
                    f"examples[{k}]",
                    "an array or a tensor (a function of arrays alone, "
                    "such as lambda x: model(x, 3), can be compiled too)",
                    example,
                )
            )
    return Compiled(program_of(model, examples), settings.get_precision() == "high")


def _parts_of(program: Program, exact: bool) -> list[Part | Operation]:
    """The program in parts: all layers between two calls are one part."""
    parts: list[Part | Operation] = []
    items = layers_of(program, exact)
    readers: dict[int, list[int]] = {}
    for k, item in enumerate(items):
        for number in _reads(item):
            readers.setdefault(number, []).append(k)
    returned = set(program.outputs())

    def add(start: int, end: int) -> None:
        """Add the layers from start to end as a part, or as two if one had too many arrays."""
        layers = [item for item in items[start:end] if isinstance(item, Layer)]
        inside = {layer.y for layer in layers}
        given = list(dict.fromkeys(n for layer in layers for n in layer.reads() if n not in inside))
        made = [
            n
            for n in dict.fromkeys(layer.y for layer in layers)
            if n in returned or any(r >= end for r in readers.get(n, ()))
        ]
        # The layers of a concatenation, which write one array, stay together.
        cuts = [start + k for k in range(1, len(layers)) if layers[k].y != layers[k - 1].y]
        if len(given) + len(made) > kernels.PLAN_ARRAYS and cuts:
            middle = cuts[len(cuts) // 2]
            add(start, middle)
            add(middle, end)
        elif layers:
            parts.append(Part(layers, program, given, made, exact))

    start = 0
    for k, item in enumerate(items):
        if isinstance(item, Operation):
            add(start, k)
            parts.append(item)
            start = k + 1
    add(start, len(items))
    return parts


def _reads(item: Layer | Operation | Part) -> list[int]:
    """The values that an item takes."""
    if isinstance(item, Part):
        return item.given
    if isinstance(item, Layer):
        return item.reads()
    return [x.number for x in item.inputs if isinstance(x, Ref)]


def _makes(part: Part | Operation) -> list[int]:
    """The values that a part makes for other parts or the caller."""
    return part.made if isinstance(part, Part) else list(part.outputs)
