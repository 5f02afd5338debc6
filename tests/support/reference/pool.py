"""The references of pools are their definitions, for one window after the other."""

import numpy as np

from tests.support.reference.geometry import around, borders, pair


def windows_along(size, k, stride, dilation, before, after, ceil_mode):
    """Yield, for each window along an axis, its taps on the image, and how many taps are not beyond
    the padding. With ceil_mode a window need not end within the padding if the one before it does
    not reach that end, and if it begins before the end of the image itself.
    """
    windows, end = [], size + after
    for start in range(-before, size, stride):
        taps = [start + i * dilation for i in range(k)]
        if taps[-1] < end or (ceil_mode and taps[-1] - stride < end - 1):
            windows.append(([t for t in taps if 0 <= t < size], sum(t < end for t in taps)))
    return windows


def pool(x, window, stride, padding, ceil_mode, dilation, reduce):
    k, d = pair(window), pair(dilation)
    s = k if stride is None else pair(stride)
    reaches = [d_ * (k_ - 1) for d_, k_ in zip(d, k, strict=True)]
    sides = borders(padding, x.shape[1:3], reaches, s)
    rows, cols = [
        windows_along(x.shape[1 + a], k[a], s[a], d[a], *sides[a], ceil_mode) for a in (0, 1)
    ]
    return np.stack(
        [np.stack([reduce(x[:, r][:, :, c], counts=m * n) for c, n in cols], 1) for r, m in rows], 1
    )


def max_pool(x, window, stride=None, padding=0, ceil_mode=False, dilation=1):
    return pool(
        x,
        window,
        stride,
        padding,
        ceil_mode,
        dilation,
        lambda values, counts: values.max(axis=(1, 2)),
    )


def avg_pool(x, window, stride=None, padding=0, ceil_mode=False, dilation=1, count_padding=True):
    def mean(values, counts):
        return values.sum(axis=(1, 2)) / (
            counts if count_padding else values.shape[1] * values.shape[2]
        )

    return pool(x, window, stride, padding, ceil_mode, dilation, mean)


def pool1d(x, window, stride, padding, ceil_mode, dilation, reduce):
    stride = window if stride is None else stride
    sides = around(padding, x.shape[1], dilation * (window - 1), stride)
    return np.stack(
        [
            reduce(x[:, taps], count)
            for taps, count in windows_along(
                x.shape[1], window, stride, dilation, *sides, ceil_mode
            )
        ],
        1,
    )


def max_pool1d(x, window, stride=None, padding=0, ceil_mode=False, dilation=1):
    return pool1d(x, window, stride, padding, ceil_mode, dilation, lambda x, _: x.max(1))


def avg_pool1d(x, window, stride=None, padding=0, ceil_mode=False, dilation=1, count_padding=True):
    return pool1d(
        x,
        window,
        stride,
        padding,
        ceil_mode,
        dilation,
        lambda x, count: x.sum(1) / (count if count_padding else x.shape[1]),
    )
