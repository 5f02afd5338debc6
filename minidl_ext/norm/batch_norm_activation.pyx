"""Batch normalization and another activation than ReLU (GELU, SiLU, ...) in one pass, its gradient
in two.

The loops are those of curves.h, over rows that they normalize as they read. The backward normalizes
again, but keeps the gradient of the normalization's output in the memory of dx, since the
activation's slope costs more than that memory traffic. Results have the bits of batch_norm_apply or
batch_norm_backward and the activation, one after the other. (A ReLU is part of those.)
"""
cimport numpy as cnp
from cython cimport floating
from cython.parallel cimport parallel, prange, threadid
from libc.string cimport memcpy, memset

from minidl_ext.elementwise.curves cimport GELU_TANH, curve_rows, curves_by_name
from minidl_ext.norm.layout cimport Rows, channels_last, checked_factors, layout
from minidl_ext.norm.normalize cimport add_backward_sums, backward_rows, finish_sums
from minidl_ext.norm.statistics cimport add_sums
from minidl_ext.runtime.arguments cimport clear_of, data_or_null, output_like, real_array
from minidl_ext.runtime.memory cimport new_array, product, workspace
from minidl_ext.runtime.threads cimport threads_for

cnp.import_array()

cdef struct Activation:
    int curve               # which function of curves.h
    double p, q             # its parameters


# Which function a name means, and how many options it has: of GELU, whether it is that by tanh.
cdef dict CURVES = curves_by_name()
CURVES["gelu"] = (CURVES["gelu"][0], 1)
del CURVES["gelu_tanh"]


cdef int set_activation(Activation* f, object activation, str where) except -1:
    """Fill in the activation that a tuple (name, options ...) describes."""
    if not isinstance(activation, tuple) or not activation or activation[0] not in CURVES:
        raise ValueError(f"{where}: activation must be a tuple that begins with a name of "
                         f"{sorted(CURVES)}, got {activation!r:.60}")
    name, *options = activation
    f.curve, count = CURVES[name]
    if len(options) != count:
        raise ValueError(f"{where}: {name} has {count} option(s), got {activation}")
    f.p, f.q = options[0] if count else 0, options[1] if count > 1 else 0
    if name == "gelu" and f.p:
        f.curve = GELU_TANH
    return 0


cdef void apply_all(const floating* x, char* y, const char* factors, Rows* s, const Activation* f,
                    int threads) noexcept nogil:
    """Write y, a block at a time."""
    cdef Py_ssize_t q, block = s.block * s.channels
    for q in prange(s.blocks, num_threads=threads, schedule='static'):
        curve_rows(f.curve, <const floating*>NULL, x + q * block, <floating*>y + q * block,
                   min(s.block, s.rows - q * s.block), s.channels, <const floating*>factors,
                   <floating>f.p, <floating>f.q)


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
    clear_of(out, y, where, ("x", "factors"), (a, f))
    with nogil:
        if cnp.PyArray_TYPE(a) == cnp.NPY_FLOAT32:
            apply_all(<float*>a.data, y.data, f.data, &s, &chosen, t)
        else:
            apply_all(<double*>a.data, y.data, f.data, &s, &chosen, t)
    return y


# What the backward reads and writes, in the type of x.
cdef struct Operands:
    const char* dy
    const char* factors
    char* dx
    char* dgamma
    char* dbeta
    char* work          # slope and offset of each channel, then block + 2 rows for each thread
    double* partial     # the sums (2, C) of each chunk


cdef void chunk_sums(const floating* dy, const floating* x, floating* g, const floating* factors,
                     Rows* s, const Activation* f, floating* part, double* sums, Py_ssize_t q
                     ) noexcept nogil:
    """Write g, and the sums of g and g (x - mean_hi), of chunk q; `part` holds 2 rows."""
    cdef Py_ssize_t n = s.channels, first = q * s.chunk, end = min(s.rows, first + s.chunk), rows
    cdef Py_ssize_t at
    memset(sums, 0, 2 * n * sizeof(double))
    while first < end:
        rows, at = min(s.block, end - first), first * n
        curve_rows(f.curve, dy + at, x + at, g + at, rows, n, factors, <floating>f.p,
                   <floating>f.q)
        add_backward_sums(<const floating*>(g + at), <const floating*>NULL, x + at, 0,
                          <const floating*>NULL, <floating*>NULL, rows, rows, n, factors, part,
                          sums)
        first += rows


cdef void gradient_block(const floating* x, floating* dx, const floating* factors,
                         const floating* slope, const floating* offset, Rows* s, floating* work,
                         Py_ssize_t q) noexcept nogil:
    """Write dx of block q in place of g, which is copied first, since columns of vectors may
    overlap."""
    cdef Py_ssize_t n = s.channels, first = q * s.block, rows = min(s.block, s.rows - first)
    cdef Py_ssize_t at = first * n
    memcpy(work, dx + at, rows * n * sizeof(floating))
    backward_rows(<const floating*>work, x + at, 0, <const floating*>NULL, dx + at, n, rows, n,
                  factors, slope, offset, 0)


cdef void backward(const floating* x, const Operands* o, bint training, Rows* s,
                   const Activation* f, int threads) noexcept nogil:
    """Write dx, dgamma and dbeta: the sums of all chunks, what follows from them, then dx."""
    cdef Py_ssize_t q, n = s.channels, size = (s.block + 2) * n
    cdef const floating* factors = <const floating*>o.factors
    cdef floating* slope = <floating*>o.work
    cdef floating* offset = slope + n
    cdef floating* work
    with parallel(num_threads=threads):
        work = offset + n + threadid() * size
        for q in prange(s.chunks, schedule='static'):
            chunk_sums(<const floating*>o.dy, x, <floating*>o.dx, factors, s, f, work,
                       o.partial + 2 * q * n, q)
    for q in range(1, s.chunks):
        add_sums(o.partial, <const double*>(o.partial + 2 * q * n), 2 * n)
    finish_sums(<const double*>o.partial, s.rows, n, factors, <floating*>o.dgamma,
                <floating*>o.dbeta, slope, offset)
    for q in prange(s.blocks, num_threads=threads, schedule='static'):
        gradient_block(x, <floating*>o.dx, factors, <const floating*>slope if training else NULL,
                       <const floating*>offset, s, offset + n + threadid() * size, q)


def batch_norm_activation_backward(dy, x, factors, activation, bint training=True, out=None,
                                   int threads=0):
    """(dx, dgamma, dbeta) of batch_norm_activation."""
    cdef str where = "batch_norm_activation_backward"
    cdef cnp.ndarray a = channels_last(x, where, "x"), dx, dgamma, dbeta, work, partial
    cdef Rows s = layout(a)
    cdef cnp.ndarray f = checked_factors(factors, a, &s, where)
    cdef Activation chosen
    cdef Operands o
    cdef cnp.npy_intp n = s.channels
    cdef int t = threads_for(threads, 16.0 * s.rows * s.channels), kind = cnp.PyArray_TYPE(a)
    o.dy = data_or_null(real_array(dy, where, "dy", -1), a, where, "dy")
    set_activation(&chosen, activation, where)
    dx = output_like(out, where, a)
    clear_of(out, dx, where, ("dy", "x", "factors"), (dy, a, f))
    dgamma, dbeta = new_array(1, &n, kind), new_array(1, &n, kind)
    work = workspace(product(2 + t * (s.block + 2), n, a.itemsize))
    partial = workspace(product(2 * s.chunks, n, sizeof(double)))
    if n == 0:
        return dx, dgamma, dbeta
    o.factors, o.dx, o.dgamma, o.dbeta = f.data, dx.data, dgamma.data, dbeta.data
    o.work, o.partial = work.data, <double*>partial.data
    with nogil:
        if kind == cnp.NPY_FLOAT32:
            backward(<float*>a.data, &o, training, &s, &chosen, t)
        else:
            backward(<double*>a.data, &o, training, &s, &chosen, t)
    return dx, dgamma, dbeta
