"""1x1 convolution between two normalizations, as in depthwise-separable blocks; float32.

Such layers are bound by memory, so everything about a band of pixels is done while it is in cache.
Forward: the input is normalized as it is read, with its ReLU, and the statistics of the outputs are
summed as they are written. Backward: the gradient of the normalization that follows, the gradients
of the weights and of the input, and the sums that the normalization of the input needs for its own
backward. Each array is read or written once. (Elsewhere a 1x1 convolution is a direct one.)

A 1x1 convolution is the matrix product of pixels (M, C_in) and weights (C_in, C_out). Channels
come in multiples of 16. Sums over fixed chunks of pixels are added in their order: no result
depends on the number of threads. Arguments are those of depthwise_forward.pyx and
depthwise_backward.pyx.
"""
cimport numpy as cnp
from cpython.exc cimport PyErr_CheckSignals
from cython.parallel cimport prange, threadid
from libc.string cimport memset

from minidl_ext.conv.chunks cimport add_chunks
from minidl_ext.gemm.micro cimport MR, Prefetch, multiply_panels, pack_panels, panel_width, \
    plan_prefetch, row_blocks
from minidl_ext.norm.conv_fusion cimport Normalized, Running, count_rows, \
    gradient_through_consumer, normalized, normalized_by, set_consumer
from minidl_ext.norm.normalize cimport add_backward_sums, advanced
from minidl_ext.norm.statistics cimport finish_stats, merge_chunks, rows_of_block
from minidl_ext.runtime.arguments cimport channel_blocks, has_shape
from minidl_ext.runtime.memory cimport aligned, ceil_div, new_array, product, workspace
from minidl_ext.runtime.threads cimport pieces_at_once, threads_for

import numpy as np

cnp.import_array()

cdef enum:
    CHANNEL_BLOCK = 16              # channels come in multiples of it
    BAND_BYTES = 96 * 1024          # of the wider of input and output, worked on at a time
    STATS_CHUNKS = 64               # of pixels, for statistics; more where a chunk would have more
    STATS_BANDS = 16                # than so many bands
    GRAD_CHUNKS = 32                # of pixels, for sums of gradients, at most,
    PARTIAL_BYTES = 8 * 1024 * 1024  # and with at most so many bytes of sums
    PAD = 16                        # floats between rows in cache, against conflicts


cdef struct Shape:
    Py_ssize_t pixels, ci, co
    Py_ssize_t band                 # pixels of a band
    Py_ssize_t chunk, chunks        # pixels of a chunk, number of chunks


cdef int set_shape(Shape* s, cnp.ndarray x, cnp.ndarray w, str where) except -1:
    """Check and store the sizes of images and weights."""
    s.pixels = x.shape[0] * x.shape[1] * x.shape[2]
    s.ci, s.co = w.shape[2], w.shape[3]
    if w.shape[0] != 1 or w.shape[1] != 1 or x.shape[3] != s.ci:
        raise ValueError(f"{where}: w {np.shape(w)} must be (1, 1, {x.shape[3]}, C_out) for "
                         f"x {np.shape(x)}")
    if s.ci % CHANNEL_BLOCK:
        raise ValueError(f"{where}: the channels of x must come in multiples of {CHANNEL_BLOCK}, "
                         f"got {s.ci}")
    return 0


cdef void divide(Shape* s, Py_ssize_t chunks, Py_ssize_t most) noexcept:
    """Divide the pixels into bands, and these into chunks: about `chunks` of them, more where a
    chunk would have more than `most` bands."""
    cdef Py_ssize_t bands
    s.band = max(<Py_ssize_t>MR, BAND_BYTES // (max(s.ci, s.co) * <Py_ssize_t>sizeof(float)))
    bands = ceil_div(s.pixels, s.band)
    s.chunk = s.band * max(<Py_ssize_t>1, min(most, ceil_div(bands, chunks)))
    s.chunks = ceil_div(s.pixels, s.chunk)


# What a thread computes a band with.
cdef struct Buffers:
    float* x                        # a band of inputs, normalized
    float* dy                       # a band of gradients
    const float** rows
    float** outs
    float* part                     # 3 rows of the wider of C_in and C_out


cdef Py_ssize_t buffer_bytes(const Shape* s) noexcept:
    cdef Py_ssize_t wide = max(s.ci, s.co)
    return aligned((s.band * (s.ci + s.co + 2 * PAD) + 3 * wide) * sizeof(float)
                   + 2 * max(s.band, wide) * sizeof(void*))


cdef Buffers buffers_at(char* memory, const Shape* s) noexcept nogil:
    cdef Buffers b
    cdef Py_ssize_t wide = max(s.ci, s.co)
    b.x = <float*>memory
    b.dy = b.x + s.band * (s.ci + PAD)
    b.part = b.dy + s.band * (s.co + PAD)
    b.rows = <const float**>(b.part + 3 * wide)
    b.outs = <float**>(b.rows + max(s.band, wide))
    return b


# ------------------------------------------------------------------------------------ forward

cdef void forward_chunk(const float* x, const float* packed, float* y, const Normalized* producer,
                        bint stats, double* sums, Buffers b, const Shape* s, Py_ssize_t q
                        ) noexcept nogil:
    """Compute the outputs of chunk q of pixels, which `producer` normalizes as they are read, and
    with `stats` the sums for their statistics."""
    cdef Py_ssize_t start = q * s.chunk, stop = min(s.pixels, start + s.chunk), first = start
    cdef Py_ssize_t count, i, zero = 0, width = panel_width(sizeof(float))
    cdef const float* band
    cdef const float* following
    cdef Running running
    cdef Prefetch prefetch
    running.shift, running.part, running.sums, running.begun = b.part, b.part + s.co, sums, False
    while first < stop:
        count = min(s.band, stop - first)
        band = normalized(x + first * s.ci, b.x, s.ci, count, s.ci, producer)
        following = x + (first + count) * s.ci
        for i in range(count):
            b.rows[i] = band + i * s.ci
            b.outs[i] = y + (first + i) * s.co
        plan_prefetch(&prefetch, ceil_div(s.co, width) * row_blocks(count) * s.ci, following,
                      count * s.ci * 4, following, 0, following, 0)
        multiply_panels(b.rows, count, packed, s.ci * width, 1, &zero, &zero, s.ci, 1, width,
                        b.outs, 0, s.co, False, &prefetch)
        if stats:
            count_rows(&running, y + first * s.co, count, s.co)
        first += count
    if stats:
        finish_stats(y + start * s.co, stop - start, s.co, <const float*>running.shift, sums,
                     sums + s.co)


def pointwise_conv(x, w, factors=None, bint relu=False, bint stats=False, int threads=0):
    """Return y (N, H, W, C_out), x (N, H, W, C_in) convolved with w (1, 1, C_in, C_out).

    x is first normalized by `factors` (5, C_in), which batch_norm_factors gives, and passed through
    a ReLU if `relu`. With `stats` the result is (y, mean, var), the last two as batch_stats gives
    them.
    """
    cdef str where = "pointwise_conv"
    cdef cnp.ndarray a = channel_blocks(x, where, "x", CHANNEL_BLOCK)
    cdef cnp.ndarray k = channel_blocks(w, where, "w", CHANNEL_BLOCK), y, mean, var
    cdef cnp.ndarray buffers, packed, partial
    cdef Shape s
    cdef Normalized producer
    cdef cnp.npy_intp dims[4]
    cdef Py_ssize_t q, per_thread, width = panel_width(sizeof(float)), first = 0, stop, at_once
    cdef int t
    set_shape(&s, a, k, where)
    normalized_by(&producer, factors, relu, s.ci, where)
    if stats and s.pixels == 0:
        raise ValueError(f"{where}: no values in shape {np.shape(x)}")
    dims[0], dims[1], dims[2], dims[3] = a.shape[0], a.shape[1], a.shape[2], s.co
    y = new_array(4, dims, cnp.NPY_FLOAT32)
    divide(&s, STATS_CHUNKS, STATS_BANDS)
    t = threads_for(threads, <double>s.pixels * s.ci * s.co / 8)
    per_thread = buffer_bytes(&s)
    buffers = workspace(product(t, per_thread))
    packed = workspace(product(ceil_div(s.co, width), s.ci, width, sizeof(float)))
    partial = workspace(product(2 * s.chunks, s.co, sizeof(double)))
    with nogil:
        pack_panels(<const float*>k.data, <float*>packed.data, s.ci, s.co, 1, s.co)
    at_once = pieces_at_once(s.chunks, <double>s.pixels * s.ci * s.co, t)
    while first < s.chunks:
        stop = min(s.chunks, first + at_once)
        for q in prange(first, stop, nogil=True, num_threads=t, schedule='static'):
            forward_chunk(<float*>a.data, <float*>packed.data, <float*>y.data, &producer, stats,
                          <double*>partial.data + q * 2 * s.co,
                          buffers_at(buffers.data + threadid() * per_thread, &s), &s, q)
        first = stop
        PyErr_CheckSignals()
    if not stats:
        return y
    mean, var = new_array(1, dims + 3, cnp.NPY_FLOAT64), new_array(1, dims + 3, cnp.NPY_FLOAT64)
    merge_chunks(<double*>partial.data, s.pixels, s.chunk, s.co, <double*>mean.data,
                 <double*>var.data)
    return y, mean, var


# ----------------------------------------------------------------------------------- backward

cdef void backward_chunk(const float* dy, const float* x, const float* packed, float* dx,
                         float* dw, double* sums, const Normalized* producer,
                         const Normalized* consumer, Buffers b, const Shape* s, Py_ssize_t q
                         ) noexcept nogil:
    """Compute dx of chunk q of pixels, and what they contribute to dw and to the sums."""
    cdef Py_ssize_t first = q * s.chunk, stop = min(s.pixels, first + s.chunk), count, i
    cdef Py_ssize_t zero = 0, x_step = s.ci, dy_step = s.co, following
    cdef Py_ssize_t width = panel_width(sizeof(float)), panels = ceil_div(s.co, width)
    cdef Prefetch prefetch
    cdef const float* band
    cdef const float* g
    if producer.factors != NULL:
        x_step += PAD
    if consumer.factors != NULL:
        dy_step += PAD
    memset(dw, 0, s.ci * s.co * sizeof(float))
    memset(sums, 0, 2 * s.ci * sizeof(double))
    while first < stop:
        count = min(s.band, stop - first)
        g = gradient_through_consumer(dy, first, b.dy, dy_step, count, s.co, consumer)
        band = normalized(x + first * s.ci, b.x, x_step, count, s.ci, producer)
        following = first + count
        plan_prefetch(&prefetch, panels * row_blocks(s.ci) * count
                      + ceil_div(s.ci, width) * row_blocks(count) * s.co,
                      dy + following * s.co, count * s.co * 4,
                      x + following * s.ci, count * s.ci * 4,
                      advanced(consumer.x, following * s.co),
                      count * s.co * 4 if consumer.factors != NULL else 0)
        for i in range(s.ci):
            b.rows[i] = band + i
            b.outs[i] = dw + i * s.co
        multiply_panels(b.rows, s.ci, g, width, 1, &zero, &zero, count, x_step, dy_step, b.outs, 0,
                        s.co, True, &prefetch)
        for i in range(count):
            b.rows[i] = g + i * dy_step
            b.outs[i] = dx + (first + i) * s.ci
        multiply_panels(b.rows, count, packed, s.co * width, 1, &zero, &zero, s.co, 1, width,
                        b.outs, 0, s.ci, False, &prefetch)
        if producer.factors != NULL:
            add_backward_sums(<const float*>(dx + first * s.ci), <const float*>NULL,
                              x + first * s.ci, producer.relu, <const float*>NULL, <float*>NULL,
                              count, rows_of_block(s.ci, sizeof(float)), s.ci, producer.factors,
                              b.part, sums)
        first += count


def pointwise_backward(dy, x, w, factors=None, bint relu=False, consumer=None, int threads=0):
    """Return (dx, dw, sums): the gradients of the normalized x and of w, and sums for its norm.

    dy (N, H, W, C_out) is the gradient of y or, with `consumer` = (y, factors, relu, centre), that
    of the normalization of y with its ReLU; batch_norm_finish gives `centre`. `sums` (2, C_in) are
    those of g and of g (x - mean_hi), g being dx masked by x's own ReLU, which the backward of the
    normalization of x needs; they are zeros without `factors`.
    """
    cdef str where = "pointwise_backward"
    cdef cnp.ndarray a = channel_blocks(x, where, "x", CHANNEL_BLOCK)
    cdef cnp.ndarray g = channel_blocks(dy, where, "dy", CHANNEL_BLOCK)
    cdef cnp.ndarray k = channel_blocks(w, where, "w", CHANNEL_BLOCK), dx, dw, sums
    cdef cnp.ndarray buffers, packed, partial, partial_sums
    cdef Shape s
    cdef Normalized producer, following
    cdef cnp.npy_intp dims[4]
    cdef Py_ssize_t q, i, per_thread, size, width = panel_width(sizeof(float))
    cdef Py_ssize_t first = 0, stop, at_once
    cdef int t
    cdef float* target
    cdef float* part
    set_shape(&s, a, k, where)
    has_shape(g, a.shape[0], a.shape[1], a.shape[2], s.co, where, "dy")
    normalized_by(&producer, factors, relu, s.ci, where)
    set_consumer(&following, consumer, g, where)
    size = s.ci * s.co
    divide(&s, max(1, min(GRAD_CHUNKS, PARTIAL_BYTES // (size * <Py_ssize_t>sizeof(float)))),
           s.pixels)
    dims[0], dims[1], dims[2], dims[3] = a.shape[0], a.shape[1], a.shape[2], s.ci
    dx = new_array(4, dims, cnp.NPY_FLOAT32)
    dims[0], dims[1], dims[2], dims[3] = 1, 1, s.ci, s.co
    dw = new_array(4, dims, cnp.NPY_FLOAT32)
    dims[0], dims[1] = 2, s.ci
    sums = new_array(2, dims, cnp.NPY_FLOAT64)
    sums[...] = 0
    dw[...] = 0
    t = threads_for(threads, <double>s.pixels * s.ci * s.co / 4)
    per_thread = buffer_bytes(&s)
    buffers = workspace(product(t, per_thread))
    packed = workspace(product(ceil_div(s.ci, width), s.co, width, sizeof(float)))
    partial = workspace(product(s.chunks, size, sizeof(float)))
    partial_sums = workspace(product(2 * s.chunks, s.ci, sizeof(double)))
    target, part = <float*>dw.data, <float*>partial.data
    with nogil:
        pack_panels(<const float*>k.data, <float*>packed.data, s.co, 1, s.co, s.ci)
    at_once = pieces_at_once(s.chunks, 2.0 * s.pixels * s.ci * s.co, t)
    while first < s.chunks:
        stop = min(s.chunks, first + at_once)
        for q in prange(first, stop, nogil=True, num_threads=t, schedule='static'):
            backward_chunk(<float*>g.data, <float*>a.data, <float*>packed.data, <float*>dx.data,
                           part + q * size, <double*>partial_sums.data + q * 2 * s.ci, &producer,
                           &following, buffers_at(buffers.data + threadid() * per_thread, &s), &s,
                           q)
        first = stop
        PyErr_CheckSignals()
    with nogil:
        add_chunks(<double*>sums.data, <double*>partial_sums.data, s.chunks, 2 * s.ci, 2 * s.ci)
        for i in prange(s.ci, num_threads=t, schedule='static'):
            add_chunks(target + i * s.co, part + i * s.co, s.chunks, size, s.co)
    return dx, dw, sums
