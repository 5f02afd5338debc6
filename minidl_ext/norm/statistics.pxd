# Mean and variance of the channels of rows (statistics.h). Templates are over float and double.
from cython cimport floating

cdef extern from "norm/statistics.h" nogil:
    double centred(double squares, double off, double rows)
    void merge_stats(double* mean, double* m2, double count, const double* other_mean,
                     const double* other_m2, double other_count, Py_ssize_t channels)
    void merge_chunks(const double* partial, Py_ssize_t rows, Py_ssize_t chunk,
                      Py_ssize_t channels, double* mean, double* var)
    Py_ssize_t merge_counted(const double* partial, Py_ssize_t chunks, const Py_ssize_t* counts,
                             Py_ssize_t channels, double* mean, double* var)
    void column_means[Real](const Real* x, Py_ssize_t rows, Py_ssize_t channels, Real* mean)
    void shifted_sums[Real](const Real* x, Py_ssize_t rows, Py_ssize_t channels,
                            const Real* shift, Real* off, Real* squares)
    void finish_stats[Real](const Real* x, Py_ssize_t rows, Py_ssize_t channels,
                            const Real* shift, double* mean, double* m2)
    void add_sums[Real](double* total, const Real* part, Py_ssize_t n)

cdef enum:
    BLOCK_BYTES = 32 * 1024     # of x, worked on at a time
    BLOCK_ROWS = 512            # at most: float sums of more of them lose digits


cdef inline Py_ssize_t rows_of_block(Py_ssize_t channels, Py_ssize_t itemsize) noexcept nogil:
    """How many rows are worked on at a time."""
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
    column_means(x, min(block, rows), channels, shift)
    while first < rows:
        count = min(block, rows - first)
        shifted_sums(x + first * channels, count, channels, <const floating*>shift, sums,
                     sums + channels)
        add_sums(mean, <const floating*>sums, channels)
        add_sums(m2, <const floating*>(sums + channels), channels)
        first += count
    finish_stats(x, rows, channels, <const floating*>shift, mean, m2)
