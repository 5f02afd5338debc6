# Checks of what the kernels of Winograd's convolution are given.
cimport numpy as cnp
from libc.stdint cimport uint8_t

from minidl_ext.runtime.arguments cimport channel_blocks, has_shape, typed_array
from minidl_ext.runtime.geometry cimport MOST, Geometry, set_convolution

cdef enum:
    # Channels come in multiples of this half of the widest vector, see VECTORS in winograd.h.
    CHANNEL_BLOCK = 8
    LEAST = 16          # channels: the widest vector's


cdef inline cnp.ndarray winograd_images(object x, str where, str name):
    """Images (N, H, W, C) whose channels fit."""
    cdef cnp.ndarray array = channel_blocks(x, where, name, CHANNEL_BLOCK)
    if array.shape[3] < LEAST:
        raise ValueError(f"{where}: {name} {x.shape} must have at least {LEAST} channels")
    return array


cdef inline cnp.ndarray winograd_kernel(object w, str where):
    """Weights (3, 3, C_in, C_out) whose channels fit."""
    cdef cnp.ndarray array = winograd_images(w, where, "w")
    if (array.shape[0] != 3 or array.shape[1] != 3 or array.shape[2] % CHANNEL_BLOCK
            or array.shape[2] < LEAST):
        raise ValueError(f"{where}: w must be (3, 3, C_in, C_out) with channels in multiples of "
                         f"{CHANNEL_BLOCK}, at least {LEAST}, got {w.shape}")
    return array


cdef inline int set_winograd(Geometry* s, str where, object shape, Py_ssize_t ci, Py_ssize_t co,
                             object padding) except -1:
    """Check and store the geometry of the forward convolution."""
    return set_convolution(s, where, shape, 3, 3, (1, 1), padding, (1, 1), 1, ci, co, MOST)


cdef inline cnp.ndarray checked_argmax(object argmax, cnp.ndarray dy, const Geometry* s, str where):
    """The winners of the 2x2 max-pool that follows the convolution, or None if none does; dy is
    the gradient of the pool's outputs, or of the convolution's."""
    cdef cnp.ndarray winners
    cdef const uint8_t* places
    cdef uint8_t bits = 0       # those of all places, below 4 if each place is
    cdef Py_ssize_t h = s.oh // 2, w = s.ow // 2, i
    if argmax is None:
        has_shape(dy, s.n, s.oh, s.ow, s.co, where, "dy")
        return None
    winners = typed_array(argmax, where, "argmax", 4, cnp.NPY_UINT8)
    has_shape(dy, s.n, h, w, s.co, where, "dy")
    has_shape(winners, s.n, h, w, s.co, where, "argmax")
    places = <const uint8_t*>winners.data
    with nogil:
        for i in range(s.n * h * w * s.co):
            bits = bits | places[i]
    if bits > 3:
        raise ValueError(f"{where}: argmax has places outside the windows of 2 x 2")
    return winners
