"""Batch normalization and an activation that is a curve (GELU, SiLU, ...) in one pass, its gradient
in two.

The loops are those of curves.h, over rows that they normalize as they read. The backward normalizes
again; the gradient behind the normalization is kept where dx will be, since the curve's slope costs
more than its memory. What is computed is that of norm.pyx and activation.pyx
one after the other, to the same bits. (A ReLU is part of the loops of norm.pyx.)
"""
cimport numpy as cnp
from cython cimport floating
from cython.parallel cimport parallel, prange, threadid
from libc.string cimport memcpy, memset

from minidl_ext.runtime.arguments cimport disjoint, output_like, real_array
from minidl_ext.elementwise.curves cimport ELU, GELU, GELU_TANH, LEAKY_RELU, SIGMOID, SILU, SOFTPLUS, TANH, \
    curve_rows_f32, curve_rows_f64
from minidl_ext.norm.norm_layout cimport Rows, channels_last, checked_factors, clear_of, layout, like
from minidl_ext.norm.norm_rows cimport add_sums_f32, add_sums_f64, backward_rows_f32, \
    backward_rows_f64, backward_sums_f32, backward_sums_f64, \
    finish_sums_f32, finish_sums_f64
from minidl_ext.runtime.memory cimport new_array, product, workspace
from minidl_ext.runtime.threads cimport threads_for

import numpy as np

cnp.import_array()

cdef struct Activation:
    int curve
    double p, q             # its parameters


cdef dict CURVES = {        # and how many parameters they have
    "leaky_relu": (LEAKY_RELU, 1), "elu": (ELU, 1), "softplus": (SOFTPLUS, 2), "silu": (SILU, 0),
    "gelu": (GELU, 1), "sigmoid": (SIGMOID, 0), "tanh": (TANH, 0)}


cdef int set_activation(Activation* f, object activation, str where) except -1:
    if not isinstance(activation, tuple) or not activation or activation[0] not in CURVES:
        raise ValueError(f"{where}: activation must be a tuple that begins with a name of "
                         f"{sorted(CURVES)}, got {activation!r:.60}")
    name, *options = activation
    f.curve, count = CURVES[name]
    if len(options) != count:
        raise ValueError(f"{where}: {name} has {count} option(s), got {activation}")
    f.p, f.q = options[0] if count else 0, options[1] if count > 1 else 0
    if f.curve == GELU and f.p:
        f.curve = GELU_TANH
    return 0


cdef inline void curved(const floating* dy, const floating* x, floating* y, Py_ssize_t rows,
                        Py_ssize_t channels, const floating* factors, const Activation* f
                        ) noexcept nogil:
    if floating is float:
        curve_rows_f32(f.curve, dy, x, y, rows, channels, factors, <float>f.p, <float>f.q)
    else:
        curve_rows_f64(f.curve, dy, x, y, rows, channels, factors, f.p, f.q)


cdef void all_applied(const floating* x, floating* y, const floating* factors, Rows* s,
                      const Activation* f, int threads) noexcept nogil:
    cdef Py_ssize_t q, block = s.block * s.channels
    for q in prange((s.rows + s.block - 1) // s.block, num_threads=threads, schedule='static'):
        curved(<const floating*>NULL, x + q * block, y + q * block,
               min(s.block, s.rows - q * s.block), s.channels, factors, f)


def batch_norm_activation(x, factors, activation, out=None, int threads=0):
    """y = f(batch_norm_apply(x, factors)); `activation`: (name of a kernel, its options)."""
    cdef str where = "batch_norm_activation"
    cdef cnp.ndarray a = channels_last(x, where, "x"), y
    cdef Rows s = layout(a)
    cdef cnp.ndarray f = checked_factors(factors, a, &s, where)
    cdef Activation chosen
    cdef int t = threads_for(threads, 8.0 * s.rows * s.channels)
    set_activation(&chosen, activation, where)
    y = output_like(out, where, a)
    disjoint(y, f, where, "factors")
    disjoint(y, a, where, "x")
    if cnp.PyArray_TYPE(a) == cnp.NPY_FLOAT32:
        with nogil:
            all_applied(<float*>a.data, <float*>y.data, <float*>f.data, &s, &chosen, t)
    else:
        with nogil:
            all_applied(<double*>a.data, <double*>y.data, <double*>f.data, &s, &chosen, t)
    return y


cdef void chunk_sums(const floating* dy, const floating* x, floating* g, const floating* factors,
                     Rows* s, const Activation* f, floating* part, double* sums, Py_ssize_t q
                     ) noexcept nogil:
    """g, and the sums of g and g (x - mean_hi), of chunk q, as in norm.pyx."""
    cdef Py_ssize_t n = s.channels, first = q * s.chunk, end = min(s.rows, first + s.chunk), rows
    cdef Py_ssize_t at
    memset(sums, 0, 2 * n * sizeof(double))
    while first < end:
        rows, at = min(s.block, end - first), first * n
        curved(dy + at, x + at, g + at, rows, n, factors, f)
        if floating is float:
            backward_sums_f32(g + at, NULL, x + at, 0, NULL, NULL, rows, n, factors, part, part + n)
            add_sums_f32(sums, part, 2 * n)
        else:
            backward_sums_f64(g + at, NULL, x + at, 0, NULL, NULL, rows, n, factors, part, part + n)
            add_sums_f64(sums, part, 2 * n)
        first += rows


cdef void gradient_block(const floating* x, floating* dx, const floating* factors,
                         const floating* slope, const floating* offset, Rows* s, floating* work,
                         Py_ssize_t q) noexcept nogil:
    """dx in place of g. (Columns of vectors may overlap: g is put aside.)"""
    cdef Py_ssize_t n = s.channels, first = q * s.block, rows = min(s.block, s.rows - first)
    cdef Py_ssize_t at = first * n
    memcpy(work, dx + at, rows * n * sizeof(floating))
    if floating is float:
        backward_rows_f32(work, x + at, 0, NULL, dx + at, n, rows, n, factors, slope, offset, 0)
    else:
        backward_rows_f64(work, x + at, 0, NULL, dx + at, n, rows, n, factors, slope, offset, 0)


cdef void backward(const floating* dy, const floating* x, const floating* factors, bint training,
                   floating* dx, floating* dgamma, floating* dbeta, Rows* s, const Activation* f,
                   char* memory, double* partial, int threads) noexcept nogil:
    """`memory`: the slope and offset of each channel, sums and a place to work for each thread."""
    cdef Py_ssize_t q, n = s.channels, size = (s.block + 2) * n
    cdef floating* slope = <floating*>memory
    cdef floating* works = slope + 2 * n
    cdef floating* work
    with parallel(num_threads=threads):
        work = works + threadid() * size
        for q in prange(s.chunks, schedule='static'):
            chunk_sums(dy, x, dx, factors, s, f, work, partial + 2 * q * n, q)
    for q in range(1, s.chunks):
        add_sums_f64(partial, partial + 2 * q * n, 2 * n)
    if floating is float:
        finish_sums_f32(partial, s.rows, n, factors, dgamma, dbeta, slope, slope + n)
    else:
        finish_sums_f64(partial, s.rows, n, factors, dgamma, dbeta, slope, slope + n)
    if not training:
        slope = NULL
    for q in prange((s.rows + s.block - 1) // s.block, num_threads=threads, schedule='static'):
        gradient_block(x, dx, factors, slope, slope + n if slope != NULL else NULL, s,
                       works + threadid() * size, q)


def batch_norm_activation_backward(dy, x, factors, activation, bint training=True, out=None,
                                   int threads=0):
    """(dx, dgamma, dbeta) of batch_norm_activation."""
    cdef str where = "batch_norm_activation_backward"
    cdef cnp.ndarray a = channels_last(x, where, "x"), g, dx, dgamma, dbeta, work, partial
    cdef Rows s = layout(a)
    cdef cnp.ndarray f = checked_factors(factors, a, &s, where)
    cdef Activation chosen
    cdef cnp.npy_intp n = s.channels
    cdef int t = threads_for(threads, 16.0 * s.rows * s.channels), kind = cnp.PyArray_TYPE(a)
    g = real_array(dy, where, "dy", -1)
    like(g, a, where, "dy")
    set_activation(&chosen, activation, where)
    dx = output_like(out, where, a)
    clear_of(out, dx, where, ("dy", "x", "factors"), (g, a, f))
    dgamma, dbeta = new_array(1, &n, kind), new_array(1, &n, kind)
    work = workspace(product(2 + t * (s.block + 2), n, a.itemsize))
    partial = workspace(product(2 * s.chunks, n, sizeof(double)))
    if n == 0:
        return dx, dgamma, dbeta
    if kind == cnp.NPY_FLOAT32:
        with nogil:
            backward(<float*>g.data, <float*>a.data, <float*>f.data, training, <float*>dx.data,
                     <float*>dgamma.data, <float*>dbeta.data, &s, &chosen, work.data,
                     <double*>partial.data, t)
    else:
        with nogil:
            backward(<double*>g.data, <double*>a.data, <double*>f.data, training,
                     <double*>dx.data, <double*>dgamma.data, <double*>dbeta.data, &s, &chosen,
                     work.data, <double*>partial.data, t)
    return dx, dgamma, dbeta
