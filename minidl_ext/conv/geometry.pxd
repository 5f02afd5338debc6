# The geometry of convolutions and pools: the sizes that callers give are checked here, and how many
# outputs they make is computed. Sizes are so limited that sums and products of two of them fit.

cdef enum:
    MOST = 0x7fffffff   # the limit of sizes of images and kernels, strides, dilations and paddings


# Windows over images: those of a convolution's kernel, or of a pool.
cdef struct Geometry:
    Py_ssize_t n, h, w, c           # the images that are read: (N, H, W, C)
    Py_ssize_t oh, ow, co           # the outputs: (N, OH, OW, CO)
    Py_ssize_t kh, kw               # the rows and columns of a window, its taps
    Py_ssize_t sh, sw, dh, dw       # stride and dilation by height and width
    Py_ssize_t top, left            # padding; where it is negative, so much is cut off
    Py_ssize_t groups, cig, cog     # groups of channels; input and output channels of each


# -------------------------------------------------------------------------------------- checks

cdef inline Py_ssize_t checked_size(object size, str where, str name, Py_ssize_t least,
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


cdef inline int set_pair(object pair, str where, str name, Py_ssize_t least, Py_ssize_t* first,
                         Py_ssize_t* second) except -1:
    """Check and store the two sizes of a pair."""
    a, b = pair
    first[0] = checked_size(a, where, name, least)
    second[0] = checked_size(b, where, name, least)
    return 0


cdef inline int set_kernel(Geometry* s, str where, object kh, object kw, Py_ssize_t most=MOST
                           ) except -1:
    """Check and store the size of a kernel, which has at most `most` taps."""
    s.kh = checked_size(kh, where, "the height of kernels", 1, most)
    s.kw = checked_size(kw, where, "the width of kernels", 1, most // s.kh)
    return 0


cdef inline int set_channels(Geometry* s, str where, Py_ssize_t co, object groups) except -1:
    """Check and store the output channels and the groups of a convolution."""
    s.co = co
    s.groups = checked_size(groups, where, "groups", 1)
    if s.c < 1 or co < 1:
        raise ValueError(f"{where}: there must be channels, got {s.c} in and {co} out")
    if s.c % s.groups or co % s.groups:
        raise ValueError(f"{where}: {s.c} input and {co} output channels do not divide into "
                         f"{groups} groups")
    s.cig, s.cog = s.c // s.groups, co // s.groups
    return 0


cdef inline int has_channels(Geometry* s, str where, object shape, Py_ssize_t c) except -1:
    """Check that images have as many channels as the weights are for."""
    if s.c != c:
        raise ValueError(f"{where}: images of shape {shape} must have {c} channels")
    return 0


cdef inline int set_geometry(Geometry* s, str where, object shape, object padding,
                             object stride=(1, 1), object dilation=(1, 1)) except -1:
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


cdef inline Py_ssize_t output_size(Py_ssize_t padded, Py_ssize_t taps, Py_ssize_t dilation,
                                   Py_ssize_t stride, str where) except -1:
    """The outputs along an axis: how often a window fits into a padded image."""
    cdef Py_ssize_t extent = dilation * (taps - 1) + 1
    if padded < extent:
        raise ValueError(f"{where}: the padded images are smaller than the kernel: {padded} "
                         f"against {extent}")
    return (padded - extent) // stride + 1


# -------------------------------------------------------------------------------- arithmetic

cdef inline double multiply_adds(const Geometry* s) noexcept nogil:
    """The multiply-adds of a direct convolution, or of one of its gradients."""
    return <double>s.n * s.oh * s.ow * s.co * s.kh * s.kw * s.cig


cdef inline Py_ssize_t floor_div(Py_ssize_t a, Py_ssize_t b) noexcept nogil:
    """a / b rounded down, for b > 0; C rounds towards 0."""
    return a // b if a >= 0 else -((-a + b - 1) // b)


cdef inline Py_ssize_t first_used_tap(Py_ssize_t padding, Py_ssize_t taps, Py_ssize_t dilation,
                                      Py_ssize_t last_start) noexcept nogil:
    """The first tap along an axis that some window has inside the image; the last tap if none is.
    The last window starts `last_start` after the first, which starts `padding` before the image."""
    return max(0, min(-floor_div(last_start - padding, dilation), taps - 1))


cdef inline object drop_unused_taps(Geometry* s):
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
