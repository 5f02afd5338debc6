"""Normalization of each row by its own mean and variance, or by its root mean square alone.

A row stays in cache while it is read twice for its statistics, in double (the second time as
deviations from the mean of the first, so that large means cost no digits), and once more to be
normalized. In the backward, sums over rows for gamma and beta are those of fixed chunks of rows,
added in order: the bits do not depend on the number of threads. Formulas are in the twin.
"""
cimport numpy as cnp
from cython cimport floating
from cython.parallel cimport parallel, prange, threadid
from libc.math cimport INFINITY, sqrt

from minidl_ext.runtime.arguments cimport has_length, real_array, row_or_null, same_dtype, same_shape, \
    typed_array
from minidl_ext.simd.sums cimport row_dot, row_squares, row_sum
from minidl_ext.runtime.memory cimport new_array, new_like, product, workspace
from minidl_ext.runtime.threads cimport threads_for

import numpy as np

cnp.import_array()

cdef enum:
    CHUNKS = 32         # of rows, at most
    RUN = 64            # rows whose sums are in the array's type, before they are added in double


cdef void forward_row(const floating* x, const floating* gamma, const floating* beta, double eps,
                      bint centre, floating* y, double* mean, double* rstd, Py_ssize_t n
                      ) noexcept nogil:
    cdef Py_ssize_t j
    cdef floating high, low, scale
    cdef double off, squares
    mean[0] = row_sum(x, n) / n if centre else 0.0
    squares = row_squares(x, n, mean[0], &off) / n
    if centre:          # the first mean is good to the roundings of a sum only
        off /= n
        mean[0] += off
        if squares < INFINITY:      # inf - inf would be NaN
            squares -= off * off
    high = <floating>mean[0]
    rstd[0] = 1 / sqrt((squares if squares > 0 or squares != squares else 0) + eps)
    scale, low = <floating>rstd[0], <floating>((mean[0] - high) * rstd[0])
    for j in range(n):
        y[j] = (x[j] - high) * scale - low
    if gamma != NULL:
        for j in range(n):
            y[j] *= gamma[j]
    if beta != NULL:
        for j in range(n):
            y[j] += beta[j]


cdef void backward_row(const floating* dy, const floating* x, const floating* gamma, double mean,
                       double rstd, bint centre, floating* dx, floating* xhat, floating* dgamma,
                       floating* dbeta, Py_ssize_t n) noexcept nogil:
    """dx; and what the row adds to dgamma and dbeta."""
    cdef Py_ssize_t j
    cdef floating high = <floating>mean, scale = <floating>rstd
    cdef floating low = <floating>((mean - high) * rstd), a = 0, b
    for j in range(n):
        xhat[j] = (x[j] - high) * scale - low
    for j in range(n):
        dgamma[j] += dy[j] * xhat[j]
    for j in range(n):
        dbeta[j] += dy[j]
    if gamma != NULL:
        for j in range(n):
            dx[j] = dy[j] * gamma[j]
    else:
        for j in range(n):
            dx[j] = dy[j]
    if centre:
        a = <floating>(row_sum(<const floating*>dx, n) / n)
    b = <floating>(row_dot(<const floating*>dx, <const floating*>xhat, n) / n)
    for j in range(n):
        dx[j] = scale * (dx[j] - a - xhat[j] * b)


cdef void chunk_backward(const floating* dy, const floating* x, const floating* gamma,
                         const double* mean, const double* rstd, bint centre, floating* dx,
                         double* sums, floating* work, Py_ssize_t first, Py_ssize_t after,
                         Py_ssize_t n) noexcept nogil:
    """dx of some rows; `sums` (2, n) gets what they add to dgamma and dbeta. `work`: 3 rows."""
    cdef Py_ssize_t i, j
    cdef floating* run = work + n
    for j in range(2 * n):
        sums[j] = run[j] = 0
    for i in range(first, after):
        backward_row(dy + i * n, x + i * n, gamma, mean[i], rstd[i], centre, dx + i * n, work, run,
                     run + n, n)
        if (i - first) % RUN == RUN - 1 or i == after - 1:
            for j in range(2 * n):
                sums[j] += run[j]
                run[j] = 0


cdef void forward_all(const floating* x, const floating* gamma, const floating* beta, double eps,
                      bint centre, floating* y, double* mean, double* rstd, Py_ssize_t m,
                      Py_ssize_t n, int threads) noexcept nogil:
    cdef Py_ssize_t i
    for i in prange(m, num_threads=threads, schedule='static'):
        forward_row(x + i * n, gamma, beta, eps, centre, y + i * n, mean + i, rstd + i, n)


cdef void backward_all(const floating* dy, const floating* x, const floating* gamma,
                       const double* mean, const double* rstd, bint centre, floating* dx,
                       floating* dgamma, floating* dbeta, double* partial, floating* room,
                       Py_ssize_t m, Py_ssize_t n, Py_ssize_t chunks, int threads) noexcept nogil:
    cdef Py_ssize_t i, j, q
    cdef floating* work
    cdef double g, b
    with parallel(num_threads=threads):
        work = room + threadid() * 3 * n
        for q in prange(chunks, schedule='static'):
            chunk_backward(dy, x, gamma, mean, rstd, centre, dx, partial + 2 * q * n, work,
                           m * q // chunks, m * (q + 1) // chunks, n)
    for j in range(n):
        g = b = 0
        for q in range(chunks):
            g += partial[2 * q * n + j]
            b += partial[(2 * q + 1) * n + j]
        dgamma[j], dbeta[j] = <floating>g, <floating>b


def layer_norm(x, gamma, beta, double eps, bint centre=True, int threads=0):
    """(y, mean, rstd) of rows x (M, C); mean and rstd float64 (M,). Without `centre` the mean is 0,
    and rstd one over the root mean square."""
    cdef cnp.ndarray a = real_array(x, "layer_norm", "x", 2), y, mean, rstd
    cdef char* g = row_or_null(gamma, a, "layer_norm", "x", "gamma")
    cdef char* b = row_or_null(beta, a, "layer_norm", "x", "beta")
    cdef cnp.npy_intp m = a.shape[0], n = a.shape[1]
    cdef int t = threads_for(threads, 4.0 * m * n)
    if n == 0:
        raise ValueError(f"layer_norm: rows of x {np.shape(x)} are empty")
    y = new_like(a)
    mean, rstd = new_array(1, &m, cnp.NPY_FLOAT64), new_array(1, &m, cnp.NPY_FLOAT64)
    if cnp.PyArray_TYPE(a) == cnp.NPY_FLOAT32:
        with nogil:
            forward_all(<float*>a.data, <float*>g, <float*>b, eps, centre, <float*>y.data,
                        <double*>mean.data, <double*>rstd.data, m, n, t)
    else:
        with nogil:
            forward_all(<double*>a.data, <double*>g, <double*>b, eps, centre, <double*>y.data,
                        <double*>mean.data, <double*>rstd.data, m, n, t)
    return y, mean, rstd


def layer_norm_backward(dy, x, gamma, mean, rstd, bint centre=True, int threads=0):
    """(dx, dgamma, dbeta) of rows x (M, C) with the mean and rstd that layer_norm gave."""
    cdef str where = "layer_norm_backward"
    cdef cnp.ndarray a = real_array(x, where, "x", 2), d = real_array(dy, where, "dy", 2)
    cdef cnp.ndarray mu = typed_array(mean, where, "mean", 1, cnp.NPY_FLOAT64)
    cdef cnp.ndarray r = typed_array(rstd, where, "rstd", 1, cnp.NPY_FLOAT64)
    cdef cnp.ndarray dx, dgamma, dbeta, partial, room
    cdef char* g = row_or_null(gamma, a, where, "x", "gamma")
    cdef cnp.npy_intp m = a.shape[0], n = a.shape[1]
    cdef Py_ssize_t chunks = max(1, min(m, <Py_ssize_t>CHUNKS))
    cdef int t = threads_for(threads, 6.0 * m * n)
    same_dtype(a, d, where, "x", "dy")
    same_shape(a, d, where, "x", "dy")
    has_length(mu, m, where, "mean")
    has_length(r, m, where, "rstd")
    dx = new_like(a)
    dgamma = new_array(1, &n, cnp.PyArray_TYPE(a))
    dbeta = new_array(1, &n, cnp.PyArray_TYPE(a))
    partial = workspace(product(2 * chunks, n, sizeof(double)))
    room = workspace(product(3 * t, n, a.itemsize))
    if cnp.PyArray_TYPE(a) == cnp.NPY_FLOAT32:
        with nogil:
            backward_all(<float*>d.data, <float*>a.data, <float*>g, <double*>mu.data,
                         <double*>r.data, centre, <float*>dx.data, <float*>dgamma.data,
                         <float*>dbeta.data, <double*>partial.data, <float*>room.data, m, n,
                         chunks, t)
    else:
        with nogil:
            backward_all(<double*>d.data, <double*>a.data, <double*>g, <double*>mu.data,
                         <double*>r.data, centre, <double*>dx.data, <double*>dgamma.data,
                         <double*>dbeta.data, <double*>partial.data, <double*>room.data, m, n,
                         chunks, t)
    return dx, dgamma, dbeta
