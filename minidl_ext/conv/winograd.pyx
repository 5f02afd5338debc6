"""3x3 convolution by Winograd's F(4x4, 3x3), and its two gradients, float32.

A quarter of the multiplications of the direct kernel in exchange for transforms and a rounding
error of a few 1e-6 of the largest value (points and sources in winograd.h). Channels are multiples
of 8, at least 16, stride and dilation are 1, any padding.

*Forward.* A unit of tiles is transformed to V[36][tile][channel], 36 small matrix products with
the transformed weights U[36][panel][channel][2 vectors] give M[36][tile][channel], and the
inverse transform writes the outputs; all of a unit stays in the L2 cache of its thread. The
gradient of the input is the same with taps turned around and channels exchanged.

*Weight gradient.* dU[36][channel][channel] = sum over tiles of V times the transformed dy, then
transformed back. With few channels, fixed chunks of tiles have sums of their own, which are added
in order. With many, those sums would leave the cache: all threads transform a chunk of tiles, then
each sums some frequencies of it. No result depends on the number of threads.

*A max-pool behind.* Of 2x2 windows side by side, four of a tile: they are pooled in cache, and the
gradients make tiles of dy from theirs there. Neither the outputs, four times as large, are in memory
nor dy, which is mostly zeros.
"""
cimport numpy as cnp
from cpython.exc cimport PyErr_CheckSignals
from cython.parallel cimport parallel, prange, threadid
from libc.stdint cimport uint8_t
from libc.string cimport memset

from minidl_ext.runtime.arguments cimport disjoint, channel_blocks, has_length, has_shape, output, \
    typed_array
from minidl_ext.conv.epilogue cimport Epilogue, epilogue_of, apply_epilogue
from minidl_ext.conv.geometry cimport places, set_images, set_pair
from minidl_ext.gemm.micro cimport Prefetch, MR, next_prefetch, micro, plan_prefetch, prefetch_part
from minidl_ext.runtime.memory cimport new_array, product, workspace
from minidl_ext.runtime.threads cimport pieces_at_once, threads_for
from minidl_ext.conv.winograd_tiles cimport FREQUENCIES, VL, Geometry, finish, first_pixel, \
    first_read, transform_inputs, transform_output_grads

import numpy as np

cnp.import_array()

cdef extern from "pool/pool_rows.h" nogil:
    void max_window_f32(const float* window, Py_ssize_t line, Py_ssize_t step, Py_ssize_t channels,
                        Py_ssize_t k0, Py_ssize_t k1, Py_ssize_t l0, Py_ssize_t l1, Py_ssize_t kw,
                        float* best, uint8_t* where)

cdef extern from "conv/winograd.h" nogil:
    void output_tile(const float* m, Py_ssize_t step, float* y, Py_ssize_t row,
                     Py_ssize_t channels, Py_ssize_t rows, Py_ssize_t cols)
    int has_product_tiles(Py_ssize_t ci)
    void product_tiles(Py_ssize_t ci, int vectors, const float* v, const float* u, float* m,
                       Py_ssize_t blocks, Py_ssize_t co, const char* ahead,
                       Py_ssize_t ahead_step)
    void weight_block(const float* w, Py_ssize_t tap_step, Py_ssize_t row_step,
                      Py_ssize_t col_step, int turned, Py_ssize_t rows, Py_ssize_t cols, float* u,
                      Py_ssize_t width, Py_ssize_t step)
    void weight_grad_vector(const float* du, Py_ssize_t step, float* dw, Py_ssize_t tap_step)

cdef enum:
    WIDTH = 2 * VL                  # columns of a panel of U
    MULTIPLE = 8                    # of channels
    LEAST = 16                      # channels: the widest vector's
    FEW_CHANNELS = 64               # input and output together: units can be larger
    SHARED_BYTES = 4 * 1024 * 1024  # of transformed tiles, in a chunk of a weight gradient
    UNIT = 8                        # tiles that a thread transforms at a time for it
    OWN_BYTES = 160 * 1024          # of transformed weights: chunks of tiles have sums of their own
    OWN_TILES = 64                  # transformed at a time for these
    CHUNKS = 16                     # of them, at most


# ------------------------------------------------------------------------------------ forward

cdef void forward_unit(const float* x, const float* u, float* y, float* v, float* m, float* copy,
                       const float** rows, float** outs, Geometry* s, Py_ssize_t unit,
                       Py_ssize_t first, const Epilogue* end) noexcept nogil:
    cdef Py_ssize_t after = min(first + unit, s.tiles), count = after - first, f, p, i, a, b, at
    cdef Py_ssize_t blocks = (count + MR - 1) // MR, panels = (s.cp + WIDTH - 1) // WIDTH
    cdef Py_ssize_t us = s.ci * panels * WIDTH, zero = 0, offset, t, q, per_image = s.th * s.tw
    cdef Py_ssize_t out_first = first_read(s, first, s.oh, s.ow, s.y_argmax) * s.co
    cdef Py_ssize_t out_bytes = (first_read(s, after, s.oh, s.ow, s.y_argmax) * s.co
                                - out_first) * 4
    cdef Py_ssize_t in_first = first_read(s, after, s.h, s.w, s.x_argmax) * s.ci
    cdef Py_ssize_t in_bytes = (first_read(s, after + unit, s.h, s.w, s.x_argmax) * s.ci
                               - in_first) * 4
    cdef Prefetch ahead
    ahead.start[0], ahead.nbytes[0] = <const char*>(y + out_first), out_bytes
    ahead.start[1], ahead.nbytes[1] = <const char*>(x + in_first), in_bytes
    ahead.start[2], ahead.nbytes[2] = <const char*>(x + in_first), 0
    plan_prefetch(&ahead, FREQUENCIES * panels * blocks * s.ci)
    transform_inputs(x, v, copy, s, first, after)
    for f in range(FREQUENCIES):
        offset = f * s.vs
        for p in range(panels):
            if count % MR == 0 and has_product_tiles(s.ci):
                product_tiles(s.ci, 1 if s.cp - p * WIDTH <= VL else 2, v + offset,
                              u + f * us + p * s.ci * WIDTH, m + f * s.ms + p * WIDTH, blocks,
                              s.cp, next_prefetch(&ahead, blocks * s.ci), ahead.step)
                continue
            a = 0
            for i in range(blocks):
                b = count * (i + 1) // blocks
                micro(<int>(b - a), rows + a, u + f * us + p * s.ci * WIDTH, 1, &offset,
                          &zero, s.ci, 1, WIDTH, outs + a, f * s.ms + p * WIDTH,
                          s.cp - p * WIDTH, 0, next_prefetch(&ahead, s.ci), ahead.step)
                a = b
    for t in range(first, after):
        q = t % per_image
        a, b = q // s.tw * 4, q % s.tw * 4
        if s.y_argmax != NULL:
            pooled_tile(m + (t - first) * s.cp, y, copy, s, t // per_image, a, b, end)
            continue
        at = ((t // per_image * s.oh + a) * s.ow + b) * s.co
        output_tile(m + (t - first) * s.cp, s.ms, y + at, s.ow * s.co, s.co, min(s.oh - a, 4),
                    min(s.ow - b, 4))
        if end != NULL:
            for i in range(min(s.oh - a, 4)):
                apply_epilogue(y, at + i * s.ow * s.co, min(s.ow - b, 4), s.co, end)


cdef void pooled_tile(const float* m, float* y, float* tile, Geometry* s, Py_ssize_t image,
                      Py_ssize_t a, Py_ssize_t b, const Epilogue* end) noexcept nogil:
    """The outputs of a tile at (a, b), made in `tile`, to the largest of each 2x2 window."""
    cdef Py_ssize_t i, j, at, h = s.oh // 2, w = s.ow // 2, line = 4 * s.co
    cdef Py_ssize_t rows = min(s.oh - a, 4), cols = min(s.ow - b, 4)
    output_tile(m, s.ms, tile, line, s.co, rows, cols)
    if end != NULL:
        for i in range(rows):
            apply_epilogue(tile, i * line, cols, s.co, end)
    for i in range(min(h - a // 2, 2)):
        for j in range(min(w - b // 2, 2)):
            at = ((image * h + a // 2 + i) * w + b // 2 + j) * s.co
            max_window_f32(tile + 2 * i * line + 2 * j * s.co, line, s.co, s.co, 0, 2, 0, 2, 2,
                           y + at, s.y_argmax + at)


cdef void transform_weights(const float* w, float* u, Geometry* s, bint turned, int threads
                            ) noexcept nogil:
    """U[36][panel][input channel][WIDTH]; `turned`: w is that of the forward convolution."""
    cdef Py_ssize_t panels = (s.co + WIDTH - 1) // WIDTH, step = panels * s.ci * WIDTH, c, o
    cdef Py_ssize_t row_step = 1 if turned else s.co, col_step = s.ci if turned else 1
    for c in prange((s.ci + VL - 1) // VL, num_threads=threads, schedule='static'):
        for o in range((s.co + VL - 1) // VL):
            weight_block(w + c * VL * row_step + o * VL * col_step, s.ci * s.co, row_step, col_step,
                         turned, min(<Py_ssize_t>VL, s.ci - c * VL),
                         min(<Py_ssize_t>VL, s.co - o * VL),
                         u + (o // 2 * s.ci + c * VL) * WIDTH + o % 2 * VL, WIDTH, step)


cdef Py_ssize_t transformed_floats(Geometry* s) noexcept nogil:
    return FREQUENCIES * ((s.co + WIDTH - 1) // WIDTH) * s.ci * WIDTH


cdef int forward(const float* x, const float* u, float* y, Geometry* s, const Epilogue* end,
                 int threads) except -1:
    """Outputs from transformed weights; an `end` only where there is one."""
    cdef Py_ssize_t unit = 48 if s.ci + s.co <= FEW_CHANNELS else 24
    finish(s, unit)
    cdef Py_ssize_t units = (s.tiles + unit - 1) // unit, i, t, first = 0, after
    cdef Py_ssize_t at_once = pieces_at_once(units, 2 * work_of(s), threads)
    cdef Py_ssize_t floats = FREQUENCIES * (s.vs + s.ms + max(s.ci, s.co))
    cdef Py_ssize_t per_thread = (floats * 4 + 2 * unit * sizeof(void*) + 127) // 64 * 64
    cdef cnp.ndarray work = workspace(product(threads, per_thread))
    cdef char* memory = work.data
    cdef float* v
    cdef float* m
    cdef const float** rows
    cdef float** outs
    if end.bias == NULL and end.residual == NULL and not end.relu_out:
        end = NULL
    while first < units:
        after = min(units, first + at_once)
        with nogil, parallel(num_threads=threads):
            v = <float*>(memory + threadid() * per_thread)
            m = v + FREQUENCIES * s.vs
            rows = <const float**>(v + floats)
            outs = <float**>(rows + unit)
            for t in range(unit):
                rows[t], outs[t] = v + t * s.ci, m + t * s.cp
            for i in prange(first, after, schedule='static'):
                forward_unit(x, u, y, v, m, m + FREQUENCIES * s.ms, rows, outs, s, unit, i * unit,
                             end)
        first = after
        PyErr_CheckSignals()
    return 0


# -------------------------------------------------------------------------- weight gradient

cdef void add_products(const float** rows, const float* z, float** outs, Geometry* s,
                       Py_ssize_t f, Py_ssize_t count, bint first) noexcept nogil:
    """dU[f] (+)= V[f]^T Z[f] over `count` tiles. Those of the next frequency, which another core
    may have written, are asked for meanwhile."""
    cdef Prefetch ahead
    cdef Py_ssize_t blocks = (s.ci + MR - 1) // MR, p, i, a, b, zero = 0, offset = f * s.vs
    cdef Py_ssize_t panels = (s.cp + WIDTH - 1) // WIDTH
    ahead.start[0], ahead.nbytes[0] = <const char*>(rows[0] + offset + s.vs), count * s.ci * 4
    ahead.start[1], ahead.nbytes[1] = <const char*>(z + (f + 1) * s.ms), count * s.cp * 4
    ahead.start[2], ahead.nbytes[2] = ahead.start[0], 0
    if f == FREQUENCIES - 1:
        ahead.nbytes[0] = ahead.nbytes[1] = 0
    plan_prefetch(&ahead, panels * blocks * count)
    for p in range(panels):
        a = 0
        for i in range(blocks):
            b = s.ci * (i + 1) // blocks
            micro(<int>(b - a), rows + a, z + f * s.ms + p * WIDTH, 1, &offset, &zero, count,
                      s.ci, s.cp, outs + a, f * s.ci * s.cp + p * WIDTH, s.cp - p * WIDTH,
                      not first, next_prefetch(&ahead, count), ahead.step)
            a = b


cdef void add_chunk(const float* x, const float* dy, float* du, float* v, float* z, float* copy,
                    const float** rows, float** outs, Geometry* s, Py_ssize_t first,
                    Py_ssize_t after) noexcept nogil:
    """dU of tiles first .. after, transformed a few at a time."""
    cdef Py_ssize_t c, f, t = first, i, count
    for c in range(s.ci):
        rows[c], outs[c] = v + c, du + c * s.cp
    while t < after:
        count = min(<Py_ssize_t>OWN_TILES, after - t)
        for i in range(0, count):
            if i % UNIT == 0:
                transform_unit(x, dy, v + i * s.ci, z + i * s.cp, copy, s, t + i,
                               min(t + i + UNIT, t + count))
        for f in range(FREQUENCIES):
            add_products(rows, z, outs, s, f, count, t == first)
        t += count


cdef int weight_gradient_apart(const float* x, const float* dy, float* dw, Geometry* s,
                               int threads) except -1:
    """For few channels: each chunk of tiles has a sum of its own; they are added in order."""
    finish(s, OWN_TILES)
    cdef Py_ssize_t size = FREQUENCIES * s.ci * s.cp, q, c
    cdef Py_ssize_t chunks = min(<Py_ssize_t>CHUNKS, (s.tiles + OWN_TILES - 1) // OWN_TILES)
    cdef Py_ssize_t floats = FREQUENCIES * (s.vs + s.ms + max(s.ci, s.co))
    cdef Py_ssize_t per_thread = (floats * 4 + 2 * s.ci * sizeof(void*) + 63) // 64 * 64
    cdef cnp.ndarray sums = workspace(product(chunks, size, 4))
    cdef cnp.ndarray work = workspace(product(threads, per_thread))
    cdef float* du = <float*>sums.data
    cdef char* memory = work.data
    cdef float* v
    cdef const float** rows
    with nogil:
        with parallel(num_threads=threads):
            v = <float*>(memory + threadid() * per_thread)
            rows = <const float**>(v + floats)
            clear_ends(v + FREQUENCIES * s.vs, s)
            for q in prange(chunks, schedule='static'):
                add_chunk(x, dy, du + q * size, v, v + FREQUENCIES * s.vs,
                          v + FREQUENCIES * (s.vs + s.ms), rows, <float**>(rows + s.ci), s,
                          s.tiles * q // chunks, s.tiles * (q + 1) // chunks)
        for c in prange(s.ci, num_threads=threads, schedule='static'):
            add_rows(du + c * s.cp, s, size, chunks)
            weight_grad_row(du + c * s.cp, dw + c * s.co, s)
    return 0


cdef void clear_ends(float* z, Geometry* s) noexcept nogil:
    """What multiplies, after the last channel, without being used must be numbers."""
    if s.cp > s.co:
        memset(z, 0, FREQUENCIES * s.ms * sizeof(float))


cdef void add_rows(float* du, Geometry* s, Py_ssize_t size, Py_ssize_t chunks) noexcept nogil:
    """Add the chunks' sums of one input channel's dU, for all frequencies, to those of the first.
    """
    cdef Py_ssize_t f, q, i
    cdef float* total
    cdef const float* part
    for f in range(FREQUENCIES):
        total = du + f * s.ci * s.cp
        for q in range(1, chunks):
            part = total + q * size
            for i in range(s.co):
                total[i] += part[i]


cdef void weight_grad_row(const float* du, float* dw, Geometry* s) noexcept nogil:
    """The gradient of one input channel's weights."""
    cdef Py_ssize_t i, c
    for i in range(s.cp // VL):
        c = min(i * VL, s.co - VL)
        weight_grad_vector(du + c, s.ci * s.cp, dw + c, s.ci * s.co)


cdef int weight_gradient(const float* x, const float* dy, float* dw, Geometry* s,
                         int threads) except -1:
    if FREQUENCIES * s.ci * s.co * 4 <= OWN_BYTES:
        weight_gradient_apart(x, dy, dw, s, threads)
        return 0
    cdef Py_ssize_t tile_bytes = FREQUENCIES * (s.ci + s.co) * 4
    cdef Py_ssize_t chunk = max(1, SHARED_BYTES // (tile_bytes * UNIT)) * UNIT
    finish(s, chunk)
    cdef Py_ssize_t size = FREQUENCIES * s.ci * s.cp, i, c, q, t, count, units
    cdef Py_ssize_t copies = FREQUENCIES * max(s.ci, s.co)
    cdef cnp.ndarray sums = workspace(product(size, 4))
    cdef cnp.ndarray work = workspace(4 * (FREQUENCIES * (s.vs + s.ms) + product(threads, copies)))
    cdef cnp.ndarray lists = workspace(2 * s.ci * sizeof(void*))
    cdef float* du = <float*>sums.data
    cdef float* v = <float*>work.data
    cdef float* z = v + FREQUENCIES * s.vs
    cdef float* copy = z + FREQUENCIES * s.ms
    cdef const float** rows = <const float**>lists.data
    cdef float** outs = <float**>(rows + s.ci)
    for c in range(s.ci):
        rows[c], outs[c] = v + c, du + c * s.cp
    clear_ends(z, s)
    for q in range((s.tiles + chunk - 1) // chunk):
        PyErr_CheckSignals()
        with nogil:
            t = q * chunk
            count = min(chunk, s.tiles - t)
            units = (count + UNIT - 1) // UNIT
            for i in prange(units, num_threads=threads, schedule='static'):
                transform_unit(x, dy, v + i * UNIT * s.ci, z + i * UNIT * s.cp,
                               copy + threadid() * copies, s, t + i * UNIT,
                               min(t + i * UNIT + UNIT, t + count))
            for i in prange(FREQUENCIES, num_threads=threads, schedule='static'):
                add_products(rows, z, outs, s, i, count, t == 0)
    with nogil:
        for c in prange(s.ci, num_threads=threads, schedule='static'):
            weight_grad_row(du + c * s.cp, dw + c * s.co, s)
    return 0


cdef void transform_unit(const float* x, const float* dy, float* v, float* z, float* copy,
                         Geometry* s, Py_ssize_t first, Py_ssize_t after) noexcept nogil:
    """Tiles of the images and of dy; their memory for the next unit is asked for meanwhile."""
    cdef Py_ssize_t t, x_first, x_bytes, dy_first, dy_bytes
    x_first = first_pixel(s, after, s.h, s.w) * s.ci
    x_bytes = (first_pixel(s, after + UNIT, s.h, s.w) * s.ci - x_first) * 4
    dy_first = first_read(s, after, s.oh, s.ow, s.dy_argmax) * s.co
    dy_bytes = (first_read(s, after + UNIT, s.oh, s.ow, s.dy_argmax) * s.co - dy_first) * 4
    for t in range(first, after):
        prefetch_part(<const char*>(x + x_first), x_bytes, t - first, after - first)
        prefetch_part(<const char*>(dy + dy_first), dy_bytes, t - first, after - first)
        transform_inputs(x, v + (t - first) * s.ci, copy, s, t, t + 1)
        transform_output_grads(dy, z + (t - first) * s.cp, copy, s, t, t + 1)


# ----------------------------------------------------------------------------- entry points

cdef cnp.ndarray images(object x, str where, str name):
    cdef cnp.ndarray array = channel_blocks(x, where, name, MULTIPLE)
    if array.shape[3] < LEAST:
        raise ValueError(f"{where}: {name} {np.shape(x)} must have at least {LEAST} channels")
    return array


cdef cnp.ndarray kernel(object w, str where):
    cdef cnp.ndarray array = images(w, where, "w")
    if (array.shape[0] != 3 or array.shape[1] != 3 or array.shape[2] % MULTIPLE
            or array.shape[2] < LEAST):
        raise ValueError(f"{where}: w must be (3, 3, C_in, C_out) with channels in multiples of "
                         f"{MULTIPLE}, at least {LEAST}, got {np.shape(w)}")
    return array


cdef int set_geometry(Geometry* s, str where, shape, Py_ssize_t ci, Py_ssize_t co, padding
                      ) except -1:
    """That of the forward convolution."""
    cdef Py_ssize_t bottom, right
    rows, cols = padding
    set_images(shape, where, &s.n, &s.h, &s.w, &s.ci)
    set_pair(rows, where, "padding", 0, &s.top, &bottom)
    set_pair(cols, where, "padding", 0, &s.left, &right)
    if s.ci != ci:
        raise ValueError(f"{where}: images of shape {shape} must have {ci} channels")
    s.co = co
    s.x_argmax = s.dy_argmax = NULL
    s.y_argmax = NULL
    s.oh = places(s.h + s.top + bottom, 3, 1, where)
    s.ow = places(s.w + s.left + right, 3, 1, where)
    return 0


cdef int set_pooled(Geometry* s, cnp.ndarray g, object argmax, str where) except -1:
    """That g is the gradient of the outputs, or of a max-pool of them with these winners."""
    cdef cnp.ndarray winners
    cdef Py_ssize_t h = s.oh // 2, w = s.ow // 2, i
    cdef uint8_t bits = 0       # of all places: below 4 if each of them is
    if argmax is None:
        has_shape(g, s.n, s.oh, s.ow, s.co, where, "dy")
        return 0
    winners = typed_array(argmax, where, "argmax", 4, cnp.NPY_UINT8)
    has_shape(g, s.n, h, w, s.co, where, "dy")
    has_shape(winners, s.n, h, w, s.co, where, "argmax")
    s.dy_argmax = <const uint8_t*>winners.data
    with nogil:
        for i in range(s.n * h * w * s.co):
            bits = bits | s.dy_argmax[i]
    if bits > 3:
        raise ValueError(f"{where}: argmax has places outside the windows of 2 x 2")
    return 0


cdef double work_of(Geometry* s) noexcept:
    return <double>s.n * s.oh * s.ow * s.co * s.ci / 2


def winograd_weights(w, int threads=0):
    """Transformed weights of w (3, 3, C_in, C_out), in an order of their own, for winograd_conv."""
    cdef cnp.ndarray k = kernel(w, "winograd_weights"), u
    cdef Geometry s
    cdef cnp.npy_intp size
    s.ci, s.co = k.shape[2], k.shape[3]
    size = transformed_floats(&s)
    u = new_array(1, &size, cnp.NPY_FLOAT32)
    with nogil:
        transform_weights(<const float*>k.data, <float*>u.data, &s, False,
                          threads_for(threads, FREQUENCIES * <double>s.ci * s.co))
    return u


def winograd_conv(x, w, padding=((0, 0), (0, 0)), bias=None, residual=None, bint relu_out=False,
                  transformed=None, out=None, int threads=0):
    """y (N, OH, OW, C_out) of x (N, H, W, C_in) and w (3, 3, C_in, C_out), plus `bias` and
    `residual`, then ReLU if `relu_out`; `transformed`: winograd_weights(w), if they are known."""
    cdef cnp.ndarray a = images(x, "winograd_conv", "x"), y
    cdef Epilogue end
    cdef cnp.ndarray k = kernel(w, "winograd_conv")
    cdef Geometry s
    cdef cnp.npy_intp dims[4]
    set_geometry(&s, "winograd_conv", np.shape(x), k.shape[2], k.shape[3], padding)
    dims[0], dims[1], dims[2], dims[3] = s.n, s.oh, s.ow, s.co
    y = output(out, "winograd_conv", 4, dims, cnp.NPY_FLOAT32)
    disjoint(y, a, "winograd_conv", "x")
    disjoint(y, k, "winograd_conv", "w")
    end = epilogue_of(bias, residual, relu_out, y, "winograd_conv")
    convolve(a, k, transformed, y, &s, &end, threads, "winograd_conv")
    return y


def winograd_conv_pool(x, w, padding=((0, 0), (0, 0)), bias=None, bint relu_out=False,
                       transformed=None, out=None, int threads=0):
    """(y, argmax) (N, OH // 2, OW // 2, C_out): max_pool of winograd_conv by 2x2 windows side by
    side."""
    cdef str where = "winograd_conv_pool"
    cdef cnp.ndarray a = images(x, where, "x"), k = kernel(w, where), y, argmax
    cdef Epilogue end
    cdef Geometry s
    cdef cnp.npy_intp dims[4]
    set_geometry(&s, where, np.shape(x), k.shape[2], k.shape[3], padding)
    if s.oh < 2 or s.ow < 2:
        raise ValueError(f"{where}: outputs of {s.oh} x {s.ow} have no window of 2 x 2")
    dims[0], dims[1], dims[2], dims[3] = s.n, s.oh // 2, s.ow // 2, s.co
    y = output(out, where, 4, dims, cnp.NPY_FLOAT32)
    disjoint(y, a, where, "x")
    disjoint(y, k, where, "w")
    argmax = new_array(4, dims, cnp.NPY_UINT8)
    s.y_argmax = <uint8_t*>argmax.data
    end = epilogue_of(bias, None, relu_out, y, where)
    convolve(a, k, transformed, y, &s, &end, threads, where)
    return y, argmax


cdef int convolve(cnp.ndarray x, cnp.ndarray w, object transformed, cnp.ndarray y, Geometry* s,
                  const Epilogue* end, int threads, str where) except -1:
    """`forward` with weights that may be transformed already."""
    cdef cnp.ndarray u
    cdef int t
    if s.n == 0:
        return 0
    t = threads_for(threads, work_of(s))
    if transformed is None:
        u = workspace(product(transformed_floats(s), 4))
        with nogil:
            transform_weights(<const float*>w.data, <float*>u.data, s, False, t)
    else:
        u = typed_array(transformed, where, "transformed", 1, cnp.NPY_FLOAT32)
        has_length(u, transformed_floats(s), where, "transformed")
    return forward(<const float*>x.data, <const float*>u.data, <float*>y.data, s, end, t)


def winograd_input_grad(dy, w, input_shape, padding=((0, 0), (0, 0)), argmax=None, out=None,
                        int threads=0):
    """dx (N, H, W, C_in) from dy (N, OH, OW, C_out); with `argmax` dy is the gradient behind a
    max-pool of 2x2 windows side by side, and goes to the places that won."""
    cdef cnp.ndarray g = images(dy, "winograd_input_grad", "dy"), dx, u
    cdef cnp.ndarray k = kernel(w, "winograd_input_grad")
    cdef Geometry s, t
    cdef Epilogue end
    cdef int workers
    cdef cnp.npy_intp dims[4]
    set_geometry(&s, "winograd_input_grad", input_shape, k.shape[2], k.shape[3], padding)
    set_pooled(&s, g, argmax, "winograd_input_grad")
    dims[0], dims[1], dims[2], dims[3] = s.n, s.h, s.w, s.ci
    dx = output(out, "winograd_input_grad", 4, dims, cnp.NPY_FLOAT32)
    disjoint(dx, g, "winograd_input_grad", "dy")
    disjoint(dx, k, "winograd_input_grad", "w")
    t.n, t.h, t.w, t.ci = s.n, s.oh, s.ow, s.co
    t.oh, t.ow, t.co = s.h, s.w, s.ci
    t.top, t.left, t.x_argmax = 2 - s.top, 2 - s.left, s.dy_argmax
    t.dy_argmax = t.y_argmax = NULL
    if s.n * s.h * s.w:
        workers = threads_for(threads, work_of(&s))
        end.bias = end.residual = NULL
        end.relu_out = False
        u = workspace(product(transformed_floats(&t), 4))
        with nogil:
            transform_weights(<const float*>k.data, <float*>u.data, &t, True, workers)
        forward(<const float*>g.data, <const float*>u.data, <float*>dx.data, &t, &end, workers)
    return dx


def winograd_weight_grad(x, dy, padding=((0, 0), (0, 0)), argmax=None, out=None, int threads=0):
    """dw (3, 3, C_in, C_out) from x (N, H, W, C_in) and dy (N, OH, OW, C_out), or behind a max-pool,
    as in winograd_input_grad."""
    cdef cnp.ndarray a = images(x, "winograd_weight_grad", "x"), dw
    cdef cnp.ndarray g = images(dy, "winograd_weight_grad", "dy")
    cdef Geometry s
    cdef cnp.npy_intp dims[4]
    set_geometry(&s, "winograd_weight_grad", np.shape(x), a.shape[3], g.shape[3], padding)
    set_pooled(&s, g, argmax, "winograd_weight_grad")
    dims[0], dims[1], dims[2], dims[3] = 3, 3, s.ci, s.co
    dw = output(out, "winograd_weight_grad", 4, dims, cnp.NPY_FLOAT32)
    disjoint(dw, a, "winograd_weight_grad", "x")
    disjoint(dw, g, "winograd_weight_grad", "dy")
    if s.n == 0:
        dw[...] = 0
    else:
        weight_gradient(<const float*>a.data, <const float*>g.data, <float*>dw.data, &s,
                        threads_for(threads, work_of(&s)))
    return dw
