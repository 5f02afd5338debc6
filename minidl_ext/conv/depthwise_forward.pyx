"""Depthwise convolution, each channel by a kernel of its own, float32.

It is bound by memory, for it does few multiplications a value. So nothing is copied or padded: an
output row is a list of taps that fall on input rows (depthwise_rows.pxd). Channels come in
multiples of 16.

Between two normalizations, as in depthwise-separable blocks, everything about an image is done
while it is in cache: it is normalized as it is read, with its ReLU, and the statistics of the
outputs are summed as they are written. Each array is read or written once. The backward of such a
block is depthwise_backward.pyx. No result depends on the number of threads.
"""
cimport numpy as cnp
from cpython.exc cimport PyErr_CheckSignals
from cython.parallel cimport prange, threadid

from minidl_ext.conv.depthwise_rows cimport CHANNEL_BLOCK, depthwise_kernel, depthwise_pieces, \
    output_row, set_depthwise
from minidl_ext.conv.epilogue cimport Epilogue, apply_epilogue, epilogue_of, is_empty
from minidl_ext.gemm.micro cimport prefetch_part
from minidl_ext.norm.conv_fusion cimport Normalized, Running, count_rows, normalized, normalized_by
from minidl_ext.norm.statistics cimport finish_stats, merge_chunks
from minidl_ext.runtime.arguments cimport channel_blocks, clear_of, output_of
from minidl_ext.runtime.geometry cimport Geometry, multiply_adds
from minidl_ext.runtime.memory cimport aligned, ceil_div, new_array, product, workspace
from minidl_ext.runtime.threads cimport threads_for

import numpy as np

cnp.import_array()

cdef enum:
    STATS_CHUNKS = 64   # of images, for statistics; more where a chunk would have more than
    STATS_IMAGES = 16   # so many


cdef void forward_chunk(const float* x, const float* w, float* y, const Normalized* producer,
                        bint stats, double* sums, float* memory, const Geometry* s,
                        Py_ssize_t first, Py_ssize_t stop) noexcept nogil:
    """Compute images first .. stop, which `producer` normalizes as they are read, and with `stats`
    the sums for the statistics of their outputs."""
    cdef Py_ssize_t n, i, pixels = s.h * s.w, size = pixels * s.c, places = s.oh * s.ow
    cdef const float* image
    cdef Running running
    running.shift, running.part, running.sums, running.begun = memory, memory + s.c, sums, False
    for n in range(first, stop):
        image = normalized(x + n * size, memory + 3 * s.c, s.c, pixels, s.c, producer)
        for i in range(s.oh):
            prefetch_part(<const char*>(x + (n + 1) * size), size * sizeof(float), i, s.oh)
            output_row(image, w, y + (n * s.oh + i) * s.ow * s.c, s, i)
        if stats:
            count_rows(&running, y + n * places * s.c, places, s.c)
    if stats:
        finish_stats(y + first * places * s.c, (stop - first) * places, s.c,
                     <const float*>running.shift, sums, sums + s.c)


def depthwise_conv(x, w, stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1), factors=None,
                   bint relu=False, bint stats=False, bias=None, residual=None,
                   bint relu_out=False, out=None, int threads=0):
    """Return y (N, OH, OW, C), x (N, H, W, C) convolved with w (KH, KW, 1, C).

    x is first normalized by `factors` (5, C), which batch_norm_factors gives, and passed through a
    ReLU if `relu`. With `stats` the result is (y, mean, var), the last two as batch_stats gives
    them. Without `factors` and `stats`, y may have a `bias` and a `residual` added, then a ReLU if
    `relu_out`.
    """
    cdef str where = "depthwise_conv"
    cdef cnp.ndarray a = channel_blocks(x, where, "x", CHANNEL_BLOCK)
    cdef cnp.ndarray k = depthwise_kernel(w, where)
    cdef cnp.ndarray y, mean, var, buffers, partial
    cdef Epilogue epilogue
    cdef Geometry s
    cdef Normalized producer
    cdef cnp.npy_intp channels
    cdef const float* source
    cdef float* target
    cdef const float* weights
    cdef Py_ssize_t i, rows, chunk, chunks, per_thread, first = 0, stop, at_once
    cdef int t
    set_depthwise(&s, where, np.shape(x), k.shape[0], k.shape[1], k.shape[3], stride, padding,
                  dilation)
    normalized_by(&producer, factors, relu, s.c, where)
    if stats and s.n == 0:
        raise ValueError(f"{where}: no values in shape {np.shape(x)}")
    y = output_of(out, where, s.n, s.oh, s.ow, s.c, a, "x", k, "w")
    clear_of(out, y, where, ("factors",), (factors,))
    epilogue = epilogue_of(bias, residual, relu_out, y, where)
    source, target, weights = <float*>a.data, <float*>y.data, <float*>k.data
    t = threads_for(threads, multiply_adds(&s) / 8)
    if producer.factors == NULL and not stats:
        rows = s.n * s.oh
        at_once = depthwise_pieces(rows, &s, t)
        while first < rows:
            stop = min(rows, first + at_once)
            for i in prange(first, stop, nogil=True, num_threads=t, schedule='static'):
                output_row(source + i // s.oh * s.h * s.w * s.c, weights, target + i * s.ow * s.c,
                           &s, i % s.oh)
                apply_epilogue(target, i * s.ow * s.c, s.ow, s.c, &epilogue)
            first = stop
            PyErr_CheckSignals()
        return y
    if not is_empty(&epilogue):
        raise ValueError(f"{where}: bias, residual and relu_out go without factors and stats")
    chunk = max(1, min(STATS_IMAGES, ceil_div(s.n, STATS_CHUNKS)))
    chunks = ceil_div(s.n, chunk)
    per_thread = aligned(product(s.h * s.w + 3, s.c, sizeof(float)))
    buffers = workspace(product(t, per_thread))
    partial = workspace(product(2 * chunks, s.c, sizeof(double)))
    at_once = depthwise_pieces(chunks, &s, t)
    while first < chunks:
        stop = min(chunks, first + at_once)
        for i in prange(first, stop, nogil=True, num_threads=t, schedule='static'):
            forward_chunk(source, weights, target, &producer, stats,
                          <double*>partial.data + i * 2 * s.c,
                          <float*>(buffers.data + threadid() * per_thread), &s, i * chunk,
                          min(s.n, (i + 1) * chunk))
        first = stop
        PyErr_CheckSignals()
    if not stats:
        return y
    channels = s.c
    mean, var = new_array(1, &channels, cnp.NPY_FLOAT64), new_array(1, &channels, cnp.NPY_FLOAT64)
    merge_chunks(<double*>partial.data, s.n * s.oh * s.ow, chunk * s.oh * s.ow, s.c,
                 <double*>mean.data, <double*>var.data)
    return y, mean, var
