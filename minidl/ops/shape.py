"""Operations that move values without computing: reshape, transpose, joining, padding.

NumPy does them in both backends, and they take any dtype. Results of `reshape`, `flatten`,
`expand_dims` and `squeeze` share memory with x; those of the others are copies. ValueError for
axes and shapes that do not fit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import checks, kernels
from ..arrays import array_of
from ..hints import for_newcomers
from ..tensor import Tensor
from .common import as_tensor
from .operation import NoGradient, Operation
from .reduce import sum_to


class Reshape(Operation):
    """y = x in another shape (the same memory);  dx = dy in the shape of x."""

    returns_view = True

    def forward(self, x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        self.shape = x.shape
        return x.reshape(shape)

    def backward(self, dy: np.ndarray) -> np.ndarray:
        return dy.reshape(self.shape)


class Detach(NoGradient):
    """y = x (the same memory), outside the graph; it stands for `Tensor.detach` in a trace."""

    returns_view = True

    def forward(self, x: np.ndarray) -> np.ndarray:
        return x


class Transpose(Operation):
    """y = x with its axes in another order;  dx = dy with the axes put back."""

    def forward(self, x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
        self.axes = axes
        return _copied(x.transpose(axes))

    def backward(self, dy: np.ndarray) -> np.ndarray:
        return _copied(dy.transpose(np.argsort(self.axes)))


class BroadcastTo(Operation):
    """y = x repeated to a shape;  dx = dy summed over the repeats."""

    def forward(self, x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        self.shape = x.shape
        return _copied(np.broadcast_to(x, shape))

    def backward(self, dy: np.ndarray) -> np.ndarray:
        return sum_to(dy, self.shape)


class Concatenate(Operation):
    """y = the tensors, joined along an axis;  dx = each tensor's part of dy."""

    def forward(self, *arrays: np.ndarray, axis: int) -> np.ndarray:
        self.axis = axis
        self.ends = np.cumsum([a.shape[axis] for a in arrays])[:-1]
        return np.concatenate(arrays, axis)

    def backward(self, dy: np.ndarray) -> tuple[np.ndarray, ...]:
        return tuple(np.split(dy, self.ends, self.axis))


class Split(Operation):
    """y_k = parts of x along an axis;  dx = the dy_k, joined along it."""

    def forward(self, x: np.ndarray, ends: list[int], axis: int) -> tuple[np.ndarray, ...]:
        self.shape, self.ends, self.axis = x.shape, ends, axis
        return tuple([np.array(part, order="C") for part in np.split(x, ends, axis)])

    def backward(self, *dys: np.ndarray) -> np.ndarray:
        dx = np.zeros(self.shape, dys[0].dtype)
        before = (slice(None),) * self.axis
        for start, end, dy in zip([0, *self.ends], [*self.ends, None], dys, strict=True):
            dx[(*before, slice(start, end))] += dy  # parts may overlap, as NumPy allows
        return dx


class Flip(Operation):
    """y = x in reverse order along axes;  dx = dy in reverse order along the same axes."""

    def forward(self, x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
        self.axes = axes
        return _copied(np.flip(x, axes))

    def backward(self, dy: np.ndarray) -> np.ndarray:
        return _copied(np.flip(dy, self.axes))


class Pad(Operation):
    """y = x with a border;  dx = for each value, the sum of dy over the places it was copied to."""

    def forward(self, x: np.ndarray, pad_width: Any, mode: str, value: float) -> np.ndarray:
        self.shape, self.pad_width, self.mode = x.shape, pad_width, mode
        if mode == "constant":
            return np.pad(x, pad_width, constant_values=value)
        return np.pad(x, pad_width, mode=mode)  # type: ignore[call-overload]

    def backward(self, dy: np.ndarray) -> np.ndarray:
        if self.mode == "constant":
            starts = [before for before, _ in self.pad_width]
            return dy[tuple(slice(k, k + n) for k, n in zip(starts, self.shape, strict=True))]
        # Along each axis padding is a gather; its gradient is a scatter, one axis after another.
        for axis, (before, after) in enumerate(self.pad_width):
            if before or after:
                source = np.pad(np.arange(self.shape[axis]), (before, after), mode=self.mode)  # type: ignore[call-overload]
                dx = np.zeros((*dy.shape[:axis], self.shape[axis], *dy.shape[axis + 1 :]), dy.dtype)
                np.add.at(dx, (slice(None),) * axis + (source,), dy)
                dy = dx
        return dy


def _copied(view: np.ndarray) -> np.ndarray:
    """A C-contiguous copy."""
    y = kernels.empty(view.shape, view.dtype)
    y[...] = view
    return y


def reshape(x: Any, *dims: Any, shape: Any = None) -> Tensor:
    """x in another shape, given as a tuple or as arguments; one size may be -1.

    >>> md.reshape(md.arange(6), 2, -1)
    tensor([[0, 1, 2],
            [3, 4, 5]], dtype=int64)
    """
    t = as_tensor(x, "reshape")
    if shape is not None:
        dims = (shape,) if not dims else (*dims, shape)
    given = dims[0] if len(dims) == 1 and isinstance(dims[0], list | tuple | np.ndarray) else dims
    dims = checks.ints(given, "reshape", "shape")
    try:
        return Reshape.apply(t, shape=dims)
    except (ValueError, OverflowError):
        raise ValueError(f"reshape: shape {t.shape} does not fit into {dims}") from None


@for_newcomers
def flatten(x: Any, first_axis: int = 0) -> Tensor:
    """x with all axes from `first_axis` on joined into one: flatten(x, 1) keeps the batch axis.

    >>> md.flatten(md.zeros((8, 4, 4, 2)), 1).shape
    (8, 32)
    """
    t = as_tensor(x, "flatten")
    if t.ndim == 0:
        return reshape(t, (1,))
    first = checks.axis(first_axis, "flatten", "first_axis", t.ndim)
    shape = t._shape
    return Reshape.apply(t, shape=(*shape[:first], math.prod(shape[first:])))


@for_newcomers
def expand_dims(x: Any, axis: int | tuple[int, ...]) -> Tensor:
    """x with new axes of size 1, which are at the given places in the result.

    >>> md.expand_dims(md.zeros(3), (0, 2)).shape
    (1, 3, 1)
    """
    t = as_tensor(x, "expand_dims")
    if axis is None:
        raise TypeError("expand_dims: axis must be an int or a tuple of ints, got None")
    count = len(axis) if isinstance(axis, tuple | list) else 1
    places = checks.axes(axis, "expand_dims", "axis", t.ndim + count)
    sizes = iter(t.shape)
    return reshape(t, tuple([1 if a in places else next(sizes) for a in range(t.ndim + count)]))


@for_newcomers
def squeeze(x: Any, axis: Any = None) -> Tensor:
    """x without its axes of size 1, all of them or the given ones. ValueError if a given axis has
    another size.

    >>> md.squeeze(md.zeros((1, 3, 1))).shape
    (3,)
    """
    t = as_tensor(x, "squeeze")
    if axis is None:
        return reshape(t, tuple([n for n in t.shape if n != 1]))
    axes = checks.axes(axis, "squeeze", "axis", t.ndim)
    for a in axes:
        if t.shape[a] != 1:
            raise ValueError(f"squeeze: axis {a} has size {t.shape[a]}, not 1")
    return reshape(t, tuple([n for a, n in enumerate(t.shape) if a not in axes]))


@for_newcomers
def transpose(x: Any, *order: Any, axes: Any = None) -> Tensor:
    """x with its axes in another order (reversed without argument), as NumPy's transpose(axes).

    >>> md.transpose(md.zeros((8, 3, 32, 32)), (0, 2, 3, 1)).shape
    (8, 32, 32, 3)
    """
    t = as_tensor(x, "transpose")
    axes = order if axes is None else (axes,)
    if len(axes) == 1 and (axes[0] is None or isinstance(axes[0], tuple | list | np.ndarray)):
        axes = () if axes[0] is None else axes[0]
    axes = checks.ints(axes, "transpose", "axes")
    places = tuple([a + t.ndim if a < 0 else a for a in axes])
    if not axes:
        places = tuple(range(t.ndim))[::-1]
    elif sorted(places) != list(range(t.ndim)):
        raise ValueError(f"transpose: axes {axes} are not an order of {t.ndim} axes")
    return Transpose.apply(t, axes=places)


def _is_single(value: Any) -> bool:
    """Whether an argument is one number, also as an array of no axes, and no list."""
    return not isinstance(value, (list, tuple)) and np.ndim(value) == 0


def broadcast_to(x: Any, shape: int | Sequence[int]) -> Tensor:
    """x repeated along new and size-1 axes to `shape`.

    >>> md.broadcast_to(md.tensor([1., 2.]), (2, 2))
    tensor([[1., 2.],
            [1., 2.]])
    """
    t = as_tensor(x, "broadcast_to")
    shape = checks.ints(
        (shape,) if shape is not None and _is_single(shape) else shape, "broadcast_to", "shape"
    )
    try:
        return BroadcastTo.apply(t, shape=shape)
    except (ValueError, OverflowError):
        ends = zip(reversed(t.shape), reversed(shape), strict=False)
        if t.ndim <= len(shape) and min(shape) >= 0 and all(n in (1, m) for n, m in ends):
            raise MemoryError(f"broadcast_to: NumPy has no array of shape {shape}") from None
        raise ValueError(f"broadcast_to: shape {t.shape} does not broadcast to {shape}") from None


def _listed(tensors: Any, where: str) -> list[Tensor]:
    """A list of tensors, from a list or from the rows of a tensor's first axis."""
    return [
        as_tensor(t, where, "tensors")
        for t in checks.members(tensors, where, "tensors", "a list of tensors")
    ]


@for_newcomers
def concatenate(tensors: Sequence[Any], axis: int | None = 0) -> Tensor:
    """The tensors joined along an existing axis (None: flattened first).

    >>> md.concatenate([md.zeros((2, 3)), md.ones((1, 3))]).shape
    (3, 3)
    """
    ts = _listed(tensors, "concatenate")
    if not ts:
        raise ValueError("concatenate: needs at least one tensor")
    if axis is None:
        ts, axis = [flatten(t) for t in ts], 0
    a = checks.axis(axis, "concatenate", "axis", ts[0].ndim)
    for t in ts:
        if t.ndim != ts[0].ndim or any(
            n != m for k, (n, m) in enumerate(zip(t.shape, ts[0].shape, strict=True)) if k != a
        ):
            raise ValueError(
                f"concatenate: shapes {[s.shape for s in ts]} differ elsewhere than on axis {a}"
            )
    return Concatenate.apply(*ts, axis=a)


@for_newcomers
def stack(tensors: Sequence[Any], axis: int = 0) -> Tensor:
    """The tensors, all of one shape, joined along a new axis.

    >>> md.stack([md.tensor([1., 2.]), md.tensor([3., 4.])])
    tensor([[1., 2.],
            [3., 4.]])
    """
    ts = _listed(tensors, "stack")
    if not ts:
        raise ValueError("stack: needs at least one tensor")
    checks.axis(axis, "stack", "axis", ts[0].ndim + 1)
    if len({t.shape for t in ts}) > 1:
        raise ValueError(f"stack: shapes differ: {[t.shape for t in ts]}")
    return concatenate([expand_dims(t, axis) for t in ts], axis)


@for_newcomers
def split(x: Any, sections: int | Sequence[int], axis: int = 0) -> tuple[Tensor, ...]:
    """x cut along an axis: into that many equal parts, or before each of the given places.

    >>> md.split(md.arange(4), 2)
    (tensor([0, 1], dtype=int64), tensor([2, 3], dtype=int64))
    """
    t = as_tensor(x, "split")
    a = checks.axis(axis, "split", "axis", t.ndim)
    if _is_single(sections):
        sections = checks.integer(sections, "split", "sections")
        # An axis of size 0 divides into any number of parts: a limit keeps the list small.
        if sections < 1 or t.shape[a] % sections or sections > max(t.shape[a], checks.MOST_EMPTY):
            raise ValueError(
                f"split: axis {a} of size {t.shape[a]} does not divide into {sections} equal parts"
            )
        step = t.shape[a] // sections
        ends = [step * k for k in range(1, sections)]
    else:
        ends = list(checks.ints(sections, "split", "sections"))
    return Split.apply(t, ends=ends, axis=a)


@for_newcomers
def flip(x: Any, axis: Any = None) -> Tensor:
    """x in reverse order along axis (all axes for None).

    >>> md.flip(md.tensor([1., 2., 3.]))
    tensor([3., 2., 1.])
    """
    t = as_tensor(x, "flip")
    return Flip.apply(t, axes=checks.axes(axis, "flip", "axis", t.ndim))


@for_newcomers
def pad(x: Any, pad_width: Any, mode: str = "constant", constant_values: float = 0) -> Tensor:
    """x with a border, as numpy.pad: `pad_width` is an int, a pair (before, after), or one pair per
    axis; modes constant, edge, reflect, wrap. `constant_values` is a number, or numbers in the form
    of pad_width.

    ValueError for another mode, and for widths or values that do not fit; TypeError for widths that
    are not integers and values that are not numbers.

    >>> md.pad(md.tensor([1., 2., 3.]), (1, 2))
    tensor([0., 1., 2., 3., 0., 0.])
    >>> md.pad(md.tensor([1., 2., 3.]), (0, 2), mode="reflect")
    tensor([1., 2., 3., 2., 1.])
    """
    t = as_tensor(x, "pad")
    checks.choice(mode, "pad", "mode", ("constant", "edge", "reflect", "wrap"))
    try:
        given = np.asarray(pad_width)
        widths = np.broadcast_to(given, (t.ndim, 2)).tolist()
    except ValueError:
        raise ValueError(
            f"pad: pad_width {pad_width!r} does not give (before, after) for {t.ndim} axes"
        ) from None
    if given.dtype.kind not in "iuO":  # O: integers beyond 64 bits
        raise TypeError(checks.message("pad", "pad_width", "ints", pad_width))
    widths = [checks.ints(pair, "pad", "pad_width") for pair in widths]
    if any(before < 0 or after < 0 for before, after in widths):
        raise ValueError(f"pad: pad_width must not be negative, got {pad_width!r}")
    if type(constant_values) not in (int, float):
        values = array_of(constant_values, "pad", "constant_values")
        if values.dtype.kind not in "fiub":
            raise TypeError(checks.message("pad", "constant_values", "numbers", constant_values))
        try:
            np.broadcast_to(values, (t.ndim, 2))
        except ValueError:
            raise ValueError(
                f"pad: constant_values {constant_values!r} does not give (before, after) for "
                f"{t.ndim} axes"
            ) from None
    if mode != "constant" and any(sum(w) and not n for n, w in zip(t.shape, widths, strict=True)):
        raise ValueError(f"pad: mode {mode!r} has nothing to repeat in shape {t.shape}")
    kernels.check_shape(
        "pad", tuple([n + sum(w) for n, w in zip(t.shape, widths, strict=True)]), t.dtype
    )
    return Pad.apply(t, pad_width=tuple(widths), mode=mode, value=constant_values)
