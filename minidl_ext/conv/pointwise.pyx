"""1x1 convolution between two normalizations, as in depthwise-separable blocks; float32.

Such layers are bound by memory, so everything about a pixel is done while it is in cache, band by
band of pixels. Forward: the input is normalized (and passed through a ReLU) as it is read, and the
statistics of the output are summed as it is written. Backward: the gradient behind the
normalization that follows, the gradient of the weights, that of the input, and the sums that the
normalization before needs. Every array is read and written once.

A 1x1 convolution is the matrix product of pixels (M, C_in) and weights (C_in, C_out). Channels
come in multiples of 16. Sums over fixed chunks of pixels are added in their order: no result
depends on the number of threads. Arguments are those of depthwise.pyx.
"""
cimport numpy as cnp
from cython.parallel cimport parallel, prange, threadid
from libc.string cimport memset

from minidl_ext.runtime.arguments cimport channel_blocks, has_shape
from minidl_ext.gemm.micro cimport Prefetch, MR, next_prefetch, block_columns, micro, pack_columns, \
    plan_prefetch, row_blocks, sweep
from minidl_ext.norm.conv_fusion cimport Normalized, Running, count_rows, \
    gradient_through_consumer, normalized, normalized_by, set_consumer
from minidl_ext.norm.normalize cimport backward_sums
from minidl_ext.norm.statistics cimport add_sums, finish_stats, merge_chunks
from minidl_ext.runtime.memory cimport new_array, product, workspace
from minidl_ext.runtime.threads cimport threads_for

import numpy as np

cnp.import_array()

cdef enum:
    MULTIPLE = 16                   # of channels
    BAND_BYTES = 96 * 1024          # of the wider of input and output, worked on at a time
    STATS_CHUNKS = 64               # for statistics; more where a chunk would have more than
    STATS_BANDS = 16                # these bands
    GRAD_CHUNKS = 32                # for sums of gradients, at most, and
    PARTIAL_BYTES = 8 * 1024 * 1024  # of partial gradients of the weights
    PAD = 16                        # floats between rows in cache, against conflicts


cdef struct Shape:
    Py_ssize_t pixels, ci, co
    Py_ssize_t band                 # pixels of a band
    Py_ssize_t chunk, chunks        # pixels of a chunk, number of chunks
    Py_ssize_t width                # columns of a panel


cdef void divide(Shape* s, Py_ssize_t chunks, Py_ssize_t most) noexcept:
    """Cut the pixels into bands, and those into chunks of at most `most` bands."""
    cdef Py_ssize_t bands
    s.band = max(<Py_ssize_t>MR, BAND_BYTES // (max(s.ci, s.co) * <Py_ssize_t>sizeof(float)))
    bands = (s.pixels + s.band - 1) // s.band
    s.chunk = s.band * max(<Py_ssize_t>1, min(most, (bands + chunks - 1) // chunks))
    s.chunks = (s.pixels + s.chunk - 1) // s.chunk
    s.width = block_columns(sizeof(float))


cdef struct Room:
    float* x                        # a band of inputs, normalized
    float* dy                       # a band of gradients
    const float** rows
    float** outs
    float* part                     # 3 rows of the wider of C_in and C_out


cdef Py_ssize_t room_bytes(Shape* s) noexcept:
    cdef Py_ssize_t wide = max(s.ci, s.co)
    return ((s.band * (s.ci + s.co + 2 * PAD) + 3 * wide) * sizeof(float)
            + 2 * max(s.band, wide) * sizeof(void*) + 63) // 64 * 64


cdef Room room(char* memory, Shape* s) noexcept nogil:
    cdef Room r
    cdef Py_ssize_t wide = max(s.ci, s.co)
    r.x = <float*>memory
    r.dy = r.x + s.band * (s.ci + PAD)
    r.part = r.dy + s.band * (s.co + PAD)
    r.rows = <const float**>(r.part + 3 * wide)
    r.outs = <float**>(r.rows + max(s.band, wide))
    return r


cdef int shapes(Shape* s, cnp.ndarray x, cnp.ndarray w, str where) except -1:
    s.pixels = x.shape[0] * x.shape[1] * x.shape[2]
    s.ci, s.co = w.shape[2], w.shape[3]
    if w.shape[0] != 1 or w.shape[1] != 1 or x.shape[3] != s.ci:
        raise ValueError(f"{where}: w {np.shape(w)} must be (1, 1, {x.shape[3]}, C_out) for "
                         f"x {np.shape(x)}")
    if s.ci % MULTIPLE:
        raise ValueError(f"{where}: the channels of x must come in multiples of {MULTIPLE}, "
                         f"got {s.ci}")
    return 0


# ------------------------------------------------------------------------------------ forward

cdef void forward_chunk(const float* x, const float* packed, float* y, const Normalized* norm,
                        bint stats, double* sums, Room r, Shape* s, Py_ssize_t q) noexcept nogil:
    cdef Py_ssize_t start = q * s.chunk, end = min(s.pixels, start + s.chunk), first = start
    cdef Py_ssize_t count, i, zero = 0
    cdef const float* band
    cdef Running running
    cdef Prefetch ahead
    running.shift, running.part, running.sums, running.begun = r.part, r.part + s.co, sums, False
    while first < end:
        count = min(s.band, end - first)
        band = normalized(x + first * s.ci, r.x, s.ci, count, s.ci, norm)
        for i in range(count):
            r.rows[i] = band + i * s.ci
            r.outs[i] = y + (first + i) * s.co
        ahead.start[0] = <const char*>(x + (first + count) * s.ci)
        ahead.nbytes[0] = count * s.ci * 4
        ahead.start[1] = ahead.start[2] = ahead.start[0]
        ahead.nbytes[1] = ahead.nbytes[2] = 0
        plan_prefetch(&ahead, (s.co + s.width - 1) // s.width * row_blocks(count) * s.ci)
        sweep(r.rows, r.outs, count, packed, 1, &zero, &zero, s.ci, s.ci, 0, s.co, s.width, &ahead)
        if stats:
            count_rows(&running, y + first * s.co, count, s.co)
        first += count
    if stats:
        finish_stats(y + start * s.co, end - start, s.co, <const float*>running.shift, sums,
                     sums + s.co)


def pointwise_conv(x, w, factors=None, bint relu=False, bint stats=False, int threads=0):
    """y (N, H, W, C_out) of x (N, H, W, C_in), normalized by `factors`, and w (1, 1, C_in, C_out).

    With `stats`: (y, mean, var), the last two as batch_stats gives them.
    """
    cdef cnp.ndarray a = channel_blocks(x, "pointwise_conv", "x", MULTIPLE)
    cdef cnp.ndarray k = channel_blocks(w, "pointwise_conv", "w", MULTIPLE), y, mean, var
    cdef cnp.ndarray work, packed, partial
    cdef Shape s
    cdef Normalized norm
    cdef cnp.npy_intp dims[4]
    cdef Py_ssize_t q, per_thread, panels
    cdef int t
    shapes(&s, a, k, "pointwise_conv")
    normalized_by(&norm, factors, relu, s.ci, "pointwise_conv")
    if stats and s.pixels == 0:
        raise ValueError(f"pointwise_conv: no values in shape {np.shape(x)}")
    dims[0], dims[1], dims[2], dims[3] = a.shape[0], a.shape[1], a.shape[2], s.co
    y = new_array(4, dims, cnp.NPY_FLOAT32)
    divide(&s, STATS_CHUNKS, STATS_BANDS)
    t = threads_for(threads, <double>s.pixels * s.ci * s.co / 8)
    panels, per_thread = (s.co + s.width - 1) // s.width, room_bytes(&s)
    work = workspace(product(t, per_thread))
    packed = workspace(product(panels, s.ci, s.width, sizeof(float)))
    partial = workspace(product(2 * s.chunks, s.co, sizeof(double)))
    with nogil:
        pack_columns(<const float*>k.data, <float*>packed.data, s.ci, s.co, 1, s.co, s.width)
        for q in prange(s.chunks, num_threads=t, schedule='static'):
            forward_chunk(<float*>a.data, <float*>packed.data, <float*>y.data, &norm, stats,
                          <double*>partial.data + q * 2 * s.co,
                          room(work.data + threadid() * per_thread, &s), &s, q)
    if not stats:
        return y
    mean, var = new_array(1, dims + 3, cnp.NPY_FLOAT64), new_array(1, dims + 3, cnp.NPY_FLOAT64)
    merge_chunks(<double*>partial.data, s.pixels, s.chunk, s.co, <double*>mean.data,
                 <double*>var.data)
    return y, mean, var


# ----------------------------------------------------------------------------------- backward

cdef void backward_chunk(const float* dy, const float* x, const float* packed, float* dx,
                         float* dw, double* sums, const Normalized* before,
                         const Normalized* consumer, Room r, Shape* s, Py_ssize_t q
                         ) noexcept nogil:
    """All of the backward for chunk q: dx, and its part of dw and of the sums."""
    cdef Py_ssize_t first = q * s.chunk, end = min(s.pixels, first + s.chunk), count, i, p, block
    cdef Py_ssize_t zero = 0, x_step = s.ci, dy_step = s.co, start, after
    cdef Prefetch ahead
    cdef Py_ssize_t blocks = row_blocks(s.ci), panels = (s.co + s.width - 1) // s.width
    cdef const float* band
    cdef const float* g
    if before.factors != NULL:
        x_step += PAD
    if consumer.factors != NULL:
        dy_step += PAD
    memset(dw, 0, s.ci * s.co * sizeof(float))
    memset(sums, 0, 2 * s.ci * sizeof(double))
    while first < end:
        count = min(s.band, end - first)
        g = gradient_through_consumer(dy, first, r.dy, dy_step, count, s.co, consumer)
        band = normalized(x + first * s.ci, r.x, x_step, count, s.ci, before)
        after = first + count
        ahead.start[0], ahead.nbytes[0] = <const char*>(dy + after * s.co), count * s.co * 4
        ahead.start[1], ahead.nbytes[1] = <const char*>(x + after * s.ci), count * s.ci * 4
        ahead.start[2] = <const char*>(consumer.x + after * s.co)
        ahead.nbytes[2] = count * s.co * 4 if consumer.factors != NULL else 0
        plan_prefetch(&ahead, panels * blocks * count
                   + (s.ci + s.width - 1) // s.width * row_blocks(count) * s.co)
        for i in range(s.ci):
            r.rows[i] = band + i
            r.outs[i] = dw + i * s.co
        for p in range(panels):
            start = 0
            for block in range(blocks):
                after = s.ci * (block + 1) // blocks
                micro(<int>(after - start), r.rows + start, g + p * s.width, 1, &zero, &zero,
                      count, x_step, dy_step, r.outs + start, p * s.width, s.co - p * s.width, 1,
                      next_prefetch(&ahead, count), ahead.step)
                start = after
        for i in range(count):
            r.rows[i] = g + i * dy_step
            r.outs[i] = dx + (first + i) * s.ci
        sweep(r.rows, r.outs, count, packed, 1, &zero, &zero, s.co, s.co, 0, s.ci, s.width,
              &ahead)
        if before.factors != NULL:
            backward_sums(<const float*>(dx + first * s.ci), <const float*>NULL,
                          x + first * s.ci, before.relu, <const float*>NULL, <float*>NULL, count,
                          s.ci, before.factors, r.part, r.part + s.ci)
            add_sums(sums, <const float*>r.part, 2 * s.ci)
        first += count


def pointwise_backward(dy, x, w, factors=None, bint relu=False, consumer=None, int threads=0):
    """(dx, dw, sums): gradients of the normalized x and of w, and what normalization needs.

    dy (N, H, W, C_out) is the gradient of y or, with `consumer` = (y, factors, relu, centre), that
    of the normalization of y with its ReLU; `centre` as batch_norm_finish gives it. `sums` (2,
    C_in) are the sums of g and of g (x - mean_hi), g being dx masked by x's own ReLU; zeros
    without `factors`.
    """
    cdef cnp.ndarray a = channel_blocks(x, "pointwise_backward", "x", MULTIPLE)
    cdef cnp.ndarray g = channel_blocks(dy, "pointwise_backward", "dy", MULTIPLE)
    cdef cnp.ndarray k = channel_blocks(w, "pointwise_backward", "w", MULTIPLE), dx, dw, sums
    cdef cnp.ndarray work, packed, partial, partial_sums
    cdef Shape s
    cdef Normalized before, after
    cdef cnp.npy_intp dims[4]
    cdef Py_ssize_t q, i, per_thread, panels, size
    cdef int t
    cdef float* target
    cdef float* part
    shapes(&s, a, k, "pointwise_backward")
    has_shape(g, a.shape[0], a.shape[1], a.shape[2], s.co, "pointwise_backward", "dy")
    normalized_by(&before, factors, relu, s.ci, "pointwise_backward")
    set_consumer(&after, consumer, g, "pointwise_backward")
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
    panels, per_thread = (s.ci + s.width - 1) // s.width, room_bytes(&s)
    work = workspace(product(t, per_thread))
    packed = workspace(product(panels, s.co, s.width, sizeof(float)))
    partial = workspace(product(s.chunks, size, sizeof(float)))
    partial_sums = workspace(product(2 * s.chunks, s.ci, sizeof(double)))
    target, part = <float*>dw.data, <float*>partial.data
    with nogil:
        pack_columns(<const float*>k.data, <float*>packed.data, s.co, 1, s.co, s.ci, s.width)
        for q in prange(s.chunks, num_threads=t, schedule='static'):
            backward_chunk(<float*>g.data, <float*>a.data, <float*>packed.data, <float*>dx.data,
                           part + q * size, <double*>partial_sums.data + q * 2 * s.ci, &before,
                           &after, room(work.data + threadid() * per_thread, &s), &s, q)
        for q in range(s.chunks):
            add_sums(<double*>sums.data, <const double*>partial_sums.data + q * 2 * s.ci, 2 * s.ci)
        for i in prange(s.ci, num_threads=t, schedule='static'):
            add_rows(target + i * s.co, part + i * s.co, s.chunks, size, s.co)
    return dx, dw, sums


cdef void add_rows(float* total, const float* part, Py_ssize_t count, Py_ssize_t step,
                   Py_ssize_t n) noexcept nogil:
    """total += rows of part that are `step` apart, in order."""
    cdef Py_ssize_t q, j
    for q in range(count):
        for j in range(n):
            total[j] += part[q * step + j]
