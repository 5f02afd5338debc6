# Activation functions other than ReLU, and their gradients (curves.h). Templates are over float and
# double.
cdef extern from "elementwise/curves.h" nogil:
    int CURVES      # how many there are
    int LEAKY_RELU, GELU_TANH   # others are known by their names alone

    ctypedef struct CurveOptions:
        const char* name
        int parameters
    const CurveOptions CURVE_OPTIONS[1]     # CURVES of them

    void curve[Real](int f, const Real* x, Real* y, Py_ssize_t n, Real p, Real q)
    void curve_gradient[Real](int f, const Real* dy, const Real* x, Real* dx, Py_ssize_t n, Real p,
                              Real q)
    void curve_rows[Real](int f, const Real* dy, const Real* x, Real* y, Py_ssize_t rows,
                          Py_ssize_t channels, const Real* factors, Real p, Real q)


cdef inline dict curves_by_name():
    """{name: (number in curves.h, how many parameters)}, in the order of curves.h."""
    return {CURVE_OPTIONS[f].name.decode(): (f, CURVE_OPTIONS[f].parameters) for f in range(CURVES)}
