"""Reductions over the middle axis of an array (A, R, B), and deviations from the mean.

The reduced axis is cut into chunks whose length depends on the shape alone. Each chunk is reduced
on its own, and the partial results are merged in order, so that the result does not depend on the
number of threads. Sums, and what is computed from them, are in double for either dtype: in float32
squares lose digits, and squares of large values, or the sum of a few of the largest, overflow.
"""
cimport numpy as cnp
from cython cimport floating
from cython.parallel cimport parallel, prange, threadid
from libc.math cimport INFINITY

from minidl_ext.runtime.arguments cimport disjoint, output, real_array, same_shape, typed_array
from minidl_ext.norm.statistics cimport centred, channel_stats, merge_moments, rows_of_block
from minidl_ext.runtime.memory cimport ceil_div, new_array, new_like, product, workspace
from minidl_ext.runtime.threads cimport threads_for
from minidl_ext.simd.sums cimport column_totals, row_squares, row_sum

import numpy as np

cnp.import_array()

cdef enum:
    CHUNK = 32768       # values of a chunk, if its rows are short
    LEAST = 64          # rows of a chunk at least

cdef enum Op:
    SUM, MEAN, MAX, MIN


cdef inline Py_ssize_t smaller(Py_ssize_t a, Py_ssize_t b) noexcept nogil:
    return a if a < b else b        # the name min is a kernel of this file


cdef inline Py_ssize_t chunk_rows(Py_ssize_t b) noexcept nogil:
    """How many rows of b values make a chunk."""
    return CHUNK // b if 0 < b < CHUNK // LEAST else LEAST if b else CHUNK


cdef inline double better(Op op, double a, double b) noexcept nogil:
    """The larger of two values for MAX, the smaller for MIN. NaN wins over any number."""
    if op == MAX:
        return a if a >= b or a != a else b
    return a if a <= b or a != a else b


cdef void chunk_reduce(Op op, const floating* x, Py_ssize_t rows, Py_ssize_t b, double* acc
                       ) noexcept nogil:
    """Reduce rows of b values into acc, which holds b."""
    cdef Py_ssize_t r, j
    if op <= MEAN:
        if b == 1:
            acc[0] = row_sum(x, rows)
        else:
            column_totals(x, rows, b, b, acc)
    else:
        for j in range(b):
            acc[j] = -INFINITY if op == MAX else INFINITY
        for r in range(rows):
            for j in range(b):
                acc[j] = better(op, x[r * b + j], acc[j])


cdef void reduce_all(Op op, const floating* x, floating* y, double* partial, Py_ssize_t a,
                     Py_ssize_t r, Py_ssize_t b, Py_ssize_t chunk, int threads) noexcept nogil:
    cdef Py_ssize_t chunks = ceil_div(r, chunk) if r else 1, task, i, q, j, first
    cdef double* acc
    for task in prange(a * chunks, num_threads=threads, schedule='static'):
        first = task % chunks * chunk
        chunk_reduce(op, x + (task // chunks * r + first) * b,
                     smaller(chunk, r - first), b, partial + task * b)
    for i in range(a):
        acc = partial + i * chunks * b
        for q in range(1, chunks):
            for j in range(b):
                if op <= MEAN:
                    acc[j] += acc[q * b + j]
                else:
                    acc[j] = better(op, acc[j], acc[q * b + j])
        for j in range(b):
            y[i * b + j] = <floating>(acc[j] / r if op == MEAN else acc[j])


cdef reduce_kernel(Op op, str name, object x, object out, int threads):
    cdef cnp.ndarray v = real_array(x, name, "x", 3), y, partial
    cdef Py_ssize_t a = v.shape[0], r = v.shape[1], b = v.shape[2]
    cdef Py_ssize_t chunk = chunk_rows(b), chunks
    cdef cnp.npy_intp dims[2]
    cdef int t = threads_for(threads, <double>a * r * b)
    if op > MEAN and r == 0:
        raise ValueError(f"{name}: nothing to reduce in shape {np.shape(x)}")
    dims[0], dims[1] = a, b
    y = output(out, name, 2, dims, cnp.PyArray_TYPE(v))
    disjoint(y, v, name, "x")
    if cnp.PyArray_SIZE(y) == 0:
        return y
    chunks = ceil_div(r, chunk) if r else 1
    partial = workspace(product(a, chunks, b, sizeof(double)))
    if cnp.PyArray_TYPE(v) == cnp.NPY_FLOAT32:
        with nogil:
            reduce_all(op, <float*>v.data, <float*>y.data, <double*>partial.data, a, r, b, chunk, t)
    else:
        with nogil:
            reduce_all(op, <double*>v.data, <double*>y.data, <double*>partial.data, a, r, b, chunk,
                       t)
    return y


def sum(x, out=None, int threads=0):
    """Sums of x (A, R, B) over its middle axis: (A, B)."""
    return reduce_kernel(SUM, "sum", x, out, threads)


def mean(x, out=None, int threads=0):
    """Means of x (A, R, B) over its middle axis: (A, B); NaN for R = 0."""
    return reduce_kernel(MEAN, "mean", x, out, threads)


def max(x, out=None, int threads=0):
    """Largest values of x (A, R, B) over its middle axis: (A, B); NaN wins."""
    return reduce_kernel(MAX, "max", x, out, threads)


def min(x, out=None, int threads=0):
    """Smallest values of x (A, R, B) over its middle axis: (A, B); NaN wins."""
    return reduce_kernel(MIN, "min", x, out, threads)


# --------------------------------------------------------------------- deviations from the mean

cdef void chunk_moments(const floating* x, Py_ssize_t rows, Py_ssize_t b, floating* work,
                        double* mean, double* m2) noexcept nogil:
    """The mean and the sum of squared deviations of each of b columns; `work` holds 3 b values."""
    cdef double shift, off
    if b > 1:
        channel_stats(x, rows, rows_of_block(b, sizeof(floating)), b, work, mean, m2)
    else:           # Deviations from nearly the mean, so that the correction by `off` is tiny.
        shift = row_sum(x, rows) / rows
        m2[0] = row_squares(x, rows, shift, &off)
        mean[0] = shift + off / rows
        m2[0] = centred(m2[0], off, rows)


cdef void moments_all(const floating* x, double* mean, double* m2, double* partial,
                      floating* space, Py_ssize_t a, Py_ssize_t r, Py_ssize_t b, Py_ssize_t chunk,
                      int threads) noexcept nogil:
    cdef Py_ssize_t chunks = ceil_div(r, chunk), task, first, i
    cdef floating* work
    with parallel(num_threads=threads):
        work = space + threadid() * 3 * b
        for task in prange(a * chunks, schedule='static'):
            first = task % chunks * chunk
            chunk_moments(x + (task // chunks * r + first) * b, smaller(chunk, r - first), b, work,
                          partial + 2 * task * b, partial + (2 * task + 1) * b)
    for i in range(a):
        merge_moments(<const double*>(partial + 2 * i * chunks * b), r, chunk, b, mean + i * b,
                      m2 + i * b)


def moments(x, int threads=0):
    """(mean, m2) of x (A, R, B) over its middle axis, float64 (A, B): m2 = sum((x - mean)^2)."""
    cdef cnp.ndarray v = real_array(x, "moments", "x", 3), mean, m2, partial, space
    cdef Py_ssize_t a = v.shape[0], r = v.shape[1], b = v.shape[2], chunk = chunk_rows(b)
    cdef cnp.npy_intp dims[2]
    cdef int t = threads_for(threads, 2.0 * a * r * b)
    dims[0], dims[1] = a, b
    mean, m2 = new_array(2, dims, cnp.NPY_FLOAT64), new_array(2, dims, cnp.NPY_FLOAT64)
    if r == 0 or a * b == 0:
        mean[...], m2[...] = np.nan, 0
        return mean, m2
    partial = workspace(product(a, (r - 1) // chunk + 1, 2 * b, sizeof(double)))
    space = workspace(product(3 * t, b, v.itemsize))
    if cnp.PyArray_TYPE(v) == cnp.NPY_FLOAT32:
        with nogil:
            moments_all(<float*>v.data, <double*>mean.data, <double*>m2.data,
                        <double*>partial.data, <float*>space.data, a, r, b, chunk, t)
    else:
        with nogil:
            moments_all(<double*>v.data, <double*>mean.data, <double*>m2.data,
                        <double*>partial.data, <double*>space.data, a, r, b, chunk, t)
    return mean, m2


cdef void deviation_rows(const floating* x, const double* mean, const double* factor, floating* y,
                         Py_ssize_t rows, Py_ssize_t b) noexcept nogil:
    cdef Py_ssize_t i, j
    cdef double m = mean[0], f = factor[0]
    if b == 1:
        for i in range(rows):
            y[i] = <floating>((x[i] - m) * f)
        return
    for i in range(rows):
        for j in range(b):
            y[i * b + j] = <floating>((x[i * b + j] - mean[j]) * factor[j])


cdef void deviations_all(const floating* x, const double* mean, const double* factor, floating* y,
                         Py_ssize_t a, Py_ssize_t r, Py_ssize_t b, Py_ssize_t chunk, int threads
                         ) noexcept nogil:
    cdef Py_ssize_t chunks = ceil_div(r, chunk), task, first, at
    for task in prange(a * chunks, num_threads=threads, schedule='static'):
        first = task % chunks * chunk
        at = (task // chunks * r + first) * b
        deviation_rows(x + at, mean + task // chunks * b, factor + task // chunks * b, y + at,
                       smaller(chunk, r - first), b)


def deviations(x, mean, factor, int threads=0):
    """(x - mean) factor of x (A, R, B), in its dtype; mean and factor float64 (A, B)."""
    cdef cnp.ndarray v = real_array(x, "deviations", "x", 3), y
    cdef cnp.ndarray m = typed_array(mean, "deviations", "mean", 2, cnp.NPY_FLOAT64)
    cdef cnp.ndarray f = typed_array(factor, "deviations", "factor", 2, cnp.NPY_FLOAT64)
    cdef Py_ssize_t a = v.shape[0], r = v.shape[1], b = v.shape[2], chunk = chunk_rows(b)
    cdef int t = threads_for(threads, 2.0 * a * r * b)
    same_shape(m, f, "deviations", "mean", "factor")
    if m.shape[0] != a or m.shape[1] != b:
        raise ValueError(f"deviations: mean and factor must have shape ({a}, {b}) for x "
                         f"{np.shape(x)}, got {np.shape(mean)}")
    y = new_like(v)
    if a * r * b == 0:
        return y
    if cnp.PyArray_TYPE(v) == cnp.NPY_FLOAT32:
        with nogil:
            deviations_all(<float*>v.data, <double*>m.data, <double*>f.data, <float*>y.data, a, r,
                           b, chunk, t)
    else:
        with nogil:
            deviations_all(<double*>v.data, <double*>m.data, <double*>f.data, <double*>y.data, a,
                           r, b, chunk, t)
    return y
