"""The gradient of a 3x3 convolution by its weights, by Winograd's F(4x4, 3x3), float32.

dU[36][input channel][output channel] is the sum over all tiles of the transformed inputs V times
the transformed gradients Z of the outputs; it is then transformed back. With few channels, fixed
chunks of tiles have sums of their own, which are added in order. With many, those sums would leave
the cache: all threads transform a chunk of tiles, then each sums some of the 36 frequencies of it.
No result depends on the number of threads.
"""
cimport numpy as cnp
from cpython.exc cimport PyErr_CheckSignals
from cython.parallel cimport parallel, prange, threadid
from libc.stdint cimport uint8_t
from libc.string cimport memset

from minidl_ext.conv.chunks cimport add_chunks
from minidl_ext.conv.winograd cimport FREQUENCIES, weight_grad_vector
from minidl_ext.conv.winograd_arguments cimport checked_argmax, set_winograd, winograd_images
from minidl_ext.conv.winograd_tiles cimport VL, Tiling, first_pixel, forward_tiling, set_unit, \
    transform_inputs, transform_output_grads, winograd_work
from minidl_ext.gemm.micro cimport Prefetch, multiply_panels, plan_prefetch, prefetch_part, \
    row_blocks
from minidl_ext.runtime.arguments cimport output_of
from minidl_ext.runtime.geometry cimport Geometry
from minidl_ext.runtime.memory cimport aligned, ceil_div, product, workspace
from minidl_ext.runtime.threads cimport pieces_at_once, threads_for

import numpy as np

cnp.import_array()

cdef enum:
    WIDTH = 2 * VL                  # columns of a panel of Z
    OWN_BYTES = 160 * 1024          # of dU, up to which chunks of tiles have sums of their own,
    CHUNKS = 16                     # at most so many,
    OWN_TILES = 64                  # of which so many tiles are transformed at a time
    SHARED_BYTES = 4 * 1024 * 1024  # of transformed tiles in a chunk that all threads share, of
    UNIT = 8                        # which a thread transforms so many tiles at a time


# ------------------------------------------------------------------------------ shared pieces

cdef void transform_unit(const float* x, const float* dy, float* v, float* z, float* buffer,
                         const Tiling* t, Py_ssize_t first, Py_ssize_t stop) noexcept nogil:
    """Transform tiles first .. stop of the images and of dy, and prefetch those of the next unit.
    """
    cdef Py_ssize_t i, x_first, x_bytes, dy_first, dy_bytes
    x_first = first_pixel(t, stop, t.h, t.w, NULL) * t.c
    x_bytes = (first_pixel(t, stop + UNIT, t.h, t.w, NULL) * t.c - x_first) * 4
    dy_first = first_pixel(t, stop, t.oh, t.ow, t.dy_argmax) * t.co
    dy_bytes = (first_pixel(t, stop + UNIT, t.oh, t.ow, t.dy_argmax) * t.co - dy_first) * 4
    for i in range(first, stop):
        prefetch_part(<const char*>(x + x_first), x_bytes, i - first, stop - first)
        prefetch_part(<const char*>(dy + dy_first), dy_bytes, i - first, stop - first)
        transform_inputs(x, v + (i - first) * t.c, buffer, t, i, i + 1)
        transform_output_grads(dy, z + (i - first) * t.padded, buffer, t, i, i + 1)


cdef void add_products(const float** rows, const float* z, float** outs, const Tiling* t,
                       Py_ssize_t f, Py_ssize_t count, bint first) noexcept nogil:
    """dU[f] += V[f]^T Z[f] over `count` tiles, or = for the first of them. Tiles of the next
    frequency, which another core may have written, are prefetched meanwhile."""
    cdef Prefetch prefetch
    cdef Py_ssize_t zero = 0, offset = f * t.in_step
    cdef Py_ssize_t next_bytes = count * 4 if f < FREQUENCIES - 1 else 0
    cdef const float* next_rows = rows[0] + offset + t.in_step
    plan_prefetch(&prefetch, ceil_div(t.padded, WIDTH) * row_blocks(t.c) * count, next_rows,
                  next_bytes * t.c, z + (f + 1) * t.out_step, next_bytes * t.padded, next_rows, 0)
    multiply_panels(rows, t.c, z + f * t.out_step, WIDTH, 1, &offset, &zero, count, t.c, t.padded,
                    outs, f * t.c * t.padded, t.padded, not first, &prefetch)


cdef void clear_padding(float* z, const Tiling* t) noexcept nogil:
    """Make numbers of the columns of Z after the last channel: they are multiplied, and unused."""
    if t.padded > t.co:
        memset(z, 0, FREQUENCIES * t.out_step * sizeof(float))


cdef void weight_grad_row(const float* du, float* dw, const Tiling* t) noexcept nogil:
    """Transform the sums of one input channel back to the gradient of its weights."""
    cdef Py_ssize_t i, c
    for i in range(t.padded // VL):
        c = min(i * VL, t.co - VL)
        weight_grad_vector(du + c, t.c * t.padded, dw + c, t.c * t.co)


# ------------------------------------------------------------------ chunks with their own sums

cdef void sum_chunk(const float* x, const float* dy, float* du, float* v, float* z, float* buffer,
                    const float** rows, float** outs, const Tiling* t, Py_ssize_t first,
                    Py_ssize_t stop) noexcept nogil:
    """Compute dU of tiles first .. stop, of which some are transformed at a time."""
    cdef Py_ssize_t c, f, tile = first, i, count
    for c in range(t.c):
        rows[c], outs[c] = v + c, du + c * t.padded
    while tile < stop:
        count = min(<Py_ssize_t>OWN_TILES, stop - tile)
        for i in range(0, count):
            if i % UNIT == 0:
                transform_unit(x, dy, v + i * t.c, z + i * t.padded, buffer, t, tile + i,
                               min(tile + i + UNIT, tile + count))
        for f in range(FREQUENCIES):
            add_products(rows, z, outs, t, f, count, tile == first)
        tile += count


cdef int own_sums(const float* x, const float* dy, float* dw, Tiling* t, int threads) except -1:
    """The gradient for few channels: each chunk of tiles has a sum of its own."""
    set_unit(t, OWN_TILES)
    cdef Py_ssize_t size = FREQUENCIES * t.c * t.padded, q, c, f, first = 0, stop
    cdef Py_ssize_t chunks = min(<Py_ssize_t>CHUNKS, ceil_div(t.tiles, OWN_TILES))
    cdef Py_ssize_t floats = FREQUENCIES * (t.in_step + t.out_step + max(t.c, t.co))
    cdef Py_ssize_t per_thread = aligned(floats * 4 + 2 * t.c * sizeof(void*))
    # Where channels are few, the transforms take longer than the products.
    cdef Py_ssize_t at_once = pieces_at_once(chunks, 8 * winograd_work(t), threads)
    cdef cnp.ndarray sums = workspace(product(chunks, size, 4))
    cdef cnp.ndarray buffers = workspace(product(threads, per_thread))
    cdef float* du = <float*>sums.data
    cdef char* memory = buffers.data
    cdef float* v
    cdef float* total
    cdef const float** rows
    while first < chunks:
        stop = min(chunks, first + at_once)
        with nogil, parallel(num_threads=threads):
            v = <float*>(memory + threadid() * per_thread)
            rows = <const float**>(v + floats)
            clear_padding(v + FREQUENCIES * t.in_step, t)
            for q in prange(first, stop, schedule='static'):
                sum_chunk(x, dy, du + q * size, v, v + FREQUENCIES * t.in_step,
                          v + FREQUENCIES * (t.in_step + t.out_step), rows,
                          <float**>(rows + t.c), t, t.tiles * q // chunks,
                          t.tiles * (q + 1) // chunks)
        first = stop
        PyErr_CheckSignals()
    with nogil:
        for c in prange(t.c, num_threads=threads, schedule='static'):
            for f in range(FREQUENCIES):
                total = du + (f * t.c + c) * t.padded
                add_chunks(total, total + size, chunks - 1, size, t.co)
            weight_grad_row(du + c * t.padded, dw + c * t.co, t)
    return 0


# ------------------------------------------------------------------- chunks that threads share

cdef int shared_sums(const float* x, const float* dy, float* dw, Tiling* t, int threads
                     ) except -1:
    """The gradient for many channels: all threads share each chunk of tiles."""
    cdef Py_ssize_t tile_bytes = FREQUENCIES * (t.c + t.co) * 4
    set_unit(t, max(1, SHARED_BYTES // (tile_bytes * UNIT)) * UNIT)
    cdef Py_ssize_t size = FREQUENCIES * t.c * t.padded, i, c, q, first, count, units
    cdef Py_ssize_t buffer_floats = FREQUENCIES * max(t.c, t.co)
    cdef cnp.ndarray sums = workspace(product(size, 4))
    cdef cnp.ndarray buffers = workspace(4 * (FREQUENCIES * (t.in_step + t.out_step)
                                              + product(threads, buffer_floats)))
    cdef cnp.ndarray pointers = workspace(2 * t.c * sizeof(void*))
    cdef float* du = <float*>sums.data
    cdef float* v = <float*>buffers.data
    cdef float* z = v + FREQUENCIES * t.in_step
    cdef float* buffer = z + FREQUENCIES * t.out_step
    cdef const float** rows = <const float**>pointers.data
    cdef float** outs = <float**>(rows + t.c)
    for c in range(t.c):
        rows[c], outs[c] = v + c, du + c * t.padded
    clear_padding(z, t)
    for q in range(ceil_div(t.tiles, t.unit)):
        PyErr_CheckSignals()
        with nogil:
            first = q * t.unit
            count = min(t.unit, t.tiles - first)
            units = ceil_div(count, UNIT)
            for i in prange(units, num_threads=threads, schedule='static'):
                transform_unit(x, dy, v + i * UNIT * t.c, z + i * UNIT * t.padded,
                               buffer + threadid() * buffer_floats, t, first + i * UNIT,
                               min(first + i * UNIT + UNIT, first + count))
            for i in prange(FREQUENCIES, num_threads=threads, schedule='static'):
                add_products(rows, z, outs, t, i, count, first == 0)
    with nogil:
        for c in prange(t.c, num_threads=threads, schedule='static'):
            weight_grad_row(du + c * t.padded, dw + c * t.co, t)
    return 0


def winograd_weight_grad(x, dy, padding=((0, 0), (0, 0)), argmax=None, out=None, int threads=0):
    """Return dw (3, 3, C_in, C_out) for x (N, H, W, C_in) and dy (N, OH, OW, C_out).

    With `argmax` dy is the gradient of a pool's outputs, as in winograd_input_grad.
    """
    cdef str where = "winograd_weight_grad"
    cdef cnp.ndarray a = winograd_images(x, where, "x"), g = winograd_images(dy, where, "dy"), dw
    cdef cnp.ndarray winners
    cdef Geometry s
    cdef int workers
    set_winograd(&s, where, np.shape(x), a.shape[3], g.shape[3], padding)
    winners = checked_argmax(argmax, g, &s, where)
    dw = output_of(out, where, 3, 3, s.c, s.co, a, "x", g, "dy")
    if s.n == 0:
        dw[...] = 0
        return dw
    cdef Tiling t = forward_tiling(&s)
    if winners is not None:
        t.dy_argmax = <const uint8_t*>winners.data
    workers = threads_for(threads, winograd_work(&t))
    if FREQUENCIES * t.c * t.co * 4 <= OWN_BYTES:
        own_sums(<const float*>a.data, <const float*>g.data, <float*>dw.data, &t, workers)
    else:
        shared_sums(<const float*>a.data, <const float*>g.data, <float*>dw.data, &t, workers)
    return dw
