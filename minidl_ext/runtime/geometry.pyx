"""The geometry of convolutions and pools: the sizes that callers give are checked here, and how
many outputs they make is computed. Every error names the kernel.

Sizes are so limited that sums and products of two of them fit. Checks run while the kernel holds
the GIL. This module is compiled once, for any CPU of the architecture.
"""


cdef Py_ssize_t checked_size(object size, str where, str name, Py_ssize_t least,
                             Py_ssize_t most=MOST) except -1:
    """A size as a number; it may be an int of any length."""
    cdef Py_ssize_t number
    try:
        number = size
    except OverflowError:
        number = least - 1
    if not least <= number <= most:
        raise ValueError(f"{where}: {name} must be in {least}..{most}, got {size}")
    return number


cdef int set_pair(object pair, str where, str name, Py_ssize_t least, Py_ssize_t* first,
                  Py_ssize_t* second) except -1:
    """Check and store the two sizes of a pair."""
    a, b = pair
    first[0] = checked_size(a, where, name, least)
    second[0] = checked_size(b, where, name, least)
    return 0


cdef Py_ssize_t output_size(Py_ssize_t padded, Py_ssize_t taps, Py_ssize_t dilation,
                            Py_ssize_t stride, str where) except -1:
    """The outputs along an axis: how often a window fits into a padded image."""
    cdef Py_ssize_t extent = dilation * (taps - 1) + 1
    if padded < extent:
        raise ValueError(f"{where}: the padded images are smaller than the kernel: {padded} "
                         f"against {extent}")
    return (padded - extent) // stride + 1


cdef int set_windows(Geometry* s, str where, object shape, object padding, object stride,
                     object dilation) except -1:
    """Check and store everything but the window's size, which is there, and the channels of the
    outputs. `shape` is that of the images, `padding` is ((top, bottom), (left, right))."""
    cdef Py_ssize_t bottom, right
    rows, cols = padding
    if len(shape) != 4:
        raise ValueError(f"{where}: images must be (N, H, W, C), got shape {tuple(shape)}")
    images, height, width, channels = shape
    s.n = checked_size(images, where, "the number of images", 0, <Py_ssize_t>1 << 62)
    s.h = checked_size(height, where, "the height of images", 0)
    s.w = checked_size(width, where, "the width of images", 0)
    s.c = checked_size(channels, where, "the number of channels", 0, <Py_ssize_t>1 << 62)
    set_pair(stride, where, "stride", 1, &s.sh, &s.sw)
    set_pair(dilation, where, "dilation", 1, &s.dh, &s.dw)
    set_pair(rows, where, "padding", 0, &s.top, &bottom)
    set_pair(cols, where, "padding", 0, &s.left, &right)
    s.oh = output_size(s.h + s.top + bottom, s.kh, s.dh, s.sh, where)
    s.ow = output_size(s.w + s.left + right, s.kw, s.dw, s.sw, where)
    return 0


# ------------------------------------------------------------------------------- convolutions

cdef int set_convolution(Geometry* s, str where, object shape, object kh, object kw,
                         object stride, object padding, object dilation, object groups,
                         Py_ssize_t ci, Py_ssize_t co, Py_ssize_t most_taps) except -1:
    """Check and store everything. Images must have `ci` channels (any number if it is -1), and a
    kernel at most `most_taps` taps. `padding` is ((top, bottom), (left, right))."""
    s.kh = checked_size(kh, where, "the height of kernels", 1, most_taps)
    s.kw = checked_size(kw, where, "the width of kernels", 1, most_taps // s.kh)
    set_windows(s, where, shape, padding, stride, dilation)
    if ci != -1 and s.c != ci:
        raise ValueError(f"{where}: images of shape {shape} must have {ci} channels")
    s.co = co
    s.groups = checked_size(groups, where, "groups", 1)
    if s.c < 1 or co < 1:
        raise ValueError(f"{where}: there must be channels, got {s.c} in and {co} out")
    if s.c % s.groups or co % s.groups:
        raise ValueError(f"{where}: {s.c} input and {co} output channels do not divide into "
                         f"{groups} groups")
    s.cig, s.cog = s.c // s.groups, co // s.groups
    return 0


cdef Py_ssize_t first_used_tap(Py_ssize_t padding, Py_ssize_t taps, Py_ssize_t dilation,
                               Py_ssize_t last_start) noexcept:
    """The first tap along an axis that some window has inside the image; the last tap if none is.
    The last window starts `last_start` after the first, which starts `padding` before the image."""
    return max(0, min(-floor_div(last_start - padding, dilation), taps - 1))


cdef object drop_unused_taps(Geometry* s):
    """Drop the outer rows and columns of taps that only ever meet padding, but not all of them.

    What is copied of an image then has about the size of the image, whatever padding and dilation
    are. Returns which part of the weights is left, or None where all are.
    """
    cdef Py_ssize_t row = first_used_tap(s.top, s.kh, s.dh, (s.oh - 1) * s.sh)
    cdef Py_ssize_t col = first_used_tap(s.left, s.kw, s.dw, (s.ow - 1) * s.sw)
    cdef Py_ssize_t row_stop = max(row, min(s.kh - 1, floor_div(s.h - 1 + s.top, s.dh))) + 1
    cdef Py_ssize_t col_stop = max(col, min(s.kw - 1, floor_div(s.w - 1 + s.left, s.dw))) + 1
    if row_stop - row == s.kh and col_stop - col == s.kw:
        return None
    s.top -= row * s.dh
    s.left -= col * s.dw
    s.kh, s.kw = row_stop - row, col_stop - col
    return slice(row, row_stop), slice(col, col_stop)


# -------------------------------------------------------------------------------------- pools

cdef int set_pool(Geometry* s, str where, object shape, object window, object stride,
                  object padding, object dilation) except -1:
    """Check and store everything. `padding` is ((top, bottom), (left, right))."""
    set_pair(window, where, "window", 1, &s.kh, &s.kw)
    set_windows(s, where, shape, padding, stride, dilation)
    s.co = s.c
    if s.h < 1 or s.w < 1:
        raise ValueError(f"{where}: images must have rows and columns, got shape {shape}")
    if not (meet(s.h, s.oh, s.kh, s.sh, s.dh, s.top) and meet(s.w, s.ow, s.kw, s.sw, s.dw, s.left)):
        raise ValueError(f"{where}: with padding {padding} and dilation {dilation} a window "
                         f"{window} holds nothing of the images {tuple(shape)}")
    return 0


cdef bint meet(Py_ssize_t size, Py_ssize_t count, Py_ssize_t taps, Py_ssize_t stride,
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


cdef int set_counted(Counted* counted, str where, object of, object padding) except -1:
    """Fill in the padding that counts: `of`, or all of `padding` if that is None."""
    rows, cols = padding if of is None else of
    set_pair(rows, where, "counted", 0, &counted.top, &counted.bottom)
    set_pair(cols, where, "counted", 0, &counted.left, &counted.right)
    return 0
