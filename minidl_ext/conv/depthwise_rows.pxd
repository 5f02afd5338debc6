# Rows of depthwise convolutions: which taps meet which columns. Nothing is copied or padded. The
# places of a row are split into those in the middle, where every tap falls on a column, and the few
# at either end. Inner loops are in depthwise.h.
cimport numpy as cnp

from minidl_ext.runtime.arguments cimport channel_blocks
from minidl_ext.runtime.geometry cimport Geometry, multiply_adds, set_convolution
from minidl_ext.runtime.threads cimport pieces_at_once

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


# What a row computes: outputs from weights, or gradients of the weights from those of the outputs.
cdef enum Product:
    OUTPUTS
    WEIGHT_GRADS


# One row of places that read, through taps, from one image.
cdef struct Row:
    int taps
    Py_ssize_t row[MAX_TAPS]        # where the input row of a tap starts, in pixels
    Py_ssize_t col[MAX_TAPS]        # the input column that place 0 meets; it may lie outside
    Py_ssize_t weight[MAX_TAPS]     # where the weights of a tap start
    Py_ssize_t step                 # input columns from a place to the next
    Py_ssize_t width                # input columns
    Py_ssize_t places, place_step   # how many places; floats from one to the next


cdef inline void span(const Row* r, const float* x, float* w, float* y, Product product,
                      Py_ssize_t first, Py_ssize_t stop, Py_ssize_t c) noexcept nogil:
    """Compute places first .. stop, which meet the same taps."""
    cdef Py_ssize_t offset[MAX_TAPS]
    cdef Py_ssize_t weight[MAX_TAPS]
    cdef Py_ssize_t col
    cdef int t, taps = 0
    for t in range(r.taps):
        col = r.col[t] + first * r.step
        if 0 <= col < r.width:
            offset[taps] = (r.row[t] + col) * c
            weight[taps] = r.weight[t]
            taps += 1
    if product == WEIGHT_GRADS:
        depthwise_grad_span(x, offset, r.step * c, y + first * r.place_step, r.place_step, w,
                            weight, taps, stop - first, c)
    else:
        depthwise_span(x, offset, r.step * c, w, weight, taps, y + first * r.place_step,
                       r.place_step, stop - first, c)


cdef inline void all_spans(const Row* r, const float* x, float* w, float* y, Product product,
                           Py_ssize_t c) noexcept nogil:
    """Compute all places: one by one where a tap falls outside, the others as one span."""
    cdef Py_ssize_t first = 0, stop = r.places, p
    cdef int t
    for t in range(r.taps):
        if r.col[t] < 0:
            first = max(first, (-r.col[t] + r.step - 1) // r.step)
        if r.col[t] >= r.width:
            stop = 0
        else:
            stop = min(stop, (r.width - 1 - r.col[t]) // r.step + 1)
    first = min(first, r.places)
    stop = max(stop, first)
    for p in range(first):
        span(r, x, w, y, product, p, p + 1, c)
    if stop > first:
        span(r, x, w, y, product, first, stop, c)
    for p in range(stop, r.places):
        span(r, x, w, y, product, p, p + 1, c)


cdef inline void output_row(const float* image, float* w, float* y, const Geometry* s,
                            Py_ssize_t i, Product product) noexcept nogil:
    """Compute row i of an image's outputs y from the weights w, or add to the gradient w of the
    weights what row i of the outputs' gradient y contributes."""
    cdef Row r
    cdef Py_ssize_t k, l, row
    r.taps, r.step, r.width, r.places, r.place_step = 0, s.sw, s.w, s.ow, s.c
    for k in range(s.kh):
        row = i * s.sh + k * s.dh - s.top
        if 0 <= row < s.h:
            for l in range(s.kw):
                r.row[r.taps], r.col[r.taps] = row * s.w, l * s.dw - s.left
                r.weight[r.taps] = (k * s.kw + l) * s.c
                r.taps += 1
    all_spans(&r, image, w, y, product, s.c)


cdef inline void input_grad_row(const float* dy, float* w, float* dx, const Geometry* s,
                                Py_ssize_t i) noexcept nogil:
    """Compute row i of an image's input gradient: it meets row (i + top - k dh) / sh of dy through
    tap k. Columns that leave the same remainder by the stride meet the same taps."""
    cdef Row r
    cdef Py_ssize_t k, l, j, row, col
    for j in range(min(s.sw, s.w)):
        r.taps, r.step, r.width = 0, 1, s.ow
        r.places, r.place_step = (s.w - j + s.sw - 1) // s.sw, s.sw * s.c
        for k in range(s.kh):
            row = i + s.top - k * s.dh
            if row < 0 or row % s.sh or row // s.sh >= s.oh:
                continue
            for l in range(s.kw):
                col = j + s.left - l * s.dw
                if col % s.sw == 0:         # exact for negative columns, too
                    r.row[r.taps], r.col[r.taps] = row // s.sh * s.ow, col // s.sw
                    r.weight[r.taps] = (k * s.kw + l) * s.c
                    r.taps += 1
        all_spans(&r, dy, w, dx + j * s.c, OUTPUTS, s.c)


cdef inline Py_ssize_t depthwise_pieces(Py_ssize_t pieces, const Geometry* s, int threads) noexcept:
    """How many of `pieces` equal pieces a kernel does before it looks for an interrupt. Bound by
    memory, a multiply-add takes as long as some of a matrix product."""
    return pieces_at_once(pieces, 8 * multiply_adds(s), threads)


# ------------------------------------------------------------------------------------- checks

cdef inline cnp.ndarray depthwise_kernel(object w, str where):
    """Weights (KH, KW, 1, C) whose channels fit."""
    cdef cnp.ndarray array = channel_blocks(w, where, "w", MULTIPLE)
    if array.shape[2] != 1:
        raise ValueError(f"{where}: w must be (KH, KW, 1, C), got {w.shape}")
    return array


cdef inline int set_depthwise(Geometry* s, str where, object shape, object kh, object kw,
                              Py_ssize_t c, object stride, object padding, object dilation
                              ) except -1:
    """Check and store the geometry of a convolution of each of c channels by a kernel of its own.
    """
    return set_convolution(s, where, shape, kh, kw, stride, padding, dilation, c, c, c, MAX_TAPS)
