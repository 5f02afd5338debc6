"""A graph for batches of any size: traces for two sizes, which differ in what depends on the batch.

A single trace of 8 images would take their number and 8 channels for the same thing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .arrays import plain_array
from .ops.common import warn
from .tensor import Tensor
from .traced import Graph
from .tracing import trace

BATCHES = (2, 3)        # sizes of the batch in the two traces


def two_traces(f: Callable[..., Any], examples: tuple[Any, ...], where: str,
               more: tuple[int, ...] = ()) -> tuple[Graph, ...]:
    """The graphs of f for batches of two sizes, and of `more` sizes, of the same operations. A
    function that takes no other batch than the example's, or computes something else then, has one
    graph, given each time; a warning of `where` says so. An error of f for the examples themselves
    is raised as it is."""
    sizes = (*BATCHES, *more)
    batches = [tuple([_of_size(x, examples, size, where) for x in examples]) for size in sizes]
    try:
        graphs = tuple([trace(f, *batch) for batch in batches])
    except Exception:
        graph = trace(f, *examples)         # whose error, if there is one, is the user's
        warn(f"{where}: the model does not run with another batch than the example's, so that the "
             f"batch axis is fixed")
        return (graph,) * len(sizes)
    operations = [[node.operation for node in graph] for graph in graphs]
    if any(others != operations[0] for others in operations[1:]):
        return (one_trace(f, examples, where),) * len(sizes)
    return graphs


def one_trace(f: Callable[..., Any], examples: tuple[Any, ...], where: str) -> Graph:
    """The graph of f for the examples alone, with a warning of `where`."""
    graph = trace(f, *examples)
    warn(f"{where}: what the model computes depends on the size of the batch, so that the batch "
         f"axis is fixed to that of the example")
    return graph


def refuse_reads(graph: Graph, where: str) -> None:
    """NotImplementedError if Python has taken values out of tensors while the model ran."""
    taken = [v.name for v in graph.reads if v.kind in ("input", "result")]
    if taken:
        raise NotImplementedError(
            f"{where}: Python takes values out of {', '.join(taken)} while the model runs (by "
            f".data, .item() or bool()): what it makes of them is not in the graph")


def _of_size(x: Any, examples: tuple[Any, ...], size: int, where: str) -> Any:
    """An example with so many entries, those that there are again and again; what has another
    length than the first example stays as it is."""
    array = x.data if isinstance(x, Tensor) else x
    if isinstance(array, (np.ndarray, list)):
        array = plain_array(array)
        lead = examples[0].data if isinstance(examples[0], Tensor) else plain_array(examples[0])
        if array.ndim and lead.ndim and len(array) == len(lead):
            if not len(array):
                raise ValueError(f"{where}: example must have at least one entry, got none")
            return array[np.arange(size) % len(array)]
    return x
