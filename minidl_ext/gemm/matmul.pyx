"""Matrix products, for stacks of matrices and all four ways of giving them.

b is packed into panels of two vectors of columns, [panel][k][columns], padded with zeros; then
every block of MR rows times one panel is one call of the micro-kernel, over KC values of k at a
time so that a panel's part stays in the L1 cache. The blocks are shared out to threads; each
output is summed in one order, so the bits do not depend on their number.
"""
cimport numpy as cnp
from cpython.exc cimport PyErr_CheckSignals
from cython cimport floating
from cython.parallel cimport prange
from libc.string cimport memset

from minidl_ext.runtime.arguments cimport disjoint, has_length, output, real_array, same_dtype, typed_array
from minidl_ext.gemm.micro cimport MR, block_columns, micro
from minidl_ext.runtime.memory cimport new_array, product, workspace
from minidl_ext.runtime.threads cimport pieces_at_once, threads_for

import numpy as np

cnp.import_array()

cdef enum:
    KC = 256


cdef struct Shape:
    Py_ssize_t batch, m, n, k
    Py_ssize_t a_row, a_step        # from one row, one k, to the next
    Py_ssize_t b_row, b_step        # from one k, one column, to the next
    Py_ssize_t width, panels        # columns of a panel, panels of a matrix


cdef void pack_panel(const floating* b, floating* panel, Shape* s, Py_ssize_t p) noexcept nogil:
    """Columns p * width .. of b as [k][width], zeros beyond the last column."""
    cdef Py_ssize_t first = p * s.width, count = s.n - first, k, j
    cdef const floating* row
    if count > s.width:
        count = s.width
    if count < s.width:
        memset(panel, 0, s.k * s.width * sizeof(floating))
    if s.b_step == 1:
        for k in range(s.k):
            row = b + k * s.b_row + first
            for j in range(count):
                panel[k * s.width + j] = row[j]
    else:
        for j in range(count):
            row = b + (first + j) * s.b_step
            for k in range(s.k):
                panel[k * s.width + j] = row[k * s.b_row]


cdef void multiply_block(const floating* a, const floating* panel, floating* y, Shape* s,
                         Py_ssize_t first, Py_ssize_t p) noexcept nogil:
    """Rows first .. first + MR of a times panel p."""
    cdef const floating* rows[MR]
    cdef floating* outs[MR]
    cdef Py_ssize_t r, k, length, zero = 0, columns = s.n - p * s.width
    cdef int count = <int>(s.m - first if s.m - first < MR else MR)
    if columns > s.width:
        columns = s.width
    for r in range(count):
        rows[r] = a + (first + r) * s.a_row
        outs[r] = y + (first + r) * s.n
    k = 0
    while True:
        length = s.k - k if s.k - k < KC else KC
        micro(count, rows, panel + k * s.width, 1, &zero, &zero, length, s.a_step, s.width, outs,
              p * s.width, columns, k > 0, NULL, 0)
        k += length
        if k >= s.k:
            break
        for r in range(count):
            rows[r] += length * s.a_step


cdef void pack(const floating* b, floating* packed, Shape* s, int threads) noexcept nogil:
    cdef Py_ssize_t q
    for q in prange(s.batch * s.panels, num_threads=threads, schedule='static'):
        pack_panel(b + q // s.panels * s.k * s.n, packed + q * s.k * s.width, s, q % s.panels)


cdef int multiply(const floating* a, floating* y, const floating* packed, Shape* s, int threads
                  ) except -1:
    cdef Py_ssize_t tiles = (s.m + MR - 1) // MR, panels = s.batch * s.panels, i, q, p
    cdef Py_ssize_t panel_size = s.k * s.width, blocks = panels * tiles, first = 0, after
    cdef Py_ssize_t at_once = pieces_at_once(blocks, <double>s.batch * s.m * s.n * s.k, threads)
    while first < blocks:
        after = min(blocks, first + at_once)
        # Neighbours share rows of a while the panels change: those are few and stay in cache.
        for i in prange(first, after, nogil=True, num_threads=threads, schedule='static'):
            q = i // (tiles * s.panels)
            p = i % s.panels
            multiply_block(a + q * s.m * s.k, packed + (q * s.panels + p) * panel_size,
                           y + q * s.m * s.n, s, i // s.panels % tiles * MR, p)
        first = after
        PyErr_CheckSignals()
    return 0


cdef void set_panels(Shape* s, Py_ssize_t itemsize, bint transpose_b) noexcept nogil:
    """How b is read and packed, from its sizes."""
    s.b_row, s.b_step = s.n, 1
    if transpose_b:
        s.b_row, s.b_step = 1, s.k
    s.width = block_columns(itemsize)
    s.panels = (s.n + s.width - 1) // s.width


def matmul_panels(b, bint transpose_b=False, int threads=0):
    """b (K, N), or (N, K) if `transpose_b`, packed for several products `matmul(a, b, panels=...)`,
    in an order of its own."""
    cdef cnp.ndarray w = real_array(b, "matmul_panels", "b", 2), packed
    cdef Shape s
    cdef cnp.npy_intp size
    cdef int t
    s.batch = 1
    s.k, s.n = (w.shape[1], w.shape[0]) if transpose_b else (w.shape[0], w.shape[1])
    set_panels(&s, w.itemsize, transpose_b)
    size = product(s.panels, s.k, s.width)
    packed = new_array(1, &size, cnp.PyArray_TYPE(w))
    if size == 0:
        return packed
    t = threads_for(threads, <double>size)
    if cnp.PyArray_TYPE(w) == cnp.NPY_FLOAT32:
        with nogil:
            pack(<const float*>w.data, <float*>packed.data, &s, t)
    else:
        with nogil:
            pack(<const double*>w.data, <double*>packed.data, &s, t)
    return packed


def matmul(a, b, bint transpose_a=False, bint transpose_b=False, panels=None, out=None,
           int threads=0):
    """op(a) @ op(b) for matrices (M, K) and (K, N), or equally long stacks of them.

    `transpose_a`: a is given as (K, M); `transpose_b`: b is given as (N, K); `panels`:
    matmul_panels(b, transpose_b), if they are known, of a single matrix.
    """
    cdef cnp.ndarray x = real_array(a, "matmul", "a", -1), w = real_array(b, "matmul", "b", -1), y
    cdef int ndim = cnp.PyArray_NDIM(x), t
    cdef cnp.npy_intp dims[3]
    cdef Shape s
    cdef cnp.ndarray packed
    cdef bint known = panels is not None
    same_dtype(x, w, "matmul", "a", "b")
    if ndim not in (2, 3) or cnp.PyArray_NDIM(w) != ndim:
        raise ValueError(f"matmul: needs two matrices or two stacks of them, got shapes "
                         f"{np.shape(a)} and {np.shape(b)}")
    s.batch = x.shape[0] if ndim == 3 else 1
    s.m = x.shape[ndim - 1] if transpose_a else x.shape[ndim - 2]
    s.k = x.shape[ndim - 2] if transpose_a else x.shape[ndim - 1]
    s.n = w.shape[ndim - 2] if transpose_b else w.shape[ndim - 1]
    if (w.shape[ndim - 1] if transpose_b else w.shape[ndim - 2]) != s.k or \
            (ndim == 3 and w.shape[0] != s.batch):
        raise ValueError(f"matmul: shapes {np.shape(a)} and {np.shape(b)} do not match"
                         f" (transpose_a={transpose_a}, transpose_b={transpose_b})")
    s.a_row, s.a_step = s.k, 1
    if transpose_a:
        s.a_row, s.a_step = 1, s.m
    set_panels(&s, x.itemsize, transpose_b)
    dims[0], dims[ndim - 2], dims[ndim - 1] = s.batch, s.m, s.n
    y = output(out, "matmul", ndim, dims, cnp.PyArray_TYPE(x))
    disjoint(y, x, "matmul", "a")
    disjoint(y, w, "matmul", "b")
    if cnp.PyArray_SIZE(y) == 0 or s.k == 0:
        memset(y.data, 0, cnp.PyArray_NBYTES(y))
        return y
    t = threads_for(threads, <double>s.batch * s.m * s.n * (s.k + 1) / 8)
    if not known:
        packed = workspace(product(s.batch * s.panels, s.k, s.width, x.itemsize))
    else:
        packed = typed_array(panels, "matmul", "panels", 1, cnp.PyArray_TYPE(x))
        has_length(packed, product(s.batch * s.panels, s.k, s.width), "matmul", "panels")
        disjoint(y, packed, "matmul", "panels")
    if cnp.PyArray_TYPE(x) == cnp.NPY_FLOAT32:
        if not known:
            with nogil:
                pack(<const float*>w.data, <float*>packed.data, &s, t)
        multiply(<const float*>x.data, <float*>y.data, <const float*>packed.data, &s, t)
    else:
        if not known:
            with nogil:
                pack(<const double*>w.data, <double*>packed.data, &s, t)
        multiply(<const double*>x.data, <double*>y.data, <const double*>packed.data, &s,
                 t)
    return y
