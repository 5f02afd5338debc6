# The tiles of 4x4 outputs of Winograd's convolution: where they are in images, how those at a
# border are read, and their transforms (winograd.h).
from libc.stdint cimport uint8_t
from libc.string cimport memcpy, memset

from minidl_ext.conv.winograd cimport GAP, input_tile, output_grad_tile, unpooled_tile
from minidl_ext.gemm.micro cimport VECTOR_BYTES
from minidl_ext.runtime.geometry cimport Geometry
from minidl_ext.runtime.memory cimport ceil_div

cdef enum:
    VL = VECTOR_BYTES // 4          # the channels of a vector


# A convolution cut into tiles. What is read has the sizes h x w and c channels, what is written
# oh x ow and co: the input gradient reads the gradient of the outputs and writes that of the input.
cdef struct Tiling:
    Py_ssize_t n, h, w, c
    Py_ssize_t oh, ow, co
    Py_ssize_t top, left            # padding; where it is negative, so much is cut off
    Py_ssize_t th, tw, tiles        # tiles of an image by height and by width, of all images
    Py_ssize_t padded               # co rounded up to vectors
    Py_ssize_t unit                 # the tiles that are transformed at a time
    Py_ssize_t in_step, out_step    # floats from a frequency of transformed tiles to the next
    # Winners of 2x2 max-pools side by side. With x_argmax (dy_argmax), x (dy) is the gradient
    # of the outputs of such a pool, and its tiles are made of that. With y_argmax, which is
    # written, outputs are pooled. NULL: there is no pool.
    const uint8_t* x_argmax
    const uint8_t* dy_argmax
    uint8_t* y_argmax


cdef inline Tiling forward_tiling(const Geometry* s) noexcept nogil:
    """The tiles of a convolution, without pools."""
    cdef Tiling t
    t.n, t.h, t.w, t.c = s.n, s.h, s.w, s.c
    t.oh, t.ow, t.co = s.oh, s.ow, s.co
    t.top, t.left = s.top, s.left
    t.x_argmax = t.dy_argmax = NULL
    t.y_argmax = NULL
    set_unit(&t, 1)
    return t


cdef inline Tiling input_grad_tiling(const Geometry* s) noexcept nogil:
    """The tiles of the input gradient of a convolution: that of dy with weights turned around."""
    cdef Tiling t = forward_tiling(s)
    t.h, t.w, t.c = s.oh, s.ow, s.co
    t.oh, t.ow, t.co = s.h, s.w, s.c
    t.top, t.left = 2 - s.top, 2 - s.left
    set_unit(&t, 1)
    return t


cdef inline void set_unit(Tiling* t, Py_ssize_t unit) noexcept nogil:
    """Set how many tiles are transformed at a time, and what follows from it."""
    t.th, t.tw = ceil_div(t.oh, 4), ceil_div(t.ow, 4)
    t.tiles = t.n * t.th * t.tw
    t.padded = ceil_div(t.co, VL) * VL
    t.unit = unit
    t.in_step, t.out_step = unit * t.c + GAP, unit * t.padded + GAP


cdef inline double winograd_work(const Tiling* t) noexcept nogil:
    """The work of a convolution for `threads_for`: the multiply-adds of F(4x4, 3x3), over 4 or so.
    """
    return <double>t.n * t.oh * t.ow * t.co * t.c / 2


# ------------------------------------------------------------------------------------ reading

cdef inline const float* tile_at(const float* image, Py_ssize_t h, Py_ssize_t w, Py_ssize_t c,
                                 Py_ssize_t y0, Py_ssize_t x0, Py_ssize_t size, float* buffer,
                                 Py_ssize_t* row) noexcept nogil:
    """Where the tile of size x size pixels from (y0, x0) on can be read: in an image (h, w, c),
    or at its border in a copy with zeros. `row` becomes the floats from a row to the next."""
    cdef Py_ssize_t i, y, first, stop
    if y0 >= 0 and x0 >= 0 and y0 + size <= h and x0 + size <= w:
        row[0] = w * c
        return image + (y0 * w + x0) * c
    row[0] = size * c
    first = min(max(-x0, 0), size)
    stop = max(min(size, w - x0), first)
    for i in range(size):
        y = y0 + i
        if y < 0 or y >= h:
            memset(buffer + i * size * c, 0, size * c * sizeof(float))
            continue
        memset(buffer + i * size * c, 0, first * c * sizeof(float))
        memcpy(buffer + (i * size + first) * c, image + (y * w + x0 + first) * c,
               (stop - first) * c * sizeof(float))
        memset(buffer + (i * size + stop) * c, 0, (size - stop) * c * sizeof(float))
    return buffer


cdef inline const float* tile_of(const float* x, Py_ssize_t n, Py_ssize_t h, Py_ssize_t w,
                                 Py_ssize_t c, Py_ssize_t y0, Py_ssize_t x0, Py_ssize_t size,
                                 const uint8_t* argmax, float* buffer, Py_ssize_t* row
                                 ) noexcept nogil:
    """A tile of image n of x (N, h, w, c); with `argmax` x is pooled, to h // 2 and w // 2."""
    cdef Py_ssize_t first
    if argmax == NULL:
        return tile_at(x + n * h * w * c, h, w, c, y0, x0, size, buffer, row)
    h, w = h // 2, w // 2
    first = n * h * w * c
    unpooled_tile(x + first, argmax + first, h, w, c, y0, x0, size, buffer)
    row[0] = size * c
    return buffer


cdef inline Py_ssize_t first_pixel(const Tiling* t, Py_ssize_t tile, Py_ssize_t h, Py_ssize_t w,
                                   const uint8_t* argmax) noexcept nogil:
    """The pixel, of all images of h x w, at which the row of tiles of some tile begins; with
    `argmax` of what is left of them after a pool. Prefetches of a unit's tiles start there."""
    cdef Py_ssize_t per_image = t.th * t.tw, step = 4
    if argmax != NULL:
        h, w, step = h // 2, w // 2, 2
    if tile >= t.tiles:
        return t.n * h * w
    return (tile // per_image * h + tile % per_image // t.tw * step) * w


# --------------------------------------------------------------------------------- transforms

cdef inline void transform_inputs(const float* x, float* v, float* buffer, const Tiling* t,
                                  Py_ssize_t first, Py_ssize_t stop) noexcept nogil:
    """Transform the input tiles first .. stop to v[frequency][tile][channel]."""
    cdef Py_ssize_t i, q, row, per_image = t.th * t.tw
    cdef const float* tile
    for i in range(first, stop):
        q = i % per_image
        tile = tile_of(x, i // per_image, t.h, t.w, t.c, q // t.tw * 4 - t.top,
                       q % t.tw * 4 - t.left, 6, t.x_argmax, buffer, &row)
        input_tile(tile, row, t.c, t.c, v + (i - first) * t.c, t.in_step)


cdef inline void transform_output_grads(const float* dy, float* z, float* buffer, const Tiling* t,
                                        Py_ssize_t first, Py_ssize_t stop) noexcept nogil:
    """Transform the tiles first .. stop of the outputs' gradient to z[frequency][tile][channel].
    """
    cdef Py_ssize_t i, q, row, per_image = t.th * t.tw
    cdef const float* tile
    for i in range(first, stop):
        q = i % per_image
        tile = tile_of(dy, i // per_image, t.oh, t.ow, t.co, q // t.tw * 4, q % t.tw * 4, 4,
                       t.dy_argmax, buffer, &row)
        output_grad_tile(tile, row, t.co, z + (i - first) * t.padded, t.out_step)
