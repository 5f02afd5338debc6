# How the kernels of batch normalization share out x (..., C), and their checks of the arrays that
# come with x. Everything here runs while the GIL is held, but for the functions marked nogil.
cimport numpy as cnp

from minidl_ext.norm.statistics cimport rows_of_block
from minidl_ext.runtime.arguments cimport channel_rows, has_length, output_like, real_array, \
    typed_array
from minidl_ext.runtime.memory cimport ceil_div

cdef enum:
    CHUNKS = 64                 # for the sums: fixed, so that threads do not matter; more where
    CHUNK_BLOCKS = 16           # a chunk would have more than these blocks
    # Results of this size are written past the caches: too large for what a few cores share.
    STREAM_BYTES = 32 * 1024 * 1024
    LONG_RUN = 64               # rows between two that a mask leaves out, to write past the caches


# x as rows of channels; blocks of rows, which stay in cache; and chunks of blocks, each of which
# one thread sums. All follow from the shape alone.
cdef struct Rows:
    Py_ssize_t rows, channels
    Py_ssize_t block, blocks    # rows of a block, and how many blocks there are
    Py_ssize_t chunk, chunks    # rows of a chunk, and how many chunks there are
    bint stream                 # whether results are written past the caches


cdef inline Rows layout(cnp.ndarray x):
    """The rows, blocks and chunks of x (..., C)."""
    cdef Rows s
    cdef Py_ssize_t blocks
    s.channels = x.shape[x.ndim - 1]
    s.rows = cnp.PyArray_SIZE(x) // s.channels if s.channels else 0
    s.block = rows_of_block(s.channels, x.itemsize)
    s.blocks = ceil_div(s.rows, s.block)
    blocks = max(<Py_ssize_t>1, s.blocks)
    s.chunk = s.block * min(<Py_ssize_t>CHUNK_BLOCKS, ceil_div(blocks, CHUNKS))
    s.chunks = max(<Py_ssize_t>1, ceil_div(s.rows, s.chunk))
    s.stream = s.rows * s.channels * x.itemsize >= STREAM_BYTES
    return s


cdef inline Py_ssize_t run_end(const char* mask, Py_ssize_t first, Py_ssize_t end) noexcept nogil:
    """The end of the run of rows from `first` on that all count, or all do not; without a mask
    (NULL) all rows count."""
    cdef Py_ssize_t r = first + 1
    if mask == NULL:
        return end
    while r < end and mask[r] == mask[first]:
        r += 1
    return r


cdef inline bint streams(const Rows* s, const char* mask, Py_ssize_t rows) noexcept nogil:
    """Whether the results of a run of rows are written past the caches: not those of a short run,
    whose neighbours share cache lines with it."""
    return s.stream and (mask == NULL or rows >= LONG_RUN)


cdef inline cnp.ndarray channels_last(object x, str where, str name):
    """An array of floats with an axis of channels."""
    cdef cnp.ndarray a = real_array(x, where, name, -1)
    if cnp.PyArray_NDIM(a) < 1:
        raise ValueError(f"{where}: {name} needs a channel axis")
    return a


cdef inline cnp.ndarray bools(object mask, str where):
    """A mask: an array of bools, which hold 0 or 1 and nothing else."""
    return typed_array(mask, where, "mask", 1, cnp.NPY_BOOL)


cdef inline char* mask_data(cnp.ndarray mask, Rows* s, str where) except? NULL:
    """The memory of a mask with a bool for each row, or NULL for None."""
    if mask is None:
        return NULL
    has_length(mask, s.rows, where, "mask")
    return mask.data


cdef inline cnp.ndarray checked_factors(object factors, cnp.ndarray x, Rows* s, str where):
    """The factors (5, C) of a normalization of x, in its dtype."""
    return channel_rows(factors, 5, s.channels, cnp.PyArray_TYPE(x), where, "factors")


cdef inline cnp.ndarray masked_like(object asked, cnp.ndarray x, bint differs, str where):
    """The array for the masked gradient: that which was asked for; a new one if it was asked for
    by True and differs from the gradient; otherwise None."""
    if asked is False or (asked is True and not differs):
        return None
    return output_like(None if asked is True else asked, where, x)
