"""Softmax along the last axis of a matrix, and cross-entropy with class indices.

A row is one piece of work: its maximum, its exponentials, and their sum. Sums over a row are in
double, so that many classes cost no digits. A class whose probability p is nearly 1 costs none
either: its logarithm and the gradients need 1 - p, and that is computed as the sum of the other
probabilities, without a difference.
"""
cimport numpy as cnp
from cython cimport floating
from cython.parallel cimport prange
from libc.math cimport expm1, log as libm_log, log1p
from libc.stdint cimport int64_t

from minidl_ext.runtime.arguments cimport disjoint_or_same, has_length, output_like, real_array, \
    row_or_null, same_dtype, same_shape, typed_array
from minidl_ext.runtime.memory cimport new_array, new_like
from minidl_ext.runtime.threads cimport threads_for
from minidl_ext.simd.sums cimport row_max, row_sum
from minidl_ext.simd.vecmath cimport vexp

cnp.import_array()

cdef enum RowFunction:
    SOFTMAX, LOG_SOFTMAX, SOFTMAX_BACKWARD, LOG_SOFTMAX_BACKWARD


cdef enum:
    PART = 256          # values of a row that are stored before they are added


cdef double exponentials(const floating* x, floating* e, Py_ssize_t n, floating top
                         ) noexcept nogil:
    """Compute e = exp(x - top), and return its sum."""
    cdef Py_ssize_t j
    for j in range(n):
        e[j] = vexp(x[j] - top)
    return row_sum(e, n)


cdef double sum_of_exponentials(const floating* x, Py_ssize_t n, floating top, Py_ssize_t skipped
                                ) noexcept nogil:
    """The sum of exp(x - top) without the value at `skipped`, which is -1 for none."""
    cdef floating part[PART]
    cdef double total = 0
    cdef Py_ssize_t first = 0, count, j
    while first < n:
        count = min(n - first, <Py_ssize_t>PART)
        for j in range(count):
            part[j] = vexp(x[first + j] - top)
        if first <= skipped < first + count:
            part[skipped - first] = 0
        total += row_sum(<const floating*>part, count)
        first += count
    return total


cdef double log_total(const floating* x, Py_ssize_t n, floating top) noexcept nogil:
    """log(sum(exp(x - top))), where top is the largest of the values.

    The largest contributes 1 to the sum. If little is added to it, log1p of the other terms keeps
    their digits.
    """
    cdef double total = sum_of_exponentials(x, n, top, -1)
    cdef Py_ssize_t place = 0
    if not total < 1.5:             # true for NaN
        return libm_log(total)
    while x[place] != top:          # ends, since without a largest value the total is NaN
        place += 1
    return log1p(sum_of_exponentials(x, n, top, place))


cdef Py_ssize_t winner(const floating* p, Py_ssize_t n, floating least) noexcept nogil:
    """The index of the largest of n values, or -1 if that is not above `least`."""
    cdef floating top = row_max(p, n)
    cdef Py_ssize_t j
    if top > least:
        for j in range(n):
            if p[j] == top:
                return j
    return -1


cdef double sum_without(const floating* p, Py_ssize_t n, Py_ssize_t place) noexcept nogil:
    """The sum of n values without the one at `place`."""
    cdef double total = 0
    cdef Py_ssize_t j
    if n > 64:
        return row_sum(p, place) + row_sum(p + place + 1, n - place - 1)
    for j in range(n):
        total += 0 if j == place else p[j]
    return total


cdef double sum_of_products(const floating* a, const floating* b, Py_ssize_t n) noexcept nogil:
    cdef floating part[PART]
    cdef double total = 0
    cdef Py_ssize_t first = 0, j, count
    while first < n:
        count = min(n - first, <Py_ssize_t>PART)
        for j in range(count):
            part[j] = a[first + j] * b[first + j]
        total += row_sum(<const floating*>part, count)
        first += PART
    return total


cdef double centred_product(const floating* dy, const floating* y, Py_ssize_t n, Py_ssize_t place
                            ) noexcept nogil:
    """dy[place] - sum(dy y), which is sum(y (dy[place] - dy)), since the y add up to 1."""
    cdef double total = 0
    cdef Py_ssize_t j
    for j in range(n):
        if j != place:
            total += y[j] * (<double>dy[place] - dy[j])
    return total


cdef void softmax_row(RowFunction f, const floating* a, const floating* y, floating* out,
                      Py_ssize_t n) noexcept nogil:
    """Compute one row of f. `a` is x forward and dy backward; `y` is used backward only. `out` may
    be the same memory as either."""
    cdef Py_ssize_t j, place
    cdef floating top, scale
    cdef double total = 0, of_place = 0
    if f == SOFTMAX:
        total = exponentials(a, out, n, row_max(a, n))
        scale = <floating>(1 / total)
        for j in range(n):
            out[j] *= scale
    elif f == LOG_SOFTMAX:
        top = row_max(a, n)
        total = log_total(a, n, top)
        for j in range(n):
            out[j] = <floating>((a[j] - top) - total)
    elif f == SOFTMAX_BACKWARD:
        total = sum_of_products(a, y, n)
        place = winner(y, n, <floating>0.5)
        if place >= 0:
            of_place = y[place] * centred_product(a, y, n, place)
        for j in range(n):
            out[j] = y[j] * (a[j] - <floating>total)
        if place >= 0:
            out[place] = <floating>of_place
    else:
        total = row_sum(a, n)
        place = winner(y, n, <floating>-0.7)
        if place >= 0:
            of_place = (a[place] - total) - expm1(<double>y[place]) * total
        for j in range(n):
            out[j] = a[j] - vexp(y[j]) * <floating>total
        if place >= 0:
            out[place] = <floating>of_place


cdef row_kernel(RowFunction f, str name, object a, object y, object out, int threads):
    cdef cnp.ndarray x = real_array(a, name, "dy" if y is not None else "x", 2), w, result
    cdef Py_ssize_t m = x.shape[0], n = x.shape[1], i
    cdef int t = threads_for(threads, 8.0 * m * n)
    w = x
    if y is not None:
        w = real_array(y, name, "y", 2)
        same_dtype(x, w, name, "dy", "y")
        same_shape(x, w, name, "dy", "y")
    result = output_like(out, name, x)
    disjoint_or_same(result, x, name, "dy" if y is not None else "x")
    disjoint_or_same(result, w, name, "y")
    if n == 0:
        return result
    if cnp.PyArray_TYPE(x) == cnp.NPY_FLOAT32:
        for i in prange(m, nogil=True, num_threads=t, schedule='static'):
            softmax_row(f, <float*>x.data + i * n, <float*>w.data + i * n,
                        <float*>result.data + i * n, n)
    else:
        for i in prange(m, nogil=True, num_threads=t, schedule='static'):
            softmax_row(f, <double*>x.data + i * n, <double*>w.data + i * n,
                        <double*>result.data + i * n, n)
    return result


def softmax(x, out=None, int threads=0):
    """Rows of exp(x - max) / sum."""
    return row_kernel(SOFTMAX, "softmax", x, None, out, threads)


def softmax_backward(dy, y, out=None, int threads=0):
    """dx = y (dy - sum(dy y))."""
    return row_kernel(SOFTMAX_BACKWARD, "softmax_backward", dy, y, out, threads)


def log_softmax(x, out=None, int threads=0):
    """Rows of x - max - log(sum(exp(x - max)))."""
    return row_kernel(LOG_SOFTMAX, "log_softmax", x, None, out, threads)


def log_softmax_backward(dy, y, out=None, int threads=0):
    """dx = dy - exp(y) sum(dy)."""
    return row_kernel(LOG_SOFTMAX_BACKWARD, "log_softmax_backward", dy, y, out, threads)


# ---------------------------------------------------------------------------- cross-entropy

cdef inline floating target(const floating* weight, double smoothing, Py_ssize_t c,
                            Py_ssize_t classes, int64_t label) noexcept nogil:
    """The factor of class c's -log p in the loss of a row with this label."""
    cdef double t = smoothing / classes + (1 - smoothing if c == label else 0)
    return <floating>(t if weight == NULL else t * weight[c])


cdef floating loss_row(const floating* x, int64_t label, const floating* weight,
                       double smoothing, floating* p, Py_ssize_t n) noexcept nogil:
    """Return the loss of one row, and store its probabilities in p."""
    cdef floating top = row_max(x, n), scale, t
    cdef double total = exponentials(x, p, n, top), log_sum = libm_log(total), loss = 0
    cdef Py_ssize_t j
    if label >= 0 and x[label] == top:
        log_sum = log1p(sum_without(p, n, label))
    scale = <floating>(1 / total)
    for j in range(n):
        p[j] *= scale
    if label < 0:
        return 0
    if smoothing == 0:
        t = 1 if weight == NULL else weight[label]
        return <floating>(-((x[label] - top) - log_sum) * t) if t != 0 else 0
    for j in range(n):
        t = target(weight, smoothing, j, n, label)
        if t != 0:
            loss -= ((x[j] - top) - log_sum) * t
    return <floating>loss


cdef void loss_row_backward(floating dloss, const floating* p, int64_t label,
                            const floating* weight, double smoothing, floating* dx, Py_ssize_t n
                            ) noexcept nogil:
    """dx = dloss (sum of targets * p - targets); 0 for an ignored row."""
    cdef double total = 0
    cdef Py_ssize_t j
    if label < 0:
        for j in range(n):
            dx[j] = 0
        return
    if weight == NULL:
        total = 1
    elif smoothing == 0:
        total = weight[label]
    else:
        for j in range(n):
            total += target(weight, smoothing, j, n, label)
    for j in range(n):
        dx[j] = dloss * <floating>total * p[j]
    if smoothing == 0 and p[label] < 0.5:
        dx[label] -= dloss * <floating>total
    elif smoothing == 0:            # p[label] - 1, as the sum of the other probabilities
        dx[label] = -dloss * <floating>(total * sum_without(p, n, label))
    else:
        for j in range(n):
            dx[j] -= dloss * target(weight, smoothing, j, n, label)


cdef void losses_all(const floating* x, const int64_t* labels, const floating* weight,
                     double smoothing, floating* losses, floating* p, Py_ssize_t m, Py_ssize_t n,
                     int threads) noexcept nogil:
    cdef Py_ssize_t i
    for i in prange(m, num_threads=threads, schedule='static'):
        losses[i] = loss_row(x + i * n, labels[i], weight, smoothing, p + i * n, n)


cdef void losses_backward_all(const floating* dlosses, const floating* p, const int64_t* labels,
                              const floating* weight, double smoothing, floating* dx,
                              Py_ssize_t m, Py_ssize_t n, int threads) noexcept nogil:
    cdef Py_ssize_t i
    for i in prange(m, num_threads=threads, schedule='static'):
        loss_row_backward(dlosses[i], p + i * n, labels[i], weight, smoothing, dx + i * n, n)


cdef cnp.ndarray checked_labels(object labels, cnp.ndarray x, str where):
    """Labels (M,) int64. They become addresses, so each is checked to be a class or negative."""
    cdef cnp.ndarray a = typed_array(labels, where, "labels", 1, cnp.NPY_INT64)
    cdef const int64_t* label = <const int64_t*>a.data
    cdef Py_ssize_t i
    has_length(a, x.shape[0], where, "labels")
    for i in range(x.shape[0]):
        if label[i] >= x.shape[1]:
            raise ValueError(f"{where}: label {label[i]} at {i} is outside "
                             f"0..{x.shape[1] - 1}")
    return a


def cross_entropy(logits, labels, weight=None, double smoothing=0.0, int threads=0):
    """(losses (M,), probabilities (M, C)) of logits (M, C) and labels (M,) int64.

    A negative label is ignored: its loss is 0. See the twin for the formula.
    """
    cdef cnp.ndarray x = real_array(logits, "cross_entropy", "logits", 2), losses, p
    cdef cnp.ndarray label = checked_labels(labels, x, "cross_entropy")
    cdef char* w = row_or_null(weight, x, "cross_entropy", "logits", "weight")
    cdef cnp.npy_intp m = x.shape[0], n = x.shape[1]
    cdef int t = threads_for(threads, 8.0 * m * n)
    losses, p = new_array(1, &m, cnp.PyArray_TYPE(x)), new_like(x)
    if m * n == 0:
        losses[...] = 0
        return losses, p
    if cnp.PyArray_TYPE(x) == cnp.NPY_FLOAT32:
        with nogil:
            losses_all(<float*>x.data, <int64_t*>label.data, <float*>w, smoothing,
                       <float*>losses.data, <float*>p.data, m, n, t)
    else:
        with nogil:
            losses_all(<double*>x.data, <int64_t*>label.data, <double*>w, smoothing,
                       <double*>losses.data, <double*>p.data, m, n, t)
    return losses, p


def cross_entropy_backward(dlosses, probabilities, labels, weight=None, double smoothing=0.0,
                           int threads=0):
    """dlogits (M, C) from dlosses (M,)."""
    cdef cnp.ndarray p = real_array(probabilities, "cross_entropy_backward", "probabilities", 2)
    cdef cnp.ndarray g = real_array(dlosses, "cross_entropy_backward", "dlosses", 1), dx
    cdef cnp.ndarray label = checked_labels(labels, p, "cross_entropy_backward")
    cdef char* w = row_or_null(weight, p, "cross_entropy_backward", "probabilities",
                               "weight")
    cdef Py_ssize_t m = p.shape[0], n = p.shape[1]
    cdef int t = threads_for(threads, 4.0 * m * n)
    same_dtype(p, g, "cross_entropy_backward", "probabilities", "dlosses")
    has_length(g, m, "cross_entropy_backward", "dlosses")
    dx = new_like(p)
    if m * n == 0:
        return dx
    if cnp.PyArray_TYPE(p) == cnp.NPY_FLOAT32:
        with nogil:
            losses_backward_all(<float*>g.data, <float*>p.data, <int64_t*>label.data, <float*>w,
                                smoothing, <float*>dx.data, m, n, t)
    else:
        with nogil:
            losses_backward_all(<double*>g.data, <double*>p.data, <int64_t*>label.data,
                                <double*>w, smoothing, <double*>dx.data, m, n, t)
    return dx
