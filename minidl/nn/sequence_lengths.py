"""Batches of sequences of different lengths, for the recurrent networks: the check of `lengths`,
and the pass of a cell through such a batch."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import checks, ops
from ..arrays import array_of
from ..tensor import Tensor
from .cell import Cell, State


def check_lengths(lengths: Any, where: str, examples: int, steps: int) -> np.ndarray | None:
    """Return the lengths as (N,) int64; None if every sequence has all steps. TypeError for what is
    no array of integers, ValueError for another shape and for a length out of range."""
    given = array_of(lengths, where, "lengths")
    if given.dtype.kind not in "iu":
        raise TypeError(checks.message(where, "lengths", "an array of ints", lengths))
    expected = f"{examples} numbers from 1 to {steps}, the time steps of x"
    if given.shape != (examples,) or (examples and not 1 <= given.min() <= given.max() <= steps):
        raise ValueError(checks.message(where, "lengths", expected, lengths))
    return None if (given == steps).all() else given.astype(np.int64)


def run(
    cell: Cell, x: Tensor, state: State, reverse: bool, lengths: np.ndarray
) -> tuple[Tensor, State]:
    """Pass sequences (T, N, features), time first, through a cell, each up to its own length.
    Returns the outputs, which are zero beyond the lengths, and the state at each sequence's end.

    The sequences are put in order, the longest first. Then the cell runs from one length to the
    next, each time with the sequences that go on, so that steps beyond the end are not computed.
    The reversed pass of a sequence begins at its own last step.
    """
    steps, examples, _ = x.shape
    if reverse:
        x = _reversed(x, lengths)
    order = np.argsort(-lengths, kind="stable")
    places = np.argsort(order, kind="stable")  # of the sequences among the ordered ones
    x, state = x[:, order], tuple([part[order] for part in state])
    outputs: list[Tensor] = []
    ended: list[State] = []
    start = 0
    for end in np.unique(lengths).tolist():
        count, left = int((lengths >= end).sum()), int((lengths > end).sum())
        output, state = cell(x[start:end, :count], state, False)
        outputs.append(ops.pad(output, ((0, 0), (0, examples - count), (0, 0))))
        ended.append(tuple([part[left:count] for part in state]))
        state = tuple([part[:left] for part in state])
        start = end
    output = ops.pad(ops.concatenate(outputs, axis=0), ((0, steps - start), (0, 0), (0, 0)))
    output = output[:, places]
    last = [ops.concatenate(parts, axis=0)[places] for parts in zip(*ended[::-1], strict=True)]
    return _reversed(output, lengths) if reverse else output, tuple(last)


def _reversed(x: Tensor, lengths: np.ndarray) -> Tensor:
    """Reverse the steps of each sequence of (T, N, features) up to its length."""
    step, example = np.arange(x.shape[0])[:, None], np.arange(len(lengths))
    return x[np.where(step < lengths, lengths - 1 - step, step), example]
