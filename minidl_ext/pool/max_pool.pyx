"""Max pooling over windows of NHWC images.

Each output row is one task; the inner loops, over the channels of a window, are in max_window.h. A
window's part that lies in the padding is skipped; where windows lie is in pool_geometry.pxd.
`window`, `stride` and `dilation` are pairs, `padding` is ((top, bottom), (left, right)).
"""
cimport numpy as cnp
from cython cimport floating
from cython.parallel cimport prange
from libc.stdint cimport int32_t, uint8_t
from libc.string cimport memset

from minidl_ext.pool.max_window cimport max_window, spread_window
from minidl_ext.pool.pool_geometry cimport check_output_grad, end_tap, first_tap, place_type
from minidl_ext.runtime.arguments cimport real_array, typed_array
from minidl_ext.runtime.geometry cimport Geometry, set_pool
from minidl_ext.runtime.memory cimport new_array
from minidl_ext.runtime.threads cimport threads_for

import numpy as np

cnp.import_array()

ctypedef fused place:
    uint8_t
    int32_t


cdef void max_row(const floating* x, floating* y, place* argmax, Geometry* s, Py_ssize_t row
                  ) noexcept nogil:
    """Write one row of outputs and of places."""
    cdef Py_ssize_t top = row % s.oh * s.sh - s.top, left, j, at
    cdef Py_ssize_t k0 = first_tap(top, s.dh), k1 = end_tap(top, s.kh, s.dh, s.h)
    cdef const floating* image = x + row // s.oh * s.h * s.w * s.c
    for j in range(s.ow):
        left = j * s.sw - s.left
        at = (row * s.ow + j) * s.c
        max_window(image + (top * s.w + left) * s.c, s.dh * s.w * s.c, s.dw * s.c, s.c, k0, k1,
                   first_tap(left, s.dw), end_tap(left, s.kw, s.dw, s.w), s.kw, y + at,
                   argmax + at)


cdef void max_all(const floating* x, char* y, place* argmax, Geometry* s, int threads
                  ) noexcept nogil:
    cdef Py_ssize_t row
    for row in prange(s.n * s.oh, num_threads=threads, schedule='static'):
        max_row(x, <floating*>y, argmax, s, row)


def max_pool(x, window, stride, padding=((0, 0), (0, 0)), dilation=(1, 1), int threads=0):
    """(y, argmax): the largest value of each window and its place in it, row by row.

    argmax is uint8 for windows of up to 256 values, else int32.
    """
    cdef cnp.ndarray a = real_array(x, "max_pool", "x", 4), y, argmax
    cdef Geometry s
    cdef cnp.npy_intp dims[4]
    cdef int t, places
    set_pool(&s, "max_pool", np.shape(x), window, stride, padding, dilation)
    dims[0], dims[1], dims[2], dims[3] = s.n, s.oh, s.ow, s.c
    y = new_array(4, dims, cnp.PyArray_TYPE(a))
    places = place_type(&s, "max_pool")
    argmax = new_array(4, dims, places)
    if s.c == 0:
        return y, argmax
    t = threads_for(threads, <double>s.n * s.oh * s.ow * s.c * s.kh * s.kw)
    with nogil:
        if cnp.PyArray_TYPE(a) == cnp.NPY_FLOAT32:
            if places == cnp.NPY_UINT8:
                max_all(<float*>a.data, y.data, <uint8_t*>argmax.data, &s, t)
            else:
                max_all(<float*>a.data, y.data, <int32_t*>argmax.data, &s, t)
        elif places == cnp.NPY_UINT8:
            max_all(<double*>a.data, y.data, <uint8_t*>argmax.data, &s, t)
        else:
            max_all(<double*>a.data, y.data, <int32_t*>argmax.data, &s, t)
    return y, argmax


# --------------------------------------------------------------------------------- backward

cdef bint side_by_side(Geometry* s) noexcept nogil:
    """Whether every input is in at most one window, and windows lie within the images."""
    return (s.sh == s.kh and s.sw == s.kw and s.dh == 1 and s.dw == 1 and s.top == 0
            and s.left == 0 and s.oh * s.kh <= s.h and s.ow * s.kw <= s.w)


cdef void add_image_gradient(const floating* dy, const place* argmax, floating* dx, Geometry* s,
                             Py_ssize_t image) noexcept nogil:
    """Write dx of an image whose windows may overlap: each dy is added at the place that won."""
    cdef Py_ssize_t i, j, c, at, p
    cdef floating* target = dx + image * s.h * s.w * s.c
    memset(target, 0, s.h * s.w * s.c * sizeof(floating))
    for i in range(s.oh):
        for j in range(s.ow):
            at = ((image * s.oh + i) * s.ow + j) * s.c
            for c in range(s.c):
                p = argmax[at + c]
                target[((i * s.sh - s.top + p // s.kw * s.dh) * s.w
                        + j * s.sw - s.left + p % s.kw * s.dw) * s.c + c] += dy[at + c]


cdef void spread_image_gradient(const floating* dy, const place* argmax, floating* dx,
                                Geometry* s, Py_ssize_t image) noexcept nogil:
    """Write dx of an image whose windows lie side by side: every input is written once."""
    cdef Py_ssize_t i, j, at
    cdef floating* target = dx + image * s.h * s.w * s.c
    if s.oh * s.kh != s.h or s.ow * s.kw != s.w:
        memset(target, 0, s.h * s.w * s.c * sizeof(floating))
    for i in range(s.oh):
        for j in range(s.ow):
            at = ((image * s.oh + i) * s.ow + j) * s.c
            spread_window(dy + at, argmax + at, s.w * s.c, s.c, s.kh, s.kw,
                          target + (i * s.kh * s.w + j * s.kw) * s.c)


cdef void backward_all(const floating* dy, const place* argmax, char* dx, Geometry* s, int threads
                       ) noexcept nogil:
    cdef Py_ssize_t image
    cdef bint spread = side_by_side(s)
    for image in prange(s.n, num_threads=threads, schedule='static'):
        if spread:
            spread_image_gradient(dy, argmax, <floating*>dx, s, image)
        else:
            add_image_gradient(dy, argmax, <floating*>dx, s, image)


cdef bint inside(const place* argmax, Geometry* s) noexcept nogil:
    """Whether every place is in its window and its image: argmax comes from a caller."""
    cdef Py_ssize_t i, j, _, at = 0, top, left, p
    for i in range(s.n * s.oh):
        top = i % s.oh * s.sh - s.top
        for j in range(s.ow):
            left = j * s.sw - s.left
            for _ in range(s.c):
                p = argmax[at]
                at += 1
                if not (0 <= p < s.kh * s.kw and 0 <= top + p // s.kw * s.dh < s.h
                        and 0 <= left + p % s.kw * s.dw < s.w):
                    return False
    return True


def max_pool_backward(dy, argmax, input_shape, window, stride, padding=((0, 0), (0, 0)),
                      dilation=(1, 1), int threads=0):
    """dx: each dy goes to the place that won."""
    cdef cnp.ndarray g = real_array(dy, "max_pool_backward", "dy", 4), where, dx
    cdef Geometry s
    cdef cnp.npy_intp dims[4]
    cdef int t, places
    cdef bint right
    set_pool(&s, "max_pool_backward", input_shape, window, stride, padding, dilation)
    check_output_grad(g, &s, "max_pool_backward", "dy")
    places = place_type(&s, "max_pool_backward")
    where = typed_array(argmax, "max_pool_backward", "argmax", 4, places)
    check_output_grad(where, &s, "max_pool_backward", "argmax")
    dims[0], dims[1], dims[2], dims[3] = s.n, s.h, s.w, s.c
    dx = new_array(4, dims, cnp.PyArray_TYPE(g))
    if s.c == 0:
        return dx
    # Where windows lie side by side a place is only compared; elsewhere it makes an address.
    if not side_by_side(&s):
        with nogil:
            if places == cnp.NPY_UINT8:
                right = inside(<uint8_t*>where.data, &s)
            else:
                right = inside(<int32_t*>where.data, &s)
        if not right:
            raise ValueError("max_pool_backward: argmax has places outside the images")
    t = threads_for(threads, <double>s.n * s.h * s.w * s.c)
    with nogil:
        if cnp.PyArray_TYPE(g) == cnp.NPY_FLOAT32:
            if places == cnp.NPY_UINT8:
                backward_all(<float*>g.data, <uint8_t*>where.data, dx.data, &s, t)
            else:
                backward_all(<float*>g.data, <int32_t*>where.data, dx.data, &s, t)
        elif places == cnp.NPY_UINT8:
            backward_all(<double*>g.data, <uint8_t*>where.data, dx.data, &s, t)
        else:
            backward_all(<double*>g.data, <int32_t*>where.data, dx.data, &s, t)
    return dx
