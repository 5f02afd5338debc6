"""3x3 convolution by Winograd's F(4x4, 3x3), float32.

A quarter of the multiplications of the direct kernel, in exchange for transforms and a rounding
error of a few 1e-6 of the largest value (points and sources are in winograd.h). Channels are
multiples of 8, at least 16; stride and dilation are 1; padding may be any.

A thread transforms a unit of tiles to V[36][tile][channel]. 36 small matrix products with the
transformed weights U[36][panel][channel][2 vectors] give M[36][tile][channel], and the inverse
transform writes the outputs; all of a unit stays in the L2 cache of its thread. No result depends
on the number of threads.

Where a max-pool of 2x2 windows side by side follows, a tile has four of them: outputs are pooled in
cache, and the outputs themselves, four times as large, are never in memory.
"""
cimport numpy as cnp
from cpython.exc cimport PyErr_CheckSignals
from cython.parallel cimport parallel, prange, threadid
from libc.stdint cimport uint8_t

from minidl_ext.conv.epilogue cimport Epilogue, apply_epilogue, epilogue_of, is_empty
from minidl_ext.conv.winograd cimport FREQUENCIES, has_product_tiles, output_tile, product_tiles, \
    weight_block
from minidl_ext.conv.winograd_arguments cimport set_winograd, winograd_images, winograd_kernel
from minidl_ext.conv.winograd_tiles cimport VL, Tiling, first_pixel, forward_tiling, set_unit, \
    transform_inputs, winograd_work
from minidl_ext.gemm.micro cimport MR, Prefetch, multiply_panels, next_prefetch, plan_prefetch, \
    row_blocks
from minidl_ext.pool.max_window cimport max_window
from minidl_ext.runtime.arguments cimport has_length, output_of, typed_array
from minidl_ext.runtime.geometry cimport Geometry
from minidl_ext.runtime.memory cimport aligned, ceil_div, new_array, product, workspace
from minidl_ext.runtime.threads cimport pieces_at_once, threads_for

import numpy as np

cnp.import_array()

cdef enum:
    WIDTH = 2 * VL                  # columns of a panel of U
    FEW_CHANNELS = 64               # input and output together: units can be larger


# ------------------------------------------------------------------------------------ weights

cdef Py_ssize_t transformed_floats(const Tiling* t) noexcept nogil:
    """The floats of U."""
    return FREQUENCIES * ceil_div(t.co, WIDTH) * t.c * WIDTH


cdef void transform_weights(const float* w, float* u, const Tiling* t, bint turned, int threads
                            ) noexcept nogil:
    """Transform weights to U[36][panel][input channel][WIDTH]. With `turned` w is that of the
    forward convolution whose input gradient is computed: taps are turned around, and its input
    channels are the output channels here."""
    cdef Py_ssize_t step = ceil_div(t.co, WIDTH) * t.c * WIDTH, c, o
    cdef Py_ssize_t row_step = 1 if turned else t.co, col_step = t.c if turned else 1
    for c in prange(ceil_div(t.c, VL), num_threads=threads, schedule='static'):
        for o in range(ceil_div(t.co, VL)):
            weight_block(w + c * VL * row_step + o * VL * col_step, t.c * t.co, row_step, col_step,
                         turned, min(<Py_ssize_t>VL, t.c - c * VL),
                         min(<Py_ssize_t>VL, t.co - o * VL),
                         u + (o // 2 * t.c + c * VL) * WIDTH + o % 2 * VL, WIDTH, step)


# -------------------------------------------------------------------------------------- tiles

cdef void multiply_unit(const float* u, float* v, float* m, const float** rows, float** outs,
                        const Tiling* t, Py_ssize_t count, Prefetch* prefetch) noexcept nogil:
    """M[36][tile][output channel] = V[36][tile][input channel] U for `count` tiles."""
    cdef Py_ssize_t blocks = row_blocks(count), panels = ceil_div(t.padded, WIDTH), f, p, columns
    cdef Py_ssize_t panel_step = t.c * WIDTH, offset, zero = 0
    cdef bint by_tiles = count % MR == 0 and has_product_tiles(t.c)
    for f in range(FREQUENCIES):
        offset = f * t.in_step
        if not by_tiles:
            multiply_panels(rows, count, u + f * panels * panel_step, panel_step, 1, &offset,
                            &zero, t.c, 1, WIDTH, outs, f * t.out_step, t.padded, False, prefetch)
            continue
        for p in range(panels):
            columns = t.padded - p * WIDTH
            product_tiles(t.c, 1 if columns <= VL else 2, v + offset,
                          u + (f * panels + p) * panel_step, m + f * t.out_step + p * WIDTH, blocks,
                          t.padded, next_prefetch(prefetch, blocks * t.c), prefetch.step)


cdef void convolve_unit(const float* x, const float* u, float* y, float* v, float* m,
                        float* buffer, const float** rows, float** outs, const Tiling* t,
                        Py_ssize_t first, const Epilogue* epilogue) noexcept nogil:
    """Compute the outputs of the unit of tiles from `first` on; `epilogue` may be NULL."""
    cdef Py_ssize_t stop = min(first + t.unit, t.tiles), count = stop - first, i, a, b, at, tile, q
    cdef Py_ssize_t per_image = t.th * t.tw
    cdef Py_ssize_t out_first = first_pixel(t, first, t.oh, t.ow, t.y_argmax) * t.co
    cdef Py_ssize_t out_stop = first_pixel(t, stop, t.oh, t.ow, t.y_argmax) * t.co
    cdef Py_ssize_t in_first = first_pixel(t, stop, t.h, t.w, t.x_argmax) * t.c
    cdef Py_ssize_t in_stop = first_pixel(t, stop + t.unit, t.h, t.w, t.x_argmax) * t.c
    cdef Prefetch prefetch
    plan_prefetch(&prefetch, FREQUENCIES * ceil_div(t.padded, WIDTH) * row_blocks(count) * t.c,
                  y + out_first, (out_stop - out_first) * 4, x + in_first,
                  (in_stop - in_first) * 4, x + in_first, 0)
    transform_inputs(x, v, buffer, t, first, stop)
    multiply_unit(u, v, m, rows, outs, t, count, &prefetch)
    for tile in range(first, stop):
        q = tile % per_image
        a, b = q // t.tw * 4, q % t.tw * 4
        if t.y_argmax != NULL:
            pool_tile(m + (tile - first) * t.padded, y, buffer, t, tile // per_image, a, b,
                      epilogue)
            continue
        at = ((tile // per_image * t.oh + a) * t.ow + b) * t.co
        output_tile(m + (tile - first) * t.padded, t.out_step, y + at, t.ow * t.co, t.co,
                    min(t.oh - a, 4), min(t.ow - b, 4))
        if epilogue != NULL:
            for i in range(min(t.oh - a, 4)):
                apply_epilogue(y, at + i * t.ow * t.co, min(t.ow - b, 4), t.co, epilogue)


cdef void pool_tile(const float* m, float* y, float* tile, const Tiling* t, Py_ssize_t image,
                    Py_ssize_t a, Py_ssize_t b, const Epilogue* epilogue) noexcept nogil:
    """Make the outputs of the tile at (a, b) in `tile`, and write the largest of each 2x2 window.
    """
    cdef Py_ssize_t i, j, at, h = t.oh // 2, w = t.ow // 2, row = 4 * t.co
    cdef Py_ssize_t rows = min(t.oh - a, 4), cols = min(t.ow - b, 4)
    output_tile(m, t.out_step, tile, row, t.co, rows, cols)
    if epilogue != NULL:
        for i in range(rows):
            apply_epilogue(tile, i * row, cols, t.co, epilogue)
    for i in range(min(h - a // 2, 2)):
        for j in range(min(w - b // 2, 2)):
            at = ((image * h + a // 2 + i) * w + b // 2 + j) * t.co
            max_window(<const float*>(tile + 2 * i * row + 2 * j * t.co), row, t.co, t.co, 0, 2, 0,
                       2, 2, y + at, <uint8_t*>t.y_argmax + at)


cdef int convolve_tiles(const float* x, const float* u, float* y, Tiling* t,
                        const Epilogue* epilogue, int threads) except -1:
    """Compute all outputs from transformed weights, a unit of tiles at a time."""
    set_unit(t, 48 if t.c + t.co <= FEW_CHANNELS else 24)
    cdef Py_ssize_t units = ceil_div(t.tiles, t.unit), i, k, first = 0, stop
    cdef Py_ssize_t at_once = pieces_at_once(units, 2 * winograd_work(t), threads)
    cdef Py_ssize_t floats = FREQUENCIES * (t.in_step + t.out_step + max(t.c, t.co))
    cdef Py_ssize_t per_thread = aligned(floats * 4 + 2 * t.unit * sizeof(void*))
    cdef cnp.ndarray buffers = workspace(product(threads, per_thread))
    cdef char* memory = buffers.data
    cdef float* v
    cdef float* m
    cdef const float** rows
    cdef float** outs
    if is_empty(epilogue):
        epilogue = NULL
    while first < units:
        stop = min(units, first + at_once)
        with nogil, parallel(num_threads=threads):
            v = <float*>(memory + threadid() * per_thread)
            m = v + FREQUENCIES * t.in_step
            rows = <const float**>(v + floats)
            outs = <float**>(rows + t.unit)
            for k in range(t.unit):
                rows[k], outs[k] = v + k * t.c, m + k * t.padded
            for i in prange(first, stop, schedule='static'):
                convolve_unit(x, u, y, v, m, m + FREQUENCIES * t.out_step, rows, outs, t,
                              i * t.unit, epilogue)
        first = stop
        PyErr_CheckSignals()
    return 0


# -------------------------------------------------------------------------------- entry points

cdef int convolve(cnp.ndarray x, cnp.ndarray w, object transformed, cnp.ndarray y, Tiling* t,
                  const Epilogue* epilogue, int threads, str where) except -1:
    """Compute all outputs from weights that may be transformed already."""
    cdef cnp.ndarray u
    cdef int workers
    if t.n == 0:
        return 0
    workers = threads_for(threads, winograd_work(t))
    if transformed is None:
        u = workspace(product(transformed_floats(t), 4))
        with nogil:
            transform_weights(<const float*>w.data, <float*>u.data, t, False, workers)
    else:
        u = typed_array(transformed, where, "transformed", 1, cnp.NPY_FLOAT32)
        has_length(u, transformed_floats(t), where, "transformed")
    return convolve_tiles(<const float*>x.data, <const float*>u.data, <float*>y.data, t, epilogue,
                          workers)


def winograd_weights(w, int threads=0):
    """Transform w (3, 3, C_in, C_out) once for several calls of winograd_conv.

    What it returns has an order of its own, that of the micro-kernel.
    """
    cdef cnp.ndarray k = winograd_kernel(w, "winograd_weights"), u
    cdef Tiling t
    cdef cnp.npy_intp size
    t.c, t.co = k.shape[2], k.shape[3]
    size = transformed_floats(&t)
    u = new_array(1, &size, cnp.NPY_FLOAT32)
    with nogil:
        transform_weights(<const float*>k.data, <float*>u.data, &t, False,
                          threads_for(threads, FREQUENCIES * <double>t.c * t.co))
    return u


def winograd_conv(x, w, padding=((0, 0), (0, 0)), bias=None, residual=None, bint relu_out=False,
                  transformed=None, out=None, int threads=0):
    """Return y (N, OH, OW, C_out), x (N, H, W, C_in) convolved with w (3, 3, C_in, C_out).

    `bias` (C_out,) and `residual`, of y's shape, are added, and a ReLU follows if `relu_out`.
    `transformed` is winograd_weights(w), if it is known.
    """
    cdef str where = "winograd_conv"
    cdef cnp.ndarray a = winograd_images(x, where, "x"), k = winograd_kernel(w, where), y
    cdef Epilogue epilogue
    cdef Geometry s
    set_winograd(&s, where, np.shape(x), k.shape[2], k.shape[3], padding)
    y = output_of(out, where, s.n, s.oh, s.ow, s.co, a, "x", k, "w")
    epilogue = epilogue_of(bias, residual, relu_out, y, where)
    cdef Tiling t = forward_tiling(&s)
    convolve(a, k, transformed, y, &t, &epilogue, threads, where)
    return y


def winograd_conv_pool(x, w, padding=((0, 0), (0, 0)), bias=None, bint relu_out=False,
                       transformed=None, out=None, int threads=0):
    """Return (y, argmax) (N, OH // 2, OW // 2, C_out): a max-pool of winograd_conv.

    Its windows are 2x2, side by side; `argmax` is as max_pool gives it. The epilogue, `bias` and
    then a ReLU, comes before the pool.
    """
    cdef str where = "winograd_conv_pool"
    cdef cnp.ndarray a = winograd_images(x, where, "x"), k = winograd_kernel(w, where), y, argmax
    cdef Epilogue epilogue
    cdef Geometry s
    set_winograd(&s, where, np.shape(x), k.shape[2], k.shape[3], padding)
    if s.oh < 2 or s.ow < 2:
        raise ValueError(f"{where}: outputs of {s.oh} x {s.ow} have no window of 2 x 2")
    y = output_of(out, where, s.n, s.oh // 2, s.ow // 2, s.co, a, "x", k, "w")
    argmax = new_array(4, cnp.PyArray_DIMS(y), cnp.NPY_UINT8)
    epilogue = epilogue_of(bias, None, relu_out, y, where)
    cdef Tiling t = forward_tiling(&s)
    t.y_argmax = <uint8_t*>argmax.data
    convolve(a, k, transformed, y, &t, &epilogue, threads, where)
    return y, argmax
