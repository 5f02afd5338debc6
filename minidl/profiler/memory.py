"""Memory that was held: the arrays made within the block, as long as they lived."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from .recorder import Held, Span

Event = tuple[int, Held, int]       # (time, array, bytes more or less)
Events = Sequence[Event]


def levels(events: Events) -> Iterator[tuple[int, int]]:
    """(time, bytes held from then on)."""
    held = 0
    for time, _, change in _of_the_block(events):
        held += change
        yield time, held


def at_peak(events: Events) -> tuple[int, list[tuple[Span, int]]]:
    """The most bytes that were held, and who had made them: spans, each with its bytes."""
    most = count = 0
    for number, (_, held) in enumerate(levels(events), 1):
        if held > most:
            most, count = held, number
    alive: dict[int, tuple[Span, int]] = {}
    for _, array, change in islice(_of_the_block(events), count):
        if change > 0:
            alive[id(array)] = array.span, change
        else:
            del alive[id(array)]
    return most, list(alive.values())


def _of_the_block(events: Events) -> Iterator[Event]:
    """The events of arrays that were made within the block."""
    alive = set()
    for event in events:
        if event[2] > 0:
            alive.add(id(event[1]))
        elif id(event[1]) not in alive:
            continue
        yield event
