"""Traces of one function for batches of several sizes. Sizes and options that differ between the
graphs depend on the batch.

A single trace would not tell: with 8 images, their number and 8 channels look the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .arrays import array_like, plain_array
from .ops.common import warn
from .tensor import Tensor
from .traced import Graph, values_of
from .tracing import trace

BATCHES = (2, 3)  # the sizes of the batch in the first two traces
CHECKED = 9  # a third size of the batch, for which what the first two tell must hold


def batch_traces(
    f: Callable[..., Any], examples: tuple[Any, ...], where: str, more: tuple[int, ...] = ()
) -> tuple[Graph, ...]:
    """Trace f for batches of the two sizes in `BATCHES` and of the sizes in `more`; all graphs have
    the same operations, and shapes that are linear in the size of the batch.

    A function that takes only the example's batch, or applies other operations for another one, is
    traced as many times for the example's batch instead, and a warning of `where` says so; also if
    its outputs for a batch of 1 have other shapes, as those of a `squeeze` of all axes, or if it
    returns another number of them for each size. An error that f raises for the examples themselves
    is raised as it is.
    """
    sizes = (*BATCHES, *more)
    batches = [tuple([_of_size(x, examples, size, where) for x in examples]) for size in sizes]
    try:
        graphs = tuple([trace(f, *batch) for batch in batches])
    except MemoryError:
        raise
    except Exception as error:
        graphs = _traces(f, examples, len(sizes))  # an error here is the model's own
        warn(
            f"{where}: the model does not run with another batch than the example's, so that the "
            f"batch axis is fixed ({type(error).__name__}: {error})"
        )
        return graphs
    operations = [[node.operation for node in graph] for graph in graphs]
    if (
        any(others != operations[0] for others in operations[1:])
        or not _linear(graphs, sizes)
        or not _fits_one(f, tuple([_of_size(x, examples, 1, where) for x in examples]), graphs)
    ):
        return fixed_batch_traces(f, examples, where, len(sizes))
    return graphs


def fixed_batch_traces(
    f: Callable[..., Any], examples: tuple[Any, ...], where: str, count: int
) -> tuple[Graph, ...]:
    """Trace f `count` times for the example's batch, with a warning of `where`."""
    graphs = _traces(f, examples, count)
    warn(
        f"{where}: what the model computes depends on the size of the batch, so that the batch "
        f"axis is fixed to that of the example"
    )
    return graphs


def _linear(graphs: tuple[Graph, ...], sizes: tuple[int, ...]) -> bool:
    """Whether all graphs have as many outputs, and the shapes of all values are those that the
    first two tell."""
    return len({len(list(values_of(graph.outputs))) for graph in graphs}) == 1 and all(
        value.shape == _shape(values[0].shape, values[1].shape, size)
        for nodes in zip(*graphs, strict=True)
        for values in zip(*[node.outputs for node in nodes], strict=True)
        for value, size in zip(values, sizes, strict=True)
    )


def _fits_one(f: Callable[..., Any], one: tuple[Any, ...], graphs: tuple[Graph, ...]) -> bool:
    """Whether the outputs for a batch of 1 have the shapes that the first two graphs tell. It may
    take other operations to get there, since an axis of length 1 moves without a transpose. What f
    does not take is no difference."""
    try:
        made = list(values_of(trace(f, *one).outputs))
    except MemoryError:
        raise
    except Exception:
        return True
    first, second = (list(values_of(graph.outputs)) for graph in graphs[:2])
    return [value.shape for value in made] == [
        _shape(a.shape, b.shape, 1) for a, b in zip(first, second, strict=True)
    ]


def _shape(first: tuple[int, ...], second: tuple[int, ...], size: int) -> tuple[int, ...]:
    """The shape for a batch of a size, which is linear in it, given those for `BATCHES`."""
    a, b = BATCHES
    if len(first) != len(second):
        return ()
    return tuple([m + (n - m) * (size - a) // (b - a) for m, n in zip(first, second, strict=True)])


def _traces(f: Callable[..., Any], examples: tuple[Any, ...], count: int) -> tuple[Graph, ...]:
    """Trace f `count` times for one batch; what differs between the graphs is random."""
    return tuple([trace(f, *examples) for _ in range(count)])


def refuse_reads(graph: Graph, where: str) -> None:
    """Raise NotImplementedError if Python has taken values out of tensors while the model ran."""
    taken = [v.name for v in graph.reads if v.kind in ("input", "result")]
    if taken:
        raise NotImplementedError(
            f"{where}: Python takes values out of {', '.join(taken)} while the model runs (by "
            f".data, .item() or bool()): what it makes of them is not in the graph"
        )


def _of_size(x: Any, examples: tuple[Any, ...], size: int, where: str) -> Any:
    """The example repeated or cut to `size` entries along its first axis, if that is as long as the
    first example's; anything else is returned as it is."""
    array = x.data if isinstance(x, Tensor) else x
    if isinstance(array, list) or (array_like(array) and not isinstance(array, np.generic)):
        array = plain_array(array)
        lead = examples[0].data if isinstance(examples[0], Tensor) else plain_array(examples[0])
        if array.ndim and lead.ndim and len(array) == len(lead):
            if not len(array):
                raise ValueError(f"{where}: example must have at least one entry, got none")
            return array[np.arange(size) % len(array)]
    return x
