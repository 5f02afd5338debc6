# Rows of depthwise convolutions: which taps meet which columns. Nothing is copied or padded. The
# places of a row are split into those in the middle, where every tap falls on a column, and the few
# at either end. Inner loops are in depthwise.h.
cimport numpy as cnp

from minidl_ext.runtime.arguments cimport channel_blocks
from minidl_ext.runtime.geometry cimport Geometry, multiply_adds, set_convolution
from minidl_ext.runtime.memory cimport ceil_div
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
    CHANNEL_BLOCK = 16  # channels come in multiples of it


# One row of places that read, through taps, from one image.
cdef struct Row:
    int taps
    Py_ssize_t row[MAX_TAPS]        # where the input row of a tap starts, in pixels
    Py_ssize_t col[MAX_TAPS]        # the input column that place 0 meets; it may lie outside
    Py_ssize_t weight[MAX_TAPS]     # where the weights of a tap start
    Py_ssize_t step                 # input columns from a place to the next
    Py_ssize_t width                # input columns
    Py_ssize_t places, place_step   # how many places; floats from one to the next
    Py_ssize_t first, stop          # the places at which no tap falls outside


# The taps that the places of a span meet.
cdef struct Taps:
    int count
    Py_ssize_t offset[MAX_TAPS]     # where the inputs of the first place start
    Py_ssize_t weight[MAX_TAPS]


cdef inline void find_middle(Row* r) noexcept nogil:
    """Set the places at which no tap falls outside, `first` to `stop`."""
    cdef Py_ssize_t first = 0, stop = r.places
    cdef int t
    for t in range(r.taps):
        if r.col[t] < 0:
            first = max(first, ceil_div(-r.col[t], r.step))
        if r.col[t] >= r.width:
            stop = 0
        else:
            stop = min(stop, (r.width - 1 - r.col[t]) // r.step + 1)
    r.first = min(first, r.places)
    r.stop = max(stop, r.first)


cdef inline Py_ssize_t next_span(const Row* r, Py_ssize_t first, Py_ssize_t c, Taps* taps
                                 ) noexcept nogil:
    """Set the taps that a span of places meets, which starts at `first`; return its end. The middle
    is one span, and each other place is one."""
    cdef Py_ssize_t col
    cdef int t
    taps.count = 0
    for t in range(r.taps):
        col = r.col[t] + first * r.step
        if 0 <= col < r.width:
            taps.offset[taps.count] = (r.row[t] + col) * c
            taps.weight[taps.count] = r.weight[t]
            taps.count += 1
    return r.stop if first == r.first and r.stop > first else first + 1


cdef inline void all_outputs(Row* r, const float* x, const float* w, float* y, Py_ssize_t c
                             ) noexcept nogil:
    """Compute all places of a row of outputs y."""
    cdef Py_ssize_t first = 0, stop
    cdef Taps taps
    find_middle(r)
    while first < r.places:
        stop = next_span(r, first, c, &taps)
        depthwise_span(x, taps.offset, r.step * c, w, taps.weight, taps.count,
                       y + first * r.place_step, r.place_step, stop - first, c)
        first = stop


cdef inline void set_row(Row* r, const Geometry* s, Py_ssize_t i) noexcept nogil:
    """Set which taps row i of the outputs meets."""
    cdef Py_ssize_t k, l, row
    r.taps, r.step, r.width, r.places, r.place_step = 0, s.sw, s.w, s.ow, s.c
    for k in range(s.kh):
        row = i * s.sh + k * s.dh - s.top
        if 0 <= row < s.h:
            for l in range(s.kw):
                r.row[r.taps], r.col[r.taps] = row * s.w, l * s.dw - s.left
                r.weight[r.taps] = (k * s.kw + l) * s.c
                r.taps += 1


cdef inline void output_row(const float* image, const float* w, float* y, const Geometry* s,
                            Py_ssize_t i) noexcept nogil:
    """Compute row i of an image's outputs, y."""
    cdef Row r
    set_row(&r, s, i)
    all_outputs(&r, image, w, y, s.c)


cdef inline void weight_grad_row(const float* image, const float* dy, float* dw, const Geometry* s,
                                 Py_ssize_t i) noexcept nogil:
    """Add to the gradient of the weights what row i of an image's outputs contributes, whose
    gradient is dy."""
    cdef Py_ssize_t first = 0, stop
    cdef Row r
    cdef Taps taps
    set_row(&r, s, i)
    find_middle(&r)
    while first < r.places:
        stop = next_span(&r, first, s.c, &taps)
        depthwise_grad_span(image, taps.offset, r.step * s.c, dy + first * r.place_step,
                            r.place_step, dw, taps.weight, taps.count, stop - first, s.c)
        first = stop


cdef inline void input_grad_row(const float* dy, const float* w, float* dx, const Geometry* s,
                                Py_ssize_t i) noexcept nogil:
    """Compute row i of an image's input gradient: it meets row (i + top - k dh) / sh of dy through
    tap k. Columns that leave the same remainder by the stride meet the same taps."""
    cdef Row r
    cdef Py_ssize_t k, l, j, row, col
    for j in range(min(s.sw, s.w)):
        r.taps, r.step, r.width = 0, 1, s.ow
        r.places, r.place_step = ceil_div(s.w - j, s.sw), s.sw * s.c
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
        all_outputs(&r, dy, w, dx + j * s.c, s.c)


cdef inline Py_ssize_t depthwise_pieces(Py_ssize_t pieces, const Geometry* s, int threads) noexcept:
    """How many of `pieces` equal pieces a kernel does before it looks for an interrupt. Bound by
    memory, a multiply-add takes as long as some of a matrix product."""
    return pieces_at_once(pieces, 8 * multiply_adds(s), threads)


# ------------------------------------------------------------------------------------- checks

cdef inline cnp.ndarray depthwise_kernel(object w, str where):
    """Weights (KH, KW, 1, C) whose channels fit."""
    cdef cnp.ndarray array = channel_blocks(w, where, "w", CHANNEL_BLOCK)
    if array.shape[2] != 1:
        raise ValueError(f"{where}: w must be (KH, KW, 1, C), got {w.shape}")
    return array


cdef inline int set_depthwise(Geometry* s, str where, object shape, object kh, object kw,
                              Py_ssize_t c, object stride, object padding, object dilation
                              ) except -1:
    """Check and store the geometry of a convolution of each of c channels by a kernel of its own.
    """
    return set_convolution(s, where, shape, kh, kw, stride, padding, dilation, c, c, c, MAX_TAPS)
