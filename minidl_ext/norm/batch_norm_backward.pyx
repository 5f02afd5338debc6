"""Batch normalization, backward, in two passes: the sums of the gradient over each channel, and dx.

Between them stands what follows from the sums (`batch_norm_finish`), so that a caller may add up
the sums of several parts of a batch first. A chunk of rows is summed by one thread, and chunks are
added in order, so the bits do not depend on the number of threads. Where a mask leaves rows out,
both passes go over the runs of rows that count. The loops are in normalize.h, formulas in the twin.
"""
cimport numpy as cnp
from cython cimport floating
from cython.parallel cimport parallel, prange, threadid
from libc.string cimport memset

from minidl_ext.norm.layout cimport Rows, bools, channels_last, checked_factors, layout, \
    mask_data, masked_like, run_end, streams
from minidl_ext.norm.normalize cimport add_backward_sums, advanced, backward_rows, finish_sums
from minidl_ext.norm.statistics cimport add_sums
from minidl_ext.runtime.arguments cimport channel_rows, clear_of, data_or_null, output_like, \
    real_array, typed_array
from minidl_ext.runtime.memory cimport new_array, product, workspace
from minidl_ext.runtime.threads cimport threads_for

import numpy as np

cnp.import_array()

# What a backward pass reads: arrays of the type of x, each as long as x but for the factors. Those
# that are absent are NULL.
cdef struct Operands:
    const char* dy
    const char* dy2             # a second part of the gradient, which is dy + dy2
    const char* residual        # what was added before the ReLU
    const char* factors         # (5, C)
    const char* mask            # a bool for each row, whether it counts
    int relu


cdef int set_operands(Operands* o, cnp.ndarray x, Rows* s, object dy, object dy2, cnp.ndarray mask,
                      object factors, bint relu, object residual, str where) except -1:
    """Check the arrays of a call and fill in their addresses; the caller keeps them alive."""
    o.factors = checked_factors(factors, x, s, where).data
    o.mask = mask_data(mask, s, where)
    o.dy = data_or_null(real_array(dy, where, "dy", -1), x, where, "dy")
    o.dy2 = data_or_null(dy2, x, where, "dy2")
    o.residual = data_or_null(residual, x, where, "residual")
    o.relu = relu
    return 0


cdef cnp.ndarray masked_output(object asked, cnp.ndarray x, Operands* o, str where):
    """The array for the masked gradient, or None, as masked_like says."""
    if o.dy2 != NULL and asked is False:
        raise ValueError(f"{where}: dy2 needs masked_out=True")
    return masked_like(asked, x, o.relu or o.dy2 != NULL, where)


# ------------------------------------------------------------------------------------- sums

cdef void keep_gradient(const floating* dy, const floating* dy2, int relu,
                        const floating* residual, floating* g, Py_ssize_t size) noexcept nogil:
    """Write the gradient of the residual in rows that do not count."""
    cdef Py_ssize_t i
    for i in range(size):
        g[i] = dy[i] if dy2 == NULL else dy[i] + dy2[i]
        if relu and not (residual != NULL and residual[i] > 0):
            g[i] = 0


cdef void chunk_sums(const floating* x, const Operands* o, floating* g_out, Rows* s, Py_ssize_t q,
                     floating* work, double* sums) noexcept nogil:
    """Sums of g and g (x - mean_hi) over the rows of chunk q that count; g goes to g_out unless
    that is NULL."""
    cdef Py_ssize_t first = q * s.chunk, end = min(s.rows, first + s.chunk), stop, at
    cdef Py_ssize_t n = s.channels
    cdef const floating* dy = <const floating*>o.dy
    cdef const floating* dy2
    cdef const floating* residual
    cdef floating* g
    memset(sums, 0, 2 * n * sizeof(double))
    while first < end:
        stop, at = run_end(o.mask, first, end), first * n
        dy2 = advanced(<const floating*>o.dy2, at)
        residual = advanced(<const floating*>o.residual, at)
        g = g_out + at if g_out != NULL else NULL
        if o.mask == NULL or o.mask[first]:
            add_backward_sums(dy + at, dy2, x + at, o.relu, residual, g, stop - first, s.block, n,
                              <const floating*>o.factors, work, sums)
        elif g != NULL:
            keep_gradient(dy + at, dy2, o.relu, residual, g, (stop - first) * n)
        first = stop


cdef void all_sums(const floating* x, const Operands* o, char* g_out, Rows* s, char* memory,
                   double* partial, double* sums, int threads) noexcept nogil:
    cdef Py_ssize_t n = s.channels, q
    cdef floating* work
    with parallel(num_threads=threads):
        work = <floating*>memory + threadid() * 2 * n
        for q in prange(s.chunks, schedule='static'):
            chunk_sums(x, o, <floating*>g_out, s, q, work, partial + 2 * q * n)
    for q in range(s.chunks):
        add_sums(sums, <const double*>(partial + 2 * q * n), 2 * n)


cdef cnp.ndarray summed(cnp.ndarray x, const Operands* o, cnp.ndarray masked, Rows* s, int threads):
    """The sums (2, C) of g and of g (x - mean_hi); g goes to `masked` unless that is None."""
    cdef cnp.ndarray work, partial, sums
    cdef cnp.npy_intp dims[2]
    cdef char* g_out = masked.data if masked is not None else NULL
    cdef int t = threads_for(threads, <double>s.rows * s.channels)
    work = workspace(product(2 * t, s.channels, x.itemsize))
    partial = workspace(product(2 * s.chunks, s.channels, sizeof(double)))
    dims[0], dims[1] = 2, s.channels
    sums = new_array(2, dims, cnp.NPY_FLOAT64)
    memset(sums.data, 0, cnp.PyArray_NBYTES(sums))
    with nogil:
        if cnp.PyArray_TYPE(x) == cnp.NPY_FLOAT32:
            all_sums(<float*>x.data, o, g_out, s, work.data, <double*>partial.data,
                     <double*>sums.data, t)
        else:
            all_sums(<double*>x.data, o, g_out, s, work.data, <double*>partial.data,
                     <double*>sums.data, t)
    return sums


def batch_norm_sums(dy, x, factors, bint relu=False, residual=None, masked_out=False,
                    dy2=None, int threads=0):
    """(sums, masked dy or None): sums (2, C), float64, of g and of g (x - mean_hi).

    With `masked_out`, which may be the array to fill, dy may come in two parts: dy + dy2.
    """
    cdef str where = "batch_norm_sums"
    cdef cnp.ndarray a = channels_last(x, where, "x"), masked
    cdef Rows s = layout(a)
    cdef Operands o
    set_operands(&o, a, &s, dy, dy2, None, factors, relu, residual, where)
    masked = masked_output(masked_out, a, &o, where)
    clear_of(masked_out, masked, where, ("dy", "x", "factors", "residual", "dy2"),
             (dy, a, factors, residual, dy2), "masked_out")
    sums = summed(a, &o, masked, &s, threads)
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
        finish_sums(<double*>total.data, count, n, <float*>f.data, <float*>dgamma.data,
                    <float*>dbeta.data, <float*>centre.data, <float*>centre.data + n)
    else:
        finish_sums(<double*>total.data, count, n, <double*>f.data, <double*>dgamma.data,
                    <double*>dbeta.data, <double*>centre.data, <double*>centre.data + n)
    return dgamma, dbeta, centre


# --------------------------------------------------------------------------------------- dx

cdef void gradient_block(const floating* x, const Operands* o, const floating* slope,
                         floating* dx, Rows* s, Py_ssize_t q) noexcept nogil:
    """Write dx in block q; the offsets stand after the slopes, which are NULL where statistics pass
    no gradient on."""
    cdef Py_ssize_t first = q * s.block, end = min(s.rows, first + s.block), stop, at
    cdef Py_ssize_t n = s.channels
    while first < end:
        stop, at = run_end(o.mask, first, end), first * n
        if o.mask == NULL or o.mask[first]:
            backward_rows(<const floating*>o.dy + at, x + at, o.relu,
                          advanced(<const floating*>o.residual, at), dx + at, n, stop - first, n,
                          <const floating*>o.factors, slope, advanced(slope, n),
                          streams(s, o.mask, stop - first))
        else:
            memset(dx + at, 0, (stop - first) * n * sizeof(floating))
        first = stop


cdef void all_gradients(const floating* x, const Operands* o, char* centre, char* dx, Rows* s,
                        int threads) noexcept nogil:
    cdef Py_ssize_t q
    for q in prange(s.blocks, num_threads=threads, schedule='static'):
        gradient_block(x, o, <const floating*>centre, <floating*>dx, s, q)


cdef int fill_gradient(cnp.ndarray x, const Operands* o, cnp.ndarray centre, cnp.ndarray dx,
                       Rows* s, int threads) except -1:
    """Write dx; `centre` is None where statistics pass no gradient on."""
    cdef char* centre_data = centre.data if centre is not None else NULL
    cdef int t = threads_for(threads, <double>s.rows * s.channels)
    with nogil:
        if cnp.PyArray_TYPE(x) == cnp.NPY_FLOAT32:
            all_gradients(<float*>x.data, o, centre_data, dx.data, s, t)
        else:
            all_gradients(<double*>x.data, o, centre_data, dx.data, s, t)
    return 0


def batch_norm_input_grad(dy, x, factors, bint relu=False, residual=None, centre=None,
                          out=None, int threads=0):
    """dx = scale (g + (x - mean_hi) slope + offset); without `centre` (2, C), scale g."""
    cdef str where = "batch_norm_input_grad"
    cdef cnp.ndarray a = channels_last(x, where, "x"), c = None, dx
    cdef Rows s = layout(a)
    cdef Operands o
    set_operands(&o, a, &s, dy, None, None, factors, relu, residual, where)
    if centre is not None:
        c = channel_rows(centre, 2, s.channels, cnp.PyArray_TYPE(a), where, "centre")
    dx = output_like(out, where, a)
    clear_of(out, dx, where, ("dy", "x", "factors", "residual", "centre"),
             (dy, a, factors, residual, c))
    fill_gradient(a, &o, c, dx, &s, threads)
    return dx


# --------------------------------------------------------------------------------- together

READ = "dy", "x", "mask", "factors", "residual", "dy2"


cdef tuple backward(object dy, object x, cnp.ndarray mask, object factors, bint training,
                    bint relu, object residual, object masked_out, object dy2, object out,
                    int threads, str where):
    """(dx, dgamma, dbeta, masked dy or None); all rows count where the mask is None."""
    cdef cnp.ndarray a = channels_last(x, where, "x"), dx, masked
    cdef Rows s = layout(a)
    cdef Operands o
    cdef tuple read = (dy, a, mask, factors, residual, dy2)
    set_operands(&o, a, &s, dy, dy2, mask, factors, relu, residual, where)
    masked = masked_output(masked_out, a, &o, where)
    dx = output_like(out, where, a)
    clear_of(masked_out, masked, where, READ, read, "masked_out")
    clear_of(out, dx, where, (*READ, "masked_out"), (*read, masked))
    sums = summed(a, &o, masked, &s, threads)
    count = s.rows if mask is None else np.count_nonzero(mask)
    dgamma, dbeta, centre = batch_norm_finish(sums, factors, count)
    if masked is not None:      # it needs no mask, and no second part
        o.dy, o.relu = masked.data, False
        o.residual = NULL
    fill_gradient(a, &o, centre if training else None, dx, &s, threads)
    return dx, dgamma, dbeta, None if masked_out is False else dy if masked is None else masked


def batch_norm_backward(dy, x, factors, bint training=True, bint relu=False, residual=None,
                        masked_out=False, dy2=None, out=None, int threads=0):
    """(dx, dgamma, dbeta, masked dy or None) of batch_norm_apply; see the twin for formulas."""
    return backward(dy, x, None, factors, training, relu, residual, masked_out, dy2, out, threads,
                    "batch_norm_backward")


def masked_norm_backward(dy, x, mask, factors, bint training=True, bint relu=False, residual=None,
                         masked_out=False, dy2=None, out=None, int threads=0):
    """(dx, dgamma, dbeta, masked dy or None) of masked_norm_apply; dx is 0 where x does not count.

    With `masked_out`, True or an array to fill, dy may come in two parts: dy + dy2.
    """
    return backward(dy, x, bools(mask, "masked_norm_backward"), factors, training, relu, residual,
                    masked_out, dy2, out, threads, "masked_norm_backward")
