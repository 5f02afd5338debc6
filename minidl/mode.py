"""What a call sets for the thread that makes it, and for no other thread.

A model may serve many threads at once, so what `predict`, `summary`, `recalibrate` and
`batch_statistics` switch on for a while stands here and never in the layers: evaluation, and
statistics that take the place of running ones. A thread that is started inside such a block does
not inherit it, as with `no_grad`.
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
    # None outside of evaluation. Inside, the modes that code in the block has set itself, by id;
    # the layers stand beside them so that they live as long.
    modes: dict[int, tuple[Layer, bool]] | None = None

    def __init__(self) -> None:
        # What takes the place of running statistics, by id of the layer; the last entry counts.
        self.statistics: dict[int, list[Any]] = {}


mode = _Mode()


@contextlib.contextmanager
def evaluation(gradients: bool = False) -> Iterator[None]:
    """Within the block every layer is in evaluation mode for this thread, and no graph is recorded,
    unless somebody wants gradients of a model as it evaluates.

    Code in the block may set modes (`dropout.train()` in a `forward`): they hold until its end.
    """
    before, mode.modes = mode.modes, {}
    try:
        with contextlib.nullcontext() if gradients else no_grad():
            yield
    finally:
        mode.modes = before


@contextlib.contextmanager
def statistics(entries: Iterable[tuple[Layer, Any]], first: bool = False) -> Iterator[None]:
    """Within the block each layer finds its entry in place of its running statistics.

    Of several entries the one of the innermost block counts; with `first` all others come before
    it. Blocks may end in any order, and in another thread, as those inside generators do.
    """
    table, entries = mode.statistics, list(entries)     # which also keep the layers alive
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
