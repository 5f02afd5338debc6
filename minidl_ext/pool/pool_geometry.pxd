# Where the windows of a pool lie over an image, and which of their taps meet it. Functions of one
# axis take: `at`, where a window begins, which is negative in the padding before the image; `size`,
# that of the image; `taps`, how many the window has, which lie `dilation` apart.
cimport numpy as cnp

from minidl_ext.conv.geometry cimport Geometry, set_geometry as set_windows, set_pair
from minidl_ext.runtime.arguments cimport has_shape


# The padding that counts in a mean, as zeros.
cdef struct Counted:
    Py_ssize_t top, bottom, left, right


cdef inline Py_ssize_t first_tap(Py_ssize_t at, Py_ssize_t dilation) noexcept nogil:
    """The first tap of a window that does not lie before the image."""
    return (dilation - 1 - at) // dilation if at < 0 else 0


cdef inline Py_ssize_t end_tap(Py_ssize_t at, Py_ssize_t taps, Py_ssize_t dilation,
                                Py_ssize_t size) noexcept nogil:
    """One more than the last tap that does not lie past the image; the window begins in the image
    or before it."""
    return taps if at + (taps - 1) * dilation < size else (size - at + dilation - 1) // dilation


cdef inline Py_ssize_t count_taps(Py_ssize_t at, Py_ssize_t taps, Py_ssize_t dilation,
                                  Py_ssize_t size, Py_ssize_t leading,
                                  Py_ssize_t trailing) noexcept nogil:
    """How many taps lie on the image or on the padding that counts: `leading` values before the
    image and `trailing` values past it."""
    if at >= 0 and at + (taps - 1) * dilation < size:
        return taps
    at += leading
    return end_tap(at, taps, dilation, leading + size + trailing) - first_tap(at, dilation)


cdef inline int set_geometry(Geometry* s, str where, x_shape, window, stride, padding, dilation
                             ) except -1:
    """Check and store everything. `padding` is ((top, bottom), (left, right))."""
    set_pair(window, where, "window", 1, &s.kh, &s.kw)
    set_windows(s, where, x_shape, padding, stride, dilation)
    s.co = s.c
    if s.h < 1 or s.w < 1:
        raise ValueError(f"{where}: images must have rows and columns, got shape {x_shape}")
    if not (meet(s.h, s.oh, s.kh, s.sh, s.dh, s.top) and meet(s.w, s.ow, s.kw, s.sw, s.dw, s.left)):
        raise ValueError(f"{where}: with padding {padding} and dilation {dilation} a window "
                         f"{window} holds nothing of the images {tuple(x_shape)}")
    return 0


cdef inline bint meet(Py_ssize_t size, Py_ssize_t count, Py_ssize_t taps, Py_ssize_t stride,
                      Py_ssize_t dilation, Py_ssize_t padding) noexcept:
    """Whether every window has a tap on the image: one without any has no largest value, and no
    mean.

    The first window must reach the image, the last one must begin before the end of the image, and
    no window that begins before the image may step over it, as it can where the dilation is larger
    than the image. `padding` is that before the image, `count` the number of windows.
    """
    cdef Py_ssize_t _, first
    # How many windows begin before the image.
    cdef Py_ssize_t windows = min(count, (padding + stride - 1) // stride)
    if (taps - 1) * dilation < padding or (count - 1) * stride - padding >= size:
        return False
    if padding == 0 or size >= dilation:
        return True
    first = (dilation - padding % dilation) % dilation      # where the first tap inside falls
    stride %= dilation
    for _ in range(windows):
        if first >= size:
            return False
        first = first + stride if first + stride < dilation else first + stride - dilation
    return True


cdef inline int set_counted(Counted* counted, str where, object of, object padding) except -1:
    """Fill in the padding that counts: `of`, or all of `padding` if that is None."""
    rows, cols = padding if of is None else of
    set_pair(rows, where, "counted", 0, &counted.top, &counted.bottom)
    set_pair(cols, where, "counted", 0, &counted.left, &counted.right)
    return 0


cdef inline int place_type(Geometry* s) noexcept:
    """The type of integers that number the places of a window."""
    return cnp.NPY_UINT8 if s.kh * s.kw <= 256 else cnp.NPY_INT32


cdef inline int check_output_grad(cnp.ndarray g, Geometry* s, str where, str name) except -1:
    """Check that an array has the shape of the outputs."""
    return has_shape(g, s.n, s.oh, s.ow, s.c, where, name)
