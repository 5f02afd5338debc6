"""Modes that a call sets for its own thread and for no other.

A model may serve many threads at once. So `predict`, `summary`, `recalibrate` and
`batch_statistics` never change the layers: what they switch on for a while, evaluation and
statistics in place of the running ones, is kept here for each thread. A thread that is started
inside such a block does not inherit the mode, as with `no_grad`.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from .grad_mode import no_grad

if TYPE_CHECKING:
    from .nn.layer import Layer


class _Mode(threading.local):
    # None outside of evaluation. Inside, the modes that code in the block has set itself, by the
    # id of the layer; the entry also holds the layer, so that the id is not reused meanwhile.
    modes: dict[int, tuple[Layer, bool]] | None = None

    def __init__(self) -> None:
        # The statistics used in place of running ones, by id of the layer; the last entry counts.
        self.statistics: dict[int, list[Any]] = {}


mode = _Mode()


@contextlib.contextmanager
def evaluation(gradients: bool = False) -> Iterator[None]:
    """Put every layer into evaluation mode for this thread within the block. No graph is recorded,
    unless the caller wants `gradients` of a model in evaluation mode.

    Code in the block may set modes (`dropout.train()` in a `forward`); they hold until the block
    ends.
    """
    before, mode.modes = mode.modes, {}
    try:
        with contextlib.nullcontext() if gradients else no_grad():
            yield
    finally:
        mode.modes = before


@contextlib.contextmanager
def statistics(entries: Iterable[tuple[Layer, Any]], first: bool = False) -> Iterator[None]:
    """Give each layer its entry in place of its running statistics, within the block.

    If a layer has several entries, that of the innermost block counts; an entry made with `first`
    counts only if there is no other. Blocks may end in any order and in another thread, as blocks
    inside generators do.
    """
    table, entries = mode.statistics, list(entries)  # the list also keeps the layers alive
    for layer, entry in entries:
        found = table.setdefault(id(layer), [])
        found.insert(0 if first else len(found), entry)
    try:
        yield
    finally:
        for layer, entry in entries:
            found = table[id(layer)]
            del found[next(i for i, other in enumerate(found) if other is entry)]
            if not found:
                del table[id(layer)]
