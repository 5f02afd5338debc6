"""Activations other than ReLU, sigmoid and tanh; and all gradients of activations but ReLU's.

Those three are in arithmetic.pyx, as functions of one array like exp, and so is ReLU's gradient,
which is computed from y. Sigmoid's and tanh's are here, since their loops are like the others'.
Gradients are computed from x, not from y: a y that has come close to 1 no longer tells how close.
curves.h has one loop for each function. Here, an array is cut into pieces of fixed length, which
are shared out to threads. The twin has the formulas.
"""
cimport numpy as cnp
from cython cimport floating
from cython.parallel cimport prange

from minidl_ext.elementwise.curves cimport LEAKY_RELU, curve, curve_gradient, curves_by_name
from minidl_ext.runtime.arguments cimport disjoint_or_same, output_like, real_array, same_dtype, \
    same_shape
from minidl_ext.runtime.memory cimport ceil_div
from minidl_ext.runtime.threads cimport threads_for

cnp.import_array()

cdef enum:
    PIECE = 16384       # elements a thread takes at a time

cdef dict CURVES = curves_by_name()    # by which the kernels below ask for a function


cdef void curve_all(int f, const floating* dy, const floating* x, floating* y, Py_ssize_t n,
                    floating p, floating q, int threads) noexcept nogil:
    """y = f(x), or, where dy is not NULL, y = f'(x) dy."""
    cdef Py_ssize_t i, first, count
    for i in prange(ceil_div(n, PIECE), num_threads=threads, schedule='static'):
        first = i * PIECE
        count = min(n - first, <Py_ssize_t>PIECE)
        if dy == NULL:
            curve(f, x + first, y + first, count, p, q)
        else:
            curve_gradient(f, dy + first, x + first, y + first, count, p, q)


cdef void compute(int f, char* dy, cnp.ndarray x, cnp.ndarray y, double p, double q, int threads
                  ) noexcept:
    """curve_all for arrays of either dtype."""
    cdef Py_ssize_t n = cnp.PyArray_SIZE(x)
    cdef int t = threads_for(threads, <double>n * (1 if f == LEAKY_RELU else 8))
    if cnp.PyArray_TYPE(x) == cnp.NPY_FLOAT32:
        with nogil:
            curve_all(f, <float*>dy, <float*>x.data, <float*>y.data, n, <float>p, <float>q, t)
    else:
        with nogil:
            curve_all(f, <double*>dy, <double*>x.data, <double*>y.data, n, p, q, t)


cdef forward_kernel(str name, object x, double p, double q, object out, int threads,
                    str variant=None):
    """The kernel of a function of curves.h: of that called `name`, or of a `variant` of it."""
    cdef int f = CURVES[variant or name][0]
    cdef cnp.ndarray a = real_array(x, name, "x", -1), y = output_like(out, name, a)
    disjoint_or_same(y, a, name, "x")
    compute(f, NULL, a, y, p, q, threads)
    return y


cdef backward_kernel(str name, object dy, object x, double p, double q, object out, int threads,
                     str variant=None):
    """The kernel of its gradient."""
    cdef int f = CURVES[variant or name][0]
    name += "_backward"
    cdef cnp.ndarray g = real_array(dy, name, "dy", -1), a = real_array(x, name, "x", -1), dx
    same_dtype(g, a, name, "dy", "x")
    same_shape(g, a, name, "dy", "x")
    dx = output_like(out, name, g)
    disjoint_or_same(dx, g, name, "dy")
    disjoint_or_same(dx, a, name, "x")
    compute(f, g.data, a, dx, p, q, threads)
    return dx


def sigmoid_backward(dy, x, out=None, int threads=0):
    """dx = s (1 - s) dy, s = 1 / (1 + exp(-x))."""
    return backward_kernel("sigmoid", dy, x, 0, 0, out, threads)


def tanh_backward(dy, x, out=None, int threads=0):
    """dx = (1 - tanh(x)^2) dy."""
    return backward_kernel("tanh", dy, x, 0, 0, out, threads)


def leaky_relu(x, double slope, out=None, int threads=0):
    """x where it is positive, else slope x."""
    return forward_kernel("leaky_relu", x, slope, 0, out, threads)


def leaky_relu_backward(dy, x, double slope, out=None, int threads=0):
    """dx = dy where x > 0, else slope dy."""
    return backward_kernel("leaky_relu", dy, x, slope, 0, out, threads)


def elu(x, double alpha, out=None, int threads=0):
    """x where it is positive, else alpha (exp(x) - 1)."""
    return forward_kernel("elu", x, alpha, 0, out, threads)


def elu_backward(dy, x, double alpha, out=None, int threads=0):
    """dx = dy where x > 0, else alpha exp(x) dy."""
    return backward_kernel("elu", dy, x, alpha, 0, out, threads)


def softplus(x, double beta, double threshold, out=None, int threads=0):
    """log(1 + exp(beta x)) / beta; x itself where beta x is above the threshold."""
    return forward_kernel("softplus", x, beta, threshold, out, threads)


def softplus_backward(dy, x, double beta, double threshold, out=None, int threads=0):
    """dx = dy / (1 + exp(-beta x)); dy above the threshold."""
    return backward_kernel("softplus", dy, x, beta, threshold, out, threads)


def silu(x, out=None, int threads=0):
    """x / (1 + exp(-x))."""
    return forward_kernel("silu", x, 0, 0, out, threads)


def silu_backward(dy, x, out=None, int threads=0):
    """dx = s (1 + x (1 - s)) dy, s = 1 / (1 + exp(-x))."""
    return backward_kernel("silu", dy, x, 0, 0, out, threads)


def gelu(x, bint tanh=False, out=None, int threads=0):
    """x P(x), where P is the normal distribution function; `tanh` takes an approximation of it."""
    return forward_kernel("gelu", x, 0, 0, out, threads, "gelu_tanh" if tanh else None)


def gelu_backward(dy, x, bint tanh=False, out=None, int threads=0):
    """dx = (P(x) + x P'(x)) dy, P the normal distribution function."""
    return backward_kernel("gelu", dy, x, 0, 0, out, threads, "gelu_tanh" if tanh else None)
