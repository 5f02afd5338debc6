# Winograd's tiles of 4x4 outputs: where they are in images, and their transforms (winograd.h).
from libc.stdint cimport uint8_t
from libc.string cimport memcpy, memset

from minidl_ext.gemm.micro cimport VECTOR_BYTES

cdef extern from "conv/winograd.h" nogil:
    void input_tile(const float* x, Py_ssize_t row, Py_ssize_t pixel, Py_ssize_t channels, float* v,
                    Py_ssize_t step)
    void output_grad_tile(const float* dy, Py_ssize_t row, Py_ssize_t channels, float* z,
                          Py_ssize_t step)
    void unpooled_tile(const float* dy, const uint8_t* argmax, Py_ssize_t h, Py_ssize_t w,
                       Py_ssize_t channels, Py_ssize_t y0, Py_ssize_t x0, Py_ssize_t size,
                       float* tile)

cdef enum:
    VL = VECTOR_BYTES // 4
    FREQUENCIES = 36
    PAD = 16                        # floats between frequencies, against conflicts in the cache


cdef struct Geometry:
    Py_ssize_t n, h, w, ci          # of the images that are read
    Py_ssize_t oh, ow, co           # of those that are written
    Py_ssize_t cp                   # co, up to whole vectors
    Py_ssize_t top, left            # of padding; negative: so much is cut off
    Py_ssize_t th, tw, tiles        # tiles of an image by height and width, of all images
    Py_ssize_t vs, ms               # from one frequency to the next
    # Of what is read (of the outputs' gradients) only the gradient behind a max-pool of 2x2 windows
    # is there, and who won; NULL: it is there itself.
    const uint8_t* x_argmax
    const uint8_t* dy_argmax
    uint8_t* y_argmax               # where the winners go if outputs are pooled; NULL: they are not


cdef inline void finish(Geometry* s, Py_ssize_t unit) noexcept nogil:
    s.th, s.tw = (s.oh + 3) // 4, (s.ow + 3) // 4
    s.tiles = s.n * s.th * s.tw
    s.cp = (s.co + VL - 1) // VL * VL
    s.vs, s.ms = unit * s.ci + PAD, unit * s.cp + PAD


cdef inline const float* tile_at(const float* image, Py_ssize_t h, Py_ssize_t w, Py_ssize_t c,
                                 Py_ssize_t y0, Py_ssize_t x0, Py_ssize_t size, float* copy,
                                 Py_ssize_t* row) noexcept nogil:
    """Where a tile of size x size pixels can be read: in place, or at a border in a copy."""
    cdef Py_ssize_t i, y, first, last
    if y0 >= 0 and x0 >= 0 and y0 + size <= h and x0 + size <= w:
        row[0] = w * c
        return image + (y0 * w + x0) * c
    row[0] = size * c
    first = min(max(-x0, 0), size)
    last = max(min(size, w - x0), first)
    for i in range(size):
        y = y0 + i
        if y < 0 or y >= h:
            memset(copy + i * size * c, 0, size * c * sizeof(float))
            continue
        memset(copy + i * size * c, 0, first * c * sizeof(float))
        memcpy(copy + (i * size + first) * c, image + (y * w + x0 + first) * c,
               (last - first) * c * sizeof(float))
        memset(copy + (i * size + last) * c, 0, (size - last) * c * sizeof(float))
    return copy


cdef inline const float* tile_of(const float* x, Py_ssize_t n, Py_ssize_t h, Py_ssize_t w,
                                 Py_ssize_t c, Py_ssize_t y0, Py_ssize_t x0, Py_ssize_t size,
                                 const uint8_t* argmax, float* copy, Py_ssize_t* row
                                 ) noexcept nogil:
    """A tile of image n of x (N, h, w, c); with `argmax` x is pooled, to h // 2 and w // 2."""
    cdef Py_ssize_t first
    if argmax == NULL:
        return tile_at(x + n * h * w * c, h, w, c, y0, x0, size, copy, row)
    h, w = h // 2, w // 2
    first = n * h * w * c
    unpooled_tile(x + first, argmax + first, h, w, c, y0, x0, size, copy)
    row[0] = size * c
    return copy


cdef inline void transform_inputs(const float* x, float* v, float* copy, Geometry* s,
                                  Py_ssize_t first, Py_ssize_t after) noexcept nogil:
    cdef Py_ssize_t t, q, row, per_image = s.th * s.tw
    cdef const float* tile
    for t in range(first, after):
        q = t % per_image
        tile = tile_of(x, t // per_image, s.h, s.w, s.ci, q // s.tw * 4 - s.top,
                       q % s.tw * 4 - s.left, 6, s.x_argmax, copy, &row)
        input_tile(tile, row, s.ci, s.ci, v + (t - first) * s.ci, s.vs)


cdef inline void transform_output_grads(const float* dy, float* z, float* copy, Geometry* s,
                                        Py_ssize_t first, Py_ssize_t after) noexcept nogil:
    cdef Py_ssize_t t, q, row, per_image = s.th * s.tw
    cdef const float* tile
    for t in range(first, after):
        q = t % per_image
        tile = tile_of(dy, t // per_image, s.oh, s.ow, s.co, q // s.tw * 4, q % s.tw * 4, 4,
                       s.dy_argmax, copy, &row)
        output_grad_tile(tile, row, s.co, z + (t - first) * s.cp, s.ms)


cdef inline Py_ssize_t first_pixel(Geometry* s, Py_ssize_t t, Py_ssize_t h, Py_ssize_t w,
                                   Py_ssize_t step=4) noexcept nogil:
    """The pixel, of all images of h x w, at the start of the row of tiles that holds tile t; tiles
    are `step` pixels apart."""
    cdef Py_ssize_t per_image = s.th * s.tw
    if t >= s.tiles:
        return s.n * h * w
    return (t // per_image * h + t % per_image // s.tw * step) * w


cdef inline Py_ssize_t first_read(Geometry* s, Py_ssize_t t, Py_ssize_t h, Py_ssize_t w,
                                  const uint8_t* argmax) noexcept nogil:
    """The same for what is there of images of h x w."""
    if argmax == NULL:
        return first_pixel(s, t, h, w)
    return first_pixel(s, t, h // 2, w // 2, 2)
