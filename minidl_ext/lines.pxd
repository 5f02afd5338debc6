# Sum and maximum of values that lie together (lines.h).
from cython cimport floating

cdef extern from "lines.h" nogil:
    double line_sum_f32(const float* x, Py_ssize_t n)
    double line_sum_f64(const double* x, Py_ssize_t n)
    float line_max_f32(const float* x, Py_ssize_t n)
    double line_max_f64(const double* x, Py_ssize_t n)


cdef inline double line_sum(const floating* x, Py_ssize_t n) noexcept nogil:
    """The sum, in double."""
    if floating is float:
        return line_sum_f32(x, n)
    else:
        return line_sum_f64(x, n)


cdef inline floating line_max(const floating* x, Py_ssize_t n) noexcept nogil:
    """The largest of at least one value, none of them NaN."""
    if floating is float:
        return line_max_f32(x, n)
    else:
        return line_max_f64(x, n)
