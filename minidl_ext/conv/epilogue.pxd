# The epilogue of a convolution: its outputs get a bias and a residual added, then a ReLU, before
# they leave the cache.
cimport numpy as cnp
from cython cimport floating

from minidl_ext.runtime.arguments cimport disjoint, has_length, real_array, same_dtype, same_shape


cdef struct Epilogue:
    const char* bias            # (channels,), or NULL
    const char* residual        # an array of the outputs' shape, or NULL
    bint relu_out


cdef inline Epilogue no_epilogue() noexcept nogil:
    """An epilogue that changes nothing."""
    cdef Epilogue epilogue
    epilogue.bias = epilogue.residual = NULL
    epilogue.relu_out = False
    return epilogue


cdef inline bint is_empty(const Epilogue* epilogue) noexcept nogil:
    """Whether an epilogue changes nothing."""
    return epilogue.bias == NULL and epilogue.residual == NULL and not epilogue.relu_out


cdef inline Epilogue epilogue_of(object bias, object residual, bint relu_out, cnp.ndarray y,
                                 str where):
    """The epilogue of outputs y; `bias` and `residual` are checked here."""
    cdef Epilogue epilogue = no_epilogue()
    cdef cnp.ndarray a
    epilogue.relu_out = relu_out
    if bias is not None:
        a = real_array(bias, where, "bias", 1)
        same_dtype(y, a, where, "y", "bias")
        has_length(a, y.shape[3], where, "bias")
        disjoint(y, a, where, "bias")
        epilogue.bias = a.data
    if residual is not None:
        a = real_array(residual, where, "residual", 4)
        same_dtype(y, a, where, "y", "residual")
        same_shape(y, a, where, "y", "residual")
        disjoint(y, a, where, "residual")
        epilogue.residual = a.data
    return epilogue


cdef inline void apply_epilogue(floating* y, Py_ssize_t at, Py_ssize_t pixels, Py_ssize_t channels,
                                const Epilogue* epilogue) noexcept nogil:
    """Apply an epilogue to so many pixels side by side, the first at `at` of all outputs y."""
    cdef const floating* bias = <const floating*>epilogue.bias
    cdef const floating* residual = <const floating*>epilogue.residual
    cdef Py_ssize_t i, j
    y += at
    if bias != NULL:
        for i in range(pixels):
            for j in range(channels):
                y[i * channels + j] += bias[j]
    if residual != NULL:
        residual += at
        for i in range(pixels * channels):
            y[i] += residual[i]
    if epilogue.relu_out:
        for i in range(pixels * channels):
            y[i] = 0 if y[i] <= 0 else y[i]     # NaN stays
