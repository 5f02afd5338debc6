"""Elementwise functions of one or two arrays, and ReLU's gradient, which is a function of dy and y.

Each function is one plain loop over a piece of contiguous memory, which the compiler vectorizes;
pieces are shared out to threads. Two operands may have the same shape, or one of them may be a
number, or an array that repeats along the leading axes of the other (a bias). Operands of other
shapes, and every dtype that is not float32 or float64, go to NumPy's own ufunc.
"""
cimport numpy as cnp
from cython cimport floating
from cython.parallel cimport prange
from libc.string cimport memcpy

from minidl_ext.runtime.arguments cimport disjoint_or_same, output_like, real_array, same_dtype, \
    same_shape
from minidl_ext.runtime.memory cimport ceil_div
from minidl_ext.runtime.threads cimport threads_for
from minidl_ext.simd.vecmath cimport vexp, vlog, vlogistic, vpow, vsqrt, vtanh

import numpy as np

from minidl_ext.runtime import memory

cnp.import_array()

cdef enum:
    PIECE = 16384       # elements a thread takes at a time
    LARGE = 1 << 26     # elements of a result that may not fit memory
    ROW = 1024          # length of the row that a number or a short array is repeated into, at most

cdef enum Unary:
    EXP, LOG, SQRT, ABSOLUTE, NEGATIVE, TANH, SIGMOID, RELU

cdef enum Binary:
    ADD, SUBTRACT, MULTIPLY, DIVIDE, MAXIMUM, MINIMUM, POWER, RELU_BACKWARD


# ------------------------------------------------------------------------------ one operand

cdef void unary(Unary f, const floating* x, floating* y, Py_ssize_t n) noexcept nogil:
    """y = f(x), for n values."""
    cdef Py_ssize_t i
    if f == EXP:
        for i in range(n):
            y[i] = vexp(x[i])
    elif f == LOG:
        for i in range(n):
            y[i] = vlog(x[i])
    elif f == SQRT:
        for i in range(n):
            y[i] = vsqrt(x[i])
    elif f == ABSOLUTE:
        for i in range(n):
            y[i] = x[i] if x[i] > 0 else 0 - x[i]
    elif f == NEGATIVE:
        for i in range(n):
            y[i] = -x[i]
    elif f == TANH:
        for i in range(n):
            y[i] = vtanh(x[i])
    elif f == SIGMOID:
        for i in range(n):
            y[i] = vlogistic(x[i])
    elif f == RELU:
        for i in range(n):
            y[i] = 0 if x[i] <= 0 else x[i]     # NaN stays


cdef void unary_all(Unary f, const floating* x, floating* y, Py_ssize_t n, int threads
                    ) noexcept nogil:
    cdef Py_ssize_t i
    for i in prange(ceil_div(n, PIECE), num_threads=threads, schedule='static'):
        unary(f, x + i * PIECE, y + i * PIECE, min(n - i * PIECE, <Py_ssize_t>PIECE))


cdef unary_kernel(Unary f, str name, object x, object out, int threads, object ufunc):
    cdef cnp.ndarray a, y
    cdef Py_ssize_t n
    cdef int t
    if isinstance(x, np.ndarray) and cnp.PyArray_TYPE(<cnp.ndarray>x) not in (
            cnp.NPY_FLOAT32, cnp.NPY_FLOAT64) and ufunc is not None:
        return ufunc(x, out=out)
    a = real_array(x, name, "x", -1)
    y = output_like(out, name, a)
    disjoint_or_same(y, a, name, "x")
    n = cnp.PyArray_SIZE(a)
    t = threads_for(threads, <double>n * (8 if f <= LOG or TANH <= f <= SIGMOID else 1))
    if cnp.PyArray_TYPE(a) == cnp.NPY_FLOAT32:
        with nogil:
            unary_all(f, <float*>a.data, <float*>y.data, n, t)
    else:
        with nogil:
            unary_all(f, <double*>a.data, <double*>y.data, n, t)
    return y


# ----------------------------------------------------------------------------- two operands

cdef void binary(Binary f, const floating* a, const floating* b, floating* y, Py_ssize_t n
                 ) noexcept nogil:
    """y = f(a, b), for n values."""
    cdef Py_ssize_t i
    if f == ADD:
        for i in range(n):
            y[i] = a[i] + b[i]
    elif f == SUBTRACT:
        for i in range(n):
            y[i] = a[i] - b[i]
    elif f == MULTIPLY:
        for i in range(n):
            y[i] = a[i] * b[i]
    elif f == DIVIDE:
        for i in range(n):
            y[i] = a[i] / b[i]
    elif f == MAXIMUM:      # NaN wins
        for i in range(n):
            y[i] = a[i] if (a[i] >= b[i]) | (a[i] != a[i]) else b[i]
    elif f == MINIMUM:
        for i in range(n):
            y[i] = a[i] if (a[i] <= b[i]) | (a[i] != a[i]) else b[i]
    elif f == POWER:
        for i in range(n):
            y[i] = vpow(a[i], b[i])
    elif f == RELU_BACKWARD:
        for i in range(n):
            y[i] = a[i] if b[i] > 0 else 0


cdef void binary_piece(Binary f, const floating* a, Py_ssize_t period_a, const floating* b,
                       Py_ssize_t period_b, floating* y, Py_ssize_t first, Py_ssize_t last
                       ) noexcept nogil:
    """Elements first .. last - 1 of y. Operands repeat after as many elements as their period."""
    cdef Py_ssize_t i = first, n, at_a, at_b
    while i < last:
        at_a, at_b = i % period_a, i % period_b
        n = min(last - i, min(period_a - at_a, period_b - at_b))
        binary(f, a + at_a, b + at_b, y + i, n)
        i += n


cdef void binary_all(Binary f, const floating* a, Py_ssize_t period_a, const floating* b,
                     Py_ssize_t period_b, floating* y, Py_ssize_t n, int threads) noexcept nogil:
    cdef Py_ssize_t i
    for i in prange(ceil_div(n, PIECE), num_threads=threads, schedule='static'):
        binary_piece(f, a, period_a, b, period_b, y, i * PIECE,
                     min(n, (i + 1) * <Py_ssize_t>PIECE))


cdef bint is_number(object v):
    return isinstance(v, (float, int)) and not isinstance(v, np.generic)


cdef object array_of(object number, int typenum):
    """A number as an array, since the loops take arrays only."""
    cdef cnp.npy_intp n = 1
    array = cnp.PyArray_EMPTY(1, &n, typenum, 0)
    array[...] = number
    return array


cdef cnp.ndarray repeated(cnp.ndarray a, cnp.npy_intp n):
    """A row that repeats a short operand of n values, since a loop is called for each repetition;
    `a` itself if it is long, or not repeated."""
    cdef cnp.npy_intp size = cnp.PyArray_SIZE(a), length
    cdef Py_ssize_t filled = cnp.PyArray_NBYTES(a), end
    cdef cnp.ndarray row
    if size == n or size > ROW // 2:
        return a
    length = min(n, ROW // size * size)
    row = cnp.PyArray_EMPTY(1, &length, cnp.PyArray_TYPE(a), 0)
    end = cnp.PyArray_NBYTES(row)
    memcpy(row.data, a.data, filled)
    while filled < end:
        memcpy(row.data + filled, row.data, min(filled, end - filled))
        filled *= 2
    return row


cdef bint trails(cnp.ndarray small, cnp.ndarray large):
    """Whether small's shape, without leading axes of size 1, is how large's shape ends."""
    cdef int i, n = cnp.PyArray_NDIM(small), shift = cnp.PyArray_NDIM(large) - n
    cdef bint leading = True
    if shift < 0:
        return False
    for i in range(n):
        if cnp.PyArray_DIM(small, i) != cnp.PyArray_DIM(large, i + shift):
            if not (leading and cnp.PyArray_DIM(small, i) == 1):
                return False
        else:
            leading = False
    return cnp.PyArray_SIZE(small) > 0


cdef by_numpy(str name, a, b, out, ufunc):
    """The result of NumPy's ufunc; MemoryError if it, broadcast, is more than memory holds."""
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray) and \
            <double>cnp.PyArray_SIZE(<cnp.ndarray>a) * cnp.PyArray_SIZE(<cnp.ndarray>b) > LARGE:
        memory.check_shape(name, np.broadcast_shapes(np.shape(a), np.shape(b)), a.dtype)
    return ufunc(a, b, out=out)


cdef void compute(Binary f, cnp.ndarray a, cnp.ndarray b, cnp.ndarray y, int threads) noexcept:
    """binary_all for arrays of either dtype, none of them empty."""
    cdef Py_ssize_t n = cnp.PyArray_SIZE(y), m = cnp.PyArray_SIZE(a), k = cnp.PyArray_SIZE(b)
    cdef int t = threads_for(threads, <double>n * (16 if f == POWER else 1))
    if cnp.PyArray_TYPE(y) == cnp.NPY_FLOAT32:
        with nogil:
            binary_all(f, <float*>a.data, m, <float*>b.data, k, <float*>y.data, n, t)
    else:
        with nogil:
            binary_all(f, <double*>a.data, m, <double*>b.data, k, <double*>y.data, n, t)


cdef binary_kernel(Binary f, str name, object a, object b, object out, int threads, object ufunc):
    cdef cnp.ndarray x, w, y, shaped
    cdef cnp.npy_intp n
    cdef int typenum
    shaped_object = b if is_number(a) else a
    if not isinstance(shaped_object, np.ndarray):
        return by_numpy(name, a, b, out, ufunc)
    shaped = <cnp.ndarray>shaped_object
    typenum = cnp.PyArray_TYPE(shaped)
    if typenum != cnp.NPY_FLOAT32 and typenum != cnp.NPY_FLOAT64:
        return by_numpy(name, a, b, out, ufunc)
    if is_number(a):
        a = array_of(a, typenum)
    elif is_number(b):
        b = array_of(b, typenum)
    elif not isinstance(b, np.ndarray) or cnp.PyArray_TYPE(<cnp.ndarray>b) != typenum:
        return by_numpy(name, a, b, out, ufunc)
    elif not cnp.PyArray_SAMESHAPE(<cnp.ndarray>a, <cnp.ndarray>b):
        if trails(<cnp.ndarray>b, <cnp.ndarray>a):
            pass
        elif trails(<cnp.ndarray>a, <cnp.ndarray>b):
            shaped = <cnp.ndarray>b
        else:
            return by_numpy(name, a, b, out, ufunc)
    x, w = real_array(a, name, "a", -1), real_array(b, name, "b", -1)
    y = output_like(out, name, shaped)
    disjoint_or_same(y, x, name, "a")
    disjoint_or_same(y, w, name, "b")
    n = cnp.PyArray_SIZE(y)
    if n > 0:
        compute(f, repeated(x, n), repeated(w, n), y, threads)
    return y


def exp(x, out=None, int threads=0):
    return unary_kernel(EXP, "exp", x, out, threads, None)


def log(x, out=None, int threads=0):
    return unary_kernel(LOG, "log", x, out, threads, None)


def sqrt(x, out=None, int threads=0):
    return unary_kernel(SQRT, "sqrt", x, out, threads, None)


def absolute(x, out=None, int threads=0):
    return unary_kernel(ABSOLUTE, "absolute", x, out, threads, np.absolute)


def negative(x, out=None, int threads=0):
    return unary_kernel(NEGATIVE, "negative", x, out, threads, np.negative)


def tanh(x, out=None, int threads=0):
    return unary_kernel(TANH, "tanh", x, out, threads, None)


def sigmoid(x, out=None, int threads=0):
    """1 / (1 + exp(-x)), from exp(-|x|) so that nothing overflows."""
    return unary_kernel(SIGMOID, "sigmoid", x, out, threads, None)


def relu(x, out=None, int threads=0):
    """max(x, 0); NaN stays NaN."""
    return unary_kernel(RELU, "relu", x, out, threads, None)


def relu_backward(dy, y, out=None, int threads=0):
    """dx = dy where y > 0, else 0."""
    cdef str name = "relu_backward"
    cdef cnp.ndarray g = real_array(dy, name, "dy", -1), v = real_array(y, name, "y", -1), dx
    same_dtype(g, v, name, "dy", "y")
    same_shape(g, v, name, "dy", "y")
    dx = output_like(out, name, g)
    disjoint_or_same(dx, g, name, "dy")
    disjoint_or_same(dx, v, name, "y")
    if cnp.PyArray_SIZE(dx) > 0:
        compute(RELU_BACKWARD, g, v, dx, threads)
    return dx


def add(a, b, out=None, int threads=0):
    return binary_kernel(ADD, "add", a, b, out, threads, np.add)


def subtract(a, b, out=None, int threads=0):
    return binary_kernel(SUBTRACT, "subtract", a, b, out, threads, np.subtract)


def multiply(a, b, out=None, int threads=0):
    return binary_kernel(MULTIPLY, "multiply", a, b, out, threads, np.multiply)


def divide(a, b, out=None, int threads=0):
    return binary_kernel(DIVIDE, "divide", a, b, out, threads, np.true_divide)


def maximum(a, b, out=None, int threads=0):
    return binary_kernel(MAXIMUM, "maximum", a, b, out, threads, np.maximum)


def minimum(a, b, out=None, int threads=0):
    return binary_kernel(MINIMUM, "minimum", a, b, out, threads, np.minimum)


def power(a, b, out=None, int threads=0):
    if is_number(b) and b == 2 and isinstance(a, np.ndarray) and a.dtype.kind == "f":
        return multiply(a, a, out, threads)
    return binary_kernel(POWER, "power", a, b, out, threads, np.power)
