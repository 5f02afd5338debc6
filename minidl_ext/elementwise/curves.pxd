# Activations that are curves, and their gradients (curves.h).
cdef extern from "elementwise/curves.h" nogil:
    int LEAKY_RELU, ELU, SOFTPLUS, SILU, GELU, GELU_TANH, SIGMOID, TANH
    void curve "curve_f32"(int f, const float* x, float* y, Py_ssize_t n, float p, float q)
    void curve "curve_f64"(int f, const double* x, double* y, Py_ssize_t n, double p, double q)
    void curve_gradient "curve_gradient_f32"(int f, const float* dy, const float* x, float* dx,
                                             Py_ssize_t n, float p, float q)
    void curve_gradient "curve_gradient_f64"(int f, const double* dy, const double* x, double* dx,
                                             Py_ssize_t n, double p, double q)
    void curve_rows_f32(int f, const float* dy, const float* x, float* y, Py_ssize_t rows,
                        Py_ssize_t channels, const float* factors, float p, float q)
    void curve_rows_f64(int f, const double* dy, const double* x, double* y, Py_ssize_t rows,
                        Py_ssize_t channels, const double* factors, double p, double q)
