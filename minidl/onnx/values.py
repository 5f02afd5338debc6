"""The values of an imported graph while it runs: each is a tensor, and the order in which it
has the axes of the file's value.

Files have channels before places, (N, C, H, W); minidl computes with channels last. What a file
calls axis 1 may therefore be the last axis of the tensor that is held. No value is moved before an
operation needs another order: a Transpose of the file only renames axes, so that the transposes
before and after the convolutions of a network cancel out.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from .. import ops
from ..grad_mode import no_grad
from ..tensor import Tensor
from ..tracers import Tracer, following

Axes = tuple[int, ...]


class Held:
    """A value of the graph. Axis i of `tensor` is axis `axes[i]` of the file's value; with None all
    axes have the same numbers in both. `constant` says that the value does not depend on what the
    inputs hold: it is a constant of the file, a shape, or computed from these alone."""

    __slots__ = ("_orders", "axes", "constant", "tensor")

    def __init__(self, tensor: Tensor, axes: Axes | None = None, constant: bool = False) -> None:
        self.tensor, self.constant = tensor, constant
        self.axes = None if axes is None or axes == file_order(len(axes)) else axes
        self._orders: dict[Axes, Tensor] | None = None  # the tensor in orders asked for before

    @property
    def ndim(self) -> int:
        return self.tensor.ndim

    @property
    def dtype(self) -> np.dtype:
        return self.tensor.dtype

    @property
    def order(self) -> Axes:
        """`axes` as a tuple, also where it is None."""
        return file_order(self.tensor.ndim) if self.axes is None else self.axes

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape that the file's value has."""
        if self.axes is None:
            return self.tensor.shape
        return tuple([self.tensor.shape[self.axes.index(k)] for k in range(self.ndim)])

    def place(self, axis: int) -> int:
        """Where the tensor has an axis of the file's value."""
        axis = axis + self.ndim if axis < 0 else axis
        if not 0 <= axis < self.ndim:
            raise ValueError(f"axis {axis} is none of a value of shape {self.shape}")
        return axis if self.axes is None else self.axes.index(axis)

    def ordered(self, order: Axes) -> Tensor:
        """The tensor with its axes in another order; moved once, however often it is asked for."""
        if order == self.order:
            return self.tensor
        if self._orders is None:
            self._orders = {}
        found = self._orders.get(order)
        if found is None:
            places = [self.order.index(axis) for axis in order]
            found = self._orders[order] = moved(self.tensor, places)
        return found

    @property
    def plain(self) -> Tensor:
        """The tensor with its axes as the file has them."""
        return self.tensor if self.axes is None else self.ordered(file_order(self.ndim))

    @property
    def last(self) -> Tensor:
        """The tensor with axis 1, the channels, last."""
        return self.ordered(channels_last(self.tensor.ndim))

    def array(self) -> np.ndarray:
        """The values, as the file has them."""
        return self.plain.data

    def ints(self) -> tuple[int, ...]:
        """The values of a list of integers (or of one)."""
        return tuple([int(n) for n in self.array().reshape(-1)])

    def scalar(self) -> Any:
        """The value of a number, as Python's."""
        return self.array().reshape(-1)[0].item()

    def like(self, tensor: Tensor) -> Held:
        """A value of another tensor, which has its axes in the same order."""
        return Held(tensor, self.axes)


@functools.cache
def file_order(ndim: int) -> Axes:
    """The order that axes have in the file."""
    return tuple(range(ndim))


@functools.cache
def channels_last(ndim: int) -> Axes:
    """The order of axes with axis 1 last."""
    return (0, *range(2, ndim), 1) if ndim > 2 else tuple(range(ndim))


def held_last(tensor: Tensor) -> Held:
    """A value of a tensor that has the channels last."""
    return Held(tensor, channels_last(tensor.ndim))


def moved(x: Tensor, places: Sequence[int]) -> Tensor:
    """x with its axes in the order of `places`. If only axes of length 1 move, no value does."""
    long = [p for p in places if x.shape[p] != 1]
    if long == sorted(long):
        return ops.reshape(x, tuple([x.shape[p] for p in places]))
    return ops.transpose(x, tuple(places))


def constant(array: Any) -> Held:
    """A value that does not depend on the inputs."""
    return Held(Tensor(np.asarray(array)), None, True)


def aligned(values: Sequence[Held]) -> tuple[list[Tensor], Axes | None]:
    """Operands of one operation that broadcasts, with their axes in one order, which the largest
    of them has; and that order."""
    if all(v.axes is None for v in values):
        return [v.tensor for v in values], None
    ndim = max(v.ndim for v in values)
    wide = [v for v in values if v.ndim == ndim]
    leader = max(wide, key=lambda v: (not v.constant, v.tensor.size, v.axes is not None))
    order = leader.order
    return [
        v.tensor if v.tensor.size == 1 and v.ndim == 0 else _widened(v, ndim).ordered(order)
        for v in values
    ], leader.axes


def _widened(value: Held, ndim: int) -> Held:
    """A value with axes of length 1 in front, as broadcasting has it."""
    extra = ndim - value.ndim
    if not extra:
        return value
    shape = (*(1,) * extra, *value.tensor.shape)
    axes = None if value.axes is None else (*range(extra), *(a + extra for a in value.axes))
    return Held(ops.reshape(value.tensor, shape), axes, value.constant)


@contextlib.contextmanager
def unrecorded() -> Iterator[None]:
    """Inside the block neither a trace nor the graph of gradients records what is computed, such as
    the arithmetic of shapes."""
    with no_grad(), following(Tracer()):
        yield
