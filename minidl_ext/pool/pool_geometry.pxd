# Where the windows of a pool lie over an image, and which of their taps meet it. Functions of one
# axis take: `at`, where a window begins, which is negative in the padding before the image; `size`,
# that of the image; `taps`, how many the window has, which lie `dilation` apart.
cimport numpy as cnp

from minidl_ext.runtime.arguments cimport has_shape
from minidl_ext.runtime.geometry cimport MOST, Geometry
from minidl_ext.runtime.memory cimport ceil_div


cdef inline Py_ssize_t first_tap(Py_ssize_t at, Py_ssize_t dilation) noexcept nogil:
    """The first tap of a window that does not lie before the image."""
    return (dilation - 1 - at) // dilation if at < 0 else 0


cdef inline Py_ssize_t end_tap(Py_ssize_t at, Py_ssize_t taps, Py_ssize_t dilation,
                                Py_ssize_t size) noexcept nogil:
    """One more than the last tap that does not lie past the image; the window begins in the image
    or before it."""
    return taps if at + (taps - 1) * dilation < size else ceil_div(size - at, dilation)


cdef inline Py_ssize_t count_taps(Py_ssize_t at, Py_ssize_t taps, Py_ssize_t dilation,
                                  Py_ssize_t size, Py_ssize_t leading,
                                  Py_ssize_t trailing) noexcept nogil:
    """How many taps lie on the image or on the padding that counts: `leading` values before the
    image and `trailing` values past it."""
    if at >= 0 and at + (taps - 1) * dilation < size:
        return taps
    at += leading
    return end_tap(at, taps, dilation, leading + size + trailing) - first_tap(at, dilation)


cdef inline int place_type(Geometry* s, str where) except -1:
    """The type of integers that number the places of a window."""
    if s.kh * s.kw > MOST:
        raise ValueError(f"{where}: a window has at most {MOST} places, got {s.kh} x {s.kw}")
    return cnp.NPY_UINT8 if s.kh * s.kw <= 256 else cnp.NPY_INT32


cdef inline int check_output_grad(cnp.ndarray g, Geometry* s, str where, str name) except -1:
    """Check that an array has the shape of the outputs."""
    return has_shape(g, s.n, s.oh, s.ow, s.c, where, name)
