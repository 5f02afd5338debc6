# What the outputs of a convolution go through before they leave the cache: plus a bias, plus a
# residual, then ReLU.
cimport numpy as cnp
from cython cimport floating

from minidl_ext.runtime.arguments cimport disjoint, has_length, real_array, same_dtype, same_shape


cdef struct Epilogue:
    const char* bias            # (channels,), or NULL
    const char* residual        # like the outputs, or NULL
    bint relu_out


cdef inline Epilogue epilogue_of(object bias, object residual, bint relu_out, cnp.ndarray y, str where):
    """The ending for outputs y, from arrays that are checked."""
    cdef Epilogue end
    cdef cnp.ndarray a
    end.bias = end.residual = NULL
    end.relu_out = relu_out
    if bias is not None:
        a = real_array(bias, where, "bias", 1)
        same_dtype(y, a, where, "y", "bias")
        has_length(a, y.shape[3], where, "bias")
        disjoint(y, a, where, "bias")
        end.bias = a.data
    if residual is not None:
        a = real_array(residual, where, "residual", 4)
        same_dtype(y, a, where, "y", "residual")
        same_shape(y, a, where, "y", "residual")
        disjoint(y, a, where, "residual")
        end.residual = a.data
    return end


cdef inline void apply_epilogue(floating* y, Py_ssize_t at, Py_ssize_t pixels, Py_ssize_t channels,
                               const Epilogue* end) noexcept nogil:
    """Outputs at .. of all y, of so many pixels side by side."""
    cdef const floating* bias = <const floating*>end.bias
    cdef const floating* residual = <const floating*>end.residual
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
    if end.relu_out:
        for i in range(pixels * channels):
            y[i] = 0 if y[i] <= 0 else y[i]     # NaN stays
