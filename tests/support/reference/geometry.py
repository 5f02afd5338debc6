"""This module computes sizes and borders of windows, for the references of convolutions and
pools.
"""


def pair(value):
    return (value, value) if isinstance(value, int) else tuple(value)


def around(padding, size, reach, stride):
    """Return (before, after) for one axis. `reach` is the distance from the first tap of a kernel
    to the last one.
    """
    if padding == "same":
        total = max(0, (-(-size // stride) - 1) * stride + reach + 1 - size)
        return total // 2, total - total // 2
    if padding == "causal":
        return reach, 0
    if padding == "valid":
        return 0, 0
    return pair(padding)


def borders(padding, sizes, reaches, strides):
    """Return (before, after) for each of two axes."""
    each = (padding, padding) if isinstance(padding, str) else pair(padding)
    return [around(*axis) for axis in zip(each, sizes, reaches, strides, strict=True)]
