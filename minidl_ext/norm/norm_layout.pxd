# How batch normalization goes through x (..., C): its rows in blocks and chunks; and the checks of
# what comes with x.
cimport numpy as cnp

from minidl_ext.runtime.arguments cimport disjoint, output_like, real_array, same_dtype, same_shape
from minidl_ext.norm.norm_rows cimport rows_of_block

cdef enum:
    CHUNKS = 64                 # for the sums: fixed, so that threads do not matter; more where
    CHUNK_BLOCKS = 16           # a chunk would have more than these blocks
    # Results of this size are written past the caches: too large for what a few cores share.
    STREAM_BYTES = 32 * 1024 * 1024


cdef struct Rows:
    Py_ssize_t rows, channels   # of the whole array
    Py_ssize_t block            # rows of a block
    Py_ssize_t chunk, chunks    # rows of a chunk (whole blocks), number of chunks
    bint stream                 # whether results are written past the caches


cdef inline Rows layout(cnp.ndarray x):
    """x (..., C) as rows, blocks and chunks; all functions of the shape."""
    cdef Rows s
    cdef Py_ssize_t blocks
    s.channels = x.shape[x.ndim - 1]
    s.rows = cnp.PyArray_SIZE(x) // s.channels if s.channels else 0
    s.block = rows_of_block(s.channels, x.itemsize)
    blocks = max(<Py_ssize_t>1, (s.rows + s.block - 1) // s.block)
    s.chunk = s.block * min(<Py_ssize_t>CHUNK_BLOCKS, (blocks + CHUNKS - 1) // CHUNKS)
    s.chunks = max(<Py_ssize_t>1, (s.rows + s.chunk - 1) // s.chunk)
    s.stream = s.rows * s.channels * x.itemsize >= STREAM_BYTES
    return s


cdef inline char* like(object other, cnp.ndarray x, str where, str name) except? NULL:
    """The memory of an array that must be like x, or of None."""
    cdef cnp.ndarray a
    if other is None:
        return NULL
    a = real_array(other, where, name, -1)
    same_dtype(x, a, where, "x", name)
    same_shape(x, a, where, "x", name)
    return a.data


cdef inline cnp.ndarray masked_like(object asked, cnp.ndarray x, bint differs, str where):
    """Where the masked gradient goes: the array that was asked for, a new one if it was asked for
    (True) and differs from the gradient, or None."""
    if asked is False or (asked is True and not differs):
        return None
    return output_like(None if asked is True else asked, where, x)


cdef inline cnp.ndarray channels_last(object x, str where, str name):
    cdef cnp.ndarray a = real_array(x, where, name, -1)
    if cnp.PyArray_NDIM(a) < 1:
        raise ValueError(f"{where}: {name} needs a channel axis")
    return a


cdef inline cnp.ndarray checked_factors(object factors, cnp.ndarray x, Rows* s, str where):
    cdef cnp.ndarray f = real_array(factors, where, "factors", 2)
    same_dtype(x, f, where, "x", "factors")
    if f.shape[0] != 5 or f.shape[1] != s.channels:
        raise ValueError(f"{where}: factors must have shape (5, {s.channels}), "
                         f"got {(<object>f).shape}")
    return f


cdef inline int clear_of(object asked, cnp.ndarray out, str where, tuple names, tuple arrays
                         ) except -1:
    """A result that was asked for as an array shares no memory with these (None: not there)."""
    if isinstance(asked, cnp.ndarray):
        for name, array in zip(names, arrays, strict=True):
            if array is not None:
                disjoint(out, array, where, name)
    return 0
