"""The gradient of a depthwise convolution by its weights, float32.

Each of some fixed chunks of images has a sum of its own; the sums are added in the order of the
chunks, so that no result depends on the number of threads.
"""
cimport numpy as cnp
from cpython.exc cimport PyErr_CheckSignals
from cython.parallel cimport prange
from libc.string cimport memcpy, memset

from minidl_ext.conv.chunks cimport add_chunks
from minidl_ext.conv.depthwise_rows cimport CHANNEL_BLOCK, depthwise_pieces, set_depthwise, \
    weight_grad_row
from minidl_ext.runtime.arguments cimport channel_blocks, has_shape, output_of
from minidl_ext.runtime.geometry cimport Geometry, multiply_adds, several
from minidl_ext.runtime.memory cimport product, workspace
from minidl_ext.runtime.threads cimport threads_for

import numpy as np

cnp.import_array()

cdef enum:
    CHUNKS = 32         # of images, at most


cdef void weight_chunk(const float* x, const float* dy, float* partial, const Geometry* s,
                       Py_ssize_t first, Py_ssize_t stop) noexcept nogil:
    """Compute the sum of images first .. stop."""
    cdef Py_ssize_t n, i
    memset(partial, 0, s.kh * s.kw * s.c * sizeof(float))
    for n in range(first, stop):
        for i in range(s.oh):
            weight_grad_row(x + n * s.h * s.w * s.c, dy + (n * s.oh + i) * s.ow * s.c, partial, s,
                            i)


def depthwise_weight_grad(x, dy, kernel_shape, stride=(1, 1), padding=((0, 0), (0, 0)),
                          dilation=(1, 1), out=None, int threads=0):
    """Return dw (KH, KW, 1, C) for x (N, H, W, C) and dy (N, OH, OW, C)."""
    cdef str where = "depthwise_weight_grad"
    cdef cnp.ndarray a = channel_blocks(x, where, "x", CHANNEL_BLOCK), dw, partials
    cdef cnp.ndarray g = channel_blocks(dy, where, "dy", CHANNEL_BLOCK)
    cdef Geometry s
    cdef Py_ssize_t i, size, chunks, first = 0, stop, at_once
    cdef float* partial
    cdef float* target
    cdef const float* source
    cdef const float* grads
    cdef int t
    kh, kw = several(kernel_shape, where, "kernel_shape", 2)
    set_depthwise(&s, where, np.shape(x), kh, kw, g.shape[3], stride, padding, dilation)
    has_shape(g, s.n, s.oh, s.ow, s.c, where, "dy")
    dw = output_of(out, where, s.kh, s.kw, 1, s.c, a, "x", g, "dy")
    size, chunks = s.kh * s.kw * s.c, max(1, min(s.n, CHUNKS))
    partials = workspace(product(chunks, size, sizeof(float)))
    partial, target = <float*>partials.data, <float*>dw.data
    source, grads = <float*>a.data, <float*>g.data
    t = threads_for(threads, multiply_adds(&s) / 8)
    at_once = depthwise_pieces(chunks, &s, t)
    while first < chunks:
        stop = min(chunks, first + at_once)
        for i in prange(first, stop, nogil=True, num_threads=t, schedule='static'):
            weight_chunk(source, grads, partial + i * size, &s, s.n * i // chunks,
                         s.n * (i + 1) // chunks)
        first = stop
        PyErr_CheckSignals()
    with nogil:
        memcpy(target, partial, size * sizeof(float))
        add_chunks(target, partial + size, chunks - 1, size, size)
    return dw
