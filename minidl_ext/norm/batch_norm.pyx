"""Batch statistics and batch normalization over all axes but the last.

Statistics: one pass over values that are shifted by the mean of a chunk's first block (so that a
large mean costs no digits); chunks are merged in double after Chan, Golub & LeVeque (1979). They
are fixed by the shape and merged in order: the bits do not depend on the number of threads.
Applying the normalization, with a residual and a ReLU if there are any, is one pass; so are the two
steps of the backward, the sums and dx. The statistics of a chunk, which other normalizations use
too, are `channel_stats` in norm_rows.pxd, inner loops in norm_rows.h; see the twin in NumPy for
formulas.
"""
cimport numpy as cnp
from cython cimport floating
from cython.parallel cimport parallel, prange, threadid
from libc.math cimport sqrt
from libc.string cimport memset

from minidl_ext.runtime.arguments cimport disjoint, has_length, output_like, real_array, same_dtype, \
    same_shape, typed_array
from minidl_ext.norm.norm_layout cimport Rows, channels_last, checked_factors, clear_of, layout, like, \
    masked_like
from minidl_ext.norm.norm_rows cimport add_sums_f32, add_sums_f64, apply_rows_f32, apply_rows_f64, \
    backward_rows_f32, backward_rows_f64, backward_sums_f32, backward_sums_f64, channel_stats, \
    finish_sums_f32, finish_sums_f64, merge_chunks
from minidl_ext.runtime.memory cimport new_array, new_like, product, workspace
from minidl_ext.runtime.threads cimport threads_for

import numpy as np

cnp.import_array()

# ------------------------------------------------------------------------------- statistics

cdef void all_stats(const floating* x, Rows* s, char* memory, double* partial, double* mean,
                    double* var, int threads) noexcept nogil:
    cdef Py_ssize_t q, n = s.channels
    cdef floating* work
    with parallel(num_threads=threads):
        work = <floating*>memory + threadid() * 3 * n
        for q in prange(s.chunks, schedule='static'):
            channel_stats(x + q * s.chunk * n, min(s.chunk, s.rows - q * s.chunk), s.block, n,
                          work, partial + 2 * q * n, partial + (2 * q + 1) * n)
    merge_chunks(partial, s.rows, s.chunk, n, mean, var)


def batch_stats(x, int threads=0):
    """(mean, var) of each channel, float64 (C,); var is the biased one, sum((x - mean)^2) / M."""
    cdef cnp.ndarray a = channels_last(x, "batch_stats", "x"), mean, var, partial, work
    cdef Rows s = layout(a)
    cdef cnp.npy_intp dims = s.channels
    cdef int t = threads_for(threads, <double>s.rows * s.channels)
    if s.rows == 0:
        raise ValueError(f"batch_stats: no values in shape {np.shape(x)}")
    mean, var = new_array(1, &dims, cnp.NPY_FLOAT64), new_array(1, &dims, cnp.NPY_FLOAT64)
    partial = workspace(product(2 * s.chunks, s.channels, sizeof(double)))
    work = workspace(product(3 * t, s.channels, a.itemsize))
    if cnp.PyArray_TYPE(a) == cnp.NPY_FLOAT32:
        with nogil:
            all_stats(<float*>a.data, &s, work.data, <double*>partial.data, <double*>mean.data,
                      <double*>var.data, t)
    else:
        with nogil:
            all_stats(<double*>a.data, &s, work.data, <double*>partial.data, <double*>mean.data,
                      <double*>var.data, t)
    return mean, var


# ---------------------------------------------------------------------------------- forward

cdef void fill_factors(const double* mean, const double* var, const floating* gamma,
                       const floating* beta, double eps, floating* factors, Py_ssize_t n
                       ) noexcept nogil:
    cdef Py_ssize_t c
    cdef double rstd, scale, low
    cdef floating high
    for c in range(n):
        rstd = 1.0 / sqrt(var[c] + eps)
        scale = rstd if gamma == NULL else gamma[c] * rstd
        high = <floating>mean[c]
        low = mean[c] - high
        factors[c] = high
        factors[n + c] = <floating>scale
        factors[2 * n + c] = <floating>((0.0 if beta == NULL else beta[c]) - low * scale)
        factors[3 * n + c] = <floating>rstd
        factors[4 * n + c] = <floating>low


def batch_norm_factors(mean, var, gamma, beta, double eps, dtype):
    """The per-channel factors (5, C) of a normalization with these statistics."""
    cdef cnp.ndarray m = typed_array(mean, "batch_norm_factors", "mean", 1, cnp.NPY_FLOAT64)
    cdef cnp.ndarray v = typed_array(var, "batch_norm_factors", "var", 1, cnp.NPY_FLOAT64)
    cdef cnp.ndarray factors, array
    cdef int typenum = (<cnp.dtype>np.dtype(dtype)).type_num
    cdef cnp.npy_intp dims[2]
    cdef char* data[2]
    cdef int i = 0
    if typenum != cnp.NPY_FLOAT32 and typenum != cnp.NPY_FLOAT64:
        raise TypeError(f"batch_norm_factors: dtype must be float32 or float64, got {dtype}")
    dims[0], dims[1] = 5, m.shape[0]
    has_length(v, dims[1], "batch_norm_factors", "var")
    for name, value in (("gamma", gamma), ("beta", beta)):
        data[i] = NULL
        if value is not None:
            array = typed_array(value, "batch_norm_factors", name, 1, typenum)
            has_length(array, dims[1], "batch_norm_factors", name)
            data[i] = array.data
        i += 1
    factors = new_array(2, dims, typenum)
    if typenum == cnp.NPY_FLOAT32:
        fill_factors(<double*>m.data, <double*>v.data, <float*>data[0], <float*>data[1], eps,
                     <float*>factors.data, dims[1])
    else:
        fill_factors(<double*>m.data, <double*>v.data, <double*>data[0], <double*>data[1], eps,
                     <double*>factors.data, dims[1])
    return factors


cdef void average(floating* running, const double* batch, double keep, double weight, Py_ssize_t n
                  ) noexcept nogil:
    cdef Py_ssize_t c
    cdef floating share = <floating>keep
    for c in range(n):
        running[c] = <floating>(share * running[c] + weight * batch[c])


cdef cnp.ndarray averaged(object running, cnp.ndarray batch, str name):
    """Running statistics that may move by those of a batch."""
    cdef cnp.ndarray r = real_array(running, "running_update", name, 1)
    has_length(r, batch.shape[0], "running_update", name)
    if not cnp.PyArray_ISWRITEABLE(r):
        raise ValueError(f"running_update: {name} is read-only")
    return r


cdef void move(cnp.ndarray running, cnp.ndarray batch, double keep, double weight):
    if cnp.PyArray_TYPE(running) == cnp.NPY_FLOAT32:
        average(<float*>running.data, <double*>batch.data, keep, weight, batch.shape[0])
    else:
        average(<double*>running.data, <double*>batch.data, keep, weight, batch.shape[0])


def running_update(running_mean, running_var, num_batches, mean, var, double weight,
                   double factor):
    """running becomes (1 - weight) running + weight batch, in place, the batch's variance times
    `factor`; mean and var (C,) are float64. num_batches () of int64, or None, counts one more."""
    cdef cnp.ndarray m = typed_array(mean, "running_update", "mean", 1, cnp.NPY_FLOAT64)
    cdef cnp.ndarray v = typed_array(var, "running_update", "var", 1, cnp.NPY_FLOAT64)
    cdef cnp.ndarray running_m = averaged(running_mean, m, "running_mean")
    cdef cnp.ndarray running_v = averaged(running_var, v, "running_var"), counted
    has_length(v, m.shape[0], "running_update", "var")
    if num_batches is not None:
        counted = num_batches
        if (cnp.PyArray_TYPE(counted) != cnp.NPY_INT64 or cnp.PyArray_NDIM(counted) != 0
                or not cnp.PyArray_ISCARRAY(counted)):
            raise TypeError("running_update: num_batches must be a writable array () of int64")
        (<cnp.int64_t*>counted.data)[0] += 1
    move(running_m, m, 1 - weight, weight)
    move(running_v, v, 1 - weight, weight * factor)


cdef void apply_block(const floating* x, const floating* residual, int relu, floating* y,
                      const floating* factors, Rows* s, Py_ssize_t q) noexcept nogil:
    cdef Py_ssize_t first = q * s.block, at = first * s.channels
    cdef Py_ssize_t rows = min(s.block, s.rows - first)
    if residual != NULL:
        residual += at
    if floating is float:
        apply_rows_f32(x + at, residual, relu, y + at, s.channels, rows, s.channels, factors,
                       s.stream)
    else:
        apply_rows_f64(x + at, residual, relu, y + at, s.channels, rows, s.channels, factors,
                       s.stream)


def batch_norm_apply(x, factors, residual=None, bint relu=False, out=None, int threads=0):
    """y = (x - mean_hi) * scale + shift, plus `residual`, then ReLU if asked."""
    cdef cnp.ndarray a = channels_last(x, "batch_norm_apply", "x"), y, other
    cdef Rows s = layout(a)
    cdef cnp.ndarray f = checked_factors(factors, a, &s, "batch_norm_apply")
    cdef char* shortcut_data = NULL
    cdef Py_ssize_t q, blocks = (s.rows + s.block - 1) // s.block
    cdef int t = threads_for(threads, <double>s.rows * s.channels)
    y = output_like(out, "batch_norm_apply", a)
    disjoint(y, f, "batch_norm_apply", "factors")
    disjoint(y, a, "batch_norm_apply", "x")
    if residual is not None:
        other = real_array(residual, "batch_norm_apply", "residual", -1)
        same_dtype(a, other, "batch_norm_apply", "x", "residual")
        same_shape(a, other, "batch_norm_apply", "x", "residual")
        disjoint(y, other, "batch_norm_apply", "residual")
        shortcut_data = other.data
    if cnp.PyArray_TYPE(a) == cnp.NPY_FLOAT32:
        for q in prange(blocks, nogil=True, num_threads=t, schedule='static'):
            apply_block(<float*>a.data, <float*>shortcut_data, relu, <float*>y.data,
                        <float*>f.data, &s, q)
    else:
        for q in prange(blocks, nogil=True, num_threads=t, schedule='static'):
            apply_block(<double*>a.data, <double*>shortcut_data, relu, <double*>y.data,
                        <double*>f.data, &s, q)
    return y


# --------------------------------------------------------------------------------- backward

cdef void chunk_sums(const floating* dy, const floating* dy2, const floating* x, int relu,
                     const floating* residual, floating* g_out, const floating* factors, Rows* s,
                     Py_ssize_t q, floating* work, double* sums) noexcept nogil:
    """Sums of g and g (x - mean_hi) over chunk q, blocks in their own type, added in double."""
    cdef Py_ssize_t first = q * s.chunk, end = min(s.rows, first + s.chunk), rows, at, c
    for c in range(2 * s.channels):
        sums[c] = 0
    while first < end:
        rows = min(s.block, end - first)
        at = first * s.channels
        if floating is float:
            backward_sums_f32(dy + at, dy2 + at if dy2 != NULL else NULL, x + at, relu,
                              residual + at if residual != NULL else NULL,
                              g_out + at if g_out != NULL else NULL, rows, s.channels, factors,
                              work, work + s.channels)
        else:
            backward_sums_f64(dy + at, dy2 + at if dy2 != NULL else NULL, x + at, relu,
                              residual + at if residual != NULL else NULL,
                              g_out + at if g_out != NULL else NULL, rows, s.channels, factors,
                              work, work + s.channels)
        if floating is float:
            add_sums_f32(sums, work, 2 * s.channels)
        else:
            add_sums_f64(sums, work, 2 * s.channels)
        first += rows


cdef void gradient_block(const floating* dy, const floating* x, int relu, const floating* residual,
                         floating* dx, const floating* factors, const floating* slope,
                         const floating* offset, Rows* s, Py_ssize_t q) noexcept nogil:
    cdef Py_ssize_t first = q * s.block, at = first * s.channels
    cdef Py_ssize_t rows = min(s.block, s.rows - first)
    if residual != NULL:
        residual += at
    if floating is float:
        backward_rows_f32(dy + at, x + at, relu, residual, dx + at, s.channels, rows, s.channels,
                          factors, slope, offset, s.stream)
    else:
        backward_rows_f64(dy + at, x + at, relu, residual, dx + at, s.channels, rows, s.channels,
                          factors, slope, offset, s.stream)


cdef void all_sums(const floating* dy, const floating* dy2, const floating* x, int relu,
                   const floating* residual, floating* g_out, const floating* factors, Rows* s,
                   char* memory, double* partial, double* sums, int threads) noexcept nogil:
    cdef Py_ssize_t n = s.channels, q
    cdef floating* work
    with parallel(num_threads=threads):
        work = <floating*>memory + threadid() * 2 * n
        for q in prange(s.chunks, schedule='static'):
            chunk_sums(dy, dy2, x, relu, residual, g_out, factors, s, q, work,
                       partial + 2 * q * n)
    for q in range(s.chunks):
        add_sums_f64(sums, partial + 2 * q * n, 2 * n)


def batch_norm_sums(dy, x, factors, bint relu=False, residual=None, masked_out=False,
                    dy2=None, int threads=0):
    """(sums, masked dy or None): sums (2, C), float64, of g and of g (x - mean_hi).

    With `masked_out`, which may be the array to fill, dy may come in two parts: dy + dy2.
    """
    cdef cnp.ndarray a = channels_last(x, "batch_norm_sums", "x"), g, work, partial, sums
    cdef Rows s = layout(a)
    cdef cnp.ndarray f = checked_factors(factors, a, &s, "batch_norm_sums"), masked = None
    cdef cnp.npy_intp dims[2]
    cdef int t = threads_for(threads, <double>s.rows * s.channels)
    cdef char* shortcut_data = like(residual, a, "batch_norm_sums", "residual")
    cdef char* also_data = like(dy2, a, "batch_norm_sums", "dy2")
    cdef char* masked_data = NULL
    if dy2 is not None and masked_out is False:
        raise ValueError("batch_norm_sums: dy2 needs masked_out=True")
    g = real_array(dy, "batch_norm_sums", "dy", -1)
    like(g, a, "batch_norm_sums", "dy")
    masked = masked_like(masked_out, a, relu or dy2 is not None, "batch_norm_sums")
    clear_of(masked_out, masked, "batch_norm_sums", ("dy", "x", "factors", "residual", "dy2"),
             (g, a, f, residual, dy2))
    if masked is not None:
        masked_data = masked.data
    work = workspace(product(2 * t, s.channels, a.itemsize))
    partial = workspace(product(2 * s.chunks, s.channels, sizeof(double)))
    dims[0], dims[1] = 2, s.channels
    sums = new_array(2, dims, cnp.NPY_FLOAT64)
    memset(sums.data, 0, cnp.PyArray_NBYTES(sums))
    if cnp.PyArray_TYPE(a) == cnp.NPY_FLOAT32:
        with nogil:
            all_sums(<float*>g.data, <float*>also_data, <float*>a.data, relu,
                     <float*>shortcut_data, <float*>masked_data, <float*>f.data, &s, work.data,
                     <double*>partial.data, <double*>sums.data, t)
    else:
        with nogil:
            all_sums(<double*>g.data, <double*>also_data, <double*>a.data, relu,
                     <double*>shortcut_data, <double*>masked_data, <double*>f.data, &s, work.data,
                     <double*>partial.data, <double*>sums.data, t)
    return sums, None if masked_out is False else dy if masked is None else masked


def batch_norm_finish(sums, factors, double count):
    """(dgamma, dbeta, centre) from the sums over `count` values a channel.

    centre (2, C) is the slope and the offset of the gradient through the statistics.
    """
    cdef cnp.ndarray total = typed_array(sums, "batch_norm_finish", "sums", 2, cnp.NPY_FLOAT64)
    cdef cnp.ndarray f = real_array(factors, "batch_norm_finish", "factors", 2)
    cdef cnp.ndarray dgamma, dbeta, centre
    cdef cnp.npy_intp n = f.shape[1]
    cdef cnp.npy_intp dims[2]
    cdef int typenum = cnp.PyArray_TYPE(f)
    if f.shape[0] != 5 or total.shape[0] != 2 or total.shape[1] != n:
        raise ValueError(f"batch_norm_finish: sums must be (2, C) and factors (5, C), got "
                         f"{np.shape(sums)} and {np.shape(factors)}")
    dims[0], dims[1] = 2, n
    dgamma, dbeta = new_array(1, &n, typenum), new_array(1, &n, typenum)
    centre = new_array(2, dims, typenum)
    if typenum == cnp.NPY_FLOAT32:
        finish_sums_f32(<double*>total.data, count, n, <float*>f.data, <float*>dgamma.data,
                        <float*>dbeta.data, <float*>centre.data, <float*>centre.data + n)
    else:
        finish_sums_f64(<double*>total.data, count, n, <double*>f.data, <double*>dgamma.data,
                        <double*>dbeta.data, <double*>centre.data, <double*>centre.data + n)
    return dgamma, dbeta, centre


cdef void all_gradients(const floating* dy, const floating* x, int relu, const floating* residual,
                        floating* dx, const floating* factors, const floating* centre, Rows* s,
                        int threads) noexcept nogil:
    cdef Py_ssize_t q, blocks = (s.rows + s.block - 1) // s.block
    cdef const floating* offset = centre + s.channels if centre != NULL else NULL
    for q in prange(blocks, num_threads=threads, schedule='static'):
        gradient_block(dy, x, relu, residual, dx, factors, centre, offset, s, q)


def batch_norm_input_grad(dy, x, factors, bint relu=False, residual=None, centre=None,
                          out=None, int threads=0):
    """dx = scale (g + (x - mean_hi) slope + offset); without `centre` (2, C), scale g."""
    cdef cnp.ndarray a = channels_last(x, "batch_norm_input_grad", "x"), g, c = None, dx
    cdef Rows s = layout(a)
    cdef cnp.ndarray f = checked_factors(factors, a, &s, "batch_norm_input_grad")
    cdef int t = threads_for(threads, <double>s.rows * s.channels)
    cdef char* shortcut_data = like(residual, a, "batch_norm_input_grad", "residual")
    cdef char* centre_data = NULL
    g = real_array(dy, "batch_norm_input_grad", "dy", -1)
    like(g, a, "batch_norm_input_grad", "dy")
    if centre is not None:
        c = typed_array(centre, "batch_norm_input_grad", "centre", 2, cnp.PyArray_TYPE(a))
        if c.shape[0] != 2 or c.shape[1] != s.channels:
            raise ValueError(f"batch_norm_input_grad: centre must have shape (2, {s.channels}), "
                             f"got {np.shape(centre)}")
        centre_data = c.data
    dx = output_like(out, "batch_norm_input_grad", a)
    clear_of(out, dx, "batch_norm_input_grad", ("dy", "x", "factors", "residual", "centre"),
             (g, a, f, residual, c))
    if cnp.PyArray_TYPE(a) == cnp.NPY_FLOAT32:
        with nogil:
            all_gradients(<float*>g.data, <float*>a.data, relu, <float*>shortcut_data,
                          <float*>dx.data, <float*>f.data, <float*>centre_data, &s, t)
    else:
        with nogil:
            all_gradients(<double*>g.data, <double*>a.data, relu, <double*>shortcut_data,
                          <double*>dx.data, <double*>f.data, <double*>centre_data, &s, t)
    return dx


def batch_norm_backward(dy, x, factors, bint training=True, bint relu=False, residual=None,
                        masked_out=False, dy2=None, out=None, int threads=0):
    """(dx, dgamma, dbeta, masked dy or None) of batch_norm_apply; see the twin for formulas."""
    cdef cnp.ndarray a = channels_last(x, "batch_norm_backward", "x")
    cdef Rows s = layout(a)
    checked_factors(factors, a, &s, "batch_norm_backward")
    like(real_array(dy, "batch_norm_backward", "dy", -1), a, "batch_norm_backward", "dy")
    like(residual, a, "batch_norm_backward", "residual")
    like(dy2, a, "batch_norm_backward", "dy2")
    sums, masked = batch_norm_sums(dy, x, factors, relu, residual, masked_out, dy2, threads)
    dgamma, dbeta, centre = batch_norm_finish(sums, factors, s.rows)
    if masked is not None:      # no need to mask again
        dy, relu, residual = masked, False, None
    dx = batch_norm_input_grad(dy, x, factors, relu, residual, centre if training else None, out,
                               threads)
    return dx, dgamma, dbeta, masked
