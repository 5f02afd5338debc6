"""Normalization of each row by its own mean and variance, or by its root mean square alone.

A row stays in cache while it is read twice for its statistics, in double (the second time as
deviations from the mean of the first, so that large means cost no digits), and once more to be
normalized. In the backward, fixed chunks of rows are summed for gamma and beta and added in order,
so that the bits do not depend on the number of threads. Formulas are in the twin.
"""
cimport numpy as cnp
from cython cimport floating
from cython.parallel cimport parallel, prange, threadid
from libc.math cimport INFINITY, sqrt

from minidl_ext.runtime.arguments cimport has_length, real_array, row_or_null, same_dtype, \
    same_shape, typed_array
from minidl_ext.runtime.memory cimport new_array, new_like, product, workspace
from minidl_ext.runtime.threads cimport threads_for
from minidl_ext.simd.sums cimport row_dot, row_squares, row_sum

import numpy as np

cnp.import_array()

cdef enum:
    CHUNKS = 32         # of rows, at most
    RUN = 64            # rows whose sums are in the array's type, before they are added in double


# What a pass reads and writes besides x, in its type. What the pass does not have is NULL.
cdef struct Operands:
    Py_ssize_t m, n         # x is m rows of n values
    const char* gamma
    const char* beta
    const char* dy
    double* mean            # (m,) as rstd: the forward writes, the backward reads them
    double* rstd
    char* result            # y or dx
    char* dgamma
    char* dbeta
    char* work              # 3 rows for each thread
    double* partial         # (2, n) for each chunk of rows


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
    """Write dx of a row, and add to dgamma and dbeta what the row adds to them."""
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
                         double* sums, floating* work, Py_ssize_t first, Py_ssize_t stop,
                         Py_ssize_t n) noexcept nogil:
    """Write dx of rows first .. stop, and to `sums` (2, n) what they add to dgamma and dbeta;
    `work` holds 3 rows."""
    cdef Py_ssize_t i, j
    cdef floating* run = work + n
    for j in range(2 * n):
        sums[j] = run[j] = 0
    for i in range(first, stop):
        backward_row(dy + i * n, x + i * n, gamma, mean[i], rstd[i], centre, dx + i * n, work, run,
                     run + n, n)
        if (i - first) % RUN == RUN - 1 or i == stop - 1:
            for j in range(2 * n):
                sums[j] += run[j]
                run[j] = 0


cdef void forward_all(const floating* x, const Operands* o, double eps, bint centre, int threads
                      ) noexcept nogil:
    cdef Py_ssize_t i, n = o.n
    cdef floating* y = <floating*>o.result
    for i in prange(o.m, num_threads=threads, schedule='static'):
        forward_row(x + i * n, <const floating*>o.gamma, <const floating*>o.beta, eps, centre,
                    y + i * n, o.mean + i, o.rstd + i, n)


cdef void backward_all(const floating* x, const Operands* o, bint centre, Py_ssize_t chunks,
                       int threads) noexcept nogil:
    cdef Py_ssize_t j, q, n = o.n
    cdef floating* work
    cdef double g, b
    with parallel(num_threads=threads):
        work = <floating*>o.work + threadid() * 3 * n
        for q in prange(chunks, schedule='static'):
            chunk_backward(<const floating*>o.dy, x, <const floating*>o.gamma, o.mean, o.rstd,
                           centre, <floating*>o.result, o.partial + 2 * q * n, work,
                           o.m * q // chunks, o.m * (q + 1) // chunks, n)
    for j in range(n):
        g = b = 0
        for q in range(chunks):
            g += o.partial[2 * q * n + j]
            b += o.partial[(2 * q + 1) * n + j]
        (<floating*>o.dgamma)[j], (<floating*>o.dbeta)[j] = <floating>g, <floating>b


def layer_norm(x, gamma, beta, double eps, bint centre=True, int threads=0):
    """(y, mean, rstd) of rows x (M, C); mean and rstd float64 (M,). Without `centre` the mean is 0,
    and rstd one over the root mean square."""
    cdef cnp.ndarray a = real_array(x, "layer_norm", "x", 2), y, mean, rstd
    cdef Operands o
    cdef cnp.npy_intp m = a.shape[0], n = a.shape[1]
    cdef int t = threads_for(threads, 4.0 * m * n)
    if n == 0:
        raise ValueError(f"layer_norm: rows of x {np.shape(x)} are empty")
    o.m, o.n = m, n
    o.gamma = row_or_null(gamma, a, "layer_norm", "x", "gamma")
    o.beta = row_or_null(beta, a, "layer_norm", "x", "beta")
    y = new_like(a)
    mean, rstd = new_array(1, &m, cnp.NPY_FLOAT64), new_array(1, &m, cnp.NPY_FLOAT64)
    o.result, o.mean, o.rstd = y.data, <double*>mean.data, <double*>rstd.data
    with nogil:
        if cnp.PyArray_TYPE(a) == cnp.NPY_FLOAT32:
            forward_all(<float*>a.data, &o, eps, centre, t)
        else:
            forward_all(<double*>a.data, &o, eps, centre, t)
    return y, mean, rstd


def layer_norm_backward(dy, x, gamma, mean, rstd, bint centre=True, int threads=0):
    """(dx, dgamma, dbeta) of rows x (M, C) with the mean and rstd that layer_norm gave."""
    cdef str where = "layer_norm_backward"
    cdef cnp.ndarray a = real_array(x, where, "x", 2), d = real_array(dy, where, "dy", 2)
    cdef cnp.ndarray mu = typed_array(mean, where, "mean", 1, cnp.NPY_FLOAT64)
    cdef cnp.ndarray r = typed_array(rstd, where, "rstd", 1, cnp.NPY_FLOAT64)
    cdef cnp.ndarray dx, dgamma, dbeta, partial, work
    cdef Operands o
    cdef cnp.npy_intp m = a.shape[0], n = a.shape[1]
    cdef Py_ssize_t chunks = max(1, min(m, <Py_ssize_t>CHUNKS))
    cdef int t = threads_for(threads, 6.0 * m * n)
    o.m, o.n = m, n
    o.gamma = row_or_null(gamma, a, where, "x", "gamma")
    same_dtype(a, d, where, "x", "dy")
    same_shape(a, d, where, "x", "dy")
    has_length(mu, m, where, "mean")
    has_length(r, m, where, "rstd")
    dx = new_like(a)
    dgamma = new_array(1, &n, cnp.PyArray_TYPE(a))
    dbeta = new_array(1, &n, cnp.PyArray_TYPE(a))
    partial = workspace(product(2 * chunks, n, sizeof(double)))
    work = workspace(product(3 * t, n, a.itemsize))
    o.dy, o.mean, o.rstd = d.data, <double*>mu.data, <double*>r.data
    o.result, o.dgamma, o.dbeta = dx.data, dgamma.data, dbeta.data
    o.work, o.partial = work.data, <double*>partial.data
    with nogil:
        if cnp.PyArray_TYPE(a) == cnp.NPY_FLOAT32:
            backward_all(<float*>a.data, &o, centre, chunks, t)
        else:
            backward_all(<double*>a.data, &o, centre, chunks, t)
    return dx, dgamma, dbeta
