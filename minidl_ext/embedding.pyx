"""Rows of a table by their numbers, and the gradient of the table.

Forward, each row is copied; backward, each thread adds some of the columns of all rows, in the
order in which they come, so that a row that comes twice gets the same bits with any number of
threads.
"""
cimport numpy as cnp
from cython cimport floating
from cython.parallel cimport prange
from libc.stdint cimport int64_t
from libc.string cimport memcpy, memset

from minidl_ext.runtime cimport has_length, new_array, real_array, set_dims, team, typed_array

import numpy as np

cnp.import_array()

cdef enum:
    COLUMNS = 16        # that a thread takes at a time


cdef cnp.ndarray checked_ids(object ids, Py_ssize_t rows, str where):
    """Row numbers (M,) int64 inside the table: they become addresses."""
    cdef cnp.ndarray a = typed_array(ids, where, "ids", 1, cnp.NPY_INT64)
    cdef const int64_t* id = <const int64_t*>a.data
    cdef Py_ssize_t i
    for i in range(a.shape[0]):
        if id[i] < 0 or id[i] >= rows:
            raise ValueError(f"{where}: id {id[i]} at {i} is outside 0..{rows - 1}")
    return a


def embedding(weight, ids, int threads=0):
    """weight[ids]: (M, C) from weight (R, C) and ids (M,) int64."""
    cdef cnp.ndarray w = real_array(weight, "embedding", "weight", 2), y
    cdef cnp.ndarray a = checked_ids(ids, w.shape[0], "embedding")
    cdef const int64_t* id = <const int64_t*>a.data
    cdef cnp.npy_intp dims[2]
    cdef Py_ssize_t i, m = a.shape[0], row = w.shape[1] * w.itemsize
    cdef int t = team(threads, <double>m * w.shape[1])
    cdef char* source = w.data
    cdef char* target
    dims[0], dims[1] = m, w.shape[1]
    y = new_array(2, dims, cnp.PyArray_TYPE(w))
    target = y.data
    if row == 0:
        return y
    for i in prange(m, nogil=True, num_threads=t, schedule='static'):
        memcpy(target + i * row, source + id[i] * row, row)
    return y


cdef void add_columns(const floating* dy, const int64_t* ids, floating* dw, Py_ssize_t m,
                      Py_ssize_t columns, Py_ssize_t first, Py_ssize_t after) noexcept nogil:
    cdef Py_ssize_t i, c
    cdef floating* row
    for i in range(m):
        row = dw + ids[i] * columns
        for c in range(first, after):
            row[c] += dy[i * columns + c]


def embedding_backward(dy, ids, rows, int threads=0):
    """dw (rows, C): the sums of those rows of dy (M, C) that have the same id."""
    cdef cnp.ndarray g = real_array(dy, "embedding_backward", "dy", 2), dw
    cdef cnp.npy_intp dims[2]
    set_dims((rows, g.shape[1]), "embedding_backward", dims)
    cdef cnp.ndarray a = checked_ids(ids, dims[0], "embedding_backward")
    cdef const int64_t* id = <const int64_t*>a.data
    cdef Py_ssize_t q, m = a.shape[0], columns = g.shape[1]
    cdef int t = team(threads, <double>m * columns)
    has_length(a, g.shape[0], "embedding_backward", "ids")
    dw = new_array(2, dims, cnp.PyArray_TYPE(g))
    memset(dw.data, 0, cnp.PyArray_NBYTES(dw))
    if cnp.PyArray_SIZE(g) == 0:
        return dw
    if cnp.PyArray_TYPE(g) == cnp.NPY_FLOAT32:
        for q in prange((columns + COLUMNS - 1) // COLUMNS, nogil=True, num_threads=t,
                        schedule='static'):
            add_columns(<float*>g.data, id, <float*>dw.data, m, columns, q * COLUMNS,
                        min(columns, (q + 1) * COLUMNS))
    else:
        for q in prange((columns + COLUMNS - 1) // COLUMNS, nogil=True, num_threads=t,
                        schedule='static'):
            add_columns(<double*>g.data, id, <double*>dw.data, m, columns, q * COLUMNS,
                        min(columns, (q + 1) * COLUMNS))
    return dw
