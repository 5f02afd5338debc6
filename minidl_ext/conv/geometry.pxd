# What convolutions and pools share of their geometry: checks of the sizes that callers give, and
# how many outputs they make. Sizes are so limited that sums and products of two of them fit.

cdef enum:
    MOST = 0x7fffffff   # of sizes of images and kernels, strides, dilations and paddings


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
    """The two sizes of a pair."""
    a, b = pair
    first[0] = checked_size(a, where, name, least)
    second[0] = checked_size(b, where, name, least)
    return 0


cdef inline int set_images(object shape, str where, Py_ssize_t* n, Py_ssize_t* h, Py_ssize_t* w,
                           Py_ssize_t* c) except -1:
    """The sizes of images (N, H, W, C)."""
    if len(shape) != 4:
        raise ValueError(f"{where}: images must be (N, H, W, C), got shape {tuple(shape)}")
    images, height, width, channels = shape
    n[0] = checked_size(images, where, "the number of images", 0, <Py_ssize_t>1 << 62)
    h[0] = checked_size(height, where, "the height of images", 0)
    w[0] = checked_size(width, where, "the width of images", 0)
    c[0] = checked_size(channels, where, "the number of channels", 0, <Py_ssize_t>1 << 62)
    return 0


cdef inline Py_ssize_t places(Py_ssize_t padded, Py_ssize_t extent, Py_ssize_t stride, str where
                              ) except -1:
    """Outputs along an axis: how often a kernel of this extent fits into a padded image."""
    if padded < extent:
        raise ValueError(f"{where}: the padded images are smaller than the kernel: {padded} "
                         f"against {extent}")
    return (padded - extent) // stride + 1
