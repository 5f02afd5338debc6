# Checks of arrays that all convolutions share.
cimport numpy as cnp

from minidl_ext.runtime.arguments cimport disjoint, output


cdef inline cnp.ndarray output_of(object out, str where, Py_ssize_t n, Py_ssize_t h, Py_ssize_t w,
                                  Py_ssize_t c, cnp.ndarray a, str a_name, cnp.ndarray b,
                                  str b_name):
    """The array (n, h, w, c) that a kernel writes: `out` if it fits exactly, a new one if it is
    None. It has the dtype of the inputs a and b, and shares no memory with them."""
    cdef cnp.npy_intp* dims = [n, h, w, c]
    cdef cnp.ndarray y = output(out, where, 4, dims, cnp.PyArray_TYPE(a))
    disjoint(y, a, where, a_name)
    disjoint(y, b, where, b_name)
    return y


cdef inline int has_input_channels(cnp.ndarray w, Py_ssize_t channels, Py_ssize_t groups, str where
                                   ) except -1:
    """Check the input channels of the weights of a convolution in groups."""
    if w.shape[2] != channels // groups:
        raise ValueError(f"{where}: w {(<object>w).shape} must have {channels // groups} input "
                         f"channels ({channels} in {groups} groups)")
    return 0
