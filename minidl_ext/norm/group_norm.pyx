"""Normalization of each image by the mean and variance of groups of its channels, or by the root of
their mean square alone.

One group is layer normalization over all of an image, and a group for each channel is instance
normalization. An image is worked on by one thread, with the loops of batch normalization
(statistics.h, normalize.h). Forward, the statistics of its channels are merged into those of the
groups, which make the factors of each channel; backward, the sums of its channels are merged
likewise into slopes and offsets. What images add to the gradients of gamma and beta is summed in
their order. Formulas are in the twin.
"""
cimport numpy as cnp
from cython cimport floating
from cython.parallel cimport parallel, prange, threadid
from libc.math cimport sqrt
from libc.string cimport memset

from minidl_ext.norm.normalize cimport add_backward_sums, apply_rows, group_backward_rows, \
    set_factors
from minidl_ext.norm.statistics cimport channel_stats, rows_of_block
from minidl_ext.runtime.arguments cimport has_length, real_array, row_or_null, same_dtype, \
    same_shape, typed_array
from minidl_ext.runtime.memory cimport new_array, new_like, product, workspace
from minidl_ext.runtime.threads cimport threads_for

import numpy as np

cnp.import_array()

cdef struct Shape:
    Py_ssize_t n, positions, channels, groups, width    # width: channels of a group
    Py_ssize_t block                                    # positions of a block


# What a pass reads and writes besides x, in its type. What the pass does not have is NULL.
cdef struct Operands:
    const char* gamma
    const char* beta
    const char* dy
    char* factors           # (N, 5, C): the forward writes, the backward reads them
    char* result            # y or dx
    char* dgamma
    char* dbeta
    char* work              # rows for each thread
    double* sums            # forward (2, C) for each thread, backward (N, 2, C)
    const double* eps       # (groups,)


cdef void fill_factors(const double* means, const double* m2, const floating* gamma,
                       const floating* beta, const double* eps, bint centre, Shape* s,
                       floating* factors) noexcept nogil:
    """Fill in the factors (5, C) of an image's channels, as those of batch normalization; without
    `centre` they are for deviations from 0."""
    cdef Py_ssize_t g, c, n = s.channels, M = s.positions * s.width
    cdef double mean, squares, rstd
    for g in range(s.groups):
        mean = squares = 0
        if centre:
            for c in range(g * s.width, (g + 1) * s.width):
                mean += means[c]
            mean /= s.width
        for c in range(g * s.width, (g + 1) * s.width):
            squares += m2[c] + s.positions * (means[c] - mean) * (means[c] - mean)
        rstd = 1 / sqrt((squares / M if squares > 0 or squares != squares else 0) + eps[g])
        for c in range(g * s.width, (g + 1) * s.width):
            set_factors(factors, n, c, mean, rstd, gamma, beta)


cdef void forward_all(const floating* x, const Operands* o, bint centre, Shape* s, int threads
                      ) noexcept nogil:
    cdef Py_ssize_t i, size = s.positions * s.channels, n = s.channels
    cdef floating* y = <floating*>o.result
    cdef floating* factors
    cdef floating* work
    cdef double* mean
    with parallel(num_threads=threads):
        work = <floating*>o.work + threadid() * 3 * n
        mean = o.sums + threadid() * 2 * n
        for i in prange(s.n, schedule='static'):
            factors = <floating*>o.factors + i * 5 * n
            channel_stats(x + i * size, s.positions, s.block, n, work, mean, mean + n)
            fill_factors(mean, mean + n, <const floating*>o.gamma, <const floating*>o.beta, o.eps,
                         centre, s, factors)
            apply_rows(x + i * size, <const floating*>NULL, False, y + i * size, n, s.positions, n,
                       <const floating*>factors, False)


cdef void image_backward(const floating* dy, const floating* x, const floating* gamma,
                         const floating* factors, bint centre, floating* dx, floating* work,
                         double* sums, Shape* s) noexcept nogil:
    """Write dx of an image, and to `sums` what it adds to dbeta and to dgamma; `work`: 5 rows."""
    cdef Py_ssize_t c, g, n = s.channels, M = s.positions * s.width
    cdef double a, b, rstd, low
    cdef floating* slope = work + 2 * n
    cdef floating* offset = work + 3 * n
    cdef floating* scale = work + 4 * n
    memset(sums, 0, 2 * n * sizeof(double))
    add_backward_sums(dy, <const floating*>NULL, x, False, <const floating*>NULL, <floating*>NULL,
                      s.positions, s.block, n, factors, work, sums)
    for c in range(n):      # from sums of g (x - mean_hi) to those of g xhat
        sums[n + c] = (sums[n + c] - factors[4 * n + c] * sums[c]) * factors[3 * n + c]
    for g in range(s.groups):
        a = b = 0
        for c in range(g * s.width, (g + 1) * s.width):
            if centre:          # a constant mean passes no gradient on
                a += sums[c] * (1.0 if gamma == NULL else gamma[c])
            b += sums[n + c] * (1.0 if gamma == NULL else gamma[c])
        c = g * s.width
        rstd, low = factors[3 * n + c], factors[4 * n + c]
        for c in range(g * s.width, (g + 1) * s.width):
            scale[c] = 1 if gamma == NULL else gamma[c]
            slope[c] = <floating>(-rstd * b / M)
            offset[c] = <floating>((rstd * b * low - a) / M)
    group_backward_rows(dy, x, dx, s.positions, n, factors, <const floating*>scale,
                        <const floating*>slope, <const floating*>offset)


cdef void backward_all(const floating* x, const Operands* o, bint centre, Shape* s, int threads
                       ) noexcept nogil:
    cdef Py_ssize_t i, c, n = s.channels, size = s.positions * s.channels
    cdef const floating* dy = <const floating*>o.dy
    cdef const floating* factors = <const floating*>o.factors
    cdef floating* work
    cdef double a, b
    with parallel(num_threads=threads):
        work = <floating*>o.work + threadid() * 5 * n
        for i in prange(s.n, schedule='static'):
            image_backward(dy + i * size, x + i * size, <const floating*>o.gamma,
                           factors + i * 5 * n, centre, <floating*>o.result + i * size, work,
                           o.sums + i * 2 * n, s)
    for c in range(n):
        a = b = 0
        for i in range(s.n):
            b += o.sums[i * 2 * n + c]
            a += o.sums[i * 2 * n + n + c]
        (<floating*>o.dgamma)[c], (<floating*>o.dbeta)[c] = <floating>a, <floating>b


cdef int set_shape(Shape* s, cnp.ndarray x, Py_ssize_t groups, str where) except -1:
    s.n, s.positions, s.channels = x.shape[0], x.shape[1], x.shape[2]
    if groups < 1 or s.channels < 1 or s.channels % groups:
        raise ValueError(f"{where}: x {np.shape(x)} does not divide into groups={groups}")
    if s.positions < 1:
        raise ValueError(f"{where}: images of x {np.shape(x)} are empty")
    s.groups, s.width = groups, s.channels // groups
    s.block = rows_of_block(s.channels, x.itemsize)
    return 0


def group_norm(x, gamma, beta, Py_ssize_t groups, eps, bint centre=True, int threads=0):
    """(y, factors) of images x (N, P, C); factors (N, 5, C) as those of batch normalization.
    eps is a number, or float64 (groups,). Without `centre` the mean is 0, and the variance the mean
    square."""
    cdef cnp.ndarray a = real_array(x, "group_norm", "x", 3), y, factors, work, sums, e
    cdef Operands o
    cdef cnp.npy_intp dims[3]
    cdef Shape s
    cdef int t
    o.gamma = row_or_null(gamma, a, "group_norm", "x", "gamma")
    o.beta = row_or_null(beta, a, "group_norm", "x", "beta")
    set_shape(&s, a, groups, "group_norm")
    if not isinstance(eps, np.ndarray):
        eps = np.full(groups, <double>eps)
    e = typed_array(eps, "group_norm", "eps", 1, cnp.NPY_FLOAT64)
    has_length(e, groups, "group_norm", "eps")
    t = threads_for(threads, 3.0 * s.n * s.positions * s.channels)
    dims[0], dims[1], dims[2] = s.n, 5, s.channels
    y, factors = new_like(a), new_array(3, dims, cnp.PyArray_TYPE(a))
    work = workspace(product(3 * t, s.channels, a.itemsize))
    sums = workspace(product(2 * t, s.channels, sizeof(double)))
    o.factors, o.result, o.work = factors.data, y.data, work.data
    o.sums, o.eps = <double*>sums.data, <double*>e.data
    with nogil:
        if cnp.PyArray_TYPE(a) == cnp.NPY_FLOAT32:
            forward_all(<float*>a.data, &o, centre, &s, t)
        else:
            forward_all(<double*>a.data, &o, centre, &s, t)
    return y, factors


def group_norm_backward(dy, x, gamma, factors, Py_ssize_t groups, bint centre=True, int threads=0):
    """(dx, dgamma, dbeta, sums) of images x (N, P, C) with the factors that group_norm gave; sums
    (N, 2, C), float64, are what each image adds to dbeta and to dgamma."""
    cdef str where = "group_norm_backward"
    cdef cnp.ndarray a = real_array(x, where, "x", 3), d = real_array(dy, where, "dy", 3)
    cdef cnp.ndarray f = real_array(factors, where, "factors", 3), dx, dgamma, dbeta, work, sums
    cdef Operands o
    cdef cnp.npy_intp channels
    cdef cnp.npy_intp dims[3]
    cdef Shape s
    cdef int t
    o.gamma = row_or_null(gamma, a, where, "x", "gamma")
    set_shape(&s, a, groups, where)
    same_dtype(a, d, where, "x", "dy")
    same_shape(a, d, where, "x", "dy")
    same_dtype(a, f, where, "x", "factors")
    if f.shape[0] != s.n or f.shape[1] != 5 or f.shape[2] != s.channels:
        raise ValueError(f"{where}: factors must have shape ({s.n}, 5, {s.channels}), "
                         f"got {np.shape(factors)}")
    t = threads_for(threads, 4.0 * s.n * s.positions * s.channels)
    channels = s.channels
    dx = new_like(a)
    dgamma = new_array(1, &channels, cnp.PyArray_TYPE(a))
    dbeta = new_array(1, &channels, cnp.PyArray_TYPE(a))
    work = workspace(product(5 * t, s.channels, a.itemsize))
    dims[0], dims[1], dims[2] = s.n, 2, s.channels
    sums = new_array(3, dims, cnp.NPY_FLOAT64)
    o.dy, o.factors, o.result = d.data, f.data, dx.data
    o.dgamma, o.dbeta = dgamma.data, dbeta.data
    o.work, o.sums = work.data, <double*>sums.data
    with nogil:
        if cnp.PyArray_TYPE(a) == cnp.NPY_FLOAT32:
            backward_all(<float*>a.data, &o, centre, &s, t)
        else:
            backward_all(<double*>a.data, &o, centre, &s, t)
    return dx, dgamma, dbeta, sums
