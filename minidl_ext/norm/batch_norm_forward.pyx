"""Batch normalization, forward: the factors of each channel from statistics, and one pass that
applies them, with a residual and a ReLU if there are any.

Where a mask leaves rows out, the loops of normalize.h go over the runs of rows that count. Formulas
are in the twin.
"""
cimport numpy as cnp
from cython cimport floating
from cython.parallel cimport prange
from libc.math cimport sqrt
from libc.string cimport memset

from minidl_ext.norm.layout cimport Rows, bools, channels_last, checked_factors, layout, \
    mask_data, run_end, streams
from minidl_ext.norm.normalize cimport advanced, apply_rows, set_factors
from minidl_ext.runtime.arguments cimport clear_of, data_or_null, has_length, output_like, \
    typed_array
from minidl_ext.runtime.memory cimport new_array
from minidl_ext.runtime.threads cimport threads_for

import numpy as np

cnp.import_array()


cdef void fill_factors(const double* mean, const double* var, const floating* gamma,
                       const floating* beta, double eps, floating* factors, Py_ssize_t n
                       ) noexcept nogil:
    cdef Py_ssize_t c
    for c in range(n):
        set_factors(factors, n, c, mean[c], 1.0 / sqrt(var[c] + eps), gamma, beta)


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


cdef void fill_rows(const floating* residual, int relu, floating* y, Py_ssize_t size
                    ) noexcept nogil:
    """Write the outputs of rows that do not count."""
    cdef Py_ssize_t i
    if residual == NULL:
        memset(y, 0, size * sizeof(floating))
        return
    for i in range(size):
        y[i] = 0 if relu and residual[i] <= 0 else residual[i]      # NaN stays


cdef void apply_block(const floating* x, const char* mask, const floating* residual, int relu,
                      floating* y, const floating* factors, Rows* s, Py_ssize_t q) noexcept nogil:
    """Write the outputs of block q."""
    cdef Py_ssize_t first = q * s.block, end = min(s.rows, first + s.block), stop, at
    cdef Py_ssize_t n = s.channels
    while first < end:
        stop, at = run_end(mask, first, end), first * n
        if mask == NULL or mask[first]:
            apply_rows(x + at, advanced(residual, at), relu, y + at, n, stop - first, n, factors,
                       streams(s, mask, stop - first))
        else:
            fill_rows(advanced(residual, at), relu, y + at, (stop - first) * n)
        first = stop


cdef void apply_all(const floating* x, const char* mask, const char* residual, int relu, char* y,
                    const char* factors, Rows* s, int threads) noexcept nogil:
    cdef Py_ssize_t q
    for q in prange(s.blocks, num_threads=threads, schedule='static'):
        apply_block(x, mask, <const floating*>residual, relu, <floating*>y,
                    <const floating*>factors, s, q)


cdef cnp.ndarray applied(object x, cnp.ndarray mask, object factors, object residual, bint relu,
                         object out, int threads, str where):
    """y of x, whose rows all count where the mask is None."""
    cdef cnp.ndarray a = channels_last(x, where, "x"), y
    cdef Rows s = layout(a)
    cdef const char* m = mask_data(mask, &s, where)
    cdef cnp.ndarray f = checked_factors(factors, a, &s, where)
    cdef const char* r = data_or_null(residual, a, where, "residual")
    cdef int t = threads_for(threads, <double>s.rows * s.channels)
    y = output_like(out, where, a)
    clear_of(out, y, where, ("x", "mask", "factors", "residual"), (a, mask, f, residual))
    with nogil:
        if cnp.PyArray_TYPE(a) == cnp.NPY_FLOAT32:
            apply_all(<float*>a.data, m, r, relu, y.data, f.data, &s, t)
        else:
            apply_all(<double*>a.data, m, r, relu, y.data, f.data, &s, t)
    return y


def batch_norm_apply(x, factors, residual=None, bint relu=False, out=None, int threads=0):
    """y = (x - mean_hi) * scale + shift, plus `residual`, then ReLU if asked."""
    return applied(x, None, factors, residual, relu, out, threads, "batch_norm_apply")


def masked_norm_apply(x, mask, factors, residual=None, bint relu=False, out=None, int threads=0):
    """batch_norm_apply where the mask counts; elsewhere 0, or the residual, then ReLU if asked."""
    return applied(x, bools(mask, "masked_norm_apply"), factors, residual, relu, out, threads,
                   "masked_norm_apply")
