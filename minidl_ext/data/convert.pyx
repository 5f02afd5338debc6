"""Pixels as bytes, converted to floats."""
cimport numpy as cnp
from cython.parallel cimport prange
from libc.stdint cimport uint8_t

from minidl_ext.runtime.arguments cimport disjoint, output, typed_array
from minidl_ext.runtime.memory cimport ceil_div
from minidl_ext.runtime.threads cimport threads_for

cnp.import_array()

cdef enum:
    PIECE = 65536       # pixels a thread takes at a time


cdef void scale_piece(const uint8_t* x, float* y, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        y[i] = <float>x[i] / <float>255


def to_float(x, out=None, int threads=0):
    """uint8 pixels as float32 in [0, 1]: x / 255."""
    cdef cnp.ndarray a = typed_array(x, "to_float", "x", -1, cnp.NPY_UINT8), y
    cdef Py_ssize_t n = cnp.PyArray_SIZE(a), i
    cdef int t = threads_for(threads, <double>n)
    y = output(out, "to_float", cnp.PyArray_NDIM(a), cnp.PyArray_DIMS(a), cnp.NPY_FLOAT32)
    disjoint(y, a, "to_float", "x")
    for i in prange(ceil_div(n, PIECE), nogil=True, num_threads=t, schedule='static'):
        scale_piece(<uint8_t*>a.data + i * PIECE, <float*>y.data + i * PIECE,
                    min(n - i * PIECE, <Py_ssize_t>PIECE))
    return y
