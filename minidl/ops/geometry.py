"""Where windows lie: the padding around images, (N, H, W, C), or sequences, (N, T, C), that a
convolution or a pool reads.

Everything is given per axis of a window: sizes of kernels, strides and dilations as tuples of ints,
padding as a tuple of ints or of pairs (before, after), or as a word.
"""

from __future__ import annotations

from typing import Any

Ints = tuple[int, ...]
Sides = tuple[tuple[int, int], ...]         # (before, after) of each axis
KINDS = {4: "images (N, H, W, C)", 3: "sequences (N, T, C)"}     # by the number of axes


def extents(kernel: Ints, dilation: Ints) -> Ints:
    """How far a kernel reaches along each axis."""
    return tuple([d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)])


def sides(padding: Any, sizes: Ints, extent: Ints, stride: Ints) -> Sides:
    """Padding as (before, after) of each axis.

    "same" gives ceil(size / stride) places, the larger part of an odd padding after the image;
    "causal" ends each window where it would begin without padding; "valid" is none.
    """
    if padding == "valid":
        return tuple([(0, 0) for _ in sizes])
    if padding == "causal":
        return tuple([(e - 1, 0) for e in extent])
    if padding == "same":
        totals = [max(0, (-(-n // s) - 1) * s + e - n)
                  for n, e, s in zip(sizes, extent, stride, strict=True)]
        return tuple([(t // 2, t - t // 2) for t in totals])
    return both_sides(padding)


def both_sides(padding: Any) -> Sides:
    """Padding in numbers as (before, after) of each axis."""
    return tuple([(p, p) if isinstance(p, int) else p for p in padding])


def shown(sizes: Any) -> Any:
    """Sizes as a user has given them: of one axis a number."""
    return sizes[0] if len(sizes) == 1 else sizes
