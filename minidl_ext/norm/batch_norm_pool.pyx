"""Batch normalization, ReLU and a 2x2 max-pool of stride 2 in one pass, its gradient in two.

One operation after the other would write three outputs and three gradients of the size of x. In one
pass only the pooled output is written forward, and only dx backward. Arrays are float32 and have
channels in multiples of 16. Sums over fixed chunks of images are added in their order, so no result
depends on the number of threads. The inner loops are in batch_norm_pool.h.
"""
cimport numpy as cnp
from cython.parallel cimport parallel, prange, threadid
from libc.string cimport memset

from minidl_ext.norm.normalize cimport finish_sums
from minidl_ext.norm.statistics cimport BLOCK_ROWS, add_sums
from minidl_ext.runtime.arguments cimport channel_blocks, channel_rows, has_shape
from minidl_ext.runtime.memory cimport new_array, new_like, product, workspace
from minidl_ext.runtime.threads cimport threads_for

import numpy as np

cnp.import_array()

cdef extern from "norm/batch_norm_pool.h" nogil:
    void pool_row(const float* x0, const float* x1, int relu, Py_ssize_t windows,
                  Py_ssize_t channels, const float* factors, float* y)
    void pool_row_sums(const float* x0, const float* x1, int relu, Py_ssize_t windows,
                       Py_ssize_t channels, const float* factors, const float* dy, float* sum_g,
                       float* sum_gx)
    void pool_row_gradient(const float* x0, const float* x1, int relu, Py_ssize_t windows,
                           Py_ssize_t channels, const float* factors, const float* dy,
                           bint training, const float* slope, const float* offset, float* d0,
                           float* d1)
    void uncovered(const float* x, float* dx, Py_ssize_t rows, Py_ssize_t channels,
                   const float* factors, bint training, const float* slope, const float* offset)

cdef enum:
    CHANNEL_BLOCK = 16  # channels come in multiples of it
    CHUNKS = 64         # of images, at most


cdef struct Shape:
    Py_ssize_t n, h, w, c       # the images x: (N, H, W, C)
    Py_ssize_t oh, ow           # the outputs of an image: (OH, OW, C)


cdef int set_shape(Shape* s, cnp.ndarray x, str where) except -1:
    """Fill in the sizes of the images x and of their outputs."""
    s.n, s.h, s.w, s.c = x.shape[0], x.shape[1], x.shape[2], x.shape[3]
    s.oh, s.ow = s.h // 2, s.w // 2
    if s.oh == 0 or s.ow == 0:
        raise ValueError(f"{where}: x {np.shape(x)} must have images of at least 2 x 2")
    return 0


cdef const float* pair_of_rows(const float* x, Shape* s, Py_ssize_t row) noexcept nogil:
    """The first of the two input rows that are pooled to row `row` of all images' outputs."""
    return x + (row // s.oh * s.h + row % s.oh * 2) * s.w * s.c


def batch_norm_pool(x, factors, bint relu=False, int threads=0):
    """y (N, H // 2, W // 2, C): max_pool of batch_norm_apply(x, factors, relu=relu)."""
    cdef cnp.ndarray a = channel_blocks(x, "batch_norm_pool", "x", CHANNEL_BLOCK), y
    cdef cnp.ndarray f = channel_rows(factors, 5, a.shape[3], cnp.NPY_FLOAT32, "batch_norm_pool",
                                      "factors")
    cdef Shape s
    cdef cnp.npy_intp dims[4]
    cdef Py_ssize_t row
    cdef const float* source
    cdef float* target
    cdef int t
    set_shape(&s, a, "batch_norm_pool")
    dims[0], dims[1], dims[2], dims[3] = s.n, s.oh, s.ow, s.c
    y = new_array(4, dims, cnp.NPY_FLOAT32)
    t = threads_for(threads, <double>s.n * s.h * s.w * s.c)
    source, target = <float*>a.data, <float*>y.data
    for row in prange(s.n * s.oh, nogil=True, num_threads=t, schedule='static'):
        pool_row(pair_of_rows(source, &s, row), pair_of_rows(source, &s, row) + s.w * s.c, relu,
                 s.ow, s.c, <float*>f.data, target + row * s.ow * s.c)
    return y


cdef void chunk_sums(const float* dy, const float* x, const float* factors, int relu, Shape* s,
                     Py_ssize_t first, Py_ssize_t end, float* work, double* sums) noexcept nogil:
    """Write the sums of g and g (x - mean_hi) over images first .. end - 1. At most BLOCK_ROWS
    windows of a row are summed in float, and these sums are added in double."""
    cdef Py_ssize_t row, j, windows
    cdef const float* x0
    memset(sums, 0, 2 * s.c * sizeof(double))
    for row in range(first * s.oh, end * s.oh):
        x0 = pair_of_rows(x, s, row)
        j = 0
        while j < s.ow:
            windows = min(s.ow - j, <Py_ssize_t>BLOCK_ROWS)
            pool_row_sums(x0 + 2 * j * s.c, x0 + (s.w + 2 * j) * s.c, relu, windows, s.c, factors,
                          dy + (row * s.ow + j) * s.c, work, work + s.c)
            add_sums(sums, <const float*>work, 2 * s.c)
            j += windows


cdef void image_gradient(const float* dy, const float* x, const float* factors, int relu,
                         bint training, const float* slope, const float* offset, float* dx,
                         Shape* s, Py_ssize_t image) noexcept nogil:
    """Write dx of an image, including its last row and column where no window covers them."""
    cdef Py_ssize_t i, at, width = s.w * s.c, last = (s.w - 1) * s.c
    for i in range(s.oh):
        at = (image * s.h + 2 * i) * width
        pool_row_gradient(x + at, x + at + width, relu, s.ow, s.c, factors,
                          dy + (image * s.oh + i) * s.ow * s.c, training, slope, offset, dx + at,
                          dx + at + width)
        if s.w % 2:
            uncovered(x + at + last, dx + at + last, 1, s.c, factors, training, slope, offset)
            at = at + width + last
            uncovered(x + at, dx + at, 1, s.c, factors, training, slope, offset)
    if s.h % 2:
        at = (image * s.h + s.h - 1) * width
        uncovered(x + at, dx + at, s.w, s.c, factors, training, slope, offset)


cdef void backward(const float* dy, const float* x, const float* factors, bint training, int relu,
                   float* dx, float* dgamma, float* dbeta, float* memory, double* sums,
                   Py_ssize_t chunks, Shape* s, int threads) noexcept nogil:
    cdef Py_ssize_t q, i, n = s.c
    cdef float* slope = memory
    cdef float* offset = slope + n
    cdef float* work
    with parallel(num_threads=threads):
        work = offset + n + threadid() * 2 * n
        for q in prange(chunks, schedule='static'):
            chunk_sums(dy, x, factors, relu, s, s.n * q // chunks, s.n * (q + 1) // chunks, work,
                       sums + 2 * q * n)
    for q in range(1, chunks):
        add_sums(sums, <const double*>(sums + 2 * q * n), 2 * n)
    finish_sums(<const double*>sums, s.n * s.h * s.w, n, factors, dgamma, dbeta, slope, offset)
    for i in prange(s.n, num_threads=threads, schedule='static'):
        image_gradient(dy, x, factors, relu, training, slope, offset, dx, s, i)


def batch_norm_pool_backward(dy, x, factors, bint training=True, bint relu=False, int threads=0):
    """(dx, dgamma, dbeta) of batch_norm_pool; see the twin for formulas."""
    cdef str where = "batch_norm_pool_backward"
    cdef cnp.ndarray a = channel_blocks(x, where, "x", CHANNEL_BLOCK), dx, dgamma, dbeta, work, sums
    cdef cnp.ndarray g = channel_blocks(dy, where, "dy", CHANNEL_BLOCK)
    cdef cnp.ndarray f = channel_rows(factors, 5, a.shape[3], cnp.NPY_FLOAT32, where, "factors")
    cdef Shape s
    cdef cnp.npy_intp dims
    cdef int t
    cdef Py_ssize_t chunks
    set_shape(&s, a, where)
    has_shape(g, s.n, s.oh, s.ow, s.c, where, "dy")
    dims, chunks = s.c, max(1, min(s.n, CHUNKS))
    t = threads_for(threads, 2.0 * s.n * s.h * s.w * s.c)
    dx = new_like(a)
    dgamma, dbeta = new_array(1, &dims, cnp.NPY_FLOAT32), new_array(1, &dims, cnp.NPY_FLOAT32)
    work = workspace(product(2 + 2 * t, s.c, sizeof(float)))
    sums = workspace(product(2 * chunks, s.c, sizeof(double)))
    with nogil:
        backward(<float*>g.data, <float*>a.data, <float*>f.data, training, relu, <float*>dx.data,
                 <float*>dgamma.data, <float*>dbeta.data, <float*>work.data, <double*>sums.data,
                 chunks, &s, t)
    return dx, dgamma, dbeta
