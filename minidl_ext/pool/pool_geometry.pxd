# Windows of pools: where they lie over an image, and which of their taps meet it. All of an axis:
# outputs are `stride` apart, the taps of a window `dilation`; a window begins at `at`, which is
# negative in the padding before the image.
cimport numpy as cnp

from minidl_ext.conv.geometry cimport Geometry, set_geometry as set_windows, set_pair
from minidl_ext.runtime.arguments cimport has_shape


# The padding that counts as values, zeros, in a mean.
cdef struct Counted:
    Py_ssize_t top, bottom, left, right


cdef inline Py_ssize_t first_tap(Py_ssize_t at, Py_ssize_t dilation) noexcept nogil:
    """The first tap that is not before the image."""
    return (dilation - 1 - at) // dilation if at < 0 else 0


cdef inline Py_ssize_t last_tap(Py_ssize_t at, Py_ssize_t taps, Py_ssize_t dilation,
                                Py_ssize_t size) noexcept nogil:
    """The tap behind the last one that is not after the image, in which the window begins, or
    before it."""
    return taps if at + (taps - 1) * dilation < size else (size - at + dilation - 1) // dilation


cdef inline Py_ssize_t count_taps(Py_ssize_t at, Py_ssize_t taps, Py_ssize_t dilation,
                                  Py_ssize_t size, Py_ssize_t before, Py_ssize_t after
                                  ) noexcept nogil:
    """How many taps lie on the image or on so much padding around it."""
    if at >= 0 and at + (taps - 1) * dilation < size:
        return taps
    at += before
    return last_tap(at, taps, dilation, before + size + after) - first_tap(at, dilation)


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
                      Py_ssize_t dilation, Py_ssize_t before) noexcept:
    """Whether every window has a tap on the image: one without has no largest value, and no mean.

    The first must reach the image, the last begin before its end, and none that begins before the
    image step over it, as it can where the dilation is larger than the image.
    """
    cdef Py_ssize_t i, first
    cdef Py_ssize_t windows = min(count, (before + stride - 1) // stride)   # that begin before it
    if (taps - 1) * dilation < before or (count - 1) * stride - before >= size:
        return False
    if before == 0 or size >= dilation:
        return True
    first = (dilation - before % dilation) % dilation       # where the first tap inside falls
    stride %= dilation
    for i in range(windows):
        if first >= size:
            return False
        first = first + stride if first + stride < dilation else first + stride - dilation
    return True


cdef inline int set_counted(Counted* counted, str where, object of, object padding) except -1:
    """The padding that counts; None: all of it."""
    rows, cols = padding if of is None else of
    set_pair(rows, where, "counted", 0, &counted.top, &counted.bottom)
    set_pair(cols, where, "counted", 0, &counted.left, &counted.right)
    return 0


cdef inline int place_type(Geometry* s) noexcept:
    """The type that numbers the places of a window."""
    return cnp.NPY_UINT8 if s.kh * s.kw <= 256 else cnp.NPY_INT32


cdef inline int check_output_grad(cnp.ndarray g, Geometry* s, str where, str name) except -1:
    """Check that an array has the shape of the outputs."""
    return has_shape(g, s.n, s.oh, s.ow, s.c, where, name)
