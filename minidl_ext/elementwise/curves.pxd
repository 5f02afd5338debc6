# Activation functions other than ReLU, and their gradients (curves.h). Templates are over float and
# double.
cdef extern from "elementwise/curves.h" nogil:
    int LEAKY_RELU, ELU, SOFTPLUS, SILU, GELU, GELU_TANH, SIGMOID, TANH
    void curve[Real](int f, const Real* x, Real* y, Py_ssize_t n, Real p, Real q)
    void curve_gradient[Real](int f, const Real* dy, const Real* x, Real* dx, Py_ssize_t n, Real p,
                              Real q)
    void curve_rows[Real](int f, const Real* dy, const Real* x, Real* y, Py_ssize_t rows,
                          Py_ssize_t channels, const Real* factors, Real p, Real q)
