"""Matrix products, for stacks of matrices and all four ways of giving them.

b is packed into panels of two vectors of columns, [panel][k][column], padded with zeros. Then a
block of MR rows times one panel takes one call of the micro-kernel for every KC values of k, so
that this part of the panel stays in the L1 cache. Threads share the blocks. Each output is summed
in one order, so its bits do not depend on the number of threads.
"""
cimport numpy as cnp
from cpython.exc cimport PyErr_CheckSignals
from cython cimport floating
from cython.parallel cimport prange
from libc.string cimport memset

from minidl_ext.runtime.arguments cimport disjoint, has_length, output, real_array, same_dtype, \
    typed_array
from minidl_ext.gemm.micro cimport MR, micro, pack_panel, panel_width, row_blocks
from minidl_ext.runtime.memory cimport ceil_div, new_array, product, workspace
from minidl_ext.runtime.threads cimport pieces_at_once, threads_for

import numpy as np

cnp.import_array()

cdef extern from "gemm/micro_blocks.h" nogil:
    pass        # the code of the micro-kernel, which this module compiles for all

cdef enum:
    KC = 256


cdef struct Shape:
    Py_ssize_t batch, m, n, k
    Py_ssize_t a_row, a_step        # from one row, one k, to the next
    Py_ssize_t b_row, b_step        # from one k, one column, to the next
    Py_ssize_t width, panels        # columns of a panel, panels of a matrix


cdef void multiply_block(const floating* a, const floating* panel, floating* y, Shape* s,
                         Py_ssize_t first, Py_ssize_t p) noexcept nogil:
    """The outputs of rows first .. first + MR of a and of panel p."""
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
    """All panels of all matrices b, one after the other."""
    cdef Py_ssize_t q, first
    for q in prange(s.batch * s.panels, num_threads=threads, schedule='static'):
        first = q % s.panels * s.width
        pack_panel(b + q // s.panels * s.k * s.n + first * s.b_step, packed + q * s.k * s.width,
                   s.k, s.b_row, s.b_step, s.n - first)


cdef int multiply(const floating* a, const floating* b, floating* y, floating* packed, Shape* s,
                  int threads) except -1:
    """All products. b is packed first or, if it is NULL, `packed` holds its panels already."""
    cdef Py_ssize_t tiles = row_blocks(s.m), panels = s.batch * s.panels, i, q, p
    cdef Py_ssize_t panel_size = s.k * s.width, blocks = panels * tiles, first = 0, stop
    cdef Py_ssize_t at_once = pieces_at_once(blocks, <double>s.batch * s.m * s.n * s.k, threads)
    if b != NULL:
        with nogil:
            pack(b, packed, s, threads)
    while first < blocks:
        stop = min(blocks, first + at_once)
        # Blocks of the same rows are neighbours: the rows, and the few panels, stay in cache.
        for i in prange(first, stop, nogil=True, num_threads=threads, schedule='static'):
            q = i // (tiles * s.panels)
            p = i % s.panels
            multiply_block(a + q * s.m * s.k, packed + (q * s.panels + p) * panel_size,
                           y + q * s.m * s.n, s, i // s.panels % tiles * MR, p)
        first = stop
        PyErr_CheckSignals()
    return 0


cdef void set_panels(Shape* s, Py_ssize_t itemsize, bint transpose_b) noexcept nogil:
    """Work out how b is read and packed, from its sizes."""
    s.b_row, s.b_step = s.n, 1
    if transpose_b:
        s.b_row, s.b_step = 1, s.k
    s.width = panel_width(itemsize)
    s.panels = ceil_div(s.n, s.width)


def matmul_panels(b, bint transpose_b=False, int threads=0):
    """Pack b (K, N), or (N, K) if `transpose_b`, for several products `matmul(a, b, panels=...)`.

    What it returns has an order of its own, that of the micro-kernel.
    """
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
    """Return op(a) @ op(b) for matrices (M, K) and (K, N), or equally long stacks of them.

    With `transpose_a` a is given as (K, M), with `transpose_b` b as (N, K). `panels` are those of
    a single matrix b, `matmul_panels(b, transpose_b)`, if they are known.
    """
    cdef cnp.ndarray x = real_array(a, "matmul", "a", -1), w = real_array(b, "matmul", "b", -1), y
    cdef int ndim = cnp.PyArray_NDIM(x), t
    cdef cnp.npy_intp dims[3]
    cdef Shape s
    cdef cnp.ndarray packed
    cdef char* b_data = w.data
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
    if panels is not None:
        packed = typed_array(panels, "matmul", "panels", 1, cnp.PyArray_TYPE(x))
        has_length(packed, product(s.batch * s.panels, s.k, s.width), "matmul", "panels")
        disjoint(y, packed, "matmul", "panels")
        b_data = NULL
    if cnp.PyArray_SIZE(y) == 0 or s.k == 0:
        memset(y.data, 0, cnp.PyArray_NBYTES(y))
        return y
    t = threads_for(threads, <double>s.batch * s.m * s.n * (s.k + 1) / 8)
    if panels is None:
        packed = workspace(product(s.batch * s.panels, s.k, s.width, x.itemsize))
    if cnp.PyArray_TYPE(x) == cnp.NPY_FLOAT32:
        multiply(<const float*>x.data, <const float*>b_data, <float*>y.data, <float*>packed.data,
                 &s, t)
    else:
        multiply(<const double*>x.data, <const double*>b_data, <double*>y.data,
                 <double*>packed.data, &s, t)
    return y
