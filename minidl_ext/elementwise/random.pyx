"""Dropout, with random numbers that are computed from a counter.

Number i of a stream is a hash of (key, i), so it depends neither on threads nor on any order.
"""
cimport numpy as cnp
from cython cimport floating
from cython.parallel cimport prange
from libc.stdint cimport uint64_t

from minidl_ext.runtime.arguments cimport disjoint_or_same, output_like, real_array
from minidl_ext.runtime.memory cimport ceil_div
from minidl_ext.runtime.threads cimport threads_for

import operator

cnp.import_array()

cdef enum:
    PIECE = 16384       # elements a thread takes at a time


cdef inline uint64_t splitmix64(uint64_t key, uint64_t i) noexcept nogil:
    """Number i of a stream (Steele, Lea & Flood 2014)."""
    cdef uint64_t z = key + (i + 1) * <uint64_t>0x9E3779B97F4A7C15
    z = (z ^ (z >> 30)) * <uint64_t>0xBF58476D1CE4E5B9
    z = (z ^ (z >> 27)) * <uint64_t>0x94D049BB133111EB
    return z ^ (z >> 31)


cdef void drop(const floating* x, floating* y, Py_ssize_t first, Py_ssize_t last, uint64_t key,
               uint64_t bound, floating scale) noexcept nogil:
    """Elements first .. last - 1: x scale where the hash of i falls below `bound`, else 0."""
    cdef Py_ssize_t i
    for i in range(first, last):
        y[i] = x[i] * scale if splitmix64(key, i) >> 40 < bound else 0


def dropout(x, double p, key, out=None, int threads=0):
    """x / (1 - p) where the hash of (key, i) falls below 1 - p, else 0.

    The same call on dy computes the gradient, so nothing has to be stored.
    """
    cdef cnp.ndarray a = real_array(x, "dropout", "x", -1), y
    cdef Py_ssize_t n = cnp.PyArray_SIZE(a), i
    cdef int t = threads_for(threads, 4.0 * n)
    cdef uint64_t bound, stream = operator.index(key)
    cdef double scale = 1 / (1 - p) if p < 1 else 0
    if not 0 <= p <= 1:
        raise ValueError(f"dropout: p must be in [0, 1], got {p}")
    bound = round((1 - p) * 2**24)
    y = output_like(out, "dropout", a)
    disjoint_or_same(y, a, "dropout", "x")
    if cnp.PyArray_TYPE(a) == cnp.NPY_FLOAT32:
        for i in prange(ceil_div(n, PIECE), nogil=True, num_threads=t, schedule='static'):
            drop(<float*>a.data, <float*>y.data, i * PIECE, min(n, (i + 1) * <Py_ssize_t>PIECE),
                 stream, bound, <float>scale)
    else:
        for i in prange(ceil_div(n, PIECE), nogil=True, num_threads=t, schedule='static'):
            drop(<double*>a.data, <double*>y.data, i * PIECE,
                 min(n, (i + 1) * <Py_ssize_t>PIECE), stream, bound, scale)
    return y
