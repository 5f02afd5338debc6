"""Batch normalization of the positions that a mask counts.

The same loops, chunks and order of sums as in norm.pyx, over runs of rows that count and of rows
that do not: no array is read or written more often. Only for the statistics are the rows that
count put side by side, a chunk at a time, in cache. Formulas are in the twin.
"""
cimport numpy as cnp
from cython cimport floating
from cython.parallel cimport parallel, prange, threadid
from libc.string cimport memcpy, memset

from minidl_ext.runtime.arguments cimport has_length, output_like, real_array, typed_array
from minidl_ext.norm.norm_layout cimport Rows, channels_last, checked_factors, clear_of, layout, like, \
    masked_like
from minidl_ext.norm.norm_rows cimport add_sums_f32, add_sums_f64, apply_rows_f32, apply_rows_f64, \
    backward_rows_f32, backward_rows_f64, backward_sums_f32, backward_sums_f64, channel_stats, \
    finish_sums_f32, finish_sums_f64, merge_stats
from minidl_ext.runtime.memory cimport new_array, product, workspace
from minidl_ext.runtime.threads cimport threads_for

import numpy as np

cnp.import_array()

cdef enum:
    LONG_RUN = 64       # rows that are worth to be written past the caches


cdef inline Py_ssize_t run_end(const char* mask, Py_ssize_t first, Py_ssize_t end) noexcept nogil:
    """The end of the rows from `first` on that all count, or all do not."""
    cdef Py_ssize_t r = first + 1
    while r < end and mask[r] == mask[first]:
        r += 1
    return r


# ------------------------------------------------------------------------------- statistics

cdef Py_ssize_t packed_stats(const floating* x, const char* mask, Rows* s, Py_ssize_t q,
                             floating* room, double* mean, double* m2) noexcept nogil:
    """Statistics of the rows of chunk q that count; returns how many."""
    cdef Py_ssize_t first = q * s.chunk, end = min(s.rows, first + s.chunk), after, count = 0
    cdef Py_ssize_t n = s.channels
    cdef floating* packed = room + 3 * n
    while first < end:
        after = run_end(mask, first, end)
        if mask[first]:
            memcpy(packed + count * n, x + first * n, (after - first) * n * sizeof(floating))
            count += after - first
        first = after
    if count:
        channel_stats(<const floating*>packed, count, s.block, n, room, mean, m2)
    return count


cdef Py_ssize_t all_stats(const floating* x, const char* mask, Rows* s, char* memory,
                          Py_ssize_t* counts, double* partial, double* mean, double* var,
                          int threads) noexcept nogil:
    cdef Py_ssize_t q, c, n = s.channels, total = 0
    cdef double* part
    cdef floating* room
    with parallel(num_threads=threads):
        room = <floating*>memory + threadid() * (3 + s.chunk) * n
        for q in prange(s.chunks, schedule='static'):
            counts[q] = packed_stats(x, mask, s, q, room, partial + 2 * q * n,
                                     partial + (2 * q + 1) * n)
    for c in range(n):
        mean[c] = var[c] = 0
    for q in range(s.chunks):
        part = partial + 2 * q * n
        if counts[q] and total == 0:
            memcpy(mean, part, n * sizeof(double))
            memcpy(var, part + n, n * sizeof(double))
        elif counts[q]:
            merge_stats(mean, var, total, part, part + n, counts[q], n)
        total += counts[q]
    for c in range(n):
        var[c] = 1 if total == 0 else 0 if var[c] < 0 else var[c] / total
    return total


def masked_stats(x, mask, int threads=0):
    """(mean, var, count) of each channel over the rows that count; mean 0, var 1 without any."""
    cdef cnp.ndarray a = channels_last(x, "masked_stats", "x"), mean, var, partial, room, counts
    cdef Rows s = layout(a)
    cdef cnp.ndarray m = row_mask(mask, &s, "masked_stats")
    cdef cnp.npy_intp dims = s.channels
    cdef int t = threads_for(threads, <double>s.rows * s.channels)
    cdef Py_ssize_t count
    mean, var = new_array(1, &dims, cnp.NPY_FLOAT64), new_array(1, &dims, cnp.NPY_FLOAT64)
    partial = workspace(product(2 * s.chunks, s.channels, sizeof(double)))
    counts = workspace(product(s.chunks, sizeof(Py_ssize_t)))
    room = workspace(product(t, 3 + s.chunk, s.channels, a.itemsize))
    if cnp.PyArray_TYPE(a) == cnp.NPY_FLOAT32:
        with nogil:
            count = all_stats(<float*>a.data, m.data, &s, room.data, <Py_ssize_t*>counts.data,
                              <double*>partial.data, <double*>mean.data, <double*>var.data, t)
    else:
        with nogil:
            count = all_stats(<double*>a.data, m.data, &s, room.data, <Py_ssize_t*>counts.data,
                              <double*>partial.data, <double*>mean.data, <double*>var.data, t)
    return mean, var, count


# ---------------------------------------------------------------------------------- forward

cdef void fill_rows(const floating* residual, int relu, floating* y, Py_ssize_t size
                    ) noexcept nogil:
    """Outputs of rows that do not count."""
    cdef Py_ssize_t i
    if residual == NULL:
        memset(y, 0, size * sizeof(floating))
        return
    for i in range(size):
        y[i] = 0 if relu and residual[i] <= 0 else residual[i]      # NaN stays


cdef void apply_block(const floating* x, const char* mask, const floating* residual, int relu,
                      floating* y, const floating* factors, Rows* s, Py_ssize_t q) noexcept nogil:
    cdef Py_ssize_t first = q * s.block, end = min(s.rows, first + s.block), after, at
    cdef Py_ssize_t n = s.channels
    cdef const floating* add
    while first < end:
        after, at = run_end(mask, first, end), first * n
        add = residual + at if residual != NULL else NULL
        if not mask[first]:
            fill_rows(add, relu, y + at, (after - first) * n)
        elif floating is float:
            apply_rows_f32(x + at, add, relu, y + at, n, after - first, n, factors,
                           s.stream and after - first >= LONG_RUN)
        else:
            apply_rows_f64(x + at, add, relu, y + at, n, after - first, n, factors,
                           s.stream and after - first >= LONG_RUN)
        first = after


def masked_norm_apply(x, mask, factors, residual=None, bint relu=False, out=None, int threads=0):
    """batch_norm_apply where the mask counts; elsewhere 0, or the residual, then ReLU if asked."""
    cdef str where = "masked_norm_apply"
    cdef cnp.ndarray a = channels_last(x, where, "x"), y
    cdef Rows s = layout(a)
    cdef cnp.ndarray m = row_mask(mask, &s, where), f = checked_factors(factors, a, &s, where)
    cdef char* add = like(residual, a, where, "residual")
    cdef Py_ssize_t q, blocks = (s.rows + s.block - 1) // s.block
    cdef int t = threads_for(threads, <double>s.rows * s.channels)
    y = output_like(out, where, a)
    clear_of(out, y, where, ("x", "mask", "factors", "residual"), (a, m, f, residual))
    if cnp.PyArray_TYPE(a) == cnp.NPY_FLOAT32:
        for q in prange(blocks, nogil=True, num_threads=t, schedule='static'):
            apply_block(<float*>a.data, m.data, <float*>add, relu, <float*>y.data,
                        <float*>f.data, &s, q)
    else:
        for q in prange(blocks, nogil=True, num_threads=t, schedule='static'):
            apply_block(<double*>a.data, m.data, <double*>add, relu, <double*>y.data,
                        <double*>f.data, &s, q)
    return y


# --------------------------------------------------------------------------------- backward

READ = "dy", "x", "mask", "factors", "residual", "dy2"


cdef void keep_gradient(const floating* dy, const floating* dy2, int relu,
                        const floating* residual, floating* g, Py_ssize_t size) noexcept nogil:
    """The gradient of the residual in rows that do not count."""
    cdef Py_ssize_t i
    for i in range(size):
        g[i] = dy[i] if dy2 == NULL else dy[i] + dy2[i]
        if relu and not (residual != NULL and residual[i] > 0):
            g[i] = 0


cdef void chunk_sums(const floating* dy, const floating* dy2, const floating* x,
                     const char* mask, int relu, const floating* residual, floating* g_out,
                     const floating* factors, Rows* s, Py_ssize_t q, floating* work, double* sums
                     ) noexcept nogil:
    """Sums of g and g (x - mean_hi) over the rows of chunk q that count."""
    cdef Py_ssize_t first = q * s.chunk, end = min(s.rows, first + s.chunk), after, at, c
    cdef Py_ssize_t n = s.channels
    cdef const floating* two
    cdef const floating* add
    cdef floating* g
    for c in range(2 * n):
        sums[c] = 0
    while first < end:
        after, at = run_end(mask, first, min(end, first + s.block)), first * n
        two = dy2 + at if dy2 != NULL else NULL
        add = residual + at if residual != NULL else NULL
        g = g_out + at if g_out != NULL else NULL
        if mask[first]:
            if floating is float:
                backward_sums_f32(dy + at, two, x + at, relu, add, g, after - first, n, factors,
                                  work, work + n)
                add_sums_f32(sums, work, 2 * n)
            else:
                backward_sums_f64(dy + at, two, x + at, relu, add, g, after - first, n, factors,
                                  work, work + n)
                add_sums_f64(sums, work, 2 * n)
        elif g_out != NULL:
            keep_gradient(dy + at, two, relu, add, g, (after - first) * n)
        first = after


cdef void gradient_block(const floating* dy, const floating* x, const char* mask, int relu,
                         const floating* residual, floating* dx, const floating* factors,
                         const floating* slope, const floating* offset, Rows* s, Py_ssize_t q
                         ) noexcept nogil:
    cdef Py_ssize_t first = q * s.block, end = min(s.rows, first + s.block), after, at
    cdef Py_ssize_t n = s.channels
    cdef const floating* add
    while first < end:
        after, at = run_end(mask, first, end), first * n
        add = residual + at if residual != NULL else NULL
        if not mask[first]:
            memset(dx + at, 0, (after - first) * n * sizeof(floating))
        elif floating is float:
            backward_rows_f32(dy + at, x + at, relu, add, dx + at, n, after - first, n, factors,
                              slope, offset, s.stream and after - first >= LONG_RUN)
        else:
            backward_rows_f64(dy + at, x + at, relu, add, dx + at, n, after - first, n, factors,
                              slope, offset, s.stream and after - first >= LONG_RUN)
        first = after


cdef void backward(const floating* dy, const floating* dy2, const floating* x, const char* mask,
                   Py_ssize_t count, bint training, int relu, const floating* residual,
                   floating* g_out, const floating* factors, floating* dx, floating* dgamma,
                   floating* dbeta, Rows* s, char* memory, double* partial, int threads
                   ) noexcept nogil:
    cdef Py_ssize_t q, n = s.channels, blocks = (s.rows + s.block - 1) // s.block
    cdef floating* slope = <floating*>memory
    cdef floating* offset = slope + n
    cdef floating* work
    with parallel(num_threads=threads):
        work = offset + n + threadid() * 2 * n
        for q in prange(s.chunks, schedule='static'):
            chunk_sums(dy, dy2, x, mask, relu, residual, g_out, factors, s, q, work,
                       partial + 2 * q * n)
    for q in range(1, s.chunks):
        add_sums_f64(partial, partial + 2 * q * n, 2 * n)
    if floating is float:
        finish_sums_f32(partial, count, n, factors, dgamma, dbeta, slope, offset)
    else:
        finish_sums_f64(partial, count, n, factors, dgamma, dbeta, slope, offset)
    if g_out != NULL:       # no need to mask again, or to add
        dy, relu = g_out, False
        residual = NULL
    for q in prange(blocks, num_threads=threads, schedule='static'):
        gradient_block(dy, x, mask, relu, residual, dx, factors, slope if training else NULL,
                       offset, s, q)


def masked_norm_backward(dy, x, mask, factors, bint training=True, bint relu=False, residual=None,
                         masked_out=False, dy2=None, out=None, int threads=0):
    """(dx, dgamma, dbeta, masked dy or None) of masked_norm_apply; dx is 0 where x does not count.

    With `masked_out`, True or an array to fill, dy may come in two parts: dy + dy2.
    """
    cdef str where = "masked_norm_backward"
    cdef cnp.ndarray a = channels_last(x, where, "x"), d = real_array(dy, where, "dy", -1)
    cdef Rows s = layout(a)
    cdef cnp.ndarray m = row_mask(mask, &s, where), f = checked_factors(factors, a, &s, where)
    cdef cnp.ndarray dx, dgamma, dbeta, masked, room, partial
    cdef char* add = like(residual, a, where, "residual")
    cdef char* two = like(dy2, a, where, "dy2")
    cdef char* g = NULL
    cdef cnp.npy_intp n = s.channels
    cdef Py_ssize_t count
    cdef int t = threads_for(threads, 2.0 * s.rows * s.channels)
    like(d, a, where, "dy")
    if dy2 is not None and masked_out is False:
        raise ValueError(f"{where}: dy2 needs masked_out=True")
    masked = masked_like(masked_out, a, relu or dy2 is not None, where)
    if masked is not None:
        g = masked.data
    dx = output_like(out, where, a)
    clear_of(masked_out, masked, where, READ, (d, a, m, f, residual, dy2))
    clear_of(out, dx, where, (*READ, "masked_out"), (d, a, m, f, residual, dy2, masked))
    dgamma = new_array(1, &n, cnp.PyArray_TYPE(a))
    dbeta = new_array(1, &n, cnp.PyArray_TYPE(a))
    room = workspace(product(2 + 2 * t, s.channels, a.itemsize))
    partial = workspace(product(2 * s.chunks, s.channels, sizeof(double)))
    count = np.count_nonzero(m)
    if cnp.PyArray_TYPE(a) == cnp.NPY_FLOAT32:
        with nogil:
            backward(<float*>d.data, <float*>two, <float*>a.data, m.data, count, training, relu,
                     <float*>add, <float*>g, <float*>f.data, <float*>dx.data,
                     <float*>dgamma.data, <float*>dbeta.data, &s, room.data,
                     <double*>partial.data, t)
    else:
        with nogil:
            backward(<double*>d.data, <double*>two, <double*>a.data, m.data, count, training,
                     relu, <double*>add, <double*>g, <double*>f.data, <double*>dx.data,
                     <double*>dgamma.data, <double*>dbeta.data, &s, room.data,
                     <double*>partial.data, t)
    return dx, dgamma, dbeta, None if masked_out is False else dy if masked is None else masked


cdef cnp.ndarray row_mask(object mask, Rows* s, str where):
    """A bool (True or False, nothing else) for every row."""
    cdef cnp.ndarray m = typed_array(mask, where, "mask", 1, cnp.NPY_BOOL)
    has_length(m, s.rows, where, "mask")
    return m
