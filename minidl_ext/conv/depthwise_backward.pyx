"""Both gradients of a depthwise convolution that stands between two normalizations, float32.

Everything about an image is done while it is in cache: the gradient of the normalization that
follows, the gradients of the weights and of the input, and the sums that the normalization of the
input needs for its own backward. Each array is read or written once. Sums over fixed chunks of
images are added in the order of the chunks: no result depends on the number of threads.
"""
cimport numpy as cnp
from cpython.exc cimport PyErr_CheckSignals
from cython.parallel cimport prange, threadid
from libc.string cimport memset

from minidl_ext.conv.chunks cimport add_chunks
from minidl_ext.conv.depthwise_rows cimport CHANNEL_BLOCK, depthwise_kernel, depthwise_pieces, \
    input_grad_row, set_depthwise, weight_grad_row
from minidl_ext.gemm.micro cimport prefetch_part
from minidl_ext.norm.conv_fusion cimport Normalized, gradient_through_consumer, normalized, \
    normalized_by, set_consumer
from minidl_ext.norm.normalize cimport add_backward_sums
from minidl_ext.norm.statistics cimport rows_of_block
from minidl_ext.runtime.arguments cimport channel_blocks, has_shape
from minidl_ext.runtime.geometry cimport Geometry, multiply_adds
from minidl_ext.runtime.memory cimport aligned, new_array, product, workspace
from minidl_ext.runtime.threads cimport threads_for

import numpy as np

cnp.import_array()

cdef enum:
    CHUNKS = 32         # of images, at most


cdef void backward_chunk(const float* dy, const float* x, const float* w, float* dx,
                         float* dw, double* sums, const Normalized* producer,
                         const Normalized* consumer, float* memory, const Geometry* s,
                         Py_ssize_t first, Py_ssize_t stop) noexcept nogil:
    """Compute dx of images first .. stop, and what they contribute to dw and to the sums."""
    cdef Py_ssize_t n, i, size = s.h * s.w * s.c, places = s.oh * s.ow
    cdef const float* image
    cdef const float* g
    cdef float* part = memory
    cdef float* image_buffer = memory + 2 * s.c
    cdef float* gradient_buffer = image_buffer + size
    memset(dw, 0, s.kh * s.kw * s.c * sizeof(float))
    memset(sums, 0, 2 * s.c * sizeof(double))
    for n in range(first, stop):
        g = gradient_through_consumer(dy, n * places, gradient_buffer, s.c, places, s.c, consumer)
        image = normalized(x + n * size, image_buffer, s.c, s.h * s.w, s.c, producer)
        for i in range(s.oh):
            prefetch_part(<const char*>(dy + (n + 1) * places * s.c),
                          places * s.c * sizeof(float), i, s.oh)
            if consumer.factors != NULL:
                prefetch_part(<const char*>(consumer.x + (n + 1) * places * s.c),
                              places * s.c * sizeof(float), i, s.oh)
            weight_grad_row(image, g + i * s.ow * s.c, dw, s, i)
        for i in range(s.h):
            prefetch_part(<const char*>(x + (n + 1) * size), size * sizeof(float), i, s.h)
            input_grad_row(g, w, dx + n * size + i * s.w * s.c, s, i)
        if producer.factors != NULL:
            add_backward_sums(<const float*>(dx + n * size), <const float*>NULL, x + n * size,
                              producer.relu, <const float*>NULL, <float*>NULL, s.h * s.w,
                              rows_of_block(s.c, sizeof(float)), s.c, producer.factors, part, sums)


def depthwise_backward(dy, x, w, stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1),
                       factors=None, bint relu=False, consumer=None, int threads=0):
    """Return (dx, dw, sums): the gradients of the normalized x and of w, and sums for its norm.

    dy (N, OH, OW, C) is the gradient of y or, with `consumer` = (y, factors, relu, centre), that of
    the normalization of y with its ReLU; batch_norm_finish gives `centre`. `sums` (2, C) are those
    of g and of g (x - mean_hi), g being dx masked by x's own ReLU, which the backward of the
    normalization of x needs; they are zeros without `factors`.
    """
    cdef str where = "depthwise_backward"
    cdef cnp.ndarray a = channel_blocks(x, where, "x", CHANNEL_BLOCK)
    cdef cnp.ndarray k = depthwise_kernel(w, where)
    cdef cnp.ndarray g = channel_blocks(dy, where, "dy", CHANNEL_BLOCK), dx, dw, sums
    cdef cnp.ndarray partial, partial_sums, buffers
    cdef Geometry s
    cdef Normalized producer, following
    cdef cnp.npy_intp dims[4]
    cdef Py_ssize_t i, size, chunks, per_thread, first = 0, stop, at_once
    cdef float* part
    cdef int t
    set_depthwise(&s, where, np.shape(x), k.shape[0], k.shape[1], k.shape[3], stride, padding,
                  dilation)
    has_shape(g, s.n, s.oh, s.ow, s.c, where, "dy")
    normalized_by(&producer, factors, relu, s.c, where)
    set_consumer(&following, consumer, g, where)
    dims[0], dims[1], dims[2], dims[3] = s.n, s.h, s.w, s.c
    dx = new_array(4, dims, cnp.NPY_FLOAT32)
    dims[0], dims[1], dims[2] = s.kh, s.kw, 1
    dw = new_array(4, dims, cnp.NPY_FLOAT32)
    dims[0], dims[1] = 2, s.c
    sums = new_array(2, dims, cnp.NPY_FLOAT64)
    sums[...] = 0
    dw[...] = 0
    size, chunks = s.kh * s.kw * s.c, min(s.n, CHUNKS)
    per_thread = aligned(product(s.h * s.w + s.oh * s.ow + 2, s.c, sizeof(float)))
    partial = workspace(product(chunks, size, sizeof(float)))
    partial_sums = workspace(product(2 * chunks, s.c, sizeof(double)))
    t = threads_for(threads, multiply_adds(&s) / 4)
    buffers = workspace(product(t, per_thread))
    part = <float*>partial.data
    at_once = depthwise_pieces(chunks, &s, t)
    while first < chunks:
        stop = min(chunks, first + at_once)
        for i in prange(first, stop, nogil=True, num_threads=t, schedule='static'):
            backward_chunk(<float*>g.data, <float*>a.data, <float*>k.data, <float*>dx.data,
                           part + i * size, <double*>partial_sums.data + i * 2 * s.c, &producer,
                           &following, <float*>(buffers.data + threadid() * per_thread), &s,
                           s.n * i // chunks, s.n * (i + 1) // chunks)
        first = stop
        PyErr_CheckSignals()
    with nogil:
        add_chunks(<double*>sums.data, <double*>partial_sums.data, chunks, 2 * s.c, 2 * s.c)
        add_chunks(<float*>dw.data, part, chunks, size, size)
    return dx, dw, sums
