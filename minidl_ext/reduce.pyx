"""Reductions over the middle axis of an array seen as (before, reduced, after).

The reduced axis is cut into chunks fixed by the shape; each chunk is reduced on its own (sums in
short runs of the array's type, the runs added in double), and the chunks are merged in order, so
that the result does not depend on the number of threads.
"""
cimport numpy as cnp
from cython cimport floating
from cython.parallel cimport prange
from libc.math cimport INFINITY

from minidl_ext.lines cimport line_sum
from minidl_ext.norm_rows cimport column_totals
from minidl_ext.runtime cimport apart, output, product, real_array, scratch, team

import numpy as np

cnp.import_array()

cdef enum:
    CHUNK = 32768       # values of a chunk
    LEAST = 64          # rows of a chunk

cdef enum Op:
    SUM, MAX, MIN


cdef inline double better(Op op, double a, double b) noexcept nogil:
    """The larger (smaller) of two values; NaN wins."""
    if op == MAX:
        return a if a >= b or a != a else b
    return a if a <= b or a != a else b


cdef void chunk_reduce(Op op, const floating* x, Py_ssize_t rows, Py_ssize_t b, double* acc
                       ) noexcept nogil:
    """Reduce rows of b values into acc[b]."""
    cdef Py_ssize_t r, j
    if op == SUM:
        if b == 1:
            acc[0] = line_sum(x, rows)
        else:
            column_totals(x, rows, b, acc)
    else:
        for j in range(b):
            acc[j] = -INFINITY if op == MAX else INFINITY
        for r in range(rows):
            for j in range(b):
                acc[j] = better(op, x[r * b + j], acc[j])


cdef void reduce_all(Op op, const floating* x, floating* y, double* partial, Py_ssize_t a,
                     Py_ssize_t r, Py_ssize_t b, Py_ssize_t chunk, int threads) noexcept nogil:
    cdef Py_ssize_t chunks = (r + chunk - 1) // chunk if r else 1, task, i, q, j, first
    cdef double* acc
    for task in prange(a * chunks, num_threads=threads, schedule='static'):
        first = task % chunks * chunk
        chunk_reduce(op, x + (task // chunks * r + first) * b,
                     chunk if r - first > chunk else r - first, b, partial + task * b)
    for i in range(a):
        acc = partial + i * chunks * b
        for q in range(1, chunks):
            for j in range(b):
                if op == SUM:
                    acc[j] += acc[q * b + j]
                else:
                    acc[j] = better(op, acc[j], acc[q * b + j])
        for j in range(b):
            y[i * b + j] = <floating>acc[j]


cdef reduce_kernel(Op op, str name, object x, object out, int threads):
    cdef cnp.ndarray v = real_array(x, name, "x", 3), y, partial
    cdef Py_ssize_t a = v.shape[0], r = v.shape[1], b = v.shape[2]
    cdef Py_ssize_t chunk = CHUNK // (b if b else 1), chunks
    cdef cnp.npy_intp dims[2]
    cdef int t = team(threads, <double>a * r * b)
    if chunk < LEAST:
        chunk = LEAST
    if op != SUM and r == 0 and a * b > 0:
        raise ValueError(f"{name}: nothing to reduce in shape {np.shape(x)}")
    dims[0], dims[1] = a, b
    y = output(out, name, 2, dims, cnp.PyArray_TYPE(v))
    apart(y, v, name, "x")
    if cnp.PyArray_SIZE(y) == 0:
        return y
    chunks = (r + chunk - 1) // chunk if r else 1
    partial = scratch(product(a, chunks, b, sizeof(double)))
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


def max(x, out=None, int threads=0):
    """Largest values of x (A, R, B) over its middle axis: (A, B); NaN wins."""
    return reduce_kernel(MAX, "max", x, out, threads)


def min(x, out=None, int threads=0):
    """Smallest values of x (A, R, B) over its middle axis: (A, B); NaN wins."""
    return reduce_kernel(MIN, "min", x, out, threads)
