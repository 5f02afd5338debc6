# Sums and the maximum of values that lie together (lines.h).
from cython cimport floating

cdef extern from "simd/lines.h" nogil:
    double line_sum_f32(const float* x, Py_ssize_t n)
    double line_sum_f64(const double* x, Py_ssize_t n)
    double line_squares_f32(const float* x, Py_ssize_t n, double shift, double* sum_off)
    double line_squares_f64(const double* x, Py_ssize_t n, double shift, double* sum_off)
    double line_dot_f32(const float* a, const float* b, Py_ssize_t n)
    double line_dot_f64(const double* a, const double* b, Py_ssize_t n)
    void column_totals_f32(const float* x, Py_ssize_t rows, Py_ssize_t columns, double* totals)
    void column_totals_f64(const double* x, Py_ssize_t rows, Py_ssize_t columns, double* totals)
    float line_max_f32(const float* x, Py_ssize_t n)
    double line_max_f64(const double* x, Py_ssize_t n)


cdef inline double line_sum(const floating* x, Py_ssize_t n) noexcept nogil:
    """The sum, in double."""
    if floating is float:
        return line_sum_f32(x, n)
    else:
        return line_sum_f64(x, n)


cdef inline double line_squares(const floating* x, Py_ssize_t n, double shift, double* sum_off
                                ) noexcept nogil:
    """The sum of (x - shift)^2, in double; that of x - shift goes to *sum_off."""
    if floating is float:
        return line_squares_f32(x, n, shift, sum_off)
    else:
        return line_squares_f64(x, n, shift, sum_off)


cdef inline double line_dot(const floating* a, const floating* b, Py_ssize_t n) noexcept nogil:
    """The sum of a b, in double."""
    if floating is float:
        return line_dot_f32(a, b, n)
    else:
        return line_dot_f64(a, b, n)


cdef inline void column_totals(const floating* x, Py_ssize_t rows, Py_ssize_t columns,
                               double* totals) noexcept nogil:
    """The sum of each column over some rows, in double."""
    if floating is float:
        column_totals_f32(x, rows, columns, totals)
    else:
        column_totals_f64(x, rows, columns, totals)


cdef inline floating line_max(const floating* x, Py_ssize_t n) noexcept nogil:
    """The largest of at least one value, none of them NaN."""
    if floating is float:
        return line_max_f32(x, n)
    else:
        return line_max_f64(x, n)
