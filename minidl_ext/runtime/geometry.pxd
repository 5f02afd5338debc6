# Windows over images: those of a convolution's kernel, or of a pool.

cdef enum:
    MOST = 0x7fffffff   # the limit of sizes of images and kernels, strides, dilations and paddings


# Where the windows lie, and how many outputs they make.
cdef struct Geometry:
    Py_ssize_t n, h, w, c           # the images that are read: (N, H, W, C)
    Py_ssize_t oh, ow, co           # the outputs: (N, OH, OW, CO)
    Py_ssize_t kh, kw               # the rows and columns of a window, its taps
    Py_ssize_t sh, sw, dh, dw       # stride and dilation by height and width
    Py_ssize_t top, left            # padding; where it is negative, so much is cut off
    Py_ssize_t groups, cig, cog     # groups of channels; input and output channels of each


# The padding that counts in a mean, as zeros.
cdef struct Counted:
    Py_ssize_t top, bottom, left, right


cdef tuple several(object values, str where, str name, Py_ssize_t count)
cdef int set_convolution(Geometry* s, str where, object shape, object kh, object kw,
                         object stride, object padding, object dilation, object groups,
                         Py_ssize_t ci, Py_ssize_t co, Py_ssize_t most_taps) except -1
cdef int set_pool(Geometry* s, str where, object shape, object window, object stride,
                  object padding, object dilation) except -1
cdef int set_counted(Counted* counted, str where, object of, object padding) except -1
cdef object drop_unused_taps(Geometry* s)


cdef inline double multiply_adds(const Geometry* s) noexcept nogil:
    """The multiply-adds of a direct convolution, or of one of its gradients."""
    return <double>s.n * s.oh * s.ow * s.co * s.kh * s.kw * s.cig


cdef inline Py_ssize_t floor_div(Py_ssize_t a, Py_ssize_t b) noexcept nogil:
    """a / b rounded down, for b > 0; C rounds towards 0."""
    return a // b if a >= 0 else -((-a + b - 1) // b)
