"""The gradient of a depthwise convolution by its input, float32.

Each input pixel gathers from the outputs that it has contributed to, row by row as the forward
does (depthwise_rows.pxd); every value is one thread's.
"""
cimport numpy as cnp
from cpython.exc cimport PyErr_CheckSignals
from cython.parallel cimport prange

from minidl_ext.conv.depthwise_rows cimport CHANNEL_BLOCK, depthwise_kernel, depthwise_pieces, \
    input_grad_row, set_depthwise
from minidl_ext.runtime.arguments cimport channel_blocks, has_shape, output_of
from minidl_ext.runtime.geometry cimport Geometry, multiply_adds
from minidl_ext.runtime.threads cimport threads_for

cnp.import_array()


def depthwise_input_grad(dy, w, input_shape, stride=(1, 1), padding=((0, 0), (0, 0)),
                         dilation=(1, 1), out=None, int threads=0):
    """Return dx (N, H, W, C) for dy (N, OH, OW, C) and w (KH, KW, 1, C)."""
    cdef str where = "depthwise_input_grad"
    cdef cnp.ndarray g = channel_blocks(dy, where, "dy", CHANNEL_BLOCK)
    cdef cnp.ndarray k = depthwise_kernel(w, where)
    cdef cnp.ndarray dx
    cdef Geometry s
    cdef const float* source
    cdef float* target
    cdef const float* weights
    cdef Py_ssize_t i, rows, first = 0, stop, at_once
    cdef int t
    set_depthwise(&s, where, input_shape, k.shape[0], k.shape[1], k.shape[3], stride, padding,
                  dilation)
    has_shape(g, s.n, s.oh, s.ow, s.c, where, "dy")
    dx = output_of(out, where, s.n, s.h, s.w, s.c, g, "dy", k, "w")
    if cnp.PyArray_SIZE(dx) == 0:
        return dx
    source, target, weights = <float*>g.data, <float*>dx.data, <float*>k.data
    t = threads_for(threads, multiply_adds(&s) / 8)
    rows = s.n * s.h
    at_once = depthwise_pieces(rows, &s, t)
    while first < rows:
        stop = min(rows, first + at_once)
        for i in prange(first, stop, nogil=True, num_threads=t, schedule='static'):
            input_grad_row(source + i // s.h * s.oh * s.ow * s.c, weights, target + i * s.w * s.c,
                           &s, i % s.h)
        first = stop
        PyErr_CheckSignals()
    return dx
