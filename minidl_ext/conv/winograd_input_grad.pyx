"""The gradient of a 3x3 convolution by its input, by Winograd's F(4x4, 3x3), float32.

It is the convolution of dy by winograd_forward.pyx, with taps turned around and the channels of
input and output exchanged. Behind a max-pool, tiles of dy are made in cache of the gradient of the
pool's outputs: dy itself, which is mostly zeros, is never in memory.
"""
cimport numpy as cnp
from libc.stdint cimport uint8_t

from minidl_ext.conv.epilogue cimport Epilogue, no_epilogue
from minidl_ext.conv.winograd_arguments cimport checked_argmax, set_winograd, winograd_images, \
    winograd_kernel
from minidl_ext.conv.winograd_forward cimport convolve_tiles, transform_weights, transformed_floats
from minidl_ext.conv.winograd_tiles cimport Tiling, input_grad_tiling, winograd_work
from minidl_ext.runtime.arguments cimport disjoint, output_of
from minidl_ext.runtime.geometry cimport Geometry
from minidl_ext.runtime.memory cimport product, workspace
from minidl_ext.runtime.threads cimport threads_for

cnp.import_array()


def winograd_input_grad(dy, w, input_shape, padding=((0, 0), (0, 0)), argmax=None, out=None,
                        int threads=0):
    """Return dx (N, H, W, C_in) for dy (N, OH, OW, C_out) and w (3, 3, C_in, C_out).

    With `argmax`, which winograd_conv_pool gave, dy (N, OH // 2, OW // 2, C_out) is the gradient
    of the pool's outputs, and goes to the places that won.
    """
    cdef str where = "winograd_input_grad"
    cdef cnp.ndarray g = winograd_images(dy, where, "dy"), k = winograd_kernel(w, where), dx, u
    cdef cnp.ndarray winners
    cdef Epilogue epilogue = no_epilogue()
    cdef Geometry s
    cdef int workers
    set_winograd(&s, where, input_shape, k.shape[2], k.shape[3], padding)
    winners = checked_argmax(argmax, g, &s, where)
    dx = output_of(out, where, s.n, s.h, s.w, s.c, g, "dy", k, "w")
    if winners is not None:
        disjoint(dx, winners, where, "argmax")
    if s.n * s.h * s.w == 0:
        return dx
    cdef Tiling t = input_grad_tiling(&s)
    if winners is not None:
        t.x_argmax = <const uint8_t*>winners.data
    workers = threads_for(threads, winograd_work(&t))
    u = workspace(product(transformed_floats(&t), 4))
    with nogil:
        transform_weights(<const float*>k.data, <float*>u.data, &t, True, workers)
    convolve_tiles(<const float*>g.data, <const float*>u.data, <float*>dx.data, &t, &epilogue,
                   workers)
    return dx
