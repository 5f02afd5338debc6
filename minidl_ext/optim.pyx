"""Parameter updates, in place: one call for a whole parameter group.

The arrays of a group are cut into pieces of fixed length, and the pieces are shared out to
threads, so that many small parameters cost no more than one large one.
"""
cimport numpy as cnp
from cython cimport floating
from cython.parallel cimport prange
from libc.math cimport sqrt

from minidl_ext.runtime cimport apart, real_array, same_dtype, same_shape, scratch, team

import numpy as np

cnp.import_array()

cdef enum:
    PIECE = 16384


cdef struct Piece:
    char* data[4]           # parameter, gradient and up to two states
    Py_ssize_t count


cdef struct Step:
    double lr, momentum, weight_decay, beta1, beta2, eps, correction1, correction2
    bint nesterov, decoupled, has_velocity


cdef cnp.ndarray cut(str where, tuple names, list lists, Py_ssize_t* count, int* typenum):
    """All arrays of a group as pieces, checked: one dtype, equal shapes, states writable."""
    cdef Py_ssize_t n = len(lists[0]), i, k, j, total = 0, first, size, at = 0
    cdef cnp.ndarray a, p
    cdef list arrays = []
    cdef cnp.ndarray table
    cdef Piece* pieces
    typenum[0] = -1
    for k in range(len(lists)):
        if len(lists[k]) != n:
            raise ValueError(f"{where}: {n} params but {len(lists[k])} {names[k]}")
    for i in range(n):
        p = real_array(lists[0][i], where, "params", -1)
        if typenum[0] < 0:
            typenum[0] = cnp.PyArray_TYPE(p)
        for k in range(len(lists)):
            a = real_array(lists[k][i], where, names[k], -1)
            if cnp.PyArray_TYPE(a) != typenum[0]:
                raise TypeError(f"{where}: mixed dtypes in one group: {names[k]}[{i}] is {a.dtype}")
            same_shape(p, a, where, "params", names[k])
            if k != 1 and not cnp.PyArray_ISWRITEABLE(a):
                raise ValueError(f"{where}: {names[k]}[{i}] is read-only")
            for j in range(k):
                apart(<cnp.ndarray>arrays[i * len(lists) + j], a, where,
                      f"{names[k]}[{i}] and {names[j]}[{i}]")
            arrays.append(a)
        total += (cnp.PyArray_SIZE(p) + PIECE - 1) // PIECE
    table = scratch(total * sizeof(Piece))
    pieces = <Piece*>table.data
    for i in range(n):
        size = cnp.PyArray_SIZE(<cnp.ndarray>arrays[i * len(lists)])
        first = 0
        while first < size:
            pieces[at].count = min(size - first, <Py_ssize_t>PIECE)
            for k in range(len(lists)):
                a = <cnp.ndarray>arrays[i * len(lists) + k]
                pieces[at].data[k] = (<char*>cnp.PyArray_DATA(a)
                                       + first * cnp.PyArray_ITEMSIZE(a))
            at += 1
            first += PIECE
    count[0] = total
    return table


cdef void sgd_piece(floating* p, const floating* g, floating* v, Py_ssize_t n, Step* s
                    ) noexcept nogil:
    cdef floating lr = <floating>s.lr, momentum = <floating>s.momentum
    cdef floating decay = <floating>s.weight_decay, d
    cdef Py_ssize_t i
    if not s.has_velocity:
        for i in range(n):
            p[i] -= lr * (g[i] + decay * p[i])
    elif s.nesterov:
        for i in range(n):
            d = g[i] + decay * p[i]
            v[i] = momentum * v[i] + d
            p[i] -= lr * (d + momentum * v[i])
    else:
        for i in range(n):
            v[i] = momentum * v[i] + (g[i] + decay * p[i])
            p[i] -= lr * v[i]


cdef inline floating root(floating x) noexcept nogil:
    if floating is float:
        return <float>sqrt(x)
    else:
        return sqrt(x)


cdef void adam_piece(floating* p, const floating* g, floating* m, floating* v, Py_ssize_t n,
                     Step* s) noexcept nogil:
    cdef floating new1 = <floating>(1 - s.beta1), keep2 = <floating>s.beta2
    cdef floating new2 = <floating>(1 - s.beta2), rate = <floating>(s.lr / s.correction1)
    cdef floating scale = <floating>(1 / s.correction2), eps = <floating>s.eps, d
    cdef floating shrink = <floating>(1 - s.lr * s.weight_decay if s.decoupled else 1)
    cdef floating decay = <floating>(0 if s.decoupled else s.weight_decay)
    cdef Py_ssize_t i
    for i in range(n):
        p[i] *= shrink
        d = g[i] + decay * p[i]
        m[i] += new1 * (d - m[i])
        v[i] = keep2 * v[i] + new2 * d * d
        p[i] -= rate * m[i] / (root(v[i]) * scale + eps)


def sgd_update(params, grads, velocities, double lr, double momentum=0.0, bint nesterov=False,
               double weight_decay=0.0, int threads=0):
    """g += weight_decay p;  v = momentum v + g;  p -= lr (v, or g + momentum v for Nesterov).

    `velocities` is None without momentum.
    """
    cdef Step s
    cdef Py_ssize_t count, i
    cdef int typenum, t
    cdef cnp.ndarray table
    cdef Piece* pieces
    s.lr, s.momentum, s.weight_decay, s.nesterov = lr, momentum, weight_decay, nesterov
    s.has_velocity = velocities is not None
    lists = [params, grads, velocities] if s.has_velocity else [params, grads]
    table = cut("sgd_update", ("params", "grads", "velocities"), lists, &count, &typenum)
    pieces = <Piece*>table.data
    t = team(threads, <double>count * PIECE)
    if typenum == cnp.NPY_FLOAT32:
        for i in prange(count, nogil=True, num_threads=t, schedule='static'):
            sgd_piece(<float*>pieces[i].data[0], <float*>pieces[i].data[1],
                      <float*>pieces[i].data[2], pieces[i].count, &s)
    else:
        for i in prange(count, nogil=True, num_threads=t, schedule='static'):
            sgd_piece(<double*>pieces[i].data[0], <double*>pieces[i].data[1],
                      <double*>pieces[i].data[2], pieces[i].count, &s)


def adam_update(params, grads, means, squares, double lr, double beta1, double beta2, double eps,
                double weight_decay, bint decoupled, Py_ssize_t step, int threads=0):
    """m = b1 m + (1 - b1) g;  s = b2 s + (1 - b2) g^2;  p -= lr m' / (sqrt(s') + eps).

    m' and s' are divided by 1 - b^step. weight_decay is added to g, or, `decoupled`, shrinks p by
    lr * weight_decay first.
    """
    cdef Step s
    cdef Py_ssize_t count, i
    cdef int typenum, t
    cdef cnp.ndarray table
    cdef Piece* pieces
    if step < 1:
        raise ValueError(f"adam_update: step must be at least 1, got {step}")
    s.lr, s.beta1, s.beta2, s.eps, s.weight_decay = lr, beta1, beta2, eps, weight_decay
    s.decoupled = decoupled
    s.correction1, s.correction2 = 1 - beta1 ** step, sqrt(1 - beta2 ** step)
    table = cut("adam_update", ("params", "grads", "means", "squares"),
                [params, grads, means, squares], &count, &typenum)
    pieces = <Piece*>table.data
    t = team(threads, 4.0 * count * PIECE)
    if typenum == cnp.NPY_FLOAT32:
        for i in prange(count, nogil=True, num_threads=t, schedule='static'):
            adam_piece(<float*>pieces[i].data[0], <float*>pieces[i].data[1],
                       <float*>pieces[i].data[2], <float*>pieces[i].data[3], pieces[i].count, &s)
    else:
        for i in prange(count, nogil=True, num_threads=t, schedule='static'):
            adam_piece(<double*>pieces[i].data[0], <double*>pieces[i].data[1],
                       <double*>pieces[i].data[2], <double*>pieces[i].data[3], pieces[i].count,
                       &s)
