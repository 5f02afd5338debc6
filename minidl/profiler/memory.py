"""Memory that was held: the arrays made within the block, as long as they lived."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from .recorder import Event, Span


def levels(events: Sequence[Event]) -> Iterator[tuple[int, int]]:
    """(time, bytes held from then on)."""
    held = 0
    for time, _, _, change in _of_the_block(events):
        held += change
        yield time, held


def at_peak(events: Sequence[Event]) -> tuple[int, list[tuple[Span, int]]]:
    """The most bytes that were held, and who had made them: spans, each with its bytes."""
    most = count = 0
    for number, (_, held) in enumerate(levels(events), 1):
        if held > most:
            most, count = held, number
    alive: dict[int, tuple[Span, int]] = {}
    for _, array, span, change in islice(_of_the_block(events), count):
        if change > 0:
            alive[array] = span, change
        else:
            del alive[array]
    return most, list(alive.values())


def _of_the_block(events: Sequence[Event]) -> Iterator[Event]:
    """The events of arrays that were made within the block. A later array may have the id of one
    that is gone."""
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
