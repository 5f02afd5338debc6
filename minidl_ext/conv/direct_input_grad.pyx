"""The gradient of a direct convolution by its input, for either float type and any stride.

It is the same computation on dy as direct_forward.pyx makes on x. Input row i gets a contribution
of output row o through tap k where i + padding = o * stride + k * dilation. With stride (sh, sw)
the input pixels fall into phases by the remainders of their padded row and column: the pixels of a
phase meet the same taps, at consecutive rows and columns of dy. There are at most sh * sw phases.
Pixels that no tap meets are in none of them; their gradient is 0. No result depends on the number
of threads.
"""
cimport numpy as cnp
from cpython.exc cimport PyErr_CheckSignals
from cython cimport floating
from cython.parallel cimport prange, threadid
from libc.string cimport memset

from minidl_ext.conv.direct_bands cimport Buffers, BufferSizes, Region, band_rows, band_work, \
    buffer_bytes, buffers_at, next_rows, read_region
from minidl_ext.gemm.micro cimport Prefetch, multiply_panels, pack_panel, panel_width, \
    plan_prefetch, row_blocks
from minidl_ext.runtime.arguments cimport has_input_channels, has_shape, output_of, real_array, \
    same_dtype
from minidl_ext.runtime.geometry cimport MOST, Geometry, drop_unused_taps, floor_div, \
    multiply_adds, set_convolution
from minidl_ext.runtime.memory cimport aligned, ceil_div, product, workspace
from minidl_ext.runtime.threads cimport pieces_at_once, threads_for

import numpy as np

cnp.import_array()


# ------------------------------------------------------------------------------------- phases

# The input pixels whose padded row and column leave the remainders `row` and `col`. They meet the
# taps (k, l), (k, l + col_step), ..., and those of every row_step-th row of taps after these.
cdef struct Phase:
    Py_ssize_t row, col
    Py_ssize_t k, l             # its first tap
    Py_ssize_t first_tap, taps  # its part of the list of taps
    Py_ssize_t packed           # where its packed weights start
    int segments, first_segment
    Py_ssize_t length           # of a segment


# All phases, and a list of the taps of one after those of the other.
cdef struct Phases:
    Phase* phase
    Py_ssize_t count
    bint cover                      # whether every input pixel is in one of them
    Py_ssize_t row_step, col_step   # from a tap to the next that leaves the same remainder
    Py_ssize_t* tap_row             # how many rows of dy before that of its own phase a tap reads
    Py_ssize_t* tap_col             # and how many columns
    Py_ssize_t rows_before, cols_before     # the largest of these
    Py_ssize_t* b_off               # where the weights of a segment are, from those of its phase on
    # Phases have the rows row_first .. row_stop, those of a phase being `sh` input rows apart.
    Py_ssize_t row_first, row_stop, col_first, col_stop


cdef Py_ssize_t gcd(Py_ssize_t a, Py_ssize_t b) noexcept nogil:
    while b:
        a, b = b, a % b
    return a


cdef Py_ssize_t last_tap(Py_ssize_t first, Py_ssize_t step, Py_ssize_t taps) noexcept nogil:
    """The last of the taps first, first + step, ... that is below `taps`."""
    return first + (taps - 1 - first) // step * step


cdef void count_phases(Phases* phases, const Geometry* s) noexcept nogil:
    """Work out how many phases there are, and their rows and columns."""
    cdef Py_ssize_t phase_rows, phase_cols
    phases.row_step, phases.col_step = s.sh // gcd(s.dh, s.sh), s.sw // gcd(s.dw, s.sw)
    phase_rows, phase_cols = min(s.kh, phases.row_step), min(s.kw, phases.col_step)
    phases.count = phase_rows * phase_cols
    phases.cover = phase_rows == s.sh and phase_cols == s.sw
    phases.row_first = floor_div(s.top, s.sh)
    phases.row_stop = floor_div(s.h - 1 + s.top, s.sh) + 1
    phases.col_first = floor_div(s.left, s.sw)
    phases.col_stop = floor_div(s.w - 1 + s.left, s.sw) + 1


cdef void list_taps(Phases* phases, const Geometry* s, Py_ssize_t width) noexcept nogil:
    """List the taps and segments of all phases, in the memory that `phases` points to."""
    cdef Py_ssize_t phase_cols = min(s.kw, phases.col_step), panels = ceil_div(s.cig, width)
    cdef Py_ssize_t f, k, l, t, row_taps, used = 0, start = 0
    cdef int segment = 0
    cdef Phase* phase
    phases.rows_before = phases.cols_before = 0
    for f in range(phases.count):
        phase = phases.phase + f
        phase.k, phase.l, phase.first_tap, phase.packed = \
            f // phase_cols, f % phase_cols, used, start
        phase.row, phase.col = phase.k * s.dh % s.sh, phase.l * s.dw % s.sw
        row_taps = (s.kw - 1 - phase.l) // phases.col_step + 1
        # Descending taps meet ascending dy, so that a row of them can be one segment.
        k = last_tap(phase.k, phases.row_step, s.kh)
        while k >= 0:
            l = last_tap(phase.l, phases.col_step, s.kw)
            while l >= 0:
                phases.tap_row[used] = (k * s.dh - phase.row) // s.sh
                phases.tap_col[used] = (l * s.dw - phase.col) // s.sw
                phases.rows_before = max(phases.rows_before, phases.tap_row[used])
                phases.cols_before = max(phases.cols_before, phases.tap_col[used])
                used += 1
                l -= phases.col_step
            k -= phases.row_step
        phase.taps = used - phase.first_tap
        phase.first_segment = segment
        if s.groups == 1 and s.dw // gcd(s.dw, s.sw) == 1:
            phase.segments, phase.length = <int>(phase.taps // row_taps), row_taps * s.cog
        else:
            phase.segments, phase.length = <int>phase.taps, s.cog
        for t in range(phase.segments):
            phases.b_off[segment + t] = t * phase.length * width
        segment += phase.segments
        start += s.groups * panels * phase.taps * s.cog * width


cdef void pack_phase(const floating* w, floating* packed, const Geometry* s, const Phases* phases,
                     const Phase* phase) noexcept nogil:
    """Pack a group's weights of a phase as [panel][tap][output channel][input channel]."""
    cdef Py_ssize_t width = panel_width(sizeof(floating)), p, first, k, l
    for p in range(ceil_div(s.cig, width)):
        first = p * width
        k = last_tap(phase.k, phases.row_step, s.kh)
        while k >= 0:
            l = last_tap(phase.l, phases.col_step, s.kw)
            while l >= 0:
                pack_panel(w + ((k * s.kw + l) * s.cig + first) * s.co, packed, s.cog, 1, s.co,
                           s.cig - first)
                packed += s.cog * width
                l -= phases.col_step
            k -= phases.row_step


# ---------------------------------------------------------------------------------- gradients

cdef void clear_rows(floating* dx, const Geometry* s, Py_ssize_t image, Py_ssize_t first,
                     Py_ssize_t stop) noexcept nogil:
    """Clear the rows of an image's gradient that belong to rows first .. stop of the phases."""
    cdef Py_ssize_t i = min(max(first * s.sh - s.top, 0), s.h)
    cdef Py_ssize_t j = min(max(stop * s.sh - s.top, 0), s.h)
    memset(dx + (image * s.h + i) * s.w * s.c, 0, (j - i) * s.w * s.c * sizeof(floating))


cdef void gradient_band(const floating* dy, const floating* packed, floating* dx, Buffers buffers,
                        const Phases* phases, const Geometry* s, Py_ssize_t image,
                        Py_ssize_t first, Py_ssize_t stop) noexcept nogil:
    """Compute the gradients of rows first .. stop of each phase: of the input pixels
    (q sh + row - top, r sw + col - left) for first <= q < stop and all r."""
    cdef Region region
    cdef const floating* base
    cdef const floating* following = next_rows(dy, image, stop, s.oh, s.ow * s.co)
    cdef const floating** pixels = <const floating**>buffers.rows
    cdef floating** outs = <floating**>buffers.outs
    cdef Py_ssize_t* a_off = buffers.offsets
    cdef const Phase* phase
    cdef Prefetch prefetch
    cdef Py_ssize_t f, group, q, r, i, j, count, t, k, rows = stop - first
    cdef Py_ssize_t cols = phases.col_stop - phases.col_first
    cdef Py_ssize_t width = panel_width(sizeof(floating)), panels = ceil_div(s.cig, width)
    region.row, region.rows = first - phases.rows_before, rows + phases.rows_before
    region.col = phases.col_first - phases.cols_before
    region.cols = cols + phases.cols_before
    base = read_region(dy + image * s.oh * s.ow * s.co, <floating*>buffers.images, s.oh, s.ow,
                       s.co, &region)
    plan_prefetch(&prefetch, s.kh * s.kw * s.co * panels * row_blocks(rows * cols), following,
                  min(rows, s.oh) * s.ow * s.co * sizeof(floating), following, 0, following, 0)
    if not phases.cover:
        clear_rows(dx, s, image, first, stop)
    for f in range(phases.count):
        phase = phases.phase + f
        count = 0
        for q in range(first, stop):
            i = q * s.sh + phase.row - s.top
            if i < 0 or i >= s.h:
                continue
            for r in range(phases.col_first, phases.col_stop):
                j = r * s.sw + phase.col - s.left
                if 0 <= j < s.w:
                    pixels[count] = base + ((q - first) * region.pitch + r - phases.col_first) \
                        * s.co
                    outs[count] = dx + ((image * s.h + i) * s.w + j) * s.c
                    count += 1
        if count == 0:
            continue
        for group in range(s.groups):
            for k in range(phase.segments):
                # A segment of several taps starts at the first of them.
                t = phase.first_tap + k * (phase.taps // phase.segments)
                a_off[k] = ((phases.rows_before - phases.tap_row[t]) * region.pitch
                            + phases.cols_before - phases.tap_col[t]) * s.co + group * s.cog
            multiply_panels(pixels, count,
                            packed + phase.packed + group * panels * phase.taps * s.cog * width,
                            phase.taps * s.cog * width, phase.segments, a_off,
                            phases.b_off + phase.first_segment, phase.length, 1, width, outs,
                            group * s.cig, s.cig, False, &prefetch)


cdef int input_gradient(const floating* dy, const floating* w, floating* dx, const Geometry* s,
                        int threads) except -1:
    """Compute the gradient, a band of rows of all phases of an image at a time."""
    cdef Phases phases
    count_phases(&phases, s)
    cdef Py_ssize_t width = panel_width(sizeof(floating)), panels = ceil_div(s.cig, width)
    cdef Py_ssize_t taps = s.kh * s.kw, f, group
    cdef cnp.ndarray packed_array = workspace(product(s.groups * panels, taps * s.cog * width,
                                                      sizeof(floating)))
    cdef cnp.ndarray table = workspace(3 * taps * sizeof(Py_ssize_t)
                                       + phases.count * sizeof(Phase))
    cdef floating* packed = <floating*>packed_array.data
    cdef const Phase* phase
    phases.tap_row = <Py_ssize_t*>table.data
    phases.tap_col = phases.tap_row + taps
    phases.b_off = phases.tap_col + taps
    phases.phase = <Phase*>(phases.b_off + taps)
    with nogil:
        list_taps(&phases, s, width)
        for f in range(phases.count):
            phase = phases.phase + f
            for group in range(s.groups):
                pack_phase(w + group * s.cog, packed + phase.packed
                           + group * panels * phase.taps * s.cog * width, s, &phases, phase)
    cdef Py_ssize_t rows = phases.row_stop - phases.row_first
    cdef Py_ssize_t cols = phases.col_stop - phases.col_first
    cdef Py_ssize_t row_bytes = product(cols + phases.cols_before, s.co, sizeof(floating))
    cdef Py_ssize_t band = band_rows(rows, row_bytes, 1, s.n), bands = ceil_div(rows, band)
    cdef BufferSizes sizes = [aligned(product(band + phases.rows_before, row_bytes)), 0,
                              product(band, cols), taps]
    cdef Py_ssize_t per_thread = buffer_bytes(&sizes)
    cdef cnp.ndarray buffers = workspace(product(threads, per_thread))
    cdef char* memory = buffers.data
    cdef Py_ssize_t task, tasks = s.n * bands, first = 0, stop, row
    cdef Py_ssize_t at_once = pieces_at_once(tasks, band_work(s, tasks, sizes.images_bytes),
                                             threads)
    while first < tasks:
        stop = min(tasks, first + at_once)
        for task in prange(first, stop, nogil=True, num_threads=threads, schedule='static'):
            row = phases.row_first + task % bands * band
            gradient_band(dy, packed, dx, buffers_at(memory + threadid() * per_thread, &sizes),
                          &phases, s, task // bands, row, min(row + band, phases.row_stop))
        first = stop
        PyErr_CheckSignals()
    return 0


def conv_input_grad(dy, w, input_shape, stride=(1, 1), padding=((0, 0), (0, 0)),
                    dilation=(1, 1), groups=1, out=None, int threads=0):
    """Return dx (N, H, W, C_in) for dy (N, OH, OW, C_out) and w (KH, KW, C_in / groups, C_out)."""
    cdef str where = "conv_input_grad"
    cdef cnp.ndarray g = real_array(dy, where, "dy", 4), k = real_array(w, where, "w", 4), dx
    cdef Geometry s
    same_dtype(g, k, where, "dy", "w")
    set_convolution(&s, where, input_shape, k.shape[0], k.shape[1], stride, padding, dilation,
                    groups, -1, k.shape[3], MOST)
    has_input_channels(k, s.c, s.groups, where)
    has_shape(g, s.n, s.oh, s.ow, s.co, where, "dy")
    dx = output_of(out, where, s.n, s.h, s.w, s.c, g, "dy", k, "w")
    if s.n * s.h * s.w == 0:
        return dx
    used_taps = drop_unused_taps(&s)
    if used_taps is not None:
        k = np.ascontiguousarray(k[used_taps])
    cdef int t = threads_for(threads, multiply_adds(&s) / 8)
    if cnp.PyArray_TYPE(g) == cnp.NPY_FLOAT32:
        input_gradient(<const float*>g.data, <const float*>k.data, <float*>dx.data, &s, t)
    else:
        input_gradient(<const double*>g.data, <const double*>k.data, <double*>dx.data, &s, t)
    return dx
