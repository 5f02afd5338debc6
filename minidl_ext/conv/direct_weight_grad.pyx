"""The gradient of a direct convolution by its weights, for either float type.

The micro-kernel runs the other way than in direct_forward.pyx: its rows are the taps of the
kernel, a segment is a row of output pixels, over which it sums, and its columns are the channels of
dy. Each chunk of images has sums of its own, which are added in the order of the chunks: no result
depends on the number of threads.
"""
cimport numpy as cnp
from cpython.exc cimport PyErr_CheckSignals
from cython cimport floating
from cython.parallel cimport parallel, prange, threadid
from libc.string cimport memcpy, memset

from minidl_ext.conv.chunks cimport add_chunks
from minidl_ext.conv.direct_bands cimport MIN_TASKS, Buffers, BufferSizes, Region, band_rows, \
    band_work, buffer_bytes, buffers_at, input_band_bytes, input_row_bytes, next_rows, read_inputs
from minidl_ext.gemm.micro cimport Prefetch, VECTOR_BYTES, multiply_panels, panel_width, \
    plan_prefetch, row_blocks
from minidl_ext.runtime.arguments cimport has_shape, output_of, real_array, same_dtype
from minidl_ext.runtime.geometry cimport MOST, Geometry, drop_unused_taps, multiply_adds, \
    set_convolution, several
from minidl_ext.runtime.memory cimport aligned, ceil_div, product, workspace
from minidl_ext.runtime.threads cimport pieces_at_once, threads_for

import numpy as np

cnp.import_array()

cdef enum:
    PARTIAL_BYTES = 8 * 1024 * 1024  # of the sums of all chunks, at most


# How the work is divided: chunks of images, and each group's channels of dy into parts. It follows
# from the shape alone, as the order of all sums does.
cdef struct Division:
    Py_ssize_t chunks, parts        # chunks of images, parts of a group's channels
    Py_ssize_t cols, padded         # channels of a part, and these rounded up to vectors
    Py_ssize_t band                 # output rows of a band


cdef Division divide(const Geometry* s, Py_ssize_t itemsize) except *:
    cdef Division d
    cdef Py_ssize_t taps = s.kh * s.kw * s.cig, vector = VECTOR_BYTES // itemsize
    cdef Py_ssize_t fit = PARTIAL_BYTES // (taps * s.co * itemsize + 1)
    d.chunks = max(1, min(fit, min(s.n, 2 * MIN_TASKS)))
    d.parts = ceil_div(MIN_TASKS, d.chunks * s.groups)
    d.cols = min(ceil_div(ceil_div(s.cog, d.parts), 2 * vector) * 2 * vector, s.cog)
    d.parts = ceil_div(s.cog, d.cols)
    d.padded = ceil_div(d.cols, vector) * vector
    d.band = band_rows(s.oh, input_row_bytes(s, itemsize), s.sh, MIN_TASKS)
    return d


cdef void weight_band(const floating* x, const floating* dy, floating* partial, Buffers buffers,
                      bint copies_dy, const Geometry* s, Py_ssize_t group, Py_ssize_t image,
                      Py_ssize_t row, Py_ssize_t rows, Py_ssize_t col, Py_ssize_t cols,
                      Py_ssize_t padded) noexcept nogil:
    """Add what output rows row .. row + rows of one image contribute to the gradients of columns
    col .. col + cols of a group. Rows of the partial sums are `padded` apart. With `copies_dy`
    columns of dy are read from a copy."""
    cdef Region region
    cdef const floating* base = read_inputs(x, <floating*>buffers.images, s, image, row, rows,
                                            &region)
    cdef const floating* following = next_rows(x, image, region.row + rows * s.sh, s.h, s.w * s.c)
    cdef const floating* columns = dy + (image * s.oh + row) * s.ow * s.co + group * s.cog + col
    cdef Py_ssize_t i, k, l, c, taps = s.kh * s.kw * s.cig, dy_step = s.co
    cdef floating* copied = <floating*>buffers.dy
    cdef const floating** taps_at = <const floating**>buffers.rows
    cdef floating** outs = <floating**>buffers.outs
    cdef Py_ssize_t* a_off = buffers.offsets
    cdef Py_ssize_t* b_off = buffers.offsets + rows
    cdef Py_ssize_t width = panel_width(sizeof(floating)), vector = width // 2
    cdef Py_ssize_t used = ceil_div(cols, vector) * vector
    cdef Prefetch prefetch
    if copies_dy:               # so that complete vectors can be read
        for i in range(rows * s.ow):
            memcpy(copied + i * padded, columns + i * s.co, cols * sizeof(floating))
        columns, dy_step = copied, padded
    for i in range(rows):
        a_off[i] = i * s.sh * region.pitch * s.c
        b_off[i] = i * s.ow * dy_step
    for k in range(s.kh):
        for l in range(s.kw):
            for c in range(s.cig):
                i = (k * s.kw + l) * s.cig + c
                taps_at[i] = base + (k * s.dh * region.pitch + l * s.dw) * s.c + group * s.cig + c
                outs[i] = partial + i * padded
    plan_prefetch(&prefetch, ceil_div(used, width) * row_blocks(taps) * rows * s.ow, following,
                  min(rows * s.sh, s.h) * s.w * s.c * sizeof(floating),
                  dy + (image * s.oh + row + rows) * s.ow * s.co,
                  rows * s.ow * s.co * sizeof(floating), following, 0)
    multiply_panels(taps_at, taps, columns, width, <int>rows, a_off, b_off, s.ow, s.sw * s.c,
                    dy_step, outs, 0, used, True, &prefetch)


cdef int weight_gradient(const floating* x, const floating* dy, floating* dw, const Geometry* s,
                         int threads) except -1:
    """Compute the gradient: a task is a chunk of images for one part of a group's channels."""
    cdef Division d = divide(s, sizeof(floating))
    cdef Py_ssize_t taps = s.kh * s.kw * s.cig, parts = s.groups * d.parts
    cdef Py_ssize_t tasks = d.chunks * parts, first = 0, stop
    cdef Py_ssize_t i, task, chunk, part, group, col, cols, image, row, rows
    cdef bint copies_dy = s.cog % (VECTOR_BYTES // <Py_ssize_t>sizeof(floating)) != 0
    cdef BufferSizes sizes = [input_band_bytes(s, d.band, sizeof(floating)),
                              aligned(product(d.band, s.ow, d.padded, sizeof(floating))), taps,
                              2 * d.band]
    cdef Py_ssize_t per_thread = buffer_bytes(&sizes)
    cdef Py_ssize_t at_once = pieces_at_once(
        tasks, band_work(s, s.n * parts * ceil_div(s.oh, d.band), sizes.images_bytes), threads)
    cdef cnp.ndarray buffers = workspace(product(threads, per_thread))
    cdef cnp.ndarray partial_array = workspace(product(tasks, taps, d.padded, sizeof(floating)))
    cdef floating* partials = <floating*>partial_array.data
    cdef floating* partial
    cdef floating* target
    cdef char* memory = buffers.data
    cdef char* own
    while first < tasks:
        stop = min(tasks, first + at_once)
        with nogil, parallel(num_threads=threads):
            own = memory + threadid() * per_thread
            memset(own + sizes.images_bytes, 0, sizes.dy_bytes)     # its padding columns are read
            for task in prange(first, stop, schedule='static'):
                partial = partials + task * taps * d.padded
                memset(partial, 0, taps * d.padded * sizeof(floating))
                chunk, group = task // parts, task // d.parts % s.groups
                col = task % d.parts * d.cols
                cols = min(d.cols, s.cog - col)
                for image in range(s.n * chunk // d.chunks, s.n * (chunk + 1) // d.chunks):
                    row = 0
                    while row < s.oh:
                        rows = min(d.band, s.oh - row)
                        weight_band(x, dy, partial, buffers_at(own, &sizes), copies_dy, s, group,
                                    image, row, rows, col, cols, d.padded)
                        row = row + rows
        first = stop
        PyErr_CheckSignals()
    with nogil:
        for task in prange(parts * taps, num_threads=threads, schedule='static'):
            i = task % taps
            part = task // taps
            col = part % d.parts * d.cols
            cols = min(d.cols, s.cog - col)
            partial = partials + (part * taps + i) * d.padded
            target = dw + i * s.co + part // d.parts * s.cog + col
            memcpy(target, partial, cols * sizeof(floating))
            add_chunks(target, partial + parts * taps * d.padded, d.chunks - 1,
                       parts * taps * d.padded, cols)
    return 0


def conv_weight_grad(x, dy, kernel_shape, stride=(1, 1), padding=((0, 0), (0, 0)),
                     dilation=(1, 1), groups=1, out=None, int threads=0):
    """Return dw (KH, KW, C_in / groups, C_out) for x (N, H, W, C_in) and dy (N, OH, OW, C_out)."""
    cdef str where = "conv_weight_grad"
    cdef cnp.ndarray a = real_array(x, where, "x", 4), g = real_array(dy, where, "dy", 4), dw, used
    cdef Geometry s
    same_dtype(a, g, where, "x", "dy")
    kh, kw = several(kernel_shape, where, "kernel_shape", 2)
    set_convolution(&s, where, np.shape(x), kh, kw, stride, padding, dilation, groups, -1,
                    g.shape[3], MOST)
    has_shape(g, s.n, s.oh, s.ow, s.co, where, "dy")
    dw = output_of(out, where, s.kh, s.kw, s.cig, s.co, a, "x", g, "dy")
    if s.n == 0:
        dw[...] = 0
        return dw
    used = dw
    used_taps = drop_unused_taps(&s)
    if used_taps is not None:
        dw[...] = 0
        used = np.empty((s.kh, s.kw, s.cig, s.co), dw.dtype)
    cdef int t = threads_for(threads, multiply_adds(&s) / 8)
    if cnp.PyArray_TYPE(a) == cnp.NPY_FLOAT32:
        weight_gradient(<const float*>a.data, <const float*>g.data, <float*>used.data, &s, t)
    else:
        weight_gradient(<const double*>a.data, <const double*>g.data, <double*>used.data, &s, t)
    if used_taps is not None:
        dw[used_taps] = used
    return dw
