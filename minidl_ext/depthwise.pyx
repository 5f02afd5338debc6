"""Depthwise convolution (each channel by a kernel of its own) and its gradients, float32.

It is bound by memory: few multiplications a value. So nothing is copied or padded: an output row
is a list of taps that fall on input rows, split into the middle, where every tap falls on a
column too, and the few outputs at either end. The gradient of the input gathers likewise: the
input columns that leave the same remainder by the stride meet the same taps. Channels come in
multiples of 16. The weight gradient sums over fixed chunks of images, which are added in order;
no result depends on the number of threads. Inner loops are in depthwise.h.
"""
cimport numpy as cnp
from cython.parallel cimport prange
from libc.string cimport memset

from minidl_ext.runtime cimport apart, channel_blocks, has_shape, output, scratch, team

import numpy as np

cnp.import_array()

cdef extern from "depthwise.h" nogil:
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

cdef int set_geometry(Geometry* s, str where, tuple shape, Py_ssize_t kh, Py_ssize_t kw,
                      Py_ssize_t c, stride, padding, dilation) except -1:
    s.n, s.h, s.w, s.c = shape
    s.kh, s.kw = kh, kw
    s.sh, s.sw = stride
    s.dh, s.dw = dilation
    (s.top, bottom), (s.left, right) = padding
    if min(s.n, s.h, s.w, s.top, s.left, bottom, right) < 0 or \
            min(kh, kw, s.sh, s.sw, s.dh, s.dw) < 1 or kh * kw > MAX_TAPS:
        raise ValueError(f"{where}: sizes, strides and dilations must be positive, paddings not "
                         f"negative, and kernels of at most {MAX_TAPS} taps")
    if max(s.h, s.w, s.sh, s.sw, s.dh, s.dw, s.top, s.left, bottom, right) >= 2**31:
        raise ValueError(f"{where}: sizes, strides, dilations and paddings must be below 2^31")
    if s.c != c:
        raise ValueError(f"{where}: images of shape {shape} must have {c} channels")
    height = s.h + s.top + bottom - s.dh * (kh - 1)
    width = s.w + s.left + right - s.dw * (kw - 1)
    if height < 1 or width < 1:
        raise ValueError(f"{where}: the padded images are smaller than the kernel")
    s.oh, s.ow = (height - 1) // s.sh + 1, (width - 1) // s.sw + 1
    return 0


cdef cnp.ndarray kernel(object w, str where):
    cdef cnp.ndarray array = channel_blocks(w, where, "w", MULTIPLE)
    if array.shape[2] != 1:
        raise ValueError(f"{where}: w must be (KH, KW, 1, C), got {np.shape(w)}")
    return array


cdef double work(Geometry* s) noexcept:
    return <double>s.n * s.oh * s.ow * s.c * s.kh * s.kw / 8


def depthwise_conv(x, w, stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1), out=None,
                   int threads=0):
    """y (N, OH, OW, C) of x (N, H, W, C) and w (KH, KW, 1, C)."""
    cdef cnp.ndarray a = channel_blocks(x, "depthwise_conv", "x", MULTIPLE), y
    cdef cnp.ndarray k = kernel(w, "depthwise_conv")
    cdef Geometry s
    cdef cnp.npy_intp dims[4]
    cdef const float* source
    cdef float* target
    cdef float* weights
    cdef Py_ssize_t i
    cdef int t
    set_geometry(&s, "depthwise_conv", np.shape(x), k.shape[0], k.shape[1], k.shape[3], stride,
                 padding, dilation)
    dims[0], dims[1], dims[2], dims[3] = s.n, s.oh, s.ow, s.c
    y = output(out, "depthwise_conv", 4, dims, cnp.NPY_FLOAT32)
    apart(y, a, "depthwise_conv", "x")
    apart(y, k, "depthwise_conv", "w")
    source, target, weights = <float*>a.data, <float*>y.data, <float*>k.data
    t = team(threads, work(&s))
    for i in prange(s.n * s.oh, nogil=True, num_threads=t, schedule='static'):
        output_row(source + i // s.oh * s.h * s.w * s.c, weights, target + i * s.ow * s.c, &s,
                   i % s.oh, False)
    return y


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
    set_geometry(&s, "depthwise_input_grad", tuple(input_shape), k.shape[0], k.shape[1],
                 k.shape[3], stride, padding, dilation)
    has_shape(g, s.n, s.oh, s.ow, s.c, "depthwise_input_grad", "dy")
    dims[0], dims[1], dims[2], dims[3] = s.n, s.h, s.w, s.c
    dx = output(out, "depthwise_input_grad", 4, dims, cnp.NPY_FLOAT32)
    apart(dx, g, "depthwise_input_grad", "dy")
    apart(dx, k, "depthwise_input_grad", "w")
    source, target, weights = <float*>g.data, <float*>dx.data, <float*>k.data
    t = team(threads, work(&s))
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
    apart(dw, a, "depthwise_weight_grad", "x")
    apart(dw, g, "depthwise_weight_grad", "dy")
    size, chunks = s.kh * s.kw * s.c, max(1, min(s.n, CHUNKS))
    partials = scratch(chunks * size * sizeof(float))
    partial, target = <float*>partials.data, <float*>dw.data
    source, grads = <float*>a.data, <float*>g.data
    t = team(threads, work(&s))
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
