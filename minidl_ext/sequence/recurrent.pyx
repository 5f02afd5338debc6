"""The elementwise part of a step of LSTM and GRU, and its gradient.

A row is one example. Its gates stand one after another, and each is a plain loop, which the
compiler vectorizes in float32 (vecmath.h). Rows are shared out to threads. The twin has the
formulas.
"""
cimport numpy as cnp
from cython cimport floating
from cython.parallel cimport prange

from minidl_ext.runtime.arguments cimport real_array, row_or_null, same_dtype
from minidl_ext.runtime.memory cimport new_array, new_like, product, workspace
from minidl_ext.runtime.threads cimport threads_for
from minidl_ext.simd.sums cimport column_totals
from minidl_ext.simd.vecmath cimport vlogistic, vtanh

import numpy as np

cnp.import_array()


cdef void logistic_sum(const floating* a, const floating* b, floating* y, Py_ssize_t n
                       ) noexcept nogil:
    cdef Py_ssize_t j
    for j in range(n):
        y[j] = vlogistic(a[j] + b[j])


cdef void lstm_row(const floating* x, const floating* hidden, const floating* c, bint squash,
                   floating* gates, floating* c_new, floating* h, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t j
    cdef floating* i = gates
    cdef floating* f = gates + n
    cdef floating* g = gates + 2 * n
    cdef floating* o = gates + 3 * n
    logistic_sum(x, hidden, gates, 2 * n)
    for j in range(n):
        g[j] = vtanh(x[2 * n + j] + hidden[2 * n + j])
    logistic_sum(x + 3 * n, hidden + 3 * n, o, n)
    for j in range(n):
        c_new[j] = f[j] * c[j] + i[j] * g[j]
    if squash:
        for j in range(n):
            h[j] = o[j] * vtanh(c_new[j])
    else:
        for j in range(n):
            h[j] = o[j]


cdef void lstm_row_backward(const floating* dh, const floating* dc, const floating* gates,
                            const floating* c, const floating* c_new, bint squash, floating* dx,
                            floating* dc_old, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t j
    cdef const floating* i = gates
    cdef const floating* f = gates + n
    cdef const floating* g = gates + 2 * n
    cdef const floating* o = gates + 3 * n
    cdef floating one = 1, t
    cdef floating* do_ = dx + 3 * n
    if squash:              # dc_old holds the gradient of c_new until the last loop
        for j in range(n):
            t = vtanh(c_new[j])
            do_[j] = dh[j] * t * (o[j] * (one - o[j]))
            dc_old[j] = dc[j] + dh[j] * o[j] * (one - t * t)
    else:
        for j in range(n):
            do_[j] = dh[j] * (o[j] * (one - o[j]))
            dc_old[j] = dc[j]
    for j in range(n):
        dx[j] = dc_old[j] * g[j] * (i[j] * (one - i[j]))
    for j in range(n):
        dx[n + j] = dc_old[j] * c[j] * (f[j] * (one - f[j]))
    for j in range(n):
        dx[2 * n + j] = dc_old[j] * i[j] * (one - g[j] * g[j])
    for j in range(n):
        dc_old[j] *= f[j]


cdef void gru_row(const floating* x, const floating* hidden, const floating* bias,
                  const floating* h, floating* gates, floating* y, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t j
    cdef const floating* q = hidden + 2 * n
    cdef floating* r = gates
    cdef floating* z = gates + n
    cdef floating* new = gates + 2 * n
    cdef floating one = 1
    logistic_sum(x, hidden, gates, 2 * n)
    if bias != NULL:
        for j in range(n):
            new[j] = vtanh(x[2 * n + j] + r[j] * (q[j] + bias[j]))
    else:
        for j in range(n):
            new[j] = vtanh(x[2 * n + j] + r[j] * q[j])
    for j in range(n):
        y[j] = (one - z[j]) * new[j] + z[j] * h[j]


cdef void gru_row_backward(const floating* dy, const floating* gates, const floating* hidden,
                           const floating* bias, const floating* h, floating* dx,
                           floating* dhidden, floating* dh, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t j
    cdef const floating* q = hidden + 2 * n
    cdef const floating* r = gates
    cdef const floating* z = gates + n
    cdef const floating* new = gates + 2 * n
    cdef floating* dnew = dx + 2 * n
    cdef floating one = 1
    for j in range(n):
        dnew[j] = dy[j] * (one - z[j]) * (one - new[j] * new[j])
    for j in range(n):
        dhidden[2 * n + j] = dnew[j] * r[j]
    if bias != NULL:
        for j in range(n):
            dx[j] = dnew[j] * (q[j] + bias[j]) * (r[j] * (one - r[j]))
    else:
        for j in range(n):
            dx[j] = dnew[j] * q[j] * (r[j] * (one - r[j]))
    for j in range(n):
        dx[n + j] = dy[j] * (h[j] - new[j]) * (z[j] * (one - z[j]))
    for j in range(2 * n):
        dhidden[j] = dx[j]
    for j in range(n):
        dh[j] = dy[j] * z[j]


# ------------------------------------------------------------------------------ all rows

cdef void lstm_all(const floating* x, const floating* hidden, const floating* c, bint squash,
                   floating* gates, floating* c_new, floating* h, Py_ssize_t m, Py_ssize_t n,
                   int threads) noexcept nogil:
    cdef Py_ssize_t i
    for i in prange(m if n else 0, num_threads=threads, schedule='static'):
        lstm_row(x + 4 * n * i, hidden + 4 * n * i, c + n * i, squash, gates + 4 * n * i,
                 c_new + n * i, h + n * i, n)


cdef void lstm_all_backward(const floating* dh, const floating* dc, const floating* gates,
                            const floating* c, const floating* c_new, bint squash, floating* dx,
                            floating* dc_old, Py_ssize_t m, Py_ssize_t n, int threads
                            ) noexcept nogil:
    cdef Py_ssize_t i
    for i in prange(m if n else 0, num_threads=threads, schedule='static'):
        lstm_row_backward(dh + n * i, dc + n * i, gates + 4 * n * i, c + n * i, c_new + n * i,
                          squash, dx + 4 * n * i, dc_old + n * i, n)


cdef void gru_all(const floating* x, const floating* hidden, const floating* bias,
                  const floating* h, floating* gates, floating* y, Py_ssize_t m, Py_ssize_t n,
                  int threads) noexcept nogil:
    cdef Py_ssize_t i
    for i in prange(m if n else 0, num_threads=threads, schedule='static'):
        gru_row(x + 3 * n * i, hidden + 3 * n * i, bias, h + n * i, gates + 3 * n * i, y + n * i,
                n)


cdef void gru_all_backward(const floating* dy, const floating* gates, const floating* hidden,
                           const floating* bias, const floating* h, floating* dx,
                           floating* dhidden, floating* dbias, double* totals, floating* dh,
                           Py_ssize_t m, Py_ssize_t n, int threads) noexcept nogil:
    cdef Py_ssize_t i
    for i in prange(m if n else 0, num_threads=threads, schedule='static'):
        gru_row_backward(dy + n * i, gates + 3 * n * i, hidden + 3 * n * i, bias, h + n * i,
                         dx + 3 * n * i, dhidden + 3 * n * i, dh + n * i, n)
    if dbias != NULL and n > 0:     # on one thread, so that the order of the rows is fixed
        column_totals(<const floating*>(dhidden + 2 * n), m, n, 3 * n, totals)
        for i in range(n):
            dbias[i] = <floating>totals[i]


# ---------------------------------------------------------------------------------- arguments

cdef cnp.ndarray matrix(object value, str where, str name, cnp.ndarray state, str state_name,
                        int gates):
    """A matrix (N, gates H) of the dtype of `state`, which is (N, H)."""
    cdef cnp.ndarray a = real_array(value, where, name, 2)
    same_dtype(a, state, where, name, state_name)
    if a.shape[0] != state.shape[0] or a.shape[1] != gates * state.shape[1]:
        raise ValueError(f"{where}: {name} must have shape "
                         f"{(state.shape[0], gates * state.shape[1])} for {state_name} "
                         f"{np.shape(state)}, got {np.shape(a)}")
    return a


cdef cnp.ndarray wider(cnp.ndarray state, int gates):
    """A new matrix (N, gates H) for a state (N, H)."""
    cdef cnp.npy_intp dims[2]
    dims[0], dims[1] = state.shape[0], gates * state.shape[1]
    return new_array(2, dims, cnp.PyArray_TYPE(state))


def lstm_cell(x, hidden, c, bint squash=True, int threads=0):
    """(gates, c_new, h) of a step of LSTM; the twin has the formulas."""
    cdef cnp.ndarray s = real_array(c, "lstm_cell", "c", 2)
    cdef cnp.ndarray a = matrix(x, "lstm_cell", "x", s, "c", 4)
    cdef cnp.ndarray b = matrix(hidden, "lstm_cell", "hidden", s, "c", 4)
    cdef cnp.ndarray gates = wider(s, 4), c_new = new_like(s), h = new_like(s)
    cdef Py_ssize_t m = s.shape[0], n = s.shape[1]
    cdef int t = threads_for(threads, 40.0 * m * n)
    if cnp.PyArray_TYPE(s) == cnp.NPY_FLOAT32:
        with nogil:
            lstm_all(<float*>a.data, <float*>b.data, <float*>s.data, squash, <float*>gates.data,
                     <float*>c_new.data, <float*>h.data, m, n, t)
    else:
        with nogil:
            lstm_all(<double*>a.data, <double*>b.data, <double*>s.data, squash,
                     <double*>gates.data, <double*>c_new.data, <double*>h.data, m, n, t)
    return gates, c_new, h


def lstm_cell_backward(dh, dc, gates, c, c_new, bint squash=True, int threads=0):
    """(dx, dc) of a step of LSTM; dx is the gradient of x and the gradient of hidden."""
    cdef str where = "lstm_cell_backward"
    cdef cnp.ndarray s = real_array(c, where, "c", 2), a = matrix(gates, where, "gates", s, "c", 4)
    cdef cnp.ndarray g = matrix(dh, where, "dh", s, "c", 1), k = matrix(dc, where, "dc", s, "c", 1)
    cdef cnp.ndarray w = matrix(c_new, where, "c_new", s, "c", 1)
    cdef cnp.ndarray dx = wider(s, 4), dc_old = new_like(s)
    cdef Py_ssize_t m = s.shape[0], n = s.shape[1]
    cdef int t = threads_for(threads, 16.0 * m * n)
    if cnp.PyArray_TYPE(s) == cnp.NPY_FLOAT32:
        with nogil:
            lstm_all_backward(<float*>g.data, <float*>k.data, <float*>a.data, <float*>s.data,
                              <float*>w.data, squash, <float*>dx.data, <float*>dc_old.data, m, n,
                              t)
    else:
        with nogil:
            lstm_all_backward(<double*>g.data, <double*>k.data, <double*>a.data, <double*>s.data,
                              <double*>w.data, squash, <double*>dx.data, <double*>dc_old.data, m,
                              n, t)
    return dx, dc_old


def gru_cell(x, hidden, bias, h, int threads=0):
    """(gates, h_new) of a step of GRU; the twin has the formulas."""
    cdef cnp.ndarray s = real_array(h, "gru_cell", "h", 2)
    cdef cnp.ndarray a = matrix(x, "gru_cell", "x", s, "h", 3)
    cdef cnp.ndarray b = matrix(hidden, "gru_cell", "hidden", s, "h", 3)
    cdef char* v = row_or_null(bias, s, "gru_cell", "h", "bias")
    cdef cnp.ndarray gates = wider(s, 3), y = new_like(s)
    cdef Py_ssize_t m = s.shape[0], n = s.shape[1]
    cdef int t = threads_for(threads, 24.0 * m * n)
    if cnp.PyArray_TYPE(s) == cnp.NPY_FLOAT32:
        with nogil:
            gru_all(<float*>a.data, <float*>b.data, <float*>v, <float*>s.data, <float*>gates.data,
                    <float*>y.data, m, n, t)
    else:
        with nogil:
            gru_all(<double*>a.data, <double*>b.data, <double*>v, <double*>s.data,
                    <double*>gates.data, <double*>y.data, m, n, t)
    return gates, y


def gru_cell_backward(dy, gates, hidden, bias, h, int threads=0):
    """(dx, dhidden, dbias, dh) of a step of GRU; dbias is None without a bias."""
    cdef str where = "gru_cell_backward"
    cdef cnp.ndarray s = real_array(h, where, "h", 2), a = matrix(gates, where, "gates", s, "h", 3)
    cdef cnp.ndarray b = matrix(hidden, where, "hidden", s, "h", 3)
    cdef cnp.ndarray g = matrix(dy, where, "dy", s, "h", 1)
    cdef char* v = row_or_null(bias, s, where, "h", "bias")
    cdef char* dv = NULL
    cdef cnp.ndarray dx = wider(s, 3), dhidden = wider(s, 3), dh = new_like(s), dbias = None
    cdef cnp.ndarray totals
    cdef double* sums = NULL
    cdef cnp.npy_intp m = s.shape[0], n = s.shape[1]
    cdef int t = threads_for(threads, 8.0 * m * n)
    if v != NULL:
        dbias = new_array(1, &n, cnp.PyArray_TYPE(s))
        totals = workspace(product(n, sizeof(double)))
        dv, sums = <char*>dbias.data, <double*>totals.data
    if cnp.PyArray_TYPE(s) == cnp.NPY_FLOAT32:
        with nogil:
            gru_all_backward(<float*>g.data, <float*>a.data, <float*>b.data, <float*>v,
                             <float*>s.data, <float*>dx.data, <float*>dhidden.data, <float*>dv,
                             sums, <float*>dh.data, m, n, t)
    else:
        with nogil:
            gru_all_backward(<double*>g.data, <double*>a.data, <double*>b.data, <double*>v,
                             <double*>s.data, <double*>dx.data, <double*>dhidden.data,
                             <double*>dv, sums, <double*>dh.data, m, n, t)
    return dx, dhidden, dbias, dh
