"""The memory held over time by the arrays that were created in the block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from .recorder import Event, Span


def levels(events: Sequence[Event]) -> Iterator[tuple[int, int]]:
    """Yield (time, bytes held from then on) for each change."""
    held = 0
    for time, _, _, change in _created_in_block(events):
        held += change
        yield time, held


def at_peak(events: Sequence[Event]) -> tuple[int, list[tuple[Span, int]]]:
    """Return the peak of the bytes held, and (span, bytes) of each array that was alive then."""
    most = count = 0
    for number, (_, held) in enumerate(levels(events), 1):
        if held > most:
            most, count = held, number
    alive: dict[int, tuple[Span, int]] = {}
    for _, array, span, change in islice(_created_in_block(events), count):
        if change > 0:
            alive[array] = span, change
        else:
            del alive[array]
    return most, list(alive.values())


def _created_in_block(events: Sequence[Event]) -> Iterator[Event]:
    """Yield the events of arrays that were created in the block, and not those of older arrays that
    were freed in it. An id may be used again by a later array."""
    alive = set()
    for event in events:
        _, array, _, change = event
        if change > 0:
            alive.add(array)
        elif array in alive:
            alive.remove(array)
        else:
            continue
        yield event
