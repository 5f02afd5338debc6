"""Parameter updates, in place: one call for a whole parameter group.

The arrays of a group are cut into pieces of fixed length, and the pieces are shared out to
threads, so that many small parameters cost no more than one large one. Norms are sums over the
pieces, added in order, so that they do not depend on the number of threads.
"""
cimport numpy as cnp
from cython cimport floating
from cython.parallel cimport prange
from libc.math cimport sqrt

from minidl_ext.runtime.arguments cimport overlap, real_array, same_dtype, same_shape
from minidl_ext.runtime.memory cimport product, workspace
from minidl_ext.runtime.threads cimport threads_for

import numpy as np

cnp.import_array()

cdef enum:
    PIECE = 16384


cdef struct Piece:
    char* data[5]           # parameter, gradient and up to three states
    Py_ssize_t count, member    # values; which of the parameters they are of
    double squares[2]       # sums of the squares of data[0] and data[1], where norms are needed


cdef struct Step:
    double lr, momentum, weight_decay, beta1, beta2, eps, correction1, correction2, alpha, trust
    bint nesterov, decoupled, centered, has_velocity


cdef cnp.ndarray cut(str where, tuple names, list lists, Py_ssize_t* count, int* typenum):
    """All arrays of a group as pieces, checked: one dtype, equal shapes, states writable."""
    cdef Py_ssize_t n = 0, i, k, j, total = 0, first, size, at = 0
    cdef cnp.ndarray a, p
    cdef list arrays = []
    cdef cnp.ndarray table
    cdef Piece* pieces
    typenum[0] = -1
    for k in range(len(lists)):
        if not isinstance(lists[k], (list, tuple)):
            raise TypeError(f"{where}: {names[k]} must be a list of arrays, got "
                            f"{type(lists[k]).__name__}")
        if k == 0:
            n = len(lists[0])
        elif len(lists[k]) != n:
            raise ValueError(f"{where}: {n} {names[0]} but {len(lists[k])} {names[k]}")
    for i in range(n):
        p = real_array(lists[0][i], where, names[0], -1)
        if typenum[0] < 0:
            typenum[0] = cnp.PyArray_TYPE(p)
        for k in range(len(lists)):
            a = real_array(lists[k][i], where, names[k], -1)
            if cnp.PyArray_TYPE(a) != typenum[0]:
                raise TypeError(f"{where}: mixed dtypes in one group: {names[k]}[{i}] is {a.dtype}")
            same_shape(p, a, where, names[0], names[k])
            if names[k] != "grads" and not cnp.PyArray_ISWRITEABLE(a):
                raise ValueError(f"{where}: {names[k]}[{i}] is read-only")
            for j in range(k):
                if overlap(<cnp.ndarray>arrays[i * len(lists) + j], a):
                    raise ValueError(f"{where}: out overlaps {names[k]}[{i}] and {names[j]}[{i}] "
                                     f"in memory")
            arrays.append(a)
        total += (cnp.PyArray_SIZE(p) + PIECE - 1) // PIECE
    table = workspace(product(total, sizeof(Piece)))
    pieces = <Piece*>table.data
    for i in range(n):
        size = cnp.PyArray_SIZE(<cnp.ndarray>arrays[i * len(lists)])
        first = 0
        while first < size:
            pieces[at].count = min(size - first, <Py_ssize_t>PIECE)
            pieces[at].member = i
            for k in range(len(lists)):
                a = <cnp.ndarray>arrays[i * len(lists) + k]
                pieces[at].data[k] = (<char*>cnp.PyArray_DATA(a)
                                       + first * cnp.PyArray_ITEMSIZE(a))
            at += 1
            first += PIECE
    count[0] = total
    return table


cdef inline floating decayed(floating g, floating decay, floating p) noexcept nogil:
    """g + decay * p. Without decay an infinite p does not touch g: 0 * inf would be NaN."""
    return g + decay * p if decay != 0 else g


cdef void sgd_piece(floating* p, const floating* g, floating* v, Py_ssize_t n, Step* s
                    ) noexcept nogil:
    cdef floating lr = <floating>s.lr, momentum = <floating>s.momentum
    cdef floating decay = <floating>s.weight_decay, d
    cdef Py_ssize_t i
    if not s.has_velocity:
        for i in range(n):
            p[i] -= lr * decayed(g[i], decay, p[i])
    elif s.nesterov:
        for i in range(n):
            d = decayed(g[i], decay, p[i])
            v[i] = momentum * v[i] + d
            p[i] -= lr * (d + momentum * v[i])
    else:
        for i in range(n):
            v[i] = momentum * v[i] + decayed(g[i], decay, p[i])
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
        d = decayed(g[i], decay, p[i])
        m[i] += new1 * (d - m[i])
        v[i] = keep2 * v[i] + new2 * d * d
        p[i] -= rate * m[i] / (root(v[i]) * scale + eps)


cdef void rmsprop_piece(floating* p, const floating* g, floating* s, floating* m, floating* v,
                        Py_ssize_t n, Step* o) noexcept nogil:
    cdef floating lr = <floating>o.lr, momentum = <floating>o.momentum, eps = <floating>o.eps
    cdef floating decay = <floating>o.weight_decay, keep = <floating>o.alpha
    cdef floating new = <floating>(1 - o.alpha), d, square
    cdef Py_ssize_t i
    for i in range(n):
        d = decayed(g[i], decay, p[i])
        s[i] = keep * s[i] + new * d * d
        square = s[i]
        if o.centered:
            m[i] += new * (d - m[i])
            square -= m[i] * m[i]
            if square < 0:              # by rounding; NaN stays
                square = 0
        d /= root(square) + eps
        if o.has_velocity:
            v[i] = momentum * v[i] + d
            d = v[i]
        p[i] -= lr * d


cdef void adagrad_piece(floating* p, const floating* g, floating* s, Py_ssize_t n, Step* o
                        ) noexcept nogil:
    cdef floating lr = <floating>o.lr, eps = <floating>o.eps, decay = <floating>o.weight_decay, d
    cdef Py_ssize_t i
    for i in range(n):
        d = decayed(g[i], decay, p[i])
        s[i] += d * d
        p[i] -= lr * d / (root(s[i]) + eps)


cdef void lars_piece(floating* p, const floating* g, floating* v, Py_ssize_t n, double local_rate,
                     double weight_decay, Step* o) noexcept nogil:
    cdef floating lr = <floating>o.lr, momentum = <floating>o.momentum
    cdef floating rate = <floating>local_rate, decay = <floating>weight_decay, d
    cdef Py_ssize_t i
    for i in range(n):
        d = rate * decayed(g[i], decay, p[i])
        if o.has_velocity:
            v[i] = momentum * v[i] + d
            d = v[i]
        p[i] -= lr * d


cdef double squares_of(const floating* x, Py_ssize_t n) noexcept nogil:
    """The sum of squares in double: eight sums side by side, so that vectors can do it."""
    cdef double sums[8]
    cdef double value, total = 0
    cdef Py_ssize_t i = 0, j
    for j in range(8):
        sums[j] = 0
    while i + 8 <= n:
        for j in range(8):
            value = x[i + j]
            sums[j] += value * value
        i += 8
    for j in range(n - i):
        value = x[i + j]
        sums[j] += value * value
    for j in range(8):
        total += sums[j]
    return total


cdef void square_pieces(Piece* pieces, Py_ssize_t count, int arrays, int typenum, int threads
                        ) noexcept nogil:
    """Fill `squares` of every piece, for the first `arrays` (1 or 2) of its data."""
    cdef Py_ssize_t i
    cdef int k
    for i in prange(count, num_threads=threads, schedule='static'):
        for k in range(arrays):
            if typenum == cnp.NPY_FLOAT32:
                pieces[i].squares[k] = squares_of(<float*>pieces[i].data[k], pieces[i].count)
            else:
                pieces[i].squares[k] = squares_of(<double*>pieces[i].data[k], pieces[i].count)


cdef cnp.ndarray local_rates(object params, Piece* pieces, Py_ssize_t count, Step* s):
    """LARS's rate of every parameter, and after them the weight decay of every parameter."""
    cdef Py_ssize_t n = len(params), i
    cdef cnp.ndarray numbers = workspace(product(2 * n, sizeof(double)))
    cdef double* first = <double*>numbers.data      # squares of the parameters, then their rates
    cdef double* second = first + n                 # squares of the gradients, then decays
    cdef double p, g
    for i in range(2 * n):
        first[i] = 0
    for i in range(count):
        first[pieces[i].member] += pieces[i].squares[0]
        second[pieces[i].member] += pieces[i].squares[1]
    for i in range(n):
        p, g = sqrt(first[i]), sqrt(second[i])
        first[i], second[i] = 1, 0
        if cnp.PyArray_NDIM(<cnp.ndarray>params[i]) > 1:
            second[i] = s.weight_decay
            if p != 0 and g != 0:       # NaN is not 0, and goes on
                first[i] = s.trust * p / (g + s.weight_decay * p + s.eps)
    return numbers


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
    t = threads_for(threads, <double>count * PIECE)
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
    t = threads_for(threads, 4.0 * count * PIECE)
    if typenum == cnp.NPY_FLOAT32:
        for i in prange(count, nogil=True, num_threads=t, schedule='static'):
            adam_piece(<float*>pieces[i].data[0], <float*>pieces[i].data[1],
                       <float*>pieces[i].data[2], <float*>pieces[i].data[3], pieces[i].count, &s)
    else:
        for i in prange(count, nogil=True, num_threads=t, schedule='static'):
            adam_piece(<double*>pieces[i].data[0], <double*>pieces[i].data[1],
                       <double*>pieces[i].data[2], <double*>pieces[i].data[3], pieces[i].count,
                       &s)


def rmsprop_update(params, grads, squares, means, velocities, double lr, double alpha, double eps,
                   double momentum=0.0, double weight_decay=0.0, int threads=0):
    """g += weight_decay p;  s = alpha s + (1 - alpha) g^2;  d = g / (sqrt(s') + eps);
    v = momentum v + d;  p -= lr v.

    s' is s, or with `means` s - m^2, where m = alpha m + (1 - alpha) g. `means` is None if not
    centered, `velocities` without momentum (v is then d).
    """
    cdef Step s
    cdef Py_ssize_t count, i
    cdef int typenum, t, mean = 3, velocity = 4
    cdef cnp.ndarray table
    cdef Piece* pieces
    s.lr, s.alpha, s.eps, s.momentum, s.weight_decay = lr, alpha, eps, momentum, weight_decay
    s.centered, s.has_velocity = means is not None, velocities is not None
    lists, names = [params, grads, squares], ["params", "grads", "squares"]
    for name, arrays in (("means", means), ("velocities", velocities)):
        if arrays is not None:
            lists.append(arrays)
            names.append(name)
    if not s.centered:
        velocity = 3
    table = cut("rmsprop_update", tuple(names), lists, &count, &typenum)
    pieces = <Piece*>table.data
    t = threads_for(threads, 4.0 * count * PIECE)
    if typenum == cnp.NPY_FLOAT32:
        for i in prange(count, nogil=True, num_threads=t, schedule='static'):
            rmsprop_piece(<float*>pieces[i].data[0], <float*>pieces[i].data[1],
                          <float*>pieces[i].data[2], <float*>pieces[i].data[mean],
                          <float*>pieces[i].data[velocity], pieces[i].count, &s)
    else:
        for i in prange(count, nogil=True, num_threads=t, schedule='static'):
            rmsprop_piece(<double*>pieces[i].data[0], <double*>pieces[i].data[1],
                          <double*>pieces[i].data[2], <double*>pieces[i].data[mean],
                          <double*>pieces[i].data[velocity], pieces[i].count, &s)


def adagrad_update(params, grads, sums, double lr, double eps, double weight_decay=0.0,
                   int threads=0):
    """g += weight_decay p;  s += g^2;  p -= lr g / (sqrt(s) + eps)."""
    cdef Step s
    cdef Py_ssize_t count, i
    cdef int typenum, t
    cdef cnp.ndarray table
    cdef Piece* pieces
    s.lr, s.eps, s.weight_decay = lr, eps, weight_decay
    table = cut("adagrad_update", ("params", "grads", "sums"), [params, grads, sums], &count,
                &typenum)
    pieces = <Piece*>table.data
    t = threads_for(threads, 3.0 * count * PIECE)
    if typenum == cnp.NPY_FLOAT32:
        for i in prange(count, nogil=True, num_threads=t, schedule='static'):
            adagrad_piece(<float*>pieces[i].data[0], <float*>pieces[i].data[1],
                          <float*>pieces[i].data[2], pieces[i].count, &s)
    else:
        for i in prange(count, nogil=True, num_threads=t, schedule='static'):
            adagrad_piece(<double*>pieces[i].data[0], <double*>pieces[i].data[1],
                          <double*>pieces[i].data[2], pieces[i].count, &s)


def lars_update(params, grads, velocities, double lr, double momentum, double trust, double eps,
                double weight_decay=0.0, int threads=0):
    """v = momentum v + r (g + weight_decay p);  p -= lr v;
    r = trust |p| / (|g| + weight_decay |p| + eps), one number a parameter.

    r is 1 where |p| or |g| is 0. Parameters of one axis or none have r = 1 and no weight decay.
    `velocities` is None without momentum.
    """
    cdef Step s
    cdef Py_ssize_t count, i, k
    cdef int typenum, t
    cdef cnp.ndarray table, numbers
    cdef Piece* pieces
    cdef double* rates
    cdef double* decays
    s.lr, s.momentum, s.trust, s.eps, s.weight_decay = lr, momentum, trust, eps, weight_decay
    s.has_velocity = velocities is not None
    lists = [params, grads, velocities] if s.has_velocity else [params, grads]
    table = cut("lars_update", ("params", "grads", "velocities"), lists, &count, &typenum)
    pieces = <Piece*>table.data
    t = threads_for(threads, 3.0 * count * PIECE)
    with nogil:
        square_pieces(pieces, count, 2, typenum, t)
    numbers = local_rates(params, pieces, count, &s)
    rates = <double*>numbers.data
    decays = rates + len(params)
    if typenum == cnp.NPY_FLOAT32:
        for i in prange(count, nogil=True, num_threads=t, schedule='static'):
            k = pieces[i].member
            lars_piece(<float*>pieces[i].data[0], <float*>pieces[i].data[1],
                       <float*>pieces[i].data[2], pieces[i].count, rates[k], decays[k], &s)
    else:
        for i in prange(count, nogil=True, num_threads=t, schedule='static'):
            k = pieces[i].member
            lars_piece(<double*>pieces[i].data[0], <double*>pieces[i].data[1],
                       <double*>pieces[i].data[2], pieces[i].count, rates[k], decays[k], &s)


def square_sum(grads, int threads=0):
    """The sum of the squares of all values of all arrays, in double."""
    cdef Py_ssize_t count, i
    cdef int typenum
    cdef cnp.ndarray table = cut("square_sum", ("grads",), [grads], &count, &typenum)
    cdef Piece* pieces = <Piece*>table.data
    cdef int t = threads_for(threads, <double>count * PIECE)
    cdef double total = 0
    with nogil:
        square_pieces(pieces, count, 1, typenum, t)
        for i in range(count):
            total += pieces[i].squares[0]
    return total
