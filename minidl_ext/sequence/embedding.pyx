"""Rows of a table by their numbers (ids), and the gradient of the table.

Forward, rows are copied. Backward, the positions at which each id stands are sorted by id, and each
thread adds some of the columns for all ids. It adds in the order of the positions, so that the sums
have the same bits on any number of threads. Sums are in double, since a padding id may stand at a
million positions.
"""
cimport numpy as cnp
from cython cimport floating
from cython.parallel cimport prange
from libc.stdint cimport int64_t
from libc.string cimport memcpy, memset

from minidl_ext.runtime.arguments cimport has_length, real_array, typed_array
from minidl_ext.runtime.memory cimport ceil_div, new_array, product, workspace, set_dims
from minidl_ext.runtime.threads cimport threads_for

cnp.import_array()

cdef enum:
    COLUMNS = 64        # columns a thread takes at a time


cdef cnp.ndarray checked_ids(object ids, Py_ssize_t rows, str where):
    """Ids (M,) int64. They become addresses, so each is checked to be a row of the table."""
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
    cdef int t = threads_for(threads, <double>m * w.shape[1])
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


cdef void sort_places(const int64_t* ids, Py_ssize_t m, Py_ssize_t rows, int64_t* begin,
                      int64_t* places) noexcept nogil:
    """Sort the positions by id: those of id k go to places[begin[k]] .. places[begin[k + 1] - 1],
    in ascending order. `begin` holds rows + 2 numbers."""
    cdef Py_ssize_t i
    memset(begin, 0, (rows + 2) * sizeof(int64_t))
    for i in range(m):
        begin[ids[i] + 2] += 1
    for i in range(2, rows + 2):
        begin[i] += begin[i - 1]
    for i in range(m):          # id k counts up begin[k + 1], from its begin to its end
        places[begin[ids[i] + 1]] = i
        begin[ids[i] + 1] += 1


cdef void add_columns(const floating* dy, const int64_t* begin, const int64_t* places,
                      floating* dw, Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t first,
                      Py_ssize_t after) noexcept nogil:
    """Columns first .. after - 1 of dw: for each id, its rows of dy, added in double."""
    cdef double total[COLUMNS]
    cdef const floating* row
    cdef Py_ssize_t k, i, c, width = after - first
    for k in range(rows):
        if begin[k + 1] == begin[k] + 1:
            memcpy(dw + k * columns + first, dy + places[begin[k]] * columns + first,
                   width * sizeof(floating))
            continue
        for c in range(width):
            total[c] = 0
        for i in range(begin[k], begin[k + 1]):
            row = dy + places[i] * columns + first
            for c in range(width):
                total[c] += row[c]
        for c in range(width):
            dw[k * columns + first + c] = <floating>total[c]


def embedding_backward(dy, ids, rows, int threads=0):
    """dw (rows, C): the sums of those rows of dy (M, C) that have the same id."""
    cdef cnp.ndarray g = real_array(dy, "embedding_backward", "dy", 2), dw, begin, places
    cdef cnp.npy_intp dims[2]
    set_dims((rows, g.shape[1]), "embedding_backward", dims)
    cdef cnp.ndarray a = checked_ids(ids, dims[0], "embedding_backward")
    cdef Py_ssize_t q, m = a.shape[0], columns = g.shape[1], count = dims[0]
    cdef int t = threads_for(threads, <double>m * columns)
    has_length(a, g.shape[0], "embedding_backward", "ids")
    dw = new_array(2, dims, cnp.PyArray_TYPE(g))
    if cnp.PyArray_SIZE(g) == 0:
        memset(dw.data, 0, cnp.PyArray_NBYTES(dw))
        return dw
    begin = workspace(product(count + 2, sizeof(int64_t)))
    places = workspace(product(m, sizeof(int64_t)))
    sort_places(<int64_t*>a.data, m, count, <int64_t*>begin.data, <int64_t*>places.data)
    if cnp.PyArray_TYPE(g) == cnp.NPY_FLOAT32:
        for q in prange(ceil_div(columns, COLUMNS), nogil=True, num_threads=t, schedule='static'):
            add_columns(<float*>g.data, <int64_t*>begin.data, <int64_t*>places.data,
                        <float*>dw.data, count, columns, q * COLUMNS,
                        min(columns, (q + 1) * COLUMNS))
    else:
        for q in prange(ceil_div(columns, COLUMNS), nogil=True, num_threads=t, schedule='static'):
            add_columns(<double*>g.data, <int64_t*>begin.data, <int64_t*>places.data,
                        <double*>dw.data, count, columns, q * COLUMNS,
                        min(columns, (q + 1) * COLUMNS))
    return dw
