"""Convolution of NHWC images with HWIO weights, and its two gradients: one direct kernel.

No im2col matrix is ever made. A band of image rows is copied into workspace with its zero padding
(it stays in the L2 cache; where no padding is needed the image itself is used), and the
micro-kernel walks over it: an output pixel is a pointer, its taps are segments of memory that
lie together, weights are packed in panels of two vectors of output channels.

The gradient of the input is the same computation on dy. With stride (sh, sw) the input pixels
fall into sh * sw phases, each of which meets its own subset of the taps (perhaps none: then the
gradient is 0), at whole steps of dy:
input row i gets a contribution of output row o through tap k where i + pad = o * stride +
k * dilation.

The gradient of the weights runs the micro-kernel the other way: its rows are taps, its sum runs
over output pixels. Partial sums over fixed chunks of images are added in a fixed order. No
result depends on the number of threads.
"""
cimport numpy as cnp
from cpython.exc cimport PyErr_CheckSignals
from cython cimport floating
from cython.parallel cimport parallel, prange, threadid
from libc.string cimport memcpy, memset

from minidl_ext.runtime.arguments cimport disjoint, has_shape, output, real_array, same_dtype
from minidl_ext.conv.epilogue cimport Epilogue, epilogue_of, apply_epilogue
from minidl_ext.conv.geometry cimport MOST, checked_size, places, set_images, set_pair
from minidl_ext.gemm.micro cimport Prefetch, MR, VECTOR_BYTES, next_prefetch, block_columns, micro, \
    pack_columns, plan_prefetch, row_blocks, sweep
from minidl_ext.runtime.memory cimport product, workspace
from minidl_ext.runtime.threads cimport pieces_at_once, threads_for

import numpy as np

cnp.import_array()

cdef enum:
    BAND_BYTES = 96 * 1024         # of padded input that is worked on at a time
    PARTIAL_BYTES = 8 * 1024 * 1024  # at most, of partial weight gradients
    MIN_TASKS = 16                  # so that a dozen threads have work


cdef struct Geometry:
    Py_ssize_t n, h, w, ci, oh, ow, co, kh, kw, groups, cig, cog
    Py_ssize_t sh, sw, dh, dw
    Py_ssize_t top, left    # of padding; negative: so much is cut off


# Rows and columns of an image, which may reach beyond it.
cdef struct Region:
    Py_ssize_t row0, rows, col0, cols
    bint direct             # within the image and as wide: no copy


# ------------------------------------------------------------------------------ shared pieces

cdef void copy_region(const floating* image, floating* buf, Py_ssize_t h, Py_ssize_t w,
                      Py_ssize_t c, Region* g) noexcept nogil:
    """The region of an image (h, w, c), zeros outside of it."""
    cdef Py_ssize_t i, row, before, inside, after, line = g.cols * c
    before = -g.col0 if g.col0 < 0 else 0
    if before > g.cols:
        before = g.cols
    after = g.col0 + g.cols - w if g.col0 + g.cols > w else 0
    if after > g.cols - before:
        after = g.cols - before
    inside = g.cols - before - after
    for i in range(g.rows):
        row = g.row0 + i
        if row < 0 or row >= h:
            memset(buf + i * line, 0, line * sizeof(floating))
            continue
        memset(buf + i * line, 0, before * c * sizeof(floating))
        memcpy(buf + i * line + before * c, image + (row * w + g.col0 + before) * c,
               inside * c * sizeof(floating))
        memset(buf + i * line + (before + inside) * c, 0, after * c * sizeof(floating))


cdef const floating* fetch(const floating* image, floating* buf, Py_ssize_t h, Py_ssize_t w,
                           Py_ssize_t c, Region* g) noexcept nogil:
    """Where the region can be read."""
    if g.direct:
        return image + g.row0 * w * c
    copy_region(image, buf, h, w, c, g)
    return buf


cdef void need_rows(Prefetch* ahead, const floating* images, Py_ssize_t image, Py_ssize_t row,
                    Py_ssize_t rows, Py_ssize_t h, Py_ssize_t line) noexcept nogil:
    """Rows from `row` on of an image of h rows, or of the one after it."""
    cdef const floating* start = images + (image * h + max(0, min(row, h))) * line
    ahead.start[0], ahead.nbytes[0] = <const char*>start, min(rows, h) * line * sizeof(floating)
    ahead.start[1] = ahead.start[2] = <const char*>start
    ahead.nbytes[1] = ahead.nbytes[2] = 0


cdef Py_ssize_t band_rows(Py_ssize_t rows, Py_ssize_t line, Py_ssize_t step, Py_ssize_t images
                          ) noexcept nogil:
    """Rows of a band: as many as fit in cache, fewer where the images alone are too few tasks.
    `line`: bytes of a row that is read; `step`: such rows from one to the next."""
    cdef Py_ssize_t fit = BAND_BYTES // (min(line, <Py_ssize_t>BAND_BYTES)
                                         * min(step, <Py_ssize_t>BAND_BYTES)), parts
    parts = (MIN_TASKS + images - 1) // images if images < MIN_TASKS else 1
    if (rows + parts - 1) // parts < fit:
        fit = (rows + parts - 1) // parts
    if fit < 1:
        fit = 1
    parts = (rows + fit - 1) // fit
    return (rows + parts - 1) // parts


# ------------------------------------------------------------------------------------ forward

cdef void forward_band(const floating* x, const floating* packed, const Epilogue* end,
                       floating* y, floating* buf, const floating** pixels, floating** outs,
                       Py_ssize_t* a_off, const Py_ssize_t* b_off, Geometry* s, Py_ssize_t image,
                       Py_ssize_t row, Py_ssize_t rows, Py_ssize_t width) noexcept nogil:
    """Output rows row .. row + rows of one image."""
    cdef Region g
    cdef const floating* base
    cdef Py_ssize_t i, j, k, l, group, taps = s.kh * s.kw * s.cig
    cdef Py_ssize_t length, panels = (s.cog + width - 1) // width
    cdef floating* first = y + (image * s.oh + row) * s.ow * s.co
    cdef Prefetch ahead
    cdef int segments
    g.row0, g.rows = row * s.sh - s.top, (rows - 1) * s.sh + (s.kh - 1) * s.dh + 1
    g.col0, g.cols = -s.left, (s.ow - 1) * s.sw + (s.kw - 1) * s.dw + 1
    g.direct = g.row0 >= 0 and g.row0 + g.rows <= s.h and g.col0 == 0 and g.cols <= s.w
    base = fetch(x + image * s.h * s.w * s.ci, buf, s.h, s.w, s.ci, &g)
    if g.direct:
        g.cols = s.w
    for i in range(rows):
        for j in range(s.ow):
            pixels[i * s.ow + j] = base + (i * s.sh * g.cols + j * s.sw) * s.ci
            outs[i * s.ow + j] = first + (i * s.ow + j) * s.co
    need_rows(&ahead, x, image, g.row0 + rows * s.sh, rows * s.sh, s.h, s.w * s.ci)
    plan_prefetch(&ahead, s.groups * panels * row_blocks(rows * s.ow) * taps)
    for group in range(s.groups):
        if s.groups == 1 and s.dw == 1:     # the taps of a kernel row lie together
            segments, length = <int>s.kh, s.kw * s.cig
            for k in range(s.kh):
                a_off[k] = k * s.dh * g.cols * s.ci
        else:
            segments, length = <int>(s.kh * s.kw), s.cig
            for k in range(s.kh):
                for l in range(s.kw):
                    a_off[k * s.kw + l] = (k * s.dh * g.cols + l * s.dw) * s.ci + group * s.cig
        sweep(pixels, outs, rows * s.ow, packed + group * panels * taps * width, segments, a_off,
              b_off, length, taps, group * s.cog, s.cog, width, &ahead)
    apply_epilogue(y, first - y, rows * s.ow, s.co, end)


cdef int forward(const floating* x, const floating* w, const Epilogue* end, floating* y,
                 Geometry* s, int threads) except -1:
    cdef Py_ssize_t width = block_columns(sizeof(floating)), taps = s.kh * s.kw * s.cig
    cdef Py_ssize_t panels = (s.cog + width - 1) // width, i, task, row, rows
    cdef Py_ssize_t line = line_bytes(s, sizeof(floating))
    cdef Py_ssize_t band = band_rows(s.oh, line, s.sh, s.n), bands = (s.oh + band - 1) // band
    cdef Py_ssize_t tasks = s.n * bands, first = 0, after
    cdef Py_ssize_t buf_size = product((band - 1) * s.sh + (s.kh - 1) * s.dh + 1, line)
    cdef Py_ssize_t per_thread = buf_size + 128 + product(2 * band, s.ow, sizeof(void*)) \
        + s.kh * s.kw * sizeof(Py_ssize_t)
    cdef Py_ssize_t length = s.kw * s.cig if s.groups == 1 and s.dw == 1 else s.cig
    cdef cnp.ndarray packed_array = workspace(product(s.groups * panels, taps, width,
                                                    sizeof(floating)))
    cdef cnp.ndarray offsets = workspace(s.kh * s.kw * sizeof(Py_ssize_t))
    cdef cnp.ndarray work
    cdef floating* packed = <floating*>packed_array.data
    cdef Py_ssize_t* b_off = <Py_ssize_t*>offsets.data
    cdef char* mine
    per_thread = (per_thread + 63) // 64 * 64
    work = workspace(product(threads, per_thread))
    cdef char* memory = work.data
    cdef Py_ssize_t at_once = pieces_at_once(tasks, cost(s, tasks, buf_size), threads)
    with nogil:
        for i in range(s.groups):
            pack_columns(w + i * s.cog, packed + i * panels * taps * width, taps, s.co, 1, s.cog,
                         width)
        for i in range(s.kh * s.kw):
            b_off[i] = i * length * width
    while first < tasks:
        after = min(tasks, first + at_once)
        with nogil, parallel(num_threads=threads):
            mine = memory + threadid() * per_thread
            for task in prange(first, after, schedule='static'):
                row = task % bands * band
                rows = s.oh - row if s.oh - row < band else band
                forward_band(x, packed, end, y, <floating*>mine,
                             <const floating**>(mine + (buf_size + 63) // 64 * 64),
                             <floating**>(mine + (buf_size + 63) // 64 * 64
                                          + band * s.ow * sizeof(void*)),
                             <Py_ssize_t*>(mine + (buf_size + 63) // 64 * 64
                                           + 2 * band * s.ow * sizeof(void*)),
                             b_off, s, task // bands, row, rows, width)
        first = after
        PyErr_CheckSignals()
    return 0


cdef Py_ssize_t line_bytes(Geometry* s, size_t itemsize) except -1:
    """Bytes of the columns of a padded row that are read."""
    return product((s.ow - 1) * s.sw + (s.kw - 1) * s.dw + 1, s.ci, itemsize)


cdef double cost(Geometry* s, Py_ssize_t tasks, Py_ssize_t buf_size) noexcept:
    """All the work in multiply-adds, and what it takes to fill the buffers, in about such."""
    return 8 * work(s) + <double>tasks * buf_size / 4


# --------------------------------------------------------------------------- input gradient

# The input pixels whose padded row and column leave the same remainders; they meet the taps
# (k, l), (k, l + col_step), ... and those of every row_step-th row of taps after these.
cdef struct Phase:
    Py_ssize_t a, b             # the remainders
    Py_ssize_t k, l             # the first tap
    Py_ssize_t first_tap, taps  # of the list of taps
    Py_ssize_t packed           # where its weights start
    int segments, first_segment
    Py_ssize_t length


cdef void backward_band(const floating* dy, const floating* packed, floating* dx, floating* buf,
                        const floating** pixels, floating** outs, Py_ssize_t* a_off,
                        const Py_ssize_t* b_off, const Phase* phases, Py_ssize_t phase_count,
                        bint covered, const Py_ssize_t* tap_row, const Py_ssize_t* tap_col,
                        Geometry* s,
                        Py_ssize_t image, Py_ssize_t q0, Py_ssize_t q1, Py_ssize_t r0,
                        Py_ssize_t r1, Py_ssize_t reach_h, Py_ssize_t reach_w,
                        Py_ssize_t width) noexcept nogil:
    """Input pixels (q sh + a - top, r sw + b - left) for q0 <= q < q1, r0 <= r < r1."""
    cdef Region g
    cdef const floating* base
    cdef const Phase* phase
    cdef Prefetch ahead
    cdef Py_ssize_t f, group, q, r, i, j, count, t, k, panels = (s.cig + width - 1) // width
    g.row0, g.rows = q0 - reach_h, q1 - q0 + reach_h
    g.col0, g.cols = r0 - reach_w, r1 - r0 + reach_w
    g.direct = g.row0 >= 0 and g.row0 + g.rows <= s.oh and g.col0 == 0 and g.cols <= s.ow
    base = fetch(dy + image * s.oh * s.ow * s.co, buf, s.oh, s.ow, s.co, &g)
    if g.direct:
        g.cols = s.ow
    need_rows(&ahead, dy, image, q1, q1 - q0, s.oh, s.ow * s.co)
    plan_prefetch(&ahead, s.kh * s.kw * s.co * panels * row_blocks((q1 - q0) * (r1 - r0)))
    if not covered:     # no phase writes to the rest
        i = min(max(q0 * s.sh - s.top, 0), s.h)
        j = min(max(q1 * s.sh - s.top, 0), s.h)
        memset(dx + (image * s.h + i) * s.w * s.ci, 0, (j - i) * s.w * s.ci * sizeof(floating))
    for f in range(phase_count):
        phase = phases + f
        count = 0
        for q in range(q0, q1):
            i = q * s.sh + phase.a - s.top
            if i < 0 or i >= s.h:
                continue
            for r in range(r0, r1):
                j = r * s.sw + phase.b - s.left
                if 0 <= j < s.w:
                    pixels[count] = base + ((q - q0) * g.cols + r - r0) * s.co
                    outs[count] = dx + ((image * s.h + i) * s.w + j) * s.ci
                    count += 1
        if count == 0:
            continue
        for group in range(s.groups):
            for k in range(phase.segments):
                # segments of merged taps start at their first tap
                t = phase.first_tap + k * (phase.taps // phase.segments)
                a_off[k] = ((reach_h - tap_row[t]) * g.cols + reach_w - tap_col[t]) * s.co \
                    + group * s.cog
            sweep(pixels, outs, count,
                  packed + phase.packed + group * panels * phase.taps * s.cog * width,
                  phase.segments, a_off, b_off + phase.first_segment, phase.length,
                  phase.taps * s.cog, group * s.cig, s.cig, width, &ahead)


cdef Py_ssize_t gcd(Py_ssize_t a, Py_ssize_t b) noexcept nogil:
    while b:
        a, b = b, a % b
    return a


cdef int backward(const floating* dy, const floating* w, floating* dx, Geometry* s, int threads
                  ) except -1:
    cdef Py_ssize_t width = block_columns(sizeof(floating)), panels = (s.cig + width - 1) // width
    cdef Py_ssize_t taps = s.kh * s.kw, weights = taps * s.cog * width
    # From a tap to the next that leaves the same remainder; there are as many remainders, or taps.
    cdef Py_ssize_t row_step = s.sh // gcd(s.dh, s.sh), col_step = s.sw // gcd(s.dw, s.sw)
    cdef Py_ssize_t phase_rows = min(s.kh, row_step), phase_cols = min(s.kw, col_step)
    cdef Py_ssize_t phase_count = phase_rows * phase_cols
    cdef bint covered = phase_rows == s.sh and phase_cols == s.sw
    cdef cnp.ndarray packed_array = workspace(product(s.groups * panels, weights, sizeof(floating)))
    cdef cnp.ndarray table = workspace(3 * taps * sizeof(Py_ssize_t) + phase_count * sizeof(Phase))
    cdef floating* packed = <floating*>packed_array.data
    cdef Py_ssize_t* tap_row = <Py_ssize_t*>table.data
    cdef Py_ssize_t* tap_col = tap_row + taps
    cdef Py_ssize_t* b_off = tap_col + taps
    cdef Phase* phases = <Phase*>(b_off + taps)
    cdef Phase* phase
    cdef Py_ssize_t f, k, l, t, group, row_taps, used = 0, start = 0
    cdef int segment = 0
    cdef Py_ssize_t reach_h = 0, reach_w = 0, q_first, q_last, r_first, r_last
    with nogil:
        for f in range(phase_count):
            phase = phases + f
            phase.k, phase.l, phase.first_tap, phase.packed = \
                f // phase_cols, f % phase_cols, used, start
            phase.a, phase.b = phase.k * s.dh % s.sh, phase.l * s.dw % s.sw
            row_taps = (s.kw - 1 - phase.l) // col_step + 1
            # Descending taps meet ascending dy, so that a row of them can be one segment.
            k = last_tap(phase.k, row_step, s.kh)
            while k >= 0:
                l = last_tap(phase.l, col_step, s.kw)
                while l >= 0:
                    tap_row[used] = (k * s.dh - phase.a) // s.sh
                    tap_col[used] = (l * s.dw - phase.b) // s.sw
                    reach_h = max(reach_h, tap_row[used])
                    reach_w = max(reach_w, tap_col[used])
                    used += 1
                    l -= col_step
                k -= row_step
            phase.taps = used - phase.first_tap
            phase.first_segment = segment
            if s.groups == 1 and s.dw // gcd(s.dw, s.sw) == 1:
                phase.segments, phase.length = <int>(phase.taps // row_taps), row_taps * s.cog
            else:
                phase.segments, phase.length = <int>phase.taps, s.cog
            for t in range(phase.segments):
                b_off[segment + t] = t * phase.length * width
            segment += phase.segments
            for group in range(s.groups):
                pack_taps(w + group * s.cog, packed + start
                          + group * panels * phase.taps * s.cog * width, s, phase, row_step,
                          col_step, width)
            start += s.groups * panels * phase.taps * s.cog * width
    q_first, q_last = floordiv(s.top, s.sh), floordiv(s.h - 1 + s.top, s.sh)
    r_first, r_last = floordiv(s.left, s.sw), floordiv(s.w - 1 + s.left, s.sw)
    cdef Py_ssize_t q_count = q_last + 1 - q_first, r_count = r_last + 1 - r_first
    cdef Py_ssize_t line = product(r_count + reach_w, s.co, sizeof(floating))
    cdef Py_ssize_t band = band_rows(q_count, line, 1, s.n), bands = (q_count + band - 1) // band
    cdef Py_ssize_t buf_size = (product(band + reach_h, line) + 63) // 64 * 64
    cdef Py_ssize_t pixels = product(band, r_count)
    cdef Py_ssize_t per_thread = (buf_size + 2 * pixels * sizeof(void*)
                                  + taps * sizeof(Py_ssize_t) + 63) // 64 * 64
    cdef cnp.ndarray work = workspace(product(threads, per_thread))
    cdef char* memory = work.data
    cdef char* mine
    cdef Py_ssize_t task, tasks = s.n * bands, first = 0, after, q0, q1
    cdef Py_ssize_t at_once = pieces_at_once(tasks, cost(s, tasks, buf_size), threads)
    while first < tasks:
        after = min(tasks, first + at_once)
        with nogil, parallel(num_threads=threads):
            mine = memory + threadid() * per_thread
            for task in prange(first, after, schedule='static'):
                q0 = q_first + task % bands * band
                q1 = q0 + band if q0 + band < q_last + 1 else q_last + 1
                backward_band(dy, packed, dx, <floating*>mine,
                              <const floating**>(mine + buf_size),
                              <floating**>(mine + buf_size + pixels * sizeof(void*)),
                              <Py_ssize_t*>(mine + buf_size + 2 * pixels * sizeof(void*)), b_off,
                              phases, phase_count, covered, tap_row, tap_col, s, task // bands,
                              q0, q1, r_first, r_last + 1, reach_h, reach_w, width)
        first = after
        PyErr_CheckSignals()
    return 0


cdef Py_ssize_t last_tap(Py_ssize_t first, Py_ssize_t step, Py_ssize_t taps) noexcept nogil:
    """The last of the taps first, first + step, ... of so many."""
    return first + (taps - 1 - first) // step * step


cdef void pack_taps(const floating* w, floating* packed, Geometry* s, const Phase* phase,
                    Py_ssize_t row_step, Py_ssize_t col_step, Py_ssize_t width) noexcept nogil:
    """The weights of a phase as [panel of input channels][tap][output channel][width]."""
    cdef Py_ssize_t p, k, l, o, j, first, count
    cdef const floating* tap
    for p in range((s.cig + width - 1) // width):
        first = p * width
        count = s.cig - first if s.cig - first < width else width
        k = last_tap(phase.k, row_step, s.kh)
        while k >= 0:
            l = last_tap(phase.l, col_step, s.kw)
            while l >= 0:
                tap = w + ((k * s.kw + l) * s.cig + first) * s.co
                for o in range(s.cog):
                    for j in range(count):
                        packed[o * width + j] = tap[j * s.co + o]
                    for j in range(count, width):
                        packed[o * width + j] = 0
                packed += s.cog * width
                l -= col_step
            k -= row_step


# -------------------------------------------------------------------------- weight gradient

cdef void weight_band(const floating* x, const floating* dy, floating* partial, floating* buf,
                      floating* dy_buf, const floating** rows_of, floating** outs,
                      Py_ssize_t* offsets, Geometry* s, Py_ssize_t group, Py_ssize_t image,
                      Py_ssize_t row, Py_ssize_t rows, Py_ssize_t col, Py_ssize_t cols,
                      Py_ssize_t padded, Py_ssize_t width) noexcept nogil:
    """Add output rows row .. row + rows of one image to columns col .. col + cols of a group.

    Rows of the partial sums are `padded` apart; the last part of a group may be narrower.
    """
    cdef Region g
    cdef const floating* base
    cdef const floating* columns = dy + (image * s.oh + row) * s.ow * s.co + group * s.cog + col
    cdef Py_ssize_t i, k, l, c, taps = s.kh * s.kw * s.cig, dy_step = s.co, p, first, after
    cdef Py_ssize_t* a_off = offsets
    cdef Py_ssize_t* b_off = offsets + rows
    cdef Py_ssize_t blocks = (taps + MR - 1) // MR, block
    cdef Py_ssize_t vector = width // 2, used = (cols + vector - 1) // vector * vector
    cdef Py_ssize_t panels = (used + width - 1) // width
    cdef Prefetch ahead
    g.row0, g.rows = row * s.sh - s.top, (rows - 1) * s.sh + (s.kh - 1) * s.dh + 1
    g.col0, g.cols = -s.left, (s.ow - 1) * s.sw + (s.kw - 1) * s.dw + 1
    g.direct = g.row0 >= 0 and g.row0 + g.rows <= s.h and g.col0 == 0 and g.cols <= s.w
    base = fetch(x + image * s.h * s.w * s.ci, buf, s.h, s.w, s.ci, &g)
    if g.direct:
        g.cols = s.w
    if dy_buf != NULL:      # so that whole vectors can be read
        for i in range(rows * s.ow):
            memcpy(dy_buf + i * padded, columns + i * s.co, cols * sizeof(floating))
        columns, dy_step = dy_buf, padded
    for i in range(rows):
        a_off[i] = i * s.sh * g.cols * s.ci
        b_off[i] = i * s.ow * dy_step
    for k in range(s.kh):
        for l in range(s.kw):
            for c in range(s.cig):
                i = (k * s.kw + l) * s.cig + c
                rows_of[i] = base + (k * s.dh * g.cols + l * s.dw) * s.ci + group * s.cig + c
                outs[i] = partial + i * padded
    need_rows(&ahead, x, image, g.row0 + rows * s.sh, rows * s.sh, s.h, s.w * s.ci)
    ahead.start[1] = <const char*>(dy + (image * s.oh + row + rows) * s.ow * s.co)
    ahead.nbytes[1] = rows * s.ow * s.co * sizeof(floating)
    plan_prefetch(&ahead, panels * blocks * rows * s.ow)
    for p in range(panels):
        first = 0
        for block in range(blocks):
            after = taps * (block + 1) // blocks
            micro(<int>(after - first), rows_of + first, columns + p * width, <int>rows, a_off,
                  b_off, s.ow, s.sw * s.ci, dy_step, outs + first, p * width, used - p * width, 1,
                  next_prefetch(&ahead, rows * s.ow), ahead.step)
            first = after


cdef int weight_gradient(const floating* x, const floating* dy, floating* dw, Geometry* s,
                         int threads) except -1:
    cdef Py_ssize_t vector = VECTOR_BYTES // sizeof(floating), width = 2 * vector
    cdef Py_ssize_t taps = s.kh * s.kw * s.cig, i, j, task, chunk, group, image, row, rows, part
    # Each task is a chunk of images for a block of columns of a group; all fixed by the shape.
    cdef Py_ssize_t chunks = PARTIAL_BYTES // (taps * s.co * <Py_ssize_t>sizeof(floating) + 1)
    chunks = max(1, min(chunks, min(s.n, 2 * MIN_TASKS)))
    cdef Py_ssize_t parts = (MIN_TASKS + chunks * s.groups - 1) // (chunks * s.groups)
    cdef Py_ssize_t cols = (s.cog + parts - 1) // parts
    cols = min((cols + width - 1) // width * width, s.cog)
    parts = (s.cog + cols - 1) // cols
    cdef Py_ssize_t padded = (cols + vector - 1) // vector * vector
    cdef bint copy_dy = s.cog % vector != 0
    cdef Py_ssize_t line = line_bytes(s, sizeof(floating))
    cdef Py_ssize_t band = band_rows(s.oh, line, s.sh, MIN_TASKS)
    cdef Py_ssize_t buf_size = (product((band - 1) * s.sh + (s.kh - 1) * s.dh + 1, line)
                                + 63) // 64 * 64
    cdef Py_ssize_t dy_size = (product(band, s.ow, padded, sizeof(floating)) + 63) // 64 * 64
    cdef Py_ssize_t per_thread = buf_size + dy_size + 2 * taps * sizeof(void*) \
        + 2 * band * sizeof(Py_ssize_t)
    per_thread = (per_thread + 63) // 64 * 64
    cdef cnp.ndarray work = workspace(product(threads, per_thread))
    cdef Py_ssize_t blocks = s.groups * parts, tasks = chunks * blocks, first = 0, last
    cdef cnp.ndarray partial_array = workspace(product(tasks, taps, padded, sizeof(floating)))
    cdef floating* partials = <floating*>partial_array.data
    cdef floating* partial
    cdef floating* other
    cdef char* memory = work.data
    cdef char* mine
    cdef Py_ssize_t at_once = pieces_at_once(
        tasks, cost(s, s.n * blocks * ((s.oh + band - 1) // band), buf_size), threads)
    while first < tasks:
        last = min(tasks, first + at_once)
        with nogil, parallel(num_threads=threads):
            mine = memory + threadid() * per_thread
            memset(mine + buf_size, 0, dy_size)         # its padding columns are read
            for task in prange(first, last, schedule='static'):
                partial = partials + task * taps * padded
                memset(partial, 0, taps * padded * sizeof(floating))
                chunk, group, part = task // blocks, task // parts % s.groups, task % parts
                for image in range(s.n * chunk // chunks, s.n * (chunk + 1) // chunks):
                    row = 0
                    while row < s.oh:
                        rows = s.oh - row if s.oh - row < band else band
                        weight_band(x, dy, partial, <floating*>mine,
                                    <floating*>(mine + buf_size) if copy_dy else NULL,
                                    <const floating**>(mine + buf_size + dy_size),
                                    <floating**>(mine + buf_size + dy_size
                                                 + taps * sizeof(void*)),
                                    <Py_ssize_t*>(mine + buf_size + dy_size
                                                  + 2 * taps * sizeof(void*)),
                                    s, group, image, row, rows, part * cols,
                                    cols if s.cog - part * cols > cols else s.cog - part * cols,
                                    padded, width)
                        row = row + rows
        first = last
        PyErr_CheckSignals()
    with nogil:
        for task in prange(blocks * taps, num_threads=threads, schedule='static'):
            i = task % taps
            part = task // taps
            merge_rows(partials + (part * taps + i) * padded, dw + i * s.co
                       + part // parts * s.cog + part % parts * cols, chunks,
                       blocks * taps * padded,
                       min(cols, s.cog - part % parts * cols))
    return 0


cdef void merge_rows(floating* partial, floating* out, Py_ssize_t chunks, Py_ssize_t stride,
                     Py_ssize_t count) noexcept nogil:
    """The sum of the chunks' partial rows, in the order of the chunks."""
    cdef Py_ssize_t q, j
    for q in range(1, chunks):
        for j in range(count):
            partial[j] += partial[q * stride + j]
    for j in range(count):
        out[j] = partial[j]


# ----------------------------------------------------------------------------- entry points

cdef int set_geometry(Geometry* s, str where, x_shape, kh, kw, Py_ssize_t co, stride, padding,
                      dilation, groups) except -1:
    """Fill in and check everything but the weights' own shape."""
    cdef Py_ssize_t bottom, right
    rows, cols = padding
    set_images(x_shape, where, &s.n, &s.h, &s.w, &s.ci)
    s.kh = checked_size(kh, where, "the height of kernels", 1)
    s.kw = checked_size(kw, where, "the width of kernels", 1, MOST // s.kh)
    s.co = co
    s.groups = checked_size(groups, where, "groups", 1)
    set_pair(stride, where, "stride", 1, &s.sh, &s.sw)
    set_pair(dilation, where, "dilation", 1, &s.dh, &s.dw)
    set_pair(rows, where, "padding", 0, &s.top, &bottom)
    set_pair(cols, where, "padding", 0, &s.left, &right)
    if s.ci < 1 or co < 1:
        raise ValueError(f"{where}: there must be channels, got {s.ci} in and {co} out")
    if s.ci % s.groups or co % s.groups:
        raise ValueError(f"{where}: {s.ci} input and {co} output channels do not divide into "
                         f"{groups} groups")
    s.cig, s.cog = s.ci // s.groups, co // s.groups
    s.oh = places(s.h + s.top + bottom, s.dh * (s.kh - 1) + 1, s.sh, where)
    s.ow = places(s.w + s.left + right, s.dw * (s.kw - 1) + 1, s.sw, where)
    return 0


cdef Py_ssize_t floordiv(Py_ssize_t a, Py_ssize_t b) noexcept nogil:
    return a // b if a >= 0 else -((-a + b - 1) // b)


cdef object leave_out_taps(Geometry* s):
    """Leave out the rows and columns of taps that only ever meet padding, but not all: what is
    copied of an image then has its size and that of the outputs, whatever padding and dilation
    are. Returns the part of the weights that is left, or None for all."""
    cdef Py_ssize_t row = first_used(s.top, s.kh, s.dh, (s.oh - 1) * s.sh)
    cdef Py_ssize_t col = first_used(s.left, s.kw, s.dw, (s.ow - 1) * s.sw)
    cdef Py_ssize_t row_end = max(row, min(s.kh - 1, floordiv(s.h - 1 + s.top, s.dh))) + 1
    cdef Py_ssize_t col_end = max(col, min(s.kw - 1, floordiv(s.w - 1 + s.left, s.dw))) + 1
    if row_end - row == s.kh and col_end - col == s.kw:
        return None
    s.top -= row * s.dh
    s.left -= col * s.dw
    s.kh, s.kw = row_end - row, col_end - col
    return slice(row, row_end), slice(col, col_end)


cdef Py_ssize_t first_used(Py_ssize_t before, Py_ssize_t taps, Py_ssize_t dilation,
                           Py_ssize_t way) noexcept nogil:
    """The first tap of an axis that is not in the padding before the image even at the last
    output, which is `way` from the first; the last tap if all are."""
    return max(0, min(-floordiv(way - before, dilation), taps - 1))


cdef double work(Geometry* s) noexcept:
    return <double>s.n * s.oh * s.ow * s.co * s.kh * s.kw * s.cig / 8


cdef int check_weights(cnp.ndarray w, Geometry* s, str where) except -1:
    if w.shape[2] != s.cig:
        raise ValueError(f"{where}: w {np.shape(w)} must have {s.cig} input channels "
                         f"({s.ci} in {s.groups} groups)")
    return 0


def conv(x, w, bias=None, stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1),
         groups=1, residual=None, bint relu_out=False, out=None, int threads=0):
    """y (N, OH, OW, C_out) of x (N, H, W, C_in): cross-correlation, as networks mean it; plus
    `bias` and `residual`, then ReLU if `relu_out`."""
    cdef cnp.ndarray a = real_array(x, "conv", "x", 4), k = real_array(w, "conv", "w", 4), y
    cdef Geometry s
    cdef Epilogue end
    cdef cnp.npy_intp dims[4]
    same_dtype(a, k, "conv", "x", "w")
    set_geometry(&s, "conv", np.shape(x), k.shape[0], k.shape[1], k.shape[3], stride, padding,
                 dilation, groups)
    check_weights(k, &s, "conv")
    dims[0], dims[1], dims[2], dims[3] = s.n, s.oh, s.ow, s.co
    y = output(out, "conv", 4, dims, cnp.PyArray_TYPE(a))
    disjoint(y, a, "conv", "x")
    disjoint(y, k, "conv", "w")
    end = epilogue_of(bias, residual, relu_out, y, "conv")
    if s.n == 0:
        return y
    part = leave_out_taps(&s)
    if part is not None:
        k = np.ascontiguousarray(k[part])
    if cnp.PyArray_TYPE(a) == cnp.NPY_FLOAT32:
        forward(<const float*>a.data, <const float*>k.data, &end, <float*>y.data, &s,
                threads_for(threads, work(&s)))
    else:
        forward(<const double*>a.data, <const double*>k.data, &end, <double*>y.data, &s,
                threads_for(threads, work(&s)))
    return y


def conv_input_grad(dy, w, input_shape, stride=(1, 1), padding=((0, 0), (0, 0)),
                    dilation=(1, 1), groups=1, out=None, int threads=0):
    """dx (N, H, W, C_in) from dy (N, OH, OW, C_out)."""
    cdef cnp.ndarray g = real_array(dy, "conv_input_grad", "dy", 4), dx
    cdef cnp.ndarray k = real_array(w, "conv_input_grad", "w", 4)
    cdef Geometry s
    cdef cnp.npy_intp dims[4]
    same_dtype(g, k, "conv_input_grad", "dy", "w")
    set_geometry(&s, "conv_input_grad", input_shape, k.shape[0], k.shape[1], k.shape[3],
                 stride, padding, dilation, groups)
    check_weights(k, &s, "conv_input_grad")
    has_shape(g, s.n, s.oh, s.ow, s.co, "conv_input_grad", "dy")
    dims[0], dims[1], dims[2], dims[3] = s.n, s.h, s.w, s.ci
    dx = output(out, "conv_input_grad", 4, dims, cnp.PyArray_TYPE(g))
    disjoint(dx, g, "conv_input_grad", "dy")
    disjoint(dx, k, "conv_input_grad", "w")
    if s.n * s.h * s.w == 0:
        return dx
    part = leave_out_taps(&s)
    if part is not None:
        k = np.ascontiguousarray(k[part])
    if cnp.PyArray_TYPE(g) == cnp.NPY_FLOAT32:
        backward(<const float*>g.data, <const float*>k.data, <float*>dx.data, &s,
                 threads_for(threads, work(&s)))
    else:
        backward(<const double*>g.data, <const double*>k.data, <double*>dx.data, &s,
                 threads_for(threads, work(&s)))
    return dx


def conv_weight_grad(x, dy, kernel_shape, stride=(1, 1), padding=((0, 0), (0, 0)),
                     dilation=(1, 1), groups=1, out=None, int threads=0):
    """dw (KH, KW, C_in / groups, C_out) from x (N, H, W, C_in) and dy (N, OH, OW, C_out)."""
    cdef cnp.ndarray a = real_array(x, "conv_weight_grad", "x", 4), dw, used
    cdef cnp.ndarray g = real_array(dy, "conv_weight_grad", "dy", 4)
    cdef Geometry s
    cdef cnp.npy_intp dims[4]
    same_dtype(a, g, "conv_weight_grad", "x", "dy")
    kh, kw = kernel_shape       # not by index: that is unchecked in a kernel
    set_geometry(&s, "conv_weight_grad", np.shape(x), kh, kw, g.shape[3], stride, padding,
                 dilation, groups)
    has_shape(g, s.n, s.oh, s.ow, s.co, "conv_weight_grad", "dy")
    dims[0], dims[1], dims[2], dims[3] = s.kh, s.kw, s.cig, s.co
    dw = output(out, "conv_weight_grad", 4, dims, cnp.PyArray_TYPE(a))
    disjoint(dw, a, "conv_weight_grad", "x")
    disjoint(dw, g, "conv_weight_grad", "dy")
    if s.n == 0:
        dw[...] = 0
        return dw
    used = dw
    part = leave_out_taps(&s)
    if part is not None:
        dw[...] = 0
        used = np.empty((s.kh, s.kw, s.cig, s.co), dw.dtype)
    if cnp.PyArray_TYPE(a) == cnp.NPY_FLOAT32:
        weight_gradient(<const float*>a.data, <const float*>g.data, <float*>used.data, &s,
                        threads_for(threads, work(&s)))
    else:
        weight_gradient(<const double*>a.data, <const double*>g.data, <double*>used.data, &s,
                        threads_for(threads, work(&s)))
    if part is not None:
        dw[part] = used
    return dw
