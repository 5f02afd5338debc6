# The inner loops of batch normalization (norm_rows.h); and, for float32, what kernels need that
# normalize what they read.
cimport numpy as cnp
from cython cimport floating

from minidl_ext.runtime.arguments cimport channel_blocks, same_shape, typed_array

cdef extern from "norm/norm_rows.h" nogil:
    double centred(double squares, double off, double rows)
    void merge_stats(double* mean, double* m2, double count, const double* other_mean,
                     const double* other_m2, double other_count, Py_ssize_t channels)
    void merge_chunks(const double* partial, Py_ssize_t rows, Py_ssize_t chunk,
                      Py_ssize_t channels, double* mean, double* var)
    void column_means_f32(const float* x, Py_ssize_t rows, Py_ssize_t channels, float* mean)
    void column_means_f64(const double* x, Py_ssize_t rows, Py_ssize_t channels, double* mean)
    void shifted_sums_f32(const float* x, Py_ssize_t rows, Py_ssize_t channels,
                          const float* shift, float* off, float* squares)
    void shifted_sums_f64(const double* x, Py_ssize_t rows, Py_ssize_t channels,
                          const double* shift, double* off, double* squares)
    void finish_stats_f32(const float* x, Py_ssize_t rows, Py_ssize_t channels,
                          const float* shift, double* mean, double* m2)
    void finish_stats_f64(const double* x, Py_ssize_t rows, Py_ssize_t channels,
                          const double* shift, double* mean, double* m2)
    void add_sums_f32(double* total, const float* part, Py_ssize_t n)
    void add_sums_f64(double* total, const double* part, Py_ssize_t n)
    void apply_rows_f32(const float* x, const float* residual, int relu, float* y,
                        Py_ssize_t y_step, Py_ssize_t rows, Py_ssize_t channels,
                        const float* factors, bint stream)
    void apply_rows_f64(const double* x, const double* residual, int relu, double* y,
                        Py_ssize_t y_step, Py_ssize_t rows, Py_ssize_t channels,
                        const double* factors, bint stream)
    void backward_sums_f32(const float* dy, const float* dy2, const float* x, int relu,
                           const float* residual, float* g_out, Py_ssize_t rows,
                           Py_ssize_t channels, const float* factors, float* sum_g, float* sum_gx)
    void backward_sums_f64(const double* dy, const double* dy2, const double* x, int relu,
                           const double* residual, double* g_out, Py_ssize_t rows,
                           Py_ssize_t channels, const double* factors, double* sum_g,
                           double* sum_gx)
    void backward_rows_f32(const float* dy, const float* x, int relu, const float* residual,
                           float* dx, Py_ssize_t dx_step, Py_ssize_t rows, Py_ssize_t channels,
                           const float* factors, const float* slope, const float* offset,
                           bint stream)
    void backward_rows_f64(const double* dy, const double* x, int relu, const double* residual,
                           double* dx, Py_ssize_t dx_step, Py_ssize_t rows, Py_ssize_t channels,
                           const double* factors, const double* slope, const double* offset,
                           bint stream)
    void group_backward_rows_f32(const float* dy, const float* x, float* dx, Py_ssize_t rows,
                                 Py_ssize_t channels, const float* factors, const float* gamma,
                                 const float* slope, const float* offset)
    void group_backward_rows_f64(const double* dy, const double* x, double* dx, Py_ssize_t rows,
                                 Py_ssize_t channels, const double* factors, const double* gamma,
                                 const double* slope, const double* offset)
    void finish_sums_f32(const double* sums, double m, Py_ssize_t channels, const float* factors,
                         float* dgamma, float* dbeta, float* slope, float* offset)
    void finish_sums_f64(const double* sums, double m, Py_ssize_t channels, const double* factors,
                         double* dgamma, double* dbeta, double* slope, double* offset)


cdef enum:
    BLOCK_BYTES = 32 * 1024     # of x, worked on at a time
    BLOCK_ROWS = 512            # at most: float sums of more of them lose digits


cdef inline Py_ssize_t rows_of_block(Py_ssize_t channels, Py_ssize_t itemsize) noexcept nogil:
    """Rows that are worked on at a time."""
    cdef Py_ssize_t rows = BLOCK_BYTES // (channels * itemsize) if channels else BLOCK_ROWS
    return max(<Py_ssize_t>16, min(rows, <Py_ssize_t>BLOCK_ROWS))


cdef inline void channel_stats(const floating* x, Py_ssize_t rows, Py_ssize_t block,
                               Py_ssize_t channels, floating* work, double* mean, double* m2
                               ) noexcept nogil:
    """Mean and sum of squared deviations of each channel over some rows; `work` holds 3 rows.

    Values are shifted by the mean of the first block, K. That a difference of sums then loses few
    digits, whatever the values: those of the first block alone deviate so much from the mean of
    all that sum((x - K)^2) is at most 1 + rows / (rows of the block) times the result.
    """
    cdef Py_ssize_t first = 0, count, c
    cdef floating* shift = work
    cdef floating* sums = work + channels
    for c in range(channels):
        mean[c] = m2[c] = 0
    if floating is float:
        column_means_f32(x, min(block, rows), channels, shift)
    else:
        column_means_f64(x, min(block, rows), channels, shift)
    while first < rows:
        count = min(block, rows - first)
        if floating is float:
            shifted_sums_f32(x + first * channels, count, channels, shift, sums, sums + channels)
            add_sums_f32(mean, sums, channels)
            add_sums_f32(m2, sums + channels, channels)
        else:
            shifted_sums_f64(x + first * channels, count, channels, shift, sums, sums + channels)
            add_sums_f64(mean, sums, channels)
            add_sums_f64(m2, sums + channels, channels)
        first += count
    if floating is float:
        finish_stats_f32(x, rows, channels, shift, mean, m2)
    else:
        finish_stats_f64(x, rows, channels, shift, mean, m2)


# What a convolution reads when there is a normalization before it, or behind it in the backward.
cdef struct Normalized:
    const float* factors        # NULL: none
    int relu
    const float* x              # behind: what was normalized there
    const float* slope          # behind: how its statistics carry gradients, or NULL
    const float* offset


# Sums over the rows of y that a thread has made so far, for their statistics.
cdef struct Running:
    float* shift                # the mean of the first rows
    float* part                 # (2, channels)
    double* sums                # (2, channels)
    bint begun


cdef inline const float* normalized(const float* x, float* room, Py_ssize_t step, Py_ssize_t rows,
                                    Py_ssize_t channels, const Normalized* norm) noexcept nogil:
    """Rows of x as a convolution is to read them: in place, or normalized in `room`."""
    if norm.factors == NULL:
        return x
    apply_rows_f32(x, NULL, norm.relu, room, step, rows, channels, norm.factors, False)
    return room


cdef inline const float* gradient_through_consumer(const float* dy, Py_ssize_t first, float* room,
                                         Py_ssize_t step, Py_ssize_t rows, Py_ssize_t channels,
                                         const Normalized* norm) noexcept nogil:
    """Rows first .. of the gradient of a convolution's output: in place, or from that of the
    normalization behind it, in `room`."""
    cdef Py_ssize_t at = first * channels
    if norm.factors == NULL:
        return dy + at
    backward_rows_f32(dy + at, norm.x + at, norm.relu, NULL, room, step, rows, channels,
                      norm.factors, norm.slope, norm.offset, False)
    return room


cdef inline void count_rows(Running* s, const float* y, Py_ssize_t rows, Py_ssize_t channels
                            ) noexcept nogil:
    """Add rows of y to the sums for their statistics."""
    cdef Py_ssize_t c
    if not s.begun:
        column_means_f32(y, rows, channels, s.shift)
        for c in range(2 * channels):
            s.sums[c] = 0
        s.begun = True
    shifted_sums_f32(y, rows, channels, s.shift, s.part, s.part + channels)
    add_sums_f32(s.sums, s.part, 2 * channels)


cdef inline int normalized_by(Normalized* norm, object factors, bint relu, Py_ssize_t channels,
                              str where) except -1:
    """What `factors` (5, C), or None, say of an input of so many channels."""
    cdef cnp.ndarray f
    norm.factors = NULL
    norm.relu = relu
    norm.x = norm.slope = norm.offset = NULL
    if factors is not None:
        f = typed_array(factors, where, "factors", 2, cnp.NPY_FLOAT32)
        if f.shape[0] != 5 or f.shape[1] != channels:
            raise ValueError(f"{where}: factors must have shape (5, {channels}), "
                             f"got ({f.shape[0]}, {f.shape[1]})")
        norm.factors = <const float*>f.data
    return 0


cdef inline int set_consumer(Normalized* norm, object consumer, cnp.ndarray dy, str where
                                  ) except -1:
    """What `consumer` = (y, factors, relu, centre), or None, says of the gradient dy."""
    cdef cnp.ndarray y, c
    if consumer is None:
        normalized_by(norm, None, False, 0, where)
        return 0
    if not isinstance(consumer, tuple) or len(consumer) != 4 or consumer[1] is None:
        raise TypeError(f"{where}: consumer must be (y, factors, relu, centre), got {consumer!r:.60}")
    values, factors, relu, centre = consumer
    y = channel_blocks(values, where, "consumer", 1)
    same_shape(dy, y, where, "dy", "consumer")
    normalized_by(norm, factors, relu, dy.shape[3], where)
    norm.x = <const float*>y.data
    if centre is not None:
        c = typed_array(centre, where, "centre", 2, cnp.NPY_FLOAT32)
        if c.shape[0] != 2 or c.shape[1] != dy.shape[3]:
            raise ValueError(f"{where}: centre must have shape (2, {dy.shape[3]}), "
                             f"got ({c.shape[0]}, {c.shape[1]})")
        norm.slope = <const float*>c.data
        norm.offset = norm.slope + dy.shape[3]
    return 0
