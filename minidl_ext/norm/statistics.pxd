# Mean and variance of the channels of rows (statistics.h). Templates are over float and double.
from cython cimport floating

cdef extern from "norm/statistics.h" nogil:
    double centred(double squares, double off, double rows)
    void merge_moments(const double* partial, Py_ssize_t rows, Py_ssize_t chunk,
                       Py_ssize_t channels, double* mean, double* m2)
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


cdef inline void add_shifted_sums(const floating* x, Py_ssize_t rows, Py_ssize_t block,
                                  Py_ssize_t channels, const floating* shift, floating* work,
                                  double* off, double* squares) noexcept nogil:
    """Add the sums of x - shift and of its square over some rows: those of a block in the type of
    x, in `work` (2, C), which are added in double."""
    cdef Py_ssize_t first = 0, count
    while first < rows:
        count = min(block, rows - first)
        shifted_sums(x + first * channels, count, channels, shift, work, work + channels)
        add_sums(off, <const floating*>work, channels)
        add_sums(squares, <const floating*>(work + channels), channels)
        first += count


cdef inline void channel_stats(const floating* x, Py_ssize_t rows, Py_ssize_t block,
                               Py_ssize_t channels, floating* work, double* mean, double* m2
                               ) noexcept nogil:
    """Mean and sum of squared deviations of each channel over some rows; `work` holds 3 rows.

    Values are shifted by the mean of the first block, K. That a difference of sums then loses few
    digits, whatever the values: those of the first block alone deviate so much from the mean of
    all that sum((x - K)^2) is at most 1 + rows / (rows of the block) times the result.
    """
    cdef Py_ssize_t c
    cdef floating* shift = work
    for c in range(channels):
        mean[c] = m2[c] = 0
    column_means(x, min(block, rows), channels, shift)
    add_shifted_sums(x, rows, block, channels, <const floating*>shift, work + channels, mean, m2)
    finish_stats(x, rows, channels, <const floating*>shift, mean, m2)
