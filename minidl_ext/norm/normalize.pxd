# Batch normalization of rows of channels, and its gradient (normalize.h). Templates are over float
# and double.
from cython cimport floating

cdef extern from "norm/normalize.h" nogil:
    void apply_rows[Real](const Real* x, const Real* residual, int relu, Real* y,
                          Py_ssize_t y_step, Py_ssize_t rows, Py_ssize_t channels,
                          const Real* factors, bint stream)
    void add_backward_sums[Real](const Real* dy, const Real* dy2, const Real* x, int relu,
                                 const Real* residual, Real* g_out, Py_ssize_t rows,
                                 Py_ssize_t block, Py_ssize_t channels, const Real* factors,
                                 Real* work, double* sums)
    void backward_rows[Real](const Real* dy, const Real* x, int relu, const Real* residual,
                             Real* dx, Py_ssize_t dx_step, Py_ssize_t rows, Py_ssize_t channels,
                             const Real* factors, const Real* slope, const Real* offset,
                             bint stream)
    void group_backward_rows[Real](const Real* dy, const Real* x, Real* dx, Py_ssize_t rows,
                                   Py_ssize_t channels, const Real* factors, const Real* gamma,
                                   const Real* slope, const Real* offset)
    void finish_sums[Real](const double* sums, double m, Py_ssize_t channels, const Real* factors,
                           Real* dgamma, Real* dbeta, Real* slope, Real* offset)


cdef inline const floating* advanced(const floating* array, Py_ssize_t values) noexcept nogil:
    """An address so many values further on in an array that may be absent, which NULL says."""
    return array + values if array != NULL else NULL


cdef inline void set_factors(floating* factors, Py_ssize_t channels, Py_ssize_t c, double mean,
                             double rstd, const floating* gamma, const floating* beta
                             ) noexcept nogil:
    """Fill in the factors (5, C) of channel c; gamma and beta may be NULL."""
    cdef double scale = rstd if gamma == NULL else gamma[c] * rstd, low
    cdef floating high = <floating>mean
    low = mean - high
    factors[c] = high
    factors[channels + c] = <floating>scale
    factors[2 * channels + c] = <floating>((0.0 if beta == NULL else beta[c]) - low * scale)
    factors[3 * channels + c] = <floating>rstd
    factors[4 * channels + c] = <floating>low
