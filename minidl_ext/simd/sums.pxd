# Sums and the maximum of values that lie side by side, of either float type (sums.h).
cdef extern from "simd/sums.h" nogil:
    double row_sum[Real](const Real* x, Py_ssize_t n)
    double row_squares[Real](const Real* x, Py_ssize_t n, double shift, double* sum_off)
    double row_dot[Real](const Real* a, const Real* b, Py_ssize_t n)
    void column_totals[Real](const Real* x, Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t step,
                             double* totals)
    Real row_max[Real](const Real* x, Py_ssize_t n)
