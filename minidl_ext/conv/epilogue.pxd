# What the outputs of a convolution go through before they leave the cache: plus a bias, plus a
# shortcut, then ReLU.
cimport numpy as cnp
from cython cimport floating

from minidl_ext.runtime.arguments cimport apart, has_length, real_array, same_dtype, same_shape


cdef struct Ending:
    const char* bias            # (channels,), or NULL
    const char* shortcut        # like the outputs, or NULL
    bint rectify


cdef inline Ending ending_of(object bias, object shortcut, bint rectify, cnp.ndarray y, str where):
    """The ending for outputs y, from arrays that are checked."""
    cdef Ending end
    cdef cnp.ndarray a
    end.bias = end.shortcut = NULL
    end.rectify = rectify
    if bias is not None:
        a = real_array(bias, where, "bias", 1)
        same_dtype(y, a, where, "y", "bias")
        has_length(a, y.shape[3], where, "bias")
        apart(y, a, where, "bias")
        end.bias = a.data
    if shortcut is not None:
        a = real_array(shortcut, where, "shortcut", 4)
        same_dtype(y, a, where, "y", "shortcut")
        same_shape(y, a, where, "y", "shortcut")
        apart(y, a, where, "shortcut")
        end.shortcut = a.data
    return end


cdef inline void finish_pixels(floating* y, Py_ssize_t at, Py_ssize_t pixels, Py_ssize_t channels,
                               const Ending* end) noexcept nogil:
    """Outputs at .. of all y, of so many pixels side by side."""
    cdef const floating* bias = <const floating*>end.bias
    cdef const floating* shortcut = <const floating*>end.shortcut
    cdef Py_ssize_t i, j
    y += at
    if bias != NULL:
        for i in range(pixels):
            for j in range(channels):
                y[i * channels + j] += bias[j]
    if shortcut != NULL:
        shortcut += at
        for i in range(pixels * channels):
            y[i] += shortcut[i]
    if end.rectify:
        for i in range(pixels * channels):
            y[i] = 0 if y[i] <= 0 else y[i]     # NaN stays
