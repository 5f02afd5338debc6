"""The padding and the extent of the windows that a convolution or a pool reads from images
(N, H, W, C) or sequences (N, T, C).

All arguments have one entry for each axis of a window: sizes of kernels, strides and dilations are
tuples of ints; padding is a tuple of ints or of pairs (before, after), or a word.
"""

from __future__ import annotations

from typing import Any

Ints = tuple[int, ...]
Sides = tuple[tuple[int, int], ...]  # (before, after) of each axis
KINDS = {4: "images (N, H, W, C)", 3: "sequences (N, T, C)"}  # by the number of axes


def extents(kernel: Ints, dilation: Ints) -> Ints:
    """The extent of a kernel along each axis, with the gaps that dilation makes."""
    return tuple([d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)])


def sides(padding: Any, sizes: Ints, extent: Ints, stride: Ints) -> Sides:
    """Padding as (before, after) of each axis.

    "same" gives ceil(size / stride) positions, and puts the larger part of an odd padding after the
    image; "causal" ends each window where it would begin without padding; "valid" means none.
    """
    if padding == "valid":
        return tuple([(0, 0) for _ in sizes])
    if padding == "causal":
        return tuple([(e - 1, 0) for e in extent])
    if padding == "same":
        totals = [
            max(0, (-(-n // s) - 1) * s + e - n)
            for n, e, s in zip(sizes, extent, stride, strict=True)
        ]
        return tuple([(t // 2, t - t // 2) for t in totals])
    return both_sides(padding)


def both_sides(padding: Any) -> Sides:
    """Padding in numbers as (before, after) of each axis."""
    return tuple([(p, p) if isinstance(p, int) else p for p in padding])


def shown(sizes: Any) -> Any:
    """Sizes as a message shows them: a number where there is one axis."""
    return sizes[0] if len(sizes) == 1 else sizes
