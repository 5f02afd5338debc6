"""Average pooling over windows of NHWC images, and over all positions of an image.

Each output row of a window's pooling is one task, as is each image; inner loops run over channels,
and sums are in double. A window's part that lies in the padding is skipped; where windows lie is in
pool_geometry.pxd. `window`, `stride` and `dilation` are pairs, `padding` is ((top, bottom),
(left, right)).
"""
cimport numpy as cnp
from cython cimport floating
from cython.parallel cimport prange, threadid
from libc.string cimport memset

from minidl_ext.pool.pool_geometry cimport check_output_grad, count_taps, end_tap, first_tap
from minidl_ext.runtime.arguments cimport real_array
from minidl_ext.runtime.geometry cimport Counted, Geometry, set_counted, set_pool
from minidl_ext.runtime.memory cimport MAX_AXES, new_array, product, set_dims, workspace
from minidl_ext.runtime.threads cimport threads_for
from minidl_ext.simd.sums cimport column_totals

import numpy as np

cnp.import_array()


cdef void avg_row(const floating* x, floating* y, double* total, Geometry* s, Counted* counted,
                  Py_ssize_t row) noexcept nogil:
    """Write one row of outputs; `total` holds a sum for each channel."""
    cdef Py_ssize_t top = row % s.oh * s.sh - s.top, left, j, k, l, c, l0, l1, cols
    cdef Py_ssize_t k0 = first_tap(top, s.dh), k1 = end_tap(top, s.kh, s.dh, s.h)
    cdef Py_ssize_t row_step = s.dh * s.w * s.c, step = s.dw * s.c
    cdef const floating* image = x + (row // s.oh * s.h + top) * s.w * s.c
    cdef const floating* tap
    cdef floating* mean
    cdef double count, rows = count_taps(top, s.kh, s.dh, s.h, counted.top, counted.bottom)
    for j in range(s.ow):
        left = j * s.sw - s.left
        l0, l1 = first_tap(left, s.dw), end_tap(left, s.kw, s.dw, s.w)
        cols = count_taps(left, s.kw, s.dw, s.w, counted.left, counted.right)
        count = rows * cols
        mean = y + (row * s.ow + j) * s.c
        memset(total, 0, s.c * sizeof(double))
        for k in range(k0, k1):
            for l in range(l0, l1):
                tap = image + left * s.c + k * row_step + l * step
                for c in range(s.c):
                    total[c] += tap[c]
        for c in range(s.c):
            mean[c] = <floating>(total[c] / count)


cdef void avg_image_backward(const floating* dy, floating* dx, Geometry* s, Counted* counted,
                             Py_ssize_t image) noexcept nogil:
    """Write dx of an image: each dy adds its share to what counts in its window."""
    cdef Py_ssize_t i, j, k, l, c, top, left, k0, k1, l0, l1, rows, cols
    cdef Py_ssize_t row_step = s.dh * s.w * s.c, step = s.dw * s.c, all_taps = s.kh * s.kw
    cdef floating* target = dx + image * s.h * s.w * s.c
    cdef floating* tap
    cdef const floating* g
    cdef floating share, share_of_all = <floating>1 / <floating>all_taps
    memset(target, 0, s.h * s.w * s.c * sizeof(floating))
    for i in range(s.oh):
        top = i * s.sh - s.top
        k0, k1 = first_tap(top, s.dh), end_tap(top, s.kh, s.dh, s.h)
        rows = count_taps(top, s.kh, s.dh, s.h, counted.top, counted.bottom)
        for j in range(s.ow):
            left = j * s.sw - s.left
            l0, l1 = first_tap(left, s.dw), end_tap(left, s.kw, s.dw, s.w)
            cols = count_taps(left, s.kw, s.dw, s.w, counted.left, counted.right)
            share = share_of_all
            if rows * cols != all_taps:
                share = <floating>1 / <floating>(rows * cols)
            g = dy + ((image * s.oh + i) * s.ow + j) * s.c
            for k in range(k0, k1):
                for l in range(l0, l1):
                    tap = target + (top * s.w + left) * s.c + k * row_step + l * step
                    for c in range(s.c):
                        tap[c] += g[c] * share


cdef void avg_all(const floating* x, char* y, double* totals, Geometry* s, Counted* counted,
                  int threads) noexcept nogil:
    cdef Py_ssize_t row
    for row in prange(s.n * s.oh, num_threads=threads, schedule='static'):
        avg_row(x, <floating*>y, totals + threadid() * s.c, s, counted, row)


cdef void avg_backward_all(const floating* dy, char* dx, Geometry* s, Counted* counted,
                           int threads) noexcept nogil:
    cdef Py_ssize_t image
    for image in prange(s.n, num_threads=threads, schedule='static'):
        avg_image_backward(dy, <floating*>dx, s, counted, image)


def avg_pool(x, window, stride, padding=((0, 0), (0, 0)), dilation=(1, 1), counted=None,
             int threads=0):
    """The mean of each window. Of the padding `counted` counts, as zeros; all of it if None."""
    cdef cnp.ndarray a = real_array(x, "avg_pool", "x", 4), y, totals
    cdef Geometry s
    cdef Counted of
    cdef cnp.npy_intp dims[4]
    cdef int t
    set_pool(&s, "avg_pool", np.shape(x), window, stride, padding, dilation)
    set_counted(&of, "avg_pool", counted, padding)
    dims[0], dims[1], dims[2], dims[3] = s.n, s.oh, s.ow, s.c
    y = new_array(4, dims, cnp.PyArray_TYPE(a))
    if s.c == 0:
        return y
    t = threads_for(threads, <double>s.n * s.oh * s.ow * s.c * s.kh * s.kw)
    totals = workspace(product(t, s.c, sizeof(double)))
    with nogil:
        if cnp.PyArray_TYPE(a) == cnp.NPY_FLOAT32:
            avg_all(<float*>a.data, y.data, <double*>totals.data, &s, &of, t)
        else:
            avg_all(<double*>a.data, y.data, <double*>totals.data, &s, &of, t)
    return y


def avg_pool_backward(dy, input_shape, window, stride, padding=((0, 0), (0, 0)), dilation=(1, 1),
                      counted=None, int threads=0):
    """dx: each dy is shared out equally over what counts in its window."""
    cdef cnp.ndarray g = real_array(dy, "avg_pool_backward", "dy", 4), dx
    cdef Geometry s
    cdef Counted of
    cdef cnp.npy_intp dims[4]
    cdef int t
    set_pool(&s, "avg_pool_backward", input_shape, window, stride, padding, dilation)
    set_counted(&of, "avg_pool_backward", counted, padding)
    check_output_grad(g, &s, "avg_pool_backward", "dy")
    dims[0], dims[1], dims[2], dims[3] = s.n, s.h, s.w, s.c
    dx = new_array(4, dims, cnp.PyArray_TYPE(g))
    if s.c == 0:
        return dx
    t = threads_for(threads, <double>s.n * s.oh * s.ow * s.c * s.kh * s.kw)
    with nogil:
        if cnp.PyArray_TYPE(g) == cnp.NPY_FLOAT32:
            avg_backward_all(<float*>g.data, dx.data, &s, &of, t)
        else:
            avg_backward_all(<double*>g.data, dx.data, &s, &of, t)
    return dx


# ---------------------------------------------------------------- all positions of an image

cdef void mean_image(const floating* x, floating* y, double* totals, Py_ssize_t positions,
                     Py_ssize_t channels) noexcept nogil:
    """Write the mean of each channel of an image."""
    cdef Py_ssize_t c
    column_totals(x, positions, channels, channels, totals)
    for c in range(channels):
        y[c] = <floating>(totals[c] / positions)


cdef void spread_image(const floating* dy, floating* dx, Py_ssize_t positions,
                       Py_ssize_t channels) noexcept nogil:
    """Write an equal share of each dy to all positions of an image."""
    cdef Py_ssize_t p, c
    cdef floating count = <floating>positions
    for c in range(channels):
        dx[c] = dy[c] / count
    for p in range(1, positions):
        for c in range(channels):
            dx[p * channels + c] = dx[c]


cdef void mean_images(const floating* x, char* y, double* totals, Py_ssize_t n,
                      Py_ssize_t positions, Py_ssize_t channels, int threads) noexcept nogil:
    cdef Py_ssize_t i
    for i in prange(n, num_threads=threads, schedule='static'):
        mean_image(x + i * positions * channels, <floating*>y + i * channels,
                   totals + threadid() * channels, positions, channels)


cdef void spread_images(const floating* dy, char* dx, Py_ssize_t n, Py_ssize_t positions,
                        Py_ssize_t channels, int threads) noexcept nogil:
    cdef Py_ssize_t i
    for i in prange(n, num_threads=threads, schedule='static'):
        spread_image(dy + i * channels, <floating*>dx + i * positions * channels, positions,
                     channels)


def global_avg_pool(x, int threads=0):
    """Means over all positions: (N, ..., C) to (N, C)."""
    cdef cnp.ndarray a = real_array(x, "global_avg_pool", "x", -1), y, totals
    cdef cnp.npy_intp dims[2]
    cdef Py_ssize_t n, c, positions
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
    with nogil:
        if cnp.PyArray_TYPE(a) == cnp.NPY_FLOAT32:
            mean_images(<float*>a.data, y.data, <double*>totals.data, n, positions, c, t)
        else:
            mean_images(<double*>a.data, y.data, <double*>totals.data, n, positions, c, t)
    return y


def global_avg_pool_backward(dy, input_shape, int threads=0):
    """dx: each dy is shared out equally over all positions."""
    cdef cnp.ndarray g = real_array(dy, "global_avg_pool_backward", "dy", 2), dx
    cdef cnp.npy_intp dims[MAX_AXES]
    cdef Py_ssize_t n = g.shape[0], c = g.shape[1], positions
    cdef int axes = set_dims(input_shape, "global_avg_pool_backward", dims), t
    if axes < 2 or dims[0] != n or dims[axes - 1] != c:
        raise ValueError(f"global_avg_pool_backward: dy {np.shape(dy)} does not fit "
                         f"input_shape {input_shape}")
    dx = new_array(axes, dims, cnp.PyArray_TYPE(g))
    if cnp.PyArray_SIZE(dx) == 0:
        return dx
    positions = cnp.PyArray_SIZE(dx) // (n * c)
    t = threads_for(threads, <double>n * positions * c)
    with nogil:
        if cnp.PyArray_TYPE(g) == cnp.NPY_FLOAT32:
            spread_images(<float*>g.data, dx.data, n, positions, c, t)
        else:
            spread_images(<double*>g.data, dx.data, n, positions, c, t)
    return dx
