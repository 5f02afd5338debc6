"""Memory that was held: the arrays made within the block, as long as they lived."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .recorder import Held, Span

Events = Sequence[tuple[int, Held, int]]        # (time, array, bytes more or less)


def levels(events: Events) -> Iterator[tuple[int, int]]:
    """(time, bytes held from then on). What was made before the events begin is not counted."""
    held, alive = 0, set()
    for time, array, change in events:
        if change > 0:
            alive.add(id(array))
        elif id(array) not in alive:
            continue
        held += change
        yield time, held


def at_peak(events: Events) -> tuple[int, list[tuple[Span, int]]]:
    """The most bytes that were held, and who had made them: spans, each with its bytes."""
    most, when = 0, 0
    for time, held in levels(events):
        if held > most:
            most, when = held, time
    alive: dict[int, tuple[Span, int]] = {}
    held = 0
    for _, array, change in events:
        if held == most:
            break
        if change > 0:
            alive[id(array)] = array.span, change
        elif alive.pop(id(array), None) is None:
            continue
        held += change
    return most, list(alive.values())
