# Max pooling of the channels of one window, and its gradient (max_window.h). Templates are over
# float and double, and over the integers that number places.
cdef extern from "pool/max_window.h" nogil:
    void max_window[Real, Place](const Real* window, Py_ssize_t row_step, Py_ssize_t step,
                                 Py_ssize_t channels, Py_ssize_t k0, Py_ssize_t k1, Py_ssize_t l0,
                                 Py_ssize_t l1, Py_ssize_t kw, Real* best, Place* where)
    void spread_window[Real, Place](const Real* dy, const Place* where, Py_ssize_t row_step,
                                    Py_ssize_t channels, Py_ssize_t kh, Py_ssize_t kw,
                                    Real* window)
