# What a convolution between two normalizations needs of them, float32: rows of its input are
# normalized as it reads them, rows of the gradient of its output come through the normalization
# that consumes the output, and the statistics of the output are summed as it is written.
cimport numpy as cnp

from minidl_ext.norm.normalize cimport apply_rows, backward_rows
from minidl_ext.norm.statistics cimport add_shifted_sums, column_means, rows_of_block
from minidl_ext.runtime.arguments cimport channel_blocks, channel_rows, same_shape


# A normalization before or after a convolution. Only that after it, the consumer, has the last
# three.
cdef struct Normalized:
    const float* factors        # (5, C), or NULL: there is no normalization
    int relu
    const float* x              # what the consumer normalized: the convolution's output
    const float* slope          # (C,): how the consumer's statistics pass gradients on, or NULL
    const float* offset         # (C,), with the slope


# Sums over the rows of y that a thread has made so far, for their statistics.
cdef struct Running:
    float* shift                # the mean of the first block of rows
    float* part                 # (2, channels)
    double* sums                # (2, channels)
    bint begun


cdef inline const float* normalized(const float* x, float* work, Py_ssize_t step, Py_ssize_t rows,
                                    Py_ssize_t channels, const Normalized* norm) noexcept nogil:
    """Rows of x as a convolution is to read them: in place, or normalized in `work`, `step` values
    apart."""
    if norm.factors == NULL:
        return x
    apply_rows(x, <const float*>NULL, norm.relu, work, step, rows, channels, norm.factors, False)
    return work


cdef inline const float* gradient_through_consumer(
        const float* dy, Py_ssize_t first, float* work, Py_ssize_t step, Py_ssize_t rows,
        Py_ssize_t channels, const Normalized* norm) noexcept nogil:
    """Rows from `first` on of the gradient of a convolution's output: in place where there is no
    consumer, else computed in `work` from dy, the gradient of the consumer's output."""
    cdef Py_ssize_t at = first * channels
    if norm.factors == NULL:
        return dy + at
    backward_rows(dy + at, norm.x + at, norm.relu, <const float*>NULL, work, step, rows, channels,
                  norm.factors, norm.slope, norm.offset, False)
    return work


cdef inline void count_rows(Running* s, const float* y, Py_ssize_t rows, Py_ssize_t channels
                            ) noexcept nogil:
    """Add rows of y to the sums for their statistics."""
    cdef Py_ssize_t block = rows_of_block(channels, sizeof(float)), c
    if not s.begun:
        column_means(y, min(block, rows), channels, s.shift)
        for c in range(2 * channels):
            s.sums[c] = 0
        s.begun = True
    add_shifted_sums(y, rows, block, channels, <const float*>s.shift, s.part, s.sums,
                     s.sums + channels)


cdef inline int normalized_by(Normalized* norm, object factors, bint relu, Py_ssize_t channels,
                              str where) except -1:
    """Fill in the normalization of an input of so many channels by `factors` (5, C), or None."""
    cdef cnp.ndarray f
    norm.factors = NULL
    norm.relu = relu
    norm.x = norm.slope = norm.offset = NULL
    if factors is not None:
        f = channel_rows(factors, 5, channels, cnp.NPY_FLOAT32, where, "factors")
        norm.factors = <const float*>f.data
    return 0


cdef inline int set_consumer(Normalized* norm, object consumer, cnp.ndarray dy, str where
                             ) except -1:
    """Fill in the normalization that `consumer` = (y, factors, relu, centre), or None, describes;
    dy is the gradient of its output."""
    cdef cnp.ndarray y, c
    if consumer is None:
        normalized_by(norm, None, False, 0, where)
        return 0
    if not isinstance(consumer, tuple) or len(consumer) != 4 or consumer[1] is None:
        raise TypeError(f"{where}: consumer must be (y, factors, relu, centre), "
                        f"got {consumer!r:.60}")
    values, factors, relu, centre = consumer
    y = channel_blocks(values, where, "consumer", 1)
    same_shape(dy, y, where, "dy", "consumer")
    normalized_by(norm, factors, relu, dy.shape[3], where)
    norm.x = <const float*>y.data
    if centre is not None:
        c = channel_rows(centre, 2, dy.shape[3], cnp.NPY_FLOAT32, where, "centre")
        norm.slope = <const float*>c.data
        norm.offset = norm.slope + dy.shape[3]
    return 0
