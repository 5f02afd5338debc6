"""Updates of parameters, in place: one call for all parameters of a group.

The arrays of a group are cut into pieces of fixed length, and the pieces are shared out to
threads, so that many small parameters cost no more than one large one. Norms are sums over the
pieces, added in order, so that they do not depend on the number of threads. What a rule does to a
piece stands in rules.pxd.
"""
cimport numpy as cnp
from cython cimport floating
from cython.parallel cimport prange
from libc.math cimport sqrt
from libc.string cimport memset

from minidl_ext.optim.rules cimport ADAGRAD, ADAM, GRADS, LARS, MEANS, PARAMS, RMSPROP, SGD, \
    SLOTS, SQUARES, VELOCITIES, Piece, Rule, Step, update_piece
from minidl_ext.runtime.arguments cimport overlap, real_array, same_shape
from minidl_ext.runtime.memory cimport ceil_div, product, workspace
from minidl_ext.runtime.threads cimport threads_for
from minidl_ext.simd.sums cimport row_dot

cnp.import_array()

cdef enum:
    PIECE = 16384

SLOT = {"params": PARAMS, "grads": GRADS, "velocities": VELOCITIES, "means": MEANS,
        "squares": SQUARES, "sums": SQUARES}


# The pieces of a group; `typenum` is the type of all its arrays.
cdef struct Group:
    Piece* pieces
    Py_ssize_t count
    int typenum


cdef cnp.ndarray cut(str where, dict lists, Group* group):
    """Check the lists of a group, given by name, and cut their arrays into pieces.

    All arrays have one dtype, those of a parameter one shape, and no two share memory. The result
    owns the memory of the pieces.
    """
    cdef list names = list(lists), columns = list(lists.values())
    cdef list arrays = []       # all arrays of a parameter, then of the next
    cdef str name
    cdef Py_ssize_t kinds = len(names), n = 0, i, k, j, total = 0, first, size, at = 0
    cdef cnp.ndarray a, p, table
    cdef int slots[SLOTS]
    group.typenum = -1
    for k in range(kinds):
        slots[k] = SLOT[names[k]]
        array_list = columns[k]
        if not isinstance(array_list, (list, tuple)):
            raise TypeError(f"{where}: {names[k]} must be a list of arrays, got "
                            f"{type(array_list).__name__}")
        if k == 0:
            n = len(array_list)
        elif len(array_list) != n:
            raise ValueError(f"{where}: {n} {names[0]} but {len(array_list)} {names[k]}")
    for i in range(n):
        p = real_array(columns[0][i], where, names[0], -1)
        if group.typenum < 0:
            group.typenum = cnp.PyArray_TYPE(p)
        for k in range(kinds):
            name = names[k]
            a = p if k == 0 else real_array(columns[k][i], where, name, -1)
            if cnp.PyArray_TYPE(a) != group.typenum:
                raise TypeError(f"{where}: mixed dtypes in one group: {name}[{i}] is {a.dtype}")
            same_shape(p, a, where, names[0], name)
            if slots[k] != GRADS and not cnp.PyArray_ISWRITEABLE(a):
                raise ValueError(f"{where}: {name}[{i}] is read-only")
            for j in range(k):
                if overlap(<cnp.ndarray>arrays[i * kinds + j], a):
                    raise ValueError(f"{where}: out overlaps {name}[{i}] and {names[j]}[{i}] "
                                     f"in memory")
            arrays.append(a)
        total += ceil_div(cnp.PyArray_SIZE(p), PIECE)
    table = workspace(product(total, sizeof(Piece)))
    group.pieces, group.count = <Piece*>table.data, total
    memset(group.pieces, 0, total * sizeof(Piece))
    for i in range(n):
        size = cnp.PyArray_SIZE(<cnp.ndarray>arrays[i * kinds])
        first = 0
        while first < size:
            group.pieces[at].count = min(size - first, <Py_ssize_t>PIECE)
            group.pieces[at].parameter = i
            for k in range(kinds):
                a = <cnp.ndarray>arrays[i * kinds + k]
                group.pieces[at].data[slots[k]] = (<char*>cnp.PyArray_DATA(a)
                                                   + first * cnp.PyArray_ITEMSIZE(a))
            at += 1
            first += PIECE
    return table


cdef void update(Rule rule, Group* group, const Step* s, double work, int threads) noexcept:
    """One step of a rule for a group, of `work` element operations a value."""
    cdef int t = threads_for(threads, work * group.count * PIECE), typenum = group.typenum
    cdef Piece* pieces = group.pieces
    cdef Py_ssize_t i
    for i in prange(group.count, nogil=True, num_threads=t, schedule='static'):
        if typenum == cnp.NPY_FLOAT32:
            update_piece(rule, <float*>pieces[i].data[PARAMS], pieces + i, s)
        else:
            update_piece(rule, <double*>pieces[i].data[PARAMS], pieces + i, s)


cdef double squares_of(const floating* x, Py_ssize_t n) noexcept nogil:
    """The sum of squares, in double."""
    return row_dot(x, x, n)


cdef void sum_squares(Group* group, double work, int threads) noexcept:
    """Set `squares` of every piece: of its parameter and of its gradient, if they are there."""
    cdef int t = threads_for(threads, work * group.count * PIECE), k
    cdef Piece* pieces = group.pieces
    cdef Py_ssize_t i
    for i in prange(group.count, nogil=True, num_threads=t, schedule='static'):
        for k in range(PARAMS, GRADS + 1):
            if pieces[i].data[k] == NULL:
                continue
            if group.typenum == cnp.NPY_FLOAT32:
                pieces[i].squares[k] = squares_of(<float*>pieces[i].data[k], pieces[i].count)
            else:
                pieces[i].squares[k] = squares_of(<double*>pieces[i].data[k], pieces[i].count)


cdef cnp.ndarray local_rates(object params, Group* group, Step* s):
    """Compute LARS's rate and weight decay of every parameter; the result owns their memory."""
    cdef Py_ssize_t n = len(params), i
    cdef cnp.ndarray numbers = workspace(product(2 * n, sizeof(double)))
    cdef double* rates = <double*>numbers.data      # at first the squares of the parameters
    cdef double* decays = rates + n                 # at first the squares of the gradients
    cdef double p, g
    for i in range(2 * n):
        rates[i] = 0
    for i in range(group.count):
        rates[group.pieces[i].parameter] += group.pieces[i].squares[PARAMS]
        decays[group.pieces[i].parameter] += group.pieces[i].squares[GRADS]
    for i in range(n):
        p, g = sqrt(rates[i]), sqrt(decays[i])
        rates[i], decays[i] = 1, 0
        if cnp.PyArray_NDIM(<cnp.ndarray>params[i]) > 1:
            decays[i] = s.weight_decay
            if p != 0 and g != 0:       # NaN is not 0, and stays NaN
                rates[i] = s.trust * p / (g + s.weight_decay * p + s.eps)
    s.rates, s.decays = rates, decays
    return numbers


def sgd_update(params, grads, velocities, double lr, double momentum=0.0, bint nesterov=False,
               double weight_decay=0.0, int threads=0):
    """g += weight_decay p;  v = momentum v + g;  p -= lr (v, or g + momentum v for Nesterov).

    `velocities` is None without momentum.
    """
    cdef Step s
    cdef Group group
    s.lr, s.momentum, s.weight_decay, s.nesterov = lr, momentum, weight_decay, nesterov
    lists = {"params": params, "grads": grads}
    if velocities is not None:
        lists["velocities"] = velocities
    _table = cut("sgd_update", lists, &group)
    update(SGD, &group, &s, 1, threads)


def adam_update(params, grads, means, squares, double lr, double beta1, double beta2, double eps,
                double weight_decay, bint decoupled, Py_ssize_t step, int threads=0):
    """m = b1 m + (1 - b1) g;  s = b2 s + (1 - b2) g^2;  p -= lr m' / (sqrt(s') + eps).

    m' and s' are m and s divided by 1 - b^step. weight_decay is added to g, or, `decoupled`,
    shrinks p by lr * weight_decay first.
    """
    cdef Step s
    cdef Group group
    if step < 1:
        raise ValueError(f"adam_update: step must be at least 1, got {step}")
    s.lr, s.beta1, s.beta2, s.eps, s.weight_decay = lr, beta1, beta2, eps, weight_decay
    s.decoupled = decoupled
    s.correction1, s.correction2 = 1 - beta1 ** step, sqrt(1 - beta2 ** step)
    _table = cut("adam_update", {"params": params, "grads": grads, "means": means,
                                "squares": squares}, &group)
    update(ADAM, &group, &s, 4, threads)


def rmsprop_update(params, grads, squares, means, velocities, double lr, double alpha, double eps,
                   double momentum=0.0, double weight_decay=0.0, int threads=0):
    """g += weight_decay p;  s = alpha s + (1 - alpha) g^2;  d = g / (sqrt(s') + eps);
    v = momentum v + d;  p -= lr v.

    s' is s, or with `means` s - m^2, where m = alpha m + (1 - alpha) g. `means` is None if not
    centered, `velocities` without momentum (v is then d).
    """
    cdef Step s
    cdef Group group
    s.lr, s.alpha, s.eps, s.momentum, s.weight_decay = lr, alpha, eps, momentum, weight_decay
    lists = {"params": params, "grads": grads, "squares": squares}
    if means is not None:
        lists["means"] = means
    if velocities is not None:
        lists["velocities"] = velocities
    _table = cut("rmsprop_update", lists, &group)
    update(RMSPROP, &group, &s, 4, threads)


def adagrad_update(params, grads, sums, double lr, double eps, double weight_decay=0.0,
                   int threads=0):
    """g += weight_decay p;  s += g^2;  p -= lr g / (sqrt(s) + eps)."""
    cdef Step s
    cdef Group group
    s.lr, s.eps, s.weight_decay = lr, eps, weight_decay
    _table = cut("adagrad_update", {"params": params, "grads": grads, "sums": sums}, &group)
    update(ADAGRAD, &group, &s, 3, threads)


def lars_update(params, grads, velocities, double lr, double momentum, double trust, double eps,
                double weight_decay=0.0, int threads=0):
    """v = momentum v + r (g + weight_decay p);  p -= lr v;
    r = trust |p| / (|g| + weight_decay |p| + eps), one number a parameter.

    r is 1 where |p| or |g| is 0. Parameters of one axis or none have r = 1 and no weight decay.
    `velocities` is None without momentum.
    """
    cdef Step s
    cdef Group group
    s.lr, s.momentum, s.trust, s.eps, s.weight_decay = lr, momentum, trust, eps, weight_decay
    lists = {"params": params, "grads": grads}
    if velocities is not None:
        lists["velocities"] = velocities
    _table = cut("lars_update", lists, &group)
    sum_squares(&group, 3, threads)
    _numbers = local_rates(params, &group, &s)
    update(LARS, &group, &s, 3, threads)


def square_sum(grads, int threads=0):
    """The sum of the squares of all values of all arrays, in double."""
    cdef Group group
    cdef Py_ssize_t i
    cdef double total = 0
    _table = cut("square_sum", {"grads": grads}, &group)
    sum_squares(&group, 1, threads)
    for i in range(group.count):
        total += group.pieces[i].squares[GRADS]
    return total
