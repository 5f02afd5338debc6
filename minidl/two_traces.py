"""A graph for batches of any size: traces for two sizes, which differ in what depends on the batch.

A single trace of 8 images would take their number and 8 channels for the same thing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .arrays import array_like, plain_array
from .ops.common import warn
from .tensor import Tensor
from .traced import Graph
from .tracing import trace

BATCHES = (2, 3)        # sizes of the batch in the two traces


def two_traces(f: Callable[..., Any], examples: tuple[Any, ...], where: str,
               more: tuple[int, ...] = ()) -> tuple[Graph, ...]:
    """The graphs of f for batches of two sizes, and of `more` sizes, of the same operations. A
    function that takes no other batch than the example's, or computes something else then, is
    traced as often for that; a warning of `where` says so. An error of f for the examples
    themselves is raised as it is."""
    sizes = (*BATCHES, *more)
    batches = [tuple([_of_size(x, examples, size, where) for x in examples]) for size in sizes]
    try:
        graphs = tuple([trace(f, *batch) for batch in batches])
    except MemoryError:
        raise
    except Exception as error:
        graphs = _traces(f, examples, len(sizes))       # an error here is the user's
        warn(f"{where}: the model does not run with another batch than the example's, so that the "
             f"batch axis is fixed ({type(error).__name__}: {error})")
        return graphs
    operations = [[node.operation for node in graph] for graph in graphs]
    if any(others != operations[0] for others in operations[1:]):
        return one_batch(f, examples, where, len(sizes))
    return graphs


def one_batch(f: Callable[..., Any], examples: tuple[Any, ...], where: str, count: int
              ) -> tuple[Graph, ...]:
    """Graphs of f for the examples alone, with a warning of `where`."""
    graphs = _traces(f, examples, count)
    warn(f"{where}: what the model computes depends on the size of the batch, so that the batch "
         f"axis is fixed to that of the example")
    return graphs


def _traces(f: Callable[..., Any], examples: tuple[Any, ...], count: int) -> tuple[Graph, ...]:
    """So many graphs for one batch: what differs between them is chance."""
    return tuple([trace(f, *examples) for _ in range(count)])


def refuse_reads(graph: Graph, where: str) -> None:
    """NotImplementedError if Python has taken values out of tensors while the model ran."""
    taken = [v.name for v in graph.reads if v.kind in ("input", "result")]
    if taken:
        raise NotImplementedError(
            f"{where}: Python takes values out of {', '.join(taken)} while the model runs (by "
            f".data, .item() or bool()): what it makes of them is not in the graph")


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
