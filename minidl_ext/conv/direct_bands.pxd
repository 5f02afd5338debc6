# Bands of image rows, of which the direct convolutions work on one at a time: how many rows a band
# has, and where it can be read with its zero padding.
from cython cimport floating
from libc.string cimport memcpy, memset

from minidl_ext.runtime.geometry cimport Geometry, multiply_adds
from minidl_ext.runtime.memory cimport aligned, ceil_div, product

cdef enum:
    BAND_BYTES = 96 * 1024      # of padded input in a band, so that it stays in the L2 cache
    MIN_TASKS = 16              # so that a dozen threads have work


# Rows and columns of an image, which may reach beyond it.
cdef struct Region:
    Py_ssize_t row, rows, col, cols
    Py_ssize_t pitch            # pixels from a row to the next, where the region can be read


# What a thread computes a band with. Memory and pointers are for values of either float type.
cdef struct Buffers:
    void* images                # a copy of the band, with its padding
    void* dy                    # a copy of columns of dy, for the gradient of the weights
    void** rows                 # where the rows of a product are read,
    void** outs                 # and where their results go
    Py_ssize_t* offsets         # where the segments of a row are


# How large these buffers are.
cdef struct BufferSizes:
    Py_ssize_t images_bytes, dy_bytes
    Py_ssize_t rows, offsets    # numbers of rows, and of offsets


cdef inline Py_ssize_t buffer_bytes(const BufferSizes* n) except -1:
    """The bytes of a thread's buffers."""
    return aligned(n.images_bytes + n.dy_bytes + product(2, n.rows, sizeof(void*))
                   + n.offsets * sizeof(Py_ssize_t))


cdef inline Buffers buffers_at(char* memory, const BufferSizes* n) noexcept nogil:
    """A thread's buffers, which begin at `memory`."""
    cdef Buffers b
    b.images, b.dy = memory, memory + n.images_bytes
    b.rows = <void**>(memory + n.images_bytes + n.dy_bytes)
    b.outs = b.rows + n.rows
    b.offsets = <Py_ssize_t*>(b.outs + n.rows)
    return b


cdef inline void copy_region(const floating* image, floating* buffer, Py_ssize_t h, Py_ssize_t w,
                             Py_ssize_t c, const Region* region) noexcept nogil:
    """Copy a region of an image (h, w, c), with zeros for what is outside of the image."""
    cdef Py_ssize_t i, row, left, inside, right, size = region.cols * c
    left = min(max(-region.col, 0), region.cols)
    right = min(max(region.col + region.cols - w, 0), region.cols - left)
    inside = region.cols - left - right
    for i in range(region.rows):
        row = region.row + i
        if row < 0 or row >= h:
            memset(buffer + i * size, 0, size * sizeof(floating))
            continue
        memset(buffer + i * size, 0, left * c * sizeof(floating))
        memcpy(buffer + i * size + left * c, image + (row * w + region.col + left) * c,
               inside * c * sizeof(floating))
        memset(buffer + i * size + (left + inside) * c, 0, right * c * sizeof(floating))


cdef inline const floating* read_region(const floating* image, floating* buffer, Py_ssize_t h,
                                        Py_ssize_t w, Py_ssize_t c, Region* region) noexcept nogil:
    """Where a region of an image (h, w, c) can be read, and at which pitch: in the image itself
    where its rows lie within, else in a copy in `buffer`."""
    if (region.row >= 0 and region.row + region.rows <= h and region.col == 0
            and region.cols <= w):
        region.pitch = w
        return image + region.row * w * c
    region.pitch = region.cols
    copy_region(image, buffer, h, w, c, region)
    return buffer


cdef inline const floating* read_inputs(const floating* x, floating* buffer, const Geometry* s,
                                        Py_ssize_t image, Py_ssize_t row, Py_ssize_t rows,
                                        Region* region) noexcept nogil:
    """The region of an image of x that output rows row .. row + rows read."""
    region.row, region.rows = row * s.sh - s.top, input_rows(s, rows)
    region.col, region.cols = -s.left, input_cols(s)
    return read_region(x + image * s.h * s.w * s.c, buffer, s.h, s.w, s.c, region)


cdef inline const floating* next_rows(const floating* images, Py_ssize_t image, Py_ssize_t row,
                                      Py_ssize_t h, Py_ssize_t row_size) noexcept nogil:
    """Where the rows that are needed next begin, for a prefetch: at `row` of an image of h rows."""
    return images + (image * h + max(0, min(row, h))) * row_size


cdef inline Py_ssize_t input_rows(const Geometry* s, Py_ssize_t rows) noexcept nogil:
    """How many input rows so many output rows read."""
    return (rows - 1) * s.sh + (s.kh - 1) * s.dh + 1


cdef inline Py_ssize_t input_cols(const Geometry* s) noexcept nogil:
    """How many input columns a row of outputs reads."""
    return (s.ow - 1) * s.sw + (s.kw - 1) * s.dw + 1


cdef inline Py_ssize_t band_rows(Py_ssize_t rows, Py_ssize_t row_bytes, Py_ssize_t step,
                                 Py_ssize_t images) noexcept nogil:
    """The rows of a band: as many as fit in cache, fewer where the images alone are too few tasks.

    Each of the `rows` rows of an image needs `step` further rows of `row_bytes` bytes.
    """
    cdef Py_ssize_t most = BAND_BYTES
    cdef Py_ssize_t fit = most // (min(row_bytes, most) * min(step, most))
    cdef Py_ssize_t parts = ceil_div(MIN_TASKS, images) if images < MIN_TASKS else 1
    fit = max(<Py_ssize_t>1, min(fit, ceil_div(rows, parts)))
    return ceil_div(rows, ceil_div(rows, fit))


cdef inline Py_ssize_t input_row_bytes(const Geometry* s, size_t itemsize) except -1:
    """The bytes of a padded input row."""
    return product(input_cols(s), s.c, itemsize)


cdef inline Py_ssize_t input_band_bytes(const Geometry* s, Py_ssize_t rows, size_t itemsize
                                        ) except -1:
    """The bytes of the buffer for a band of so many output rows."""
    return aligned(product(input_rows(s, rows), input_row_bytes(s, itemsize)))


cdef inline double band_work(const Geometry* s, Py_ssize_t bands, Py_ssize_t band_bytes) noexcept:
    """All the work in multiply-adds, with what it takes to copy the bands in about such."""
    return multiply_adds(s) + <double>bands * band_bytes / 4
