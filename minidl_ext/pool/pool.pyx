"""Pooling over windows of NHWC images, and over whole images.

Each output row is one task; inner loops run over channels (max pooling's are in pool_rows.h). A
window's part that lies in the padding is skipped; where windows lie is in pool_geometry.pxd.
`window`, `stride` and `dilation` are pairs, `padding` is ((top, bottom), (left, right)).
"""
cimport numpy as cnp
from cython cimport floating
from cython.parallel cimport prange, threadid
from libc.stdint cimport int32_t, uint8_t
from libc.string cimport memset

from minidl_ext.runtime.arguments cimport real_array, typed_array
from minidl_ext.conv.geometry cimport checked_size
from minidl_ext.simd.sums cimport column_totals
from minidl_ext.pool.pool_geometry cimport Counted, Geometry, check_output_grad, count_taps, first_tap, \
    last_tap, place_type, set_counted, set_geometry
from minidl_ext.runtime.memory cimport MAX_AXES, new_array, product, workspace, set_dims
from minidl_ext.runtime.threads cimport threads_for

import numpy as np

cnp.import_array()

cdef extern from "pool/pool_rows.h" nogil:
    void max_window_f32(const float* window, Py_ssize_t line, Py_ssize_t step, Py_ssize_t channels,
                        Py_ssize_t k0, Py_ssize_t k1, Py_ssize_t l0, Py_ssize_t l1, Py_ssize_t kw,
                        float* best, uint8_t* where)
    void max_window_f64(const double* window, Py_ssize_t line, Py_ssize_t step, Py_ssize_t channels,
                        Py_ssize_t k0, Py_ssize_t k1, Py_ssize_t l0, Py_ssize_t l1, Py_ssize_t kw,
                        double* best, uint8_t* where)
    void spread_window_f32(const float* dy, const uint8_t* where, Py_ssize_t line,
                           Py_ssize_t channels, Py_ssize_t kh, Py_ssize_t kw, float* window)
    void spread_window_f64(const double* dy, const uint8_t* where, Py_ssize_t line,
                           Py_ssize_t channels, Py_ssize_t kh, Py_ssize_t kw, double* window)

ctypedef fused place:
    uint8_t
    int32_t


# ------------------------------------------------------------------------------ max pooling

cdef void max_window(const floating* window, Geometry* s, Py_ssize_t k0, Py_ssize_t k1,
                     Py_ssize_t l0, Py_ssize_t l1, floating* best, place* where) noexcept nogil:
    """The largest of each channel over a window's taps and its place. NaN wins, and stays."""
    cdef Py_ssize_t k, l, c, line = s.dh * s.w * s.c, step = s.dw * s.c
    cdef const floating* tap
    if place is uint8_t:
        if floating is float:
            max_window_f32(window, line, step, s.c, k0, k1, l0, l1, s.kw, best, where)
        else:
            max_window_f64(window, line, step, s.c, k0, k1, l0, l1, s.kw, best, where)
    else:
        for c in range(s.c):
            best[c] = window[k0 * line + l0 * step + c]
            where[c] = <place>(k0 * s.kw + l0)
        for k in range(k0, k1):
            for l in range(l0, l1):
                tap = window + k * line + l * step
                for c in range(s.c):
                    if tap[c] > best[c] or (tap[c] != tap[c] and best[c] == best[c]):
                        best[c] = tap[c]
                        where[c] = <place>(k * s.kw + l)


cdef void max_row(const floating* x, floating* y, place* argmax, Geometry* s, Py_ssize_t row
                  ) noexcept nogil:
    """One row of outputs."""
    cdef Py_ssize_t top = row % s.oh * s.sh - s.top, left, j, at
    cdef Py_ssize_t k0 = first_tap(top, s.dh), k1 = last_tap(top, s.kh, s.dh, s.h)
    cdef const floating* image = x + row // s.oh * s.h * s.w * s.c
    for j in range(s.ow):
        left = j * s.sw - s.left
        at = (row * s.ow + j) * s.c
        max_window(image + (top * s.w + left) * s.c, s, k0, k1, first_tap(left, s.dw),
                   last_tap(left, s.kw, s.dw, s.w), y + at, argmax + at)


cdef void max_image_backward(const floating* dy, const place* argmax, floating* dx, Geometry* s,
                             Py_ssize_t image) noexcept nogil:
    cdef Py_ssize_t i, j, c, at, p
    cdef floating* target = dx + image * s.h * s.w * s.c
    memset(target, 0, s.h * s.w * s.c * sizeof(floating))
    for i in range(s.oh):
        for j in range(s.ow):
            at = ((image * s.oh + i) * s.ow + j) * s.c
            for c in range(s.c):
                p = argmax[at + c]
                target[((i * s.sh - s.top + p // s.kw * s.dh) * s.w
                        + j * s.sw - s.left + p % s.kw * s.dw) * s.c + c] += dy[at + c]


cdef void apart_image_backward(const floating* dy, const uint8_t* argmax, floating* dx,
                               Geometry* s, Py_ssize_t image) noexcept nogil:
    """As above, for windows that lie side by side: every input is written once."""
    cdef Py_ssize_t i, j, at
    cdef floating* target = dx + image * s.h * s.w * s.c
    cdef floating* window
    if s.oh * s.kh != s.h or s.ow * s.kw != s.w:
        memset(target, 0, s.h * s.w * s.c * sizeof(floating))
    for i in range(s.oh):
        for j in range(s.ow):
            at = ((image * s.oh + i) * s.ow + j) * s.c
            window = target + (i * s.kh * s.w + j * s.kw) * s.c
            if floating is float:
                spread_window_f32(dy + at, argmax + at, s.w * s.c, s.c, s.kh, s.kw, window)
            else:
                spread_window_f64(dy + at, argmax + at, s.w * s.c, s.c, s.kh, s.kw, window)


def max_pool(x, window, stride, padding=((0, 0), (0, 0)), dilation=(1, 1), int threads=0):
    """(y, argmax): the largest value of each window and its place in it, row by row.

    argmax is uint8 for windows of up to 256 values, else int32.
    """
    cdef cnp.ndarray a = real_array(x, "max_pool", "x", 4), y, argmax
    cdef Geometry s
    cdef cnp.npy_intp dims[4]
    cdef Py_ssize_t row
    cdef int t
    set_geometry(&s, "max_pool", np.shape(x), window, stride, padding, dilation)
    dims[0], dims[1], dims[2], dims[3] = s.n, s.oh, s.ow, s.c
    y = new_array(4, dims, cnp.PyArray_TYPE(a))
    checked_size(s.kh * s.kw, "max_pool", "the number of places of a window", 1)
    argmax = new_array(4, dims, place_type(&s))
    if s.c == 0:
        return y, argmax
    t = threads_for(threads, <double>s.n * s.oh * s.ow * s.c * s.kh * s.kw)
    if cnp.PyArray_TYPE(a) == cnp.NPY_FLOAT32:
        if place_type(&s) == cnp.NPY_UINT8:
            for row in prange(s.n * s.oh, nogil=True, num_threads=t, schedule='static'):
                max_row(<float*>a.data, <float*>y.data, <uint8_t*>argmax.data, &s, row)
        else:
            for row in prange(s.n * s.oh, nogil=True, num_threads=t, schedule='static'):
                max_row(<float*>a.data, <float*>y.data, <int32_t*>argmax.data, &s, row)
    elif place_type(&s) == cnp.NPY_UINT8:
        for row in prange(s.n * s.oh, nogil=True, num_threads=t, schedule='static'):
            max_row(<double*>a.data, <double*>y.data, <uint8_t*>argmax.data, &s, row)
    else:
        for row in prange(s.n * s.oh, nogil=True, num_threads=t, schedule='static'):
            max_row(<double*>a.data, <double*>y.data, <int32_t*>argmax.data, &s, row)
    return y, argmax


cdef void max_backward_all(const floating* dy, const place* argmax, floating* dx, Geometry* s,
                           int threads) noexcept nogil:
    cdef Py_ssize_t image
    for image in prange(s.n, num_threads=threads, schedule='static'):
        if place is uint8_t:
            if side_by_side(s):
                apart_image_backward(dy, argmax, dx, s, image)
            else:
                max_image_backward(dy, argmax, dx, s, image)
        else:
            max_image_backward(dy, argmax, dx, s, image)


cdef bint side_by_side(Geometry* s) noexcept nogil:
    """Whether every input is in at most one window, and windows lie within the images."""
    return (s.sh == s.kh and s.sw == s.kw and s.dh == 1 and s.dw == 1 and s.top == 0
            and s.left == 0 and s.oh * s.kh <= s.h and s.ow * s.kw <= s.w)


cdef bint inside(const place* argmax, Geometry* s) noexcept nogil:
    """Whether every place is in its window and its image: argmax comes from a caller."""
    cdef Py_ssize_t i, j, k, c, at = 0, top, left, p
    for i in range(s.n * s.oh):
        top = i % s.oh * s.sh - s.top
        for j in range(s.ow):
            left = j * s.sw - s.left
            for c in range(s.c):
                p = argmax[at]
                at += 1
                if not (0 <= p < s.kh * s.kw and 0 <= top + p // s.kw * s.dh < s.h
                        and 0 <= left + p % s.kw * s.dw < s.w):
                    return False
    return True


def max_pool_backward(dy, argmax, input_shape, window, stride, padding=((0, 0), (0, 0)),
                      dilation=(1, 1), int threads=0):
    """dx: each dy goes to the place that won."""
    cdef cnp.ndarray g = real_array(dy, "max_pool_backward", "dy", 4), where, dx
    cdef Geometry s
    cdef cnp.npy_intp dims[4]
    cdef int t
    cdef bint right
    set_geometry(&s, "max_pool_backward", input_shape, window, stride, padding, dilation)
    check_output_grad(g, &s, "max_pool_backward", "dy")
    where = typed_array(argmax, "max_pool_backward", "argmax", 4, place_type(&s))
    check_output_grad(where, &s, "max_pool_backward", "argmax")
    dims[0], dims[1], dims[2], dims[3] = s.n, s.h, s.w, s.c
    dx = new_array(4, dims, cnp.PyArray_TYPE(g))
    if s.c == 0:
        return dx
    # In the vectorized case a place is only compared; otherwise it is an address.
    if not (side_by_side(&s) and s.kh * s.kw <= 256):
        with nogil:
            if s.kh * s.kw <= 256:
                right = inside(<uint8_t*>where.data, &s)
            else:
                right = inside(<int32_t*>where.data, &s)
        if not right:
            raise ValueError("max_pool_backward: argmax has places outside the images")
    t = threads_for(threads, <double>s.n * s.h * s.w * s.c)
    if cnp.PyArray_TYPE(g) == cnp.NPY_FLOAT32:
        with nogil:
            if s.kh * s.kw <= 256:
                max_backward_all(<float*>g.data, <uint8_t*>where.data, <float*>dx.data, &s, t)
            else:
                max_backward_all(<float*>g.data, <int32_t*>where.data, <float*>dx.data, &s, t)
    else:
        with nogil:
            if s.kh * s.kw <= 256:
                max_backward_all(<double*>g.data, <uint8_t*>where.data, <double*>dx.data, &s, t)
            else:
                max_backward_all(<double*>g.data, <int32_t*>where.data, <double*>dx.data, &s, t)
    return dx


# -------------------------------------------------------------------------- average pooling

cdef void avg_row(const floating* x, floating* y, double* total, Geometry* s, Counted* counted,
                  Py_ssize_t row) noexcept nogil:
    cdef Py_ssize_t top = row % s.oh * s.sh - s.top, left, j, k, l, c, l0, l1, cols
    cdef Py_ssize_t k0 = first_tap(top, s.dh), k1 = last_tap(top, s.kh, s.dh, s.h)
    cdef Py_ssize_t line = s.dh * s.w * s.c, step = s.dw * s.c
    cdef const floating* image = x + (row // s.oh * s.h + top) * s.w * s.c
    cdef const floating* tap
    cdef floating* mean
    cdef double count, rows = count_taps(top, s.kh, s.dh, s.h, counted.top, counted.bottom)
    for j in range(s.ow):
        left = j * s.sw - s.left
        l0, l1 = first_tap(left, s.dw), last_tap(left, s.kw, s.dw, s.w)
        cols = count_taps(left, s.kw, s.dw, s.w, counted.left, counted.right)
        count = rows * cols
        mean = y + (row * s.ow + j) * s.c
        memset(total, 0, s.c * sizeof(double))
        for k in range(k0, k1):
            for l in range(l0, l1):
                tap = image + left * s.c + k * line + l * step
                for c in range(s.c):
                    total[c] += tap[c]
        for c in range(s.c):
            mean[c] = <floating>(total[c] / count)


cdef void avg_image_backward(const floating* dy, floating* dx, Geometry* s, Counted* counted,
                             Py_ssize_t image) noexcept nogil:
    cdef Py_ssize_t i, j, k, l, c, top, left, k0, k1, l0, l1, rows, cols
    cdef Py_ssize_t line = s.dh * s.w * s.c, step = s.dw * s.c, whole = s.kh * s.kw
    cdef floating* target = dx + image * s.h * s.w * s.c
    cdef floating* tap
    cdef const floating* g
    cdef floating share, of_whole = <floating>1 / <floating>whole
    memset(target, 0, s.h * s.w * s.c * sizeof(floating))
    for i in range(s.oh):
        top = i * s.sh - s.top
        k0, k1 = first_tap(top, s.dh), last_tap(top, s.kh, s.dh, s.h)
        rows = count_taps(top, s.kh, s.dh, s.h, counted.top, counted.bottom)
        for j in range(s.ow):
            left = j * s.sw - s.left
            l0, l1 = first_tap(left, s.dw), last_tap(left, s.kw, s.dw, s.w)
            cols = count_taps(left, s.kw, s.dw, s.w, counted.left, counted.right)
            share = of_whole if rows * cols == whole else <floating>1 / <floating>(rows * cols)
            g = dy + ((image * s.oh + i) * s.ow + j) * s.c
            for k in range(k0, k1):
                for l in range(l0, l1):
                    tap = target + (top * s.w + left) * s.c + k * line + l * step
                    for c in range(s.c):
                        tap[c] += g[c] * share


def avg_pool(x, window, stride, padding=((0, 0), (0, 0)), dilation=(1, 1), counted=None,
             int threads=0):
    """The mean of each window. Of the padding `counted` counts, as zeros; all of it if None."""
    cdef cnp.ndarray a = real_array(x, "avg_pool", "x", 4), y, totals
    cdef Geometry s
    cdef Counted of
    cdef cnp.npy_intp dims[4]
    cdef Py_ssize_t row
    cdef int t
    set_geometry(&s, "avg_pool", np.shape(x), window, stride, padding, dilation)
    set_counted(&of, "avg_pool", counted, padding)
    dims[0], dims[1], dims[2], dims[3] = s.n, s.oh, s.ow, s.c
    y = new_array(4, dims, cnp.PyArray_TYPE(a))
    if s.c == 0:
        return y
    t = threads_for(threads, <double>s.n * s.oh * s.ow * s.c * s.kh * s.kw)
    totals = workspace(product(t, s.c, sizeof(double)))
    if cnp.PyArray_TYPE(a) == cnp.NPY_FLOAT32:
        for row in prange(s.n * s.oh, nogil=True, num_threads=t, schedule='static'):
            avg_row(<float*>a.data, <float*>y.data, <double*>totals.data + threadid() * s.c, &s,
                    &of, row)
    else:
        for row in prange(s.n * s.oh, nogil=True, num_threads=t, schedule='static'):
            avg_row(<double*>a.data, <double*>y.data, <double*>totals.data + threadid() * s.c, &s,
                    &of, row)
    return y


def avg_pool_backward(dy, input_shape, window, stride, padding=((0, 0), (0, 0)), dilation=(1, 1),
                      counted=None, int threads=0):
    """dx: each dy is shared out equally over what counts in its window."""
    cdef cnp.ndarray g = real_array(dy, "avg_pool_backward", "dy", 4), dx
    cdef Geometry s
    cdef Counted of
    cdef cnp.npy_intp dims[4]
    cdef Py_ssize_t image
    cdef int t
    set_geometry(&s, "avg_pool_backward", input_shape, window, stride, padding, dilation)
    set_counted(&of, "avg_pool_backward", counted, padding)
    check_output_grad(g, &s, "avg_pool_backward", "dy")
    dims[0], dims[1], dims[2], dims[3] = s.n, s.h, s.w, s.c
    dx = new_array(4, dims, cnp.PyArray_TYPE(g))
    if s.c == 0:
        return dx
    t = threads_for(threads, <double>s.n * s.oh * s.ow * s.c * s.kh * s.kw)
    if cnp.PyArray_TYPE(g) == cnp.NPY_FLOAT32:
        for image in prange(s.n, nogil=True, num_threads=t, schedule='static'):
            avg_image_backward(<float*>g.data, <float*>dx.data, &s, &of, image)
    else:
        for image in prange(s.n, nogil=True, num_threads=t, schedule='static'):
            avg_image_backward(<double*>g.data, <double*>dx.data, &s, &of, image)
    return dx


# ----------------------------------------------------------------------------- whole images

cdef void mean_image(const floating* x, floating* y, double* totals, Py_ssize_t positions,
                     Py_ssize_t channels) noexcept nogil:
    """Means of each channel."""
    cdef Py_ssize_t c
    column_totals(x, positions, channels, totals)
    for c in range(channels):
        y[c] = <floating>(totals[c] / positions)


cdef void spread_image(const floating* dy, floating* dx, Py_ssize_t positions,
                       Py_ssize_t channels) noexcept nogil:
    cdef Py_ssize_t p, c
    cdef floating count = <floating>positions
    for c in range(channels):
        dx[c] = dy[c] / count
    for p in range(1, positions):
        for c in range(channels):
            dx[p * channels + c] = dx[c]


def global_avg_pool(x, int threads=0):
    """Means over all positions: (N, ..., C) to (N, C)."""
    cdef cnp.ndarray a = real_array(x, "global_avg_pool", "x", -1), y, totals
    cdef cnp.npy_intp dims[2]
    cdef Py_ssize_t n, c, positions, i
    cdef int t
    if cnp.PyArray_NDIM(a) < 2:
        raise ValueError(f"global_avg_pool: x must be (N, ..., C), got shape {np.shape(x)}")
    n, c = a.shape[0], a.shape[a.ndim - 1]
    positions = cnp.PyArray_SIZE(a) // (n * c) if n * c else 1
    dims[0], dims[1] = n, c
    y = new_array(2, dims, cnp.PyArray_TYPE(a))
    if n * c == 0:
        return y
    t = threads_for(threads, <double>n * positions * c)
    totals = workspace(product(t, c, sizeof(double)))
    if cnp.PyArray_TYPE(a) == cnp.NPY_FLOAT32:
        for i in prange(n, nogil=True, num_threads=t, schedule='static'):
            mean_image(<float*>a.data + i * positions * c, <float*>y.data + i * c,
                       <double*>totals.data + threadid() * c, positions, c)
    else:
        for i in prange(n, nogil=True, num_threads=t, schedule='static'):
            mean_image(<double*>a.data + i * positions * c, <double*>y.data + i * c,
                       <double*>totals.data + threadid() * c, positions, c)
    return y


def global_avg_pool_backward(dy, input_shape, int threads=0):
    """dx: each dy is shared out equally over all positions."""
    cdef cnp.ndarray g = real_array(dy, "global_avg_pool_backward", "dy", 2), dx
    cdef cnp.npy_intp dims[MAX_AXES]
    cdef Py_ssize_t n = g.shape[0], c = g.shape[1], positions, i
    cdef int axes = set_dims(input_shape, "global_avg_pool_backward", dims), t
    if axes < 2 or dims[0] != n or dims[axes - 1] != c:
        raise ValueError(f"global_avg_pool_backward: dy {np.shape(dy)} does not fit "
                         f"input_shape {tuple(input_shape)}")
    dx = new_array(axes, dims, cnp.PyArray_TYPE(g))
    if cnp.PyArray_SIZE(dx) == 0:
        return dx
    positions = cnp.PyArray_SIZE(dx) // (n * c)
    t = threads_for(threads, <double>n * positions * c)
    if cnp.PyArray_TYPE(g) == cnp.NPY_FLOAT32:
        for i in prange(n, nogil=True, num_threads=t, schedule='static'):
            spread_image(<float*>g.data + i * c, <float*>dx.data + i * positions * c, positions, c)
    else:
        for i in prange(n, nogil=True, num_threads=t, schedule='static'):
            spread_image(<double*>g.data + i * c, <double*>dx.data + i * positions * c, positions,
                         c)
    return dx
