"""Depthwise convolution (each channel by a kernel of its own) and its gradients, float32.

It is bound by memory: few multiplications a value. So nothing is copied or padded: an output row
is a list of taps that fall on input rows, split into the middle, where every tap falls on a
column too, and the few outputs at either end. The gradient of the input gathers likewise: the
input columns that leave the same remainder by the stride meet the same taps. Channels come in
multiples of 16. Sums over fixed chunks of images are added in order; no result depends on the
number of threads. Inner loops are in depthwise.h.

Between two normalizations, as in depthwise-separable blocks, everything about an image is done
while it is in cache. Forward: it is normalized (and passed through a ReLU) before, and the
statistics of the output are summed after. Backward (`depthwise_backward`): the gradient behind the
normalization that follows, both gradients of the convolution, and the sums that the normalization
before needs. Every array is read and written once.
"""
cimport numpy as cnp
from cython.parallel cimport parallel, prange, threadid
from libc.string cimport memset

from minidl_ext.runtime.arguments cimport disjoint, channel_blocks, has_shape, output
from minidl_ext.conv.epilogue cimport Epilogue, epilogue_of, apply_epilogue
from minidl_ext.conv.geometry cimport checked_size, places, set_images, set_pair
from minidl_ext.gemm.micro cimport prefetch_part
from minidl_ext.norm.conv_fusion cimport Normalized, Running, count_rows, \
    gradient_through_consumer, normalized, normalized_by, set_consumer
from minidl_ext.norm.normalize cimport backward_sums
from minidl_ext.norm.statistics cimport add_sums, finish_stats, merge_chunks
from minidl_ext.runtime.memory cimport new_array, product, workspace
from minidl_ext.runtime.threads cimport threads_for

import numpy as np

cnp.import_array()

cdef extern from "conv/depthwise.h" nogil:
    void depthwise_span(const float* x, const Py_ssize_t* offset, Py_ssize_t in_step,
                        const float* w, const Py_ssize_t* row, int taps, float* y,
                        Py_ssize_t out_step, Py_ssize_t count, Py_ssize_t channels)
    void depthwise_grad_span(const float* x, const Py_ssize_t* offset, Py_ssize_t in_step,
                             const float* dy, Py_ssize_t out_step, float* dw,
                             const Py_ssize_t* row, int taps, Py_ssize_t count,
                             Py_ssize_t channels)

cdef enum:
    MAX_TAPS = 64
    MULTIPLE = 16       # of channels
    CHUNKS = 32         # at most, of images in a weight gradient
    STATS_CHUNKS = 64   # of images, for statistics; more where a chunk would have more than
    STATS_IMAGES = 16   # these


cdef struct Geometry:
    Py_ssize_t n, h, w, c, oh, ow, kh, kw, sh, sw, dh, dw, top, left


# One row of places that read, through taps, from one image.
cdef struct Line:
    int taps
    Py_ssize_t row[MAX_TAPS]        # where the input row of a tap starts, in pixels
    Py_ssize_t col[MAX_TAPS]        # the input column that place 0 meets; it may lie outside
    Py_ssize_t weight[MAX_TAPS]     # where the weights of a tap start
    Py_ssize_t step                 # from a place to the next: input columns
    Py_ssize_t width                # input columns
    Py_ssize_t places, place_step   # how many places; floats from one to the next


cdef void span(Line* g, const float* x, float* w, float* y, bint weight_grad, Py_ssize_t first,
               Py_ssize_t after, Py_ssize_t c) noexcept nogil:
    """Places first .. after, which meet the same taps."""
    cdef Py_ssize_t offset[MAX_TAPS]
    cdef Py_ssize_t weight[MAX_TAPS]
    cdef Py_ssize_t col
    cdef int t, taps = 0
    for t in range(g.taps):
        col = g.col[t] + first * g.step
        if 0 <= col < g.width:
            offset[taps] = (g.row[t] + col) * c
            weight[taps] = g.weight[t]
            taps += 1
    if weight_grad:
        depthwise_grad_span(x, offset, g.step * c, y + first * g.place_step, g.place_step, w,
                            weight, taps, after - first, c)
    else:
        depthwise_span(x, offset, g.step * c, w, weight, taps, y + first * g.place_step,
                       g.place_step, after - first, c)


cdef void line(Line* g, const float* x, float* w, float* y, bint weight_grad, Py_ssize_t c
               ) noexcept nogil:
    """All places: one by one where a tap falls outside, the rest as one span."""
    cdef Py_ssize_t first = 0, after = g.places, p
    cdef int t
    for t in range(g.taps):
        if g.col[t] < 0:
            first = max(first, (-g.col[t] + g.step - 1) // g.step)
        if g.col[t] >= g.width:
            after = 0
        else:
            after = min(after, (g.width - 1 - g.col[t]) // g.step + 1)
    first = min(first, g.places)
    after = max(after, first)
    for p in range(first):
        span(g, x, w, y, weight_grad, p, p + 1, c)
    if after > first:
        span(g, x, w, y, weight_grad, first, after, c)
    for p in range(after, g.places):
        span(g, x, w, y, weight_grad, p, p + 1, c)


cdef void output_row(const float* image, float* w, float* y, Geometry* s, Py_ssize_t i,
                     bint weight_grad) noexcept nogil:
    """Row i of an image's outputs: y from w, or (weight_grad) w += from y."""
    cdef Line g
    cdef Py_ssize_t k, l, row
    g.taps, g.step, g.width, g.places, g.place_step = 0, s.sw, s.w, s.ow, s.c
    for k in range(s.kh):
        row = i * s.sh + k * s.dh - s.top
        if 0 <= row < s.h:
            for l in range(s.kw):
                g.row[g.taps], g.col[g.taps] = row * s.w, l * s.dw - s.left
                g.weight[g.taps] = (k * s.kw + l) * s.c
                g.taps += 1
    line(&g, image, w, y, weight_grad, s.c)


cdef void input_grad_row(const float* dy, float* w, float* dx, Geometry* s, Py_ssize_t i
                         ) noexcept nogil:
    """Row i of an image's input gradient: dy of row (i + top - k dh) / sh, through tap k."""
    cdef Line g
    cdef Py_ssize_t k, l, j, row, col
    for j in range(min(s.sw, s.w)):
        g.taps, g.step, g.width = 0, 1, s.ow
        g.places, g.place_step = (s.w - j + s.sw - 1) // s.sw, s.sw * s.c
        for k in range(s.kh):
            row = i + s.top - k * s.dh
            if row < 0 or row % s.sh or row // s.sh >= s.oh:
                continue
            for l in range(s.kw):
                col = j + s.left - l * s.dw
                if col % s.sw == 0:         # exact for negative ones too
                    g.row[g.taps], g.col[g.taps] = row // s.sh * s.ow, col // s.sw
                    g.weight[g.taps] = (k * s.kw + l) * s.c
                    g.taps += 1
        line(&g, dy, w, dx + j * s.c, False, s.c)


# ----------------------------------------------------------------------------- entry points

cdef int set_geometry(Geometry* s, str where, shape, kh, kw, Py_ssize_t c, stride, padding,
                      dilation) except -1:
    cdef Py_ssize_t bottom, right
    rows, cols = padding
    set_images(shape, where, &s.n, &s.h, &s.w, &s.c)
    s.kh = checked_size(kh, where, "the height of kernels", 1, MAX_TAPS)
    s.kw = checked_size(kw, where, "the width of kernels", 1, MAX_TAPS // s.kh)
    set_pair(stride, where, "stride", 1, &s.sh, &s.sw)
    set_pair(dilation, where, "dilation", 1, &s.dh, &s.dw)
    set_pair(rows, where, "padding", 0, &s.top, &bottom)
    set_pair(cols, where, "padding", 0, &s.left, &right)
    if s.c != c:
        raise ValueError(f"{where}: images of shape {shape} must have {c} channels")
    s.oh = places(s.h + s.top + bottom, s.dh * (s.kh - 1) + 1, s.sh, where)
    s.ow = places(s.w + s.left + right, s.dw * (s.kw - 1) + 1, s.sw, where)
    return 0


cdef cnp.ndarray kernel(object w, str where):
    cdef cnp.ndarray array = channel_blocks(w, where, "w", MULTIPLE)
    if array.shape[2] != 1:
        raise ValueError(f"{where}: w must be (KH, KW, 1, C), got {np.shape(w)}")
    return array


cdef double work(Geometry* s) noexcept:
    return <double>s.n * s.oh * s.ow * s.c * s.kh * s.kw / 8


cdef void forward_chunk(const float* x, float* w, float* y, const Normalized* norm, bint stats,
                        double* sums, float* memory, Geometry* s, Py_ssize_t first,
                        Py_ssize_t after) noexcept nogil:
    """Images first .. after, normalized before, statistics after."""
    cdef Py_ssize_t n, i, pixels = s.h * s.w, size = pixels * s.c, places = s.oh * s.ow
    cdef const float* image
    cdef Running running
    running.shift, running.part, running.sums, running.begun = memory, memory + s.c, sums, False
    for n in range(first, after):
        image = normalized(x + n * size, memory + 3 * s.c, s.c, pixels, s.c, norm)
        for i in range(s.oh):
            prefetch_part(<const char*>(x + (n + 1) * size), size * sizeof(float), i, s.oh)
            output_row(image, w, y + (n * s.oh + i) * s.ow * s.c, s, i, False)
        if stats:
            count_rows(&running, y + n * places * s.c, places, s.c)
    if stats:
        finish_stats(y + first * places * s.c, (after - first) * places, s.c,
                     <const float*>running.shift, sums, sums + s.c)


def depthwise_conv(x, w, stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1), factors=None,
                   bint relu=False, bint stats=False, bias=None, residual=None,
                   bint relu_out=False, out=None, int threads=0):
    """y (N, OH, OW, C) of x (N, H, W, C), normalized by `factors`, and w (KH, KW, 1, C).

    With `stats`: (y, mean, var), the last two as batch_stats gives them. Without `factors` and
    `stats`, y may have a `bias` and a `residual` added, then ReLU if `relu_out`.
    """
    cdef cnp.ndarray a = channel_blocks(x, "depthwise_conv", "x", MULTIPLE), y, mean, var
    cdef Epilogue end
    cdef cnp.ndarray k = kernel(w, "depthwise_conv"), work_array, partial
    cdef Geometry s
    cdef Normalized norm
    cdef cnp.npy_intp dims[4]
    cdef const float* source
    cdef float* target
    cdef float* weights
    cdef Py_ssize_t i, chunk, chunks, per_thread
    cdef int t
    set_geometry(&s, "depthwise_conv", np.shape(x), k.shape[0], k.shape[1], k.shape[3], stride,
                 padding, dilation)
    normalized_by(&norm, factors, relu, s.c, "depthwise_conv")
    if stats and s.n == 0:
        raise ValueError(f"depthwise_conv: no values in shape {np.shape(x)}")
    dims[0], dims[1], dims[2], dims[3] = s.n, s.oh, s.ow, s.c
    y = output(out, "depthwise_conv", 4, dims, cnp.NPY_FLOAT32)
    disjoint(y, a, "depthwise_conv", "x")
    disjoint(y, k, "depthwise_conv", "w")
    end = epilogue_of(bias, residual, relu_out, y, "depthwise_conv")
    source, target, weights = <float*>a.data, <float*>y.data, <float*>k.data
    t = threads_for(threads, work(&s))
    if norm.factors == NULL and not stats:
        for i in prange(s.n * s.oh, nogil=True, num_threads=t, schedule='static'):
            output_row(source + i // s.oh * s.h * s.w * s.c, weights, target + i * s.ow * s.c, &s,
                       i % s.oh, False)
            apply_epilogue(target, i * s.ow * s.c, s.ow, s.c, &end)
        return y
    if end.bias != NULL or end.residual != NULL or end.relu_out:
        raise ValueError("depthwise_conv: bias, residual and relu_out go without factors and stats")
    chunk = max(1, min(STATS_IMAGES, (s.n + STATS_CHUNKS - 1) // STATS_CHUNKS))
    chunks = (s.n + chunk - 1) // chunk
    per_thread = (product(s.h * s.w + 3, s.c, sizeof(float)) + 63) // 64 * 64
    work_array = workspace(product(t, per_thread))
    partial = workspace(product(2 * chunks, s.c, sizeof(double)))
    with nogil, parallel(num_threads=t):
        for i in prange(chunks, schedule='static'):
            forward_chunk(source, weights, target, &norm, stats,
                          <double*>partial.data + i * 2 * s.c,
                          <float*>(work_array.data + threadid() * per_thread), &s, i * chunk,
                          min(s.n, (i + 1) * chunk))
    if not stats:
        return y
    mean, var = new_array(1, dims + 3, cnp.NPY_FLOAT64), new_array(1, dims + 3, cnp.NPY_FLOAT64)
    merge_chunks(<double*>partial.data, s.n * s.oh * s.ow, chunk * s.oh * s.ow, s.c,
                 <double*>mean.data, <double*>var.data)
    return y, mean, var


def depthwise_input_grad(dy, w, input_shape, stride=(1, 1), padding=((0, 0), (0, 0)),
                         dilation=(1, 1), out=None, int threads=0):
    """dx (N, H, W, C) from dy (N, OH, OW, C)."""
    cdef cnp.ndarray g = channel_blocks(dy, "depthwise_input_grad", "dy", MULTIPLE), dx
    cdef cnp.ndarray k = kernel(w, "depthwise_input_grad")
    cdef Geometry s
    cdef cnp.npy_intp dims[4]
    cdef const float* source
    cdef float* target
    cdef float* weights
    cdef Py_ssize_t i
    cdef int t
    set_geometry(&s, "depthwise_input_grad", input_shape, k.shape[0], k.shape[1],
                 k.shape[3], stride, padding, dilation)
    has_shape(g, s.n, s.oh, s.ow, s.c, "depthwise_input_grad", "dy")
    dims[0], dims[1], dims[2], dims[3] = s.n, s.h, s.w, s.c
    dx = output(out, "depthwise_input_grad", 4, dims, cnp.NPY_FLOAT32)
    disjoint(dx, g, "depthwise_input_grad", "dy")
    disjoint(dx, k, "depthwise_input_grad", "w")
    if cnp.PyArray_SIZE(dx) == 0:
        return dx
    source, target, weights = <float*>g.data, <float*>dx.data, <float*>k.data
    t = threads_for(threads, work(&s))
    for i in prange(s.n * s.h, nogil=True, num_threads=t, schedule='static'):
        input_grad_row(source + i // s.h * s.oh * s.ow * s.c, weights, target + i * s.w * s.c, &s,
                       i % s.h)
    return dx


def depthwise_weight_grad(x, dy, kernel_shape, stride=(1, 1), padding=((0, 0), (0, 0)),
                          dilation=(1, 1), out=None, int threads=0):
    """dw (KH, KW, 1, C) from x (N, H, W, C) and dy (N, OH, OW, C)."""
    cdef cnp.ndarray a = channel_blocks(x, "depthwise_weight_grad", "x", MULTIPLE), dw, partials
    cdef cnp.ndarray g = channel_blocks(dy, "depthwise_weight_grad", "dy", MULTIPLE)
    cdef Geometry s
    cdef cnp.npy_intp dims[4]
    cdef Py_ssize_t i, j, size, chunks
    cdef float* partial
    cdef float* target
    cdef const float* source
    cdef float* grads
    cdef int t
    kh, kw = kernel_shape
    set_geometry(&s, "depthwise_weight_grad", np.shape(x), kh, kw, g.shape[3], stride, padding,
                 dilation)
    has_shape(g, s.n, s.oh, s.ow, s.c, "depthwise_weight_grad", "dy")
    dims[0], dims[1], dims[2], dims[3] = s.kh, s.kw, 1, s.c
    dw = output(out, "depthwise_weight_grad", 4, dims, cnp.NPY_FLOAT32)
    disjoint(dw, a, "depthwise_weight_grad", "x")
    disjoint(dw, g, "depthwise_weight_grad", "dy")
    size, chunks = s.kh * s.kw * s.c, max(1, min(s.n, CHUNKS))
    partials = workspace(product(chunks, size, sizeof(float)))
    partial, target = <float*>partials.data, <float*>dw.data
    source, grads = <float*>a.data, <float*>g.data
    t = threads_for(threads, work(&s))
    for i in prange(chunks, nogil=True, num_threads=t, schedule='static'):
        weight_chunk(source, grads, partial + i * size, &s, s.n * i // chunks,
                     s.n * (i + 1) // chunks)
    with nogil:
        for j in range(size):
            target[j] = partial[j]
        for i in range(1, chunks):
            for j in range(size):
                target[j] += partial[i * size + j]
    return dw


cdef void weight_chunk(const float* x, float* dy, float* partial, Geometry* s, Py_ssize_t first,
                       Py_ssize_t after) noexcept nogil:
    cdef Py_ssize_t n, i
    memset(partial, 0, s.kh * s.kw * s.c * sizeof(float))
    for n in range(first, after):
        for i in range(s.oh):
            output_row(x + n * s.h * s.w * s.c, partial, dy + (n * s.oh + i) * s.ow * s.c, s, i,
                       True)


cdef void backward_chunk(const float* dy, const float* x, float* w, float* dx, float* dw,
                         double* sums, const Normalized* before, const Normalized* consumer,
                         float* memory, Geometry* s, Py_ssize_t first, Py_ssize_t after
                         ) noexcept nogil:
    """All of the backward for images first .. after: dx, and their part of dw and of the sums."""
    cdef Py_ssize_t n, i, size = s.h * s.w * s.c, places = s.oh * s.ow
    cdef const float* image
    cdef float* g
    cdef float* part = memory
    cdef float* normalized_room = memory + 2 * s.c
    cdef float* gradient_room = normalized_room + size
    memset(dw, 0, s.kh * s.kw * s.c * sizeof(float))
    memset(sums, 0, 2 * s.c * sizeof(double))
    for n in range(first, after):
        g = <float*>gradient_through_consumer(dy, n * places, gradient_room, s.c, places, s.c, consumer)
        image = normalized(x + n * size, normalized_room, s.c, s.h * s.w, s.c, before)
        for i in range(s.oh):
            prefetch_part(<const char*>(dy + (n + 1) * places * s.c),
                          places * s.c * sizeof(float), i, s.oh)
            if consumer.factors != NULL:
                prefetch_part(<const char*>(consumer.x + (n + 1) * places * s.c),
                              places * s.c * sizeof(float), i, s.oh)
            output_row(image, dw, g + i * s.ow * s.c, s, i, True)
        for i in range(s.h):
            prefetch_part(<const char*>(x + (n + 1) * size), size * sizeof(float), i, s.h)
            input_grad_row(g, w, dx + n * size + i * s.w * s.c, s, i)
        if before.factors != NULL:
            backward_sums(<const float*>(dx + n * size), <const float*>NULL, x + n * size,
                          before.relu, <const float*>NULL, <float*>NULL, s.h * s.w, s.c,
                          before.factors, part, part + s.c)
            add_sums(sums, <const float*>part, 2 * s.c)


def depthwise_backward(dy, x, w, stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1),
                       factors=None, bint relu=False, consumer=None, int threads=0):
    """(dx, dw, sums): gradients of the normalized x and of w, and what normalization needs.

    dy (N, OH, OW, C) is the gradient of y or, with `consumer` = (y, factors, relu, centre), that of
    the normalization of y with its ReLU; `centre` as batch_norm_finish gives it. `sums` (2, C) are
    the sums of g and of g (x - mean_hi), g being dx masked by x's own ReLU; zeros without
    `factors`.
    """
    cdef str where = "depthwise_backward"
    cdef cnp.ndarray a = channel_blocks(x, where, "x", MULTIPLE), k = kernel(w, where), dx, dw
    cdef cnp.ndarray g = channel_blocks(dy, where, "dy", MULTIPLE), sums, partial, partial_sums
    cdef cnp.ndarray work_array
    cdef Geometry s
    cdef Normalized before, after
    cdef cnp.npy_intp dims[4]
    cdef Py_ssize_t i, j, size, chunks, per_thread
    cdef float* target
    cdef float* part
    cdef int t
    set_geometry(&s, where, np.shape(x), k.shape[0], k.shape[1], k.shape[3], stride, padding,
                 dilation)
    has_shape(g, s.n, s.oh, s.ow, s.c, where, "dy")
    normalized_by(&before, factors, relu, s.c, where)
    set_consumer(&after, consumer, g, where)
    dims[0], dims[1], dims[2], dims[3] = s.n, s.h, s.w, s.c
    dx = new_array(4, dims, cnp.NPY_FLOAT32)
    dims[0], dims[1], dims[2] = s.kh, s.kw, 1
    dw = new_array(4, dims, cnp.NPY_FLOAT32)
    dims[0], dims[1] = 2, s.c
    sums = new_array(2, dims, cnp.NPY_FLOAT64)
    sums[...] = 0
    dw[...] = 0
    size, chunks = s.kh * s.kw * s.c, min(s.n, CHUNKS)
    per_thread = (product(s.h * s.w + s.oh * s.ow + 2, s.c, sizeof(float)) + 63) // 64 * 64
    partial = workspace(product(chunks, size, sizeof(float)))
    partial_sums = workspace(product(2 * chunks, s.c, sizeof(double)))
    t = threads_for(threads, 2 * work(&s))
    work_array = workspace(product(t, per_thread))
    target, part = <float*>dw.data, <float*>partial.data
    with nogil:
        with parallel(num_threads=t):
            for i in prange(chunks, schedule='static'):
                backward_chunk(<float*>g.data, <float*>a.data, <float*>k.data, <float*>dx.data,
                               part + i * size, <double*>partial_sums.data + i * 2 * s.c, &before,
                               &after, <float*>(work_array.data + threadid() * per_thread), &s,
                               s.n * i // chunks, s.n * (i + 1) // chunks)
        for i in range(chunks):
            add_sums(<double*>sums.data, <const double*>partial_sums.data + i * 2 * s.c, 2 * s.c)
            for j in range(size):
                target[j] += part[i * size + j]
    return dx, dw, sums
