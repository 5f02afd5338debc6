"""Pictures (N, H, W, C) moved, mirrored, turned and scaled, each by its own numbers.

`mode` says what pixels outside of a picture are: a value ("constant"), the picture mirrored at its
edge, which is not repeated ("reflect"), or the nearest pixel ("edge"). `blend` scales one axis.
Each row of a result of `crop` and `warp` is one task, and each plane of a result of `blend`.
"""
cimport numpy as cnp
from cython cimport floating
from cython.parallel cimport prange
from libc.math cimport fabs, floor
from libc.stdint cimport int64_t, uint8_t
from libc.string cimport memcpy, memset

from minidl_ext.runtime.arguments cimport disjoint, has_length, output, real_array, typed_array
from minidl_ext.runtime.memory cimport set_dims
from minidl_ext.runtime.threads cimport threads_for

import numpy as np

cnp.import_array()

cdef enum:
    CONSTANT
    REFLECT
    EDGE

cdef double MOST = 2147483647       # limit of coordinates, so that sums of two do not overflow


cdef int mode_number(object mode, str where) except -1:
    if mode == "constant":
        return CONSTANT
    if mode == "reflect":
        return REFLECT
    if mode == "edge":
        return EDGE
    raise ValueError(f'{where}: mode must be "constant", "reflect" or "edge", got {mode!r}')


cdef inline Py_ssize_t place(Py_ssize_t i, Py_ssize_t size, int mode) noexcept nogil:
    """The index inside an axis of `size` pixels whose pixel stands at i; -1 for the value."""
    cdef Py_ssize_t period
    if 0 <= i < size:
        return i
    if mode == CONSTANT:
        return -1
    if mode == EDGE:
        return 0 if i < 0 else size - 1
    period = 2 * size - 2
    if period == 0:
        return 0
    i = (i if i >= 0 else -i) % period
    return i if i < size else period - i


cdef void mirrored(const floating* x, floating* y, Py_ssize_t columns, Py_ssize_t c) noexcept nogil:
    """A row of pixels of c channels, in reverse order."""
    cdef Py_ssize_t j, k
    x = x + (columns - 1) * c
    if c == 3:          # the usual case, without an inner loop
        for j in range(columns):
            y[3 * j], y[3 * j + 1], y[3 * j + 2] = x[-3 * j], x[1 - 3 * j], x[2 - 3 * j]
    else:
        for j in range(columns):
            for k in range(c):
                y[j * c + k] = x[k - j * c]


cdef void crop_row(const floating* image, floating* y, Py_ssize_t h, Py_ssize_t w, Py_ssize_t c,
                   Py_ssize_t row, Py_ssize_t left, Py_ssize_t columns, bint flip, int mode,
                   floating value) noexcept nogil:
    """One row of a part: `columns` pixels from column `left` of row `row` of an image (h, w, c)."""
    cdef Py_ssize_t j, k, source, first, last
    cdef const floating* pixels
    row = place(row, h, mode)
    if row < 0:
        for k in range(columns * c):
            y[k] = value
        return
    pixels = image + row * w * c
    # Columns first .. last - 1 come from inside of the picture.
    if flip:
        first = min(max(0, left + columns - w), columns)
        last = max(first, min(columns, left + columns))
        mirrored(pixels + (left + columns - last) * c, y + first * c, last - first, c)
    else:
        first = min(max(0, -left), columns)
        last = max(first, min(columns, w - left))
        if last > first:
            memcpy(y + first * c, pixels + (left + first) * c,
                   (last - first) * c * sizeof(floating))
    for j in range(columns):
        if first <= j < last:
            continue
        source = place(left + (columns - 1 - j if flip else j), w, mode)
        for k in range(c):
            y[j * c + k] = value if source < 0 else pixels[source * c + k]


cdef int set_shape(Py_ssize_t n, object size, Py_ssize_t c, str where, cnp.npy_intp* dims
                   ) except -1:
    """Set the shape (n, height, width, c) of a result, from a checked `size`."""
    if not isinstance(size, (tuple, list)) or len(size) != 2:
        raise ValueError(f"{where}: size must be a pair (height, width), got {size!r}")
    set_dims((n, *size, c), where, dims)
    return 0


cdef int check_pixels(cnp.ndarray x, cnp.ndarray y, str where) except -1:
    """A result with pixels needs a picture with pixels."""
    if cnp.PyArray_SIZE(y) and (x.shape[1] == 0 or x.shape[2] == 0):
        raise ValueError(f"{where}: x of shape {np.shape(x)} has no pixels")
    return 0


cdef cnp.ndarray coordinates(object a, Py_ssize_t n, str where, str name):
    """Coordinates (n,) int64, checked to be small enough to be added."""
    cdef cnp.ndarray values = typed_array(a, where, name, 1, cnp.NPY_INT64)
    cdef Py_ssize_t i
    has_length(values, n, where, name)
    for i in range(n):
        if fabs(<double>(<int64_t*>values.data)[i]) > MOST:
            raise ValueError(f"{where}: {name} must be within 2**31, got {a[i]}")
    return values


def crop(x, size, tops, lefts, flips, mode="constant", double value=0.0, out=None, int threads=0):
    """y[n, i, j] = x[n, tops[n] + i, lefts[n] + j]: a part of each picture, of `size` (height,
    width). Its columns are in reverse order where flips[n] is not 0.

    x (N, H, W, C); tops, lefts (N,) int64; flips (N,) uint8.
    """
    cdef cnp.ndarray a = real_array(x, "crop", "x", 4), y
    cdef Py_ssize_t n = a.shape[0], h = a.shape[1], w = a.shape[2], c = a.shape[3], i
    cdef cnp.npy_intp dims[4]
    cdef int kind = mode_number(mode, "crop"), t
    set_shape(n, size, c, "crop", dims)
    cdef cnp.ndarray top = coordinates(tops, n, "crop", "tops")
    cdef cnp.ndarray left = coordinates(lefts, n, "crop", "lefts")
    cdef cnp.ndarray flip = typed_array(flips, "crop", "flips", 1, cnp.NPY_UINT8)
    cdef const int64_t* first_row = <const int64_t*>top.data
    cdef const int64_t* first_column = <const int64_t*>left.data
    cdef const uint8_t* flipped = <const uint8_t*>flip.data
    cdef Py_ssize_t rows = dims[1], columns = dims[2], image = h * w * c, row_size = columns * c
    has_length(flip, n, "crop", "flips")
    y = output(out, "crop", 4, dims, cnp.PyArray_TYPE(a))
    disjoint(y, a, "crop", "x")
    disjoint(y, top, "crop", "tops")
    disjoint(y, left, "crop", "lefts")
    disjoint(y, flip, "crop", "flips")
    check_pixels(a, y, "crop")
    if cnp.PyArray_SIZE(y) == 0:
        return y
    t = threads_for(threads, 2.0 * cnp.PyArray_SIZE(y))
    if cnp.PyArray_TYPE(a) == cnp.NPY_FLOAT32:
        for i in prange(n * rows, nogil=True, num_threads=t, schedule='static'):
            crop_row(<float*>a.data + i // rows * image, <float*>y.data + i * row_size, h, w, c,
                     first_row[i // rows] + i % rows, first_column[i // rows], columns,
                     flipped[i // rows] != 0, kind, <float>value)
    else:
        for i in prange(n * rows, nogil=True, num_threads=t, schedule='static'):
            crop_row(<double*>a.data + i // rows * image, <double*>y.data + i * row_size, h, w, c,
                     first_row[i // rows] + i % rows, first_column[i // rows], columns,
                     flipped[i // rows] != 0, kind, value)
    return y


cdef void warp_row(const floating* image, floating* y, Py_ssize_t h, Py_ssize_t w, Py_ssize_t c,
                   const double* m, Py_ssize_t i, Py_ssize_t columns, int mode, floating value
                   ) noexcept nogil:
    """Row i of a warped image (h, w, c); m are the six numbers of its map."""
    cdef Py_ssize_t j, k, top, left, r0, r1, c0, c1
    cdef double row, column
    cdef floating down, up, right, left_part, p, q, s, u
    for j in range(columns):
        row = m[0] * i + m[1] * j + m[2]
        column = m[3] * i + m[4] * j + m[5]
        top, left = <Py_ssize_t>floor(row), <Py_ssize_t>floor(column)
        down, right = <floating>(row - top), <floating>(column - left)
        up, left_part = <floating>1 - down, <floating>1 - right
        r0, r1 = place(top, h, mode), place(top + 1, h, mode)
        c0, c1 = place(left, w, mode), place(left + 1, w, mode)
        for k in range(c):
            p = value if r0 < 0 or c0 < 0 else image[(r0 * w + c0) * c + k]
            q = value if r0 < 0 or c1 < 0 else image[(r0 * w + c1) * c + k]
            s = value if r1 < 0 or c0 < 0 else image[(r1 * w + c0) * c + k]
            u = value if r1 < 0 or c1 < 0 else image[(r1 * w + c1) * c + k]
            p = p * left_part + q * right
            s = s * left_part + u * right
            y[j * c + k] = p * up + s * down


def warp(x, size, maps, mode="constant", double value=0.0, out=None, int threads=0):
    """y[n, i, j] = x[n] at the row a i + b j + c and the column d i + e j + f, between pixels
    bilinear; (a, b, c, d, e, f) = maps[n].

    x (N, H, W, C), y (N, *size, C), maps (N, 6) float64.
    """
    cdef cnp.ndarray a = real_array(x, "warp", "x", 4), y
    cdef Py_ssize_t n = a.shape[0], h = a.shape[1], w = a.shape[2], c = a.shape[3], i, k
    cdef cnp.npy_intp dims[4]
    cdef int kind = mode_number(mode, "warp"), t
    set_shape(n, size, c, "warp", dims)
    cdef cnp.ndarray map = typed_array(maps, "warp", "maps", 2, cnp.NPY_FLOAT64)
    cdef const double* m = <const double*>map.data
    cdef Py_ssize_t rows = dims[1], columns = dims[2], image = h * w * c, row_size = columns * c
    if map.shape[0] != n or map.shape[1] != 6:
        raise ValueError(f"warp: maps must have the shape ({n}, 6), got {np.shape(maps)}")
    for i in range(n):
        for k in range(0, 6, 3):
            if not (fabs(m[6 * i + k]) * rows + fabs(m[6 * i + k + 1]) * columns
                    + fabs(m[6 * i + k + 2]) < MOST):
                raise ValueError(f"warp: maps must lead to places within 2**31, got {maps[i]}")
    y = output(out, "warp", 4, dims, cnp.PyArray_TYPE(a))
    disjoint(y, a, "warp", "x")
    disjoint(y, map, "warp", "maps")
    check_pixels(a, y, "warp")
    if cnp.PyArray_SIZE(y) == 0:
        return y
    t = threads_for(threads, 20.0 * cnp.PyArray_SIZE(y))
    if cnp.PyArray_TYPE(a) == cnp.NPY_FLOAT32:
        for i in prange(n * rows, nogil=True, num_threads=t, schedule='static'):
            warp_row(<float*>a.data + i // rows * image, <float*>y.data + i * row_size, h, w, c,
                     m + i // rows * 6, i % rows, columns, kind, <float>value)
    else:
        for i in prange(n * rows, nogil=True, num_threads=t, schedule='static'):
            warp_row(<double*>a.data + i // rows * image, <double*>y.data + i * row_size, h, w, c,
                     m + i // rows * 6, i % rows, columns, kind, value)
    return y


cdef enum:
    SHORT = 16      # values of a row below which the loop over them is the outer one


cdef void blend_plane(const floating* x, const int64_t* starts, const floating* weights,
                      floating* y, Py_ssize_t size, Py_ssize_t most, Py_ssize_t width
                      ) noexcept nogil:
    """`size` rows of `width` values, each a sum of up to `most` consecutive rows of x."""
    cdef Py_ssize_t i, k, m, taps
    cdef const floating* source
    cdef const floating* w
    cdef floating* target
    cdef floating total, red, green, blue
    for i in range(size):
        source, w, target, taps = x + starts[i] * width, weights + i * most, y + i * width, most
        while taps > 1 and w[taps - 1] == 0:    # a row without weight may hold NaN
            taps = taps - 1
        while taps > 1 and w[0] == 0:
            source, w, taps = source + width, w + 1, taps - 1
        if w[0] == 0:
            memset(target, 0, width * sizeof(floating))
            continue
        if width == 3:      # rows of one colour pixel: three sums at a time
            red, green, blue = w[0] * source[0], w[0] * source[1], w[0] * source[2]
            for k in range(1, taps):
                red = red + w[k] * source[3 * k]
                green = green + w[k] * source[3 * k + 1]
                blue = blue + w[k] * source[3 * k + 2]
            target[0], target[1], target[2] = red, green, blue
        elif width < SHORT:
            for m in range(width):
                total = w[0] * source[m]
                for k in range(1, taps):
                    total = total + w[k] * source[k * width + m]
                target[m] = total
        else:
            for m in range(width):
                target[m] = w[0] * source[m]
            for k in range(1, taps):
                for m in range(width):
                    target[m] = target[m] + w[k] * source[k * width + m]


def blend(x, starts, weights, out=None, int threads=0):
    """y[n, r, i] = sum over k of weights[n, i, k] x[n, r, starts[n, i] + k]: along the third axis,
    each row of y is a weighted sum of neighbouring rows of x.

    x (N, R, H, L); starts (N, S) int64 and weights (N, S, K) of x's dtype, or one of each for all
    N; y (N, R, S, L). All rows must exist: 0 <= starts <= H - K. Rows at either end of the K whose
    weights are 0 are not read, so that shorter lists of weights can be padded with 0.
    """
    cdef cnp.ndarray a = real_array(x, "blend", "x", 4), y
    cdef cnp.ndarray first = typed_array(starts, "blend", "starts", 2, cnp.NPY_INT64)
    cdef cnp.ndarray w = typed_array(weights, "blend", "weights", 3, cnp.PyArray_TYPE(a))
    cdef Py_ssize_t n = a.shape[0], r = a.shape[1], h = a.shape[2], width = a.shape[3], i, t
    cdef Py_ssize_t size = first.shape[1], taps = w.shape[2], tables = first.shape[0], own
    cdef const int64_t* at = <const int64_t*>first.data
    cdef cnp.npy_intp dims[4]
    if tables not in (1, n) or w.shape[0] != tables or w.shape[1] != size or taps < 1:
        raise ValueError(f"blend: starts and weights must have the shapes (N, S) and (N, S, K) "
                         f"with N = {n} or 1 and K >= 1, got {np.shape(starts)} and "
                         f"{np.shape(weights)}")
    for i in range(tables * size):
        if not 0 <= at[i] <= h - taps:
            raise ValueError(f"blend: starts must be from 0 to {h - taps} for {taps} weights and "
                             f"{h} rows, got {at[i]}")
    set_dims((n, r, size, width), "blend", dims)
    y = output(out, "blend", 4, dims, cnp.PyArray_TYPE(a))
    disjoint(y, a, "blend", "x")
    disjoint(y, first, "blend", "starts")
    disjoint(y, w, "blend", "weights")
    if cnp.PyArray_SIZE(y) == 0:
        return y
    own = 0 if tables == 1 else 1
    t = threads_for(threads, 2.0 * taps * cnp.PyArray_SIZE(y))
    if cnp.PyArray_TYPE(a) == cnp.NPY_FLOAT32:
        for i in prange(n * r, nogil=True, num_threads=t, schedule='static'):
            blend_plane(<float*>a.data + i * h * width, at + i // r * own * size,
                        <float*>w.data + i // r * own * size * taps,
                        <float*>y.data + i * size * width, size, taps, width)
    else:
        for i in prange(n * r, nogil=True, num_threads=t, schedule='static'):
            blend_plane(<double*>a.data + i * h * width, at + i // r * own * size,
                        <double*>w.data + i // r * own * size * taps,
                        <double*>y.data + i * size * width, size, taps, width)
    return y
