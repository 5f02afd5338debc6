"""Activations with parameters, and gradients of these and of sigmoid and tanh, from x: where y has
come close to 1, it no longer tells how close.

One plain loop per function over a piece of contiguous memory, which the compiler vectorizes in
float32 (vecmath.h); pieces are shared out to threads. Formulas are in the twin.
"""
cimport numpy as cnp
from cython cimport floating
from cython.parallel cimport prange

from minidl_ext.arguments cimport apart_or_same, output_like, real_array, same_dtype, same_shape
from minidl_ext.threads cimport team
from minidl_ext.vecmath cimport vexp, vexpm1, vgauss, vlog1p, vlogistic, vnormal_cdf

cnp.import_array()

cdef enum:
    PIECE = 16384       # elements a thread takes at a time
    PART = 256          # values that are put down before they are used

cdef enum Activation:
    LEAKY_RELU, ELU, SOFTPLUS, SILU, GELU, GELU_TANH, SIGMOID, TANH

cdef double ROOT_2_OVER_PI = 0.7978845608028654, CUBIC = 0.044715     # of GELU by tanh
cdef double DENSITY_AT_0 = 0.3989422804014327                          # 1 / sqrt(2 pi)


cdef inline floating within(floating x) noexcept nogil:
    """x, but no farther from 0 than where exp(-|x|) has vanished; NaN stays."""
    cdef floating bound
    if floating is float:
        bound = 110
    else:
        bound = 800
    x = bound if x > bound else x
    return -bound if x < -bound else x


cdef inline floating from_below(floating x) noexcept nogil:
    """x, but 0 so far below 0 that what it is multiplied with has vanished."""
    cdef floating bound
    if floating is float:
        bound = -110
    else:
        bound = -800
    return 0 if x < bound else x


cdef void gelu_forward(const floating* x, floating* y, Py_ssize_t n) noexcept nogil:
    cdef floating gauss[PART]
    cdef Py_ssize_t first = 0, count, i
    while first < n:
        count = min(n - first, <Py_ssize_t>PART)
        for i in range(count):
            gauss[i] = vgauss(x[first + i])
        for i in range(count):
            y[first + i] = from_below(x[first + i]) * vnormal_cdf(x[first + i], gauss[i])
        first += count


cdef void gelu_slope(const floating* dy, const floating* x, floating* dx, Py_ssize_t n
                     ) noexcept nogil:
    cdef floating gauss[PART]
    cdef floating v, c = <floating>DENSITY_AT_0
    cdef Py_ssize_t first = 0, count, i
    while first < n:
        count = min(n - first, <Py_ssize_t>PART)
        for i in range(count):
            gauss[i] = vgauss(x[first + i])
        for i in range(count):
            v = within(x[first + i])
            dx[first + i] = dy[first + i] * (vnormal_cdf(v, gauss[i]) + v * c * gauss[i])
        first += count


cdef void forward(Activation f, const floating* x, floating* y, Py_ssize_t n, floating p,
                  floating q) noexcept nogil:
    cdef Py_ssize_t i
    cdef floating zero = 0, two_a = <floating>(2 * ROOT_2_OVER_PI), b = <floating>CUBIC, v
    if f == LEAKY_RELU:
        for i in range(n):
            y[i] = x[i] if x[i] > 0 else p * x[i]
    elif f == ELU:
        for i in range(n):
            v = p * vexpm1(zero if x[i] > 0 else x[i])
            y[i] = x[i] if x[i] > 0 else v
    elif f == SOFTPLUS:
        for i in range(n):
            v = p * x[i]
            v = (v if v > 0 else zero) + vlog1p(vexp(-v if v > 0 else v))
            y[i] = x[i] if p * x[i] > q else v / p
    elif f == SILU:
        for i in range(n):
            y[i] = from_below(x[i]) * vlogistic(x[i])
    elif f == GELU:
        gelu_forward(x, y, n)
    else:               # (1 + tanh(u)) / 2 is the logistic function of 2u
        for i in range(n):
            v = within(x[i])
            y[i] = from_below(x[i]) * vlogistic(two_a * (v + b * v * v * v))


cdef void backward(Activation f, const floating* dy, const floating* x, floating* dx,
                   Py_ssize_t n, floating p, floating q) noexcept nogil:
    cdef Py_ssize_t i
    cdef floating zero = 0, one = 1, three = 3, four = 4, two_a = <floating>(2 * ROOT_2_OVER_PI)
    cdef floating b = <floating>CUBIC, v, e, share, rest
    if f == LEAKY_RELU:
        for i in range(n):
            dx[i] = dy[i] if x[i] > 0 else p * dy[i]
    elif f == ELU:
        for i in range(n):
            v = p * vexp(zero if x[i] > 0 else x[i])
            dx[i] = dy[i] * (one if x[i] > 0 else v)
    elif f == SOFTPLUS:
        for i in range(n):
            v = vlogistic(p * x[i])
            dx[i] = dy[i] * (one if p * x[i] > q else v)
    elif f == SIGMOID:
        for i in range(n):
            e = vexp(-x[i] if x[i] > 0 else x[i])
            dx[i] = dy[i] * (e / ((one + e) * (one + e)))
    elif f == TANH:
        for i in range(n):
            v = x[i] + x[i]
            e = vexp(-v if v > 0 else v)
            dx[i] = dy[i] * (four * e / ((one + e) * (one + e)))
    elif f == SILU:
        for i in range(n):
            v = within(x[i])
            e = vexp(-v if v > 0 else v)
            share = (e if v < 0 else one) / (one + e)
            rest = (one if v < 0 else e) / (one + e)
            dx[i] = dy[i] * (share * (one + v * rest))
    elif f == GELU:
        gelu_slope(dy, x, dx, n)
    else:
        for i in range(n):
            v = within(x[i])
            e = two_a * (v + b * v * v * v)
            e = vexp(-e if e > 0 else e)
            share = (e if v < 0 else one) / (one + e)
            rest = (one if v < 0 else e) / (one + e)
            dx[i] = dy[i] * (share * (one + v * two_a * (one + three * b * v * v) * rest))


cdef forward_kernel(Activation f, str name, object x, double p, double q, object out, int threads):
    cdef cnp.ndarray a = real_array(x, name, "x", -1), y = output_like(out, name, a)
    cdef Py_ssize_t n = cnp.PyArray_SIZE(a), i
    cdef int t = team(threads, <double>n * (1 if f == LEAKY_RELU else 8))
    apart_or_same(y, a, name, "x")
    if cnp.PyArray_TYPE(a) == cnp.NPY_FLOAT32:
        for i in prange((n + PIECE - 1) // PIECE, nogil=True, num_threads=t, schedule='static'):
            forward(f, <float*>a.data + i * PIECE, <float*>y.data + i * PIECE,
                    min(n - i * PIECE, <Py_ssize_t>PIECE), <float>p, <float>q)
    else:
        for i in prange((n + PIECE - 1) // PIECE, nogil=True, num_threads=t, schedule='static'):
            forward(f, <double*>a.data + i * PIECE, <double*>y.data + i * PIECE,
                    min(n - i * PIECE, <Py_ssize_t>PIECE), p, q)
    return y


cdef backward_kernel(Activation f, str name, object dy, object x, double p, double q, object out,
                     int threads):
    cdef cnp.ndarray g = real_array(dy, name, "dy", -1), a = real_array(x, name, "x", -1), dx
    cdef Py_ssize_t n = cnp.PyArray_SIZE(g), i
    cdef int t = team(threads, <double>n * (1 if f == LEAKY_RELU else 8))
    same_dtype(g, a, name, "dy", "x")
    same_shape(g, a, name, "dy", "x")
    dx = output_like(out, name, g)
    apart_or_same(dx, g, name, "dy")
    apart_or_same(dx, a, name, "x")
    if cnp.PyArray_TYPE(g) == cnp.NPY_FLOAT32:
        for i in prange((n + PIECE - 1) // PIECE, nogil=True, num_threads=t, schedule='static'):
            backward(f, <float*>g.data + i * PIECE, <float*>a.data + i * PIECE,
                     <float*>dx.data + i * PIECE, min(n - i * PIECE, <Py_ssize_t>PIECE), <float>p,
                     <float>q)
    else:
        for i in prange((n + PIECE - 1) // PIECE, nogil=True, num_threads=t, schedule='static'):
            backward(f, <double*>g.data + i * PIECE, <double*>a.data + i * PIECE,
                     <double*>dx.data + i * PIECE, min(n - i * PIECE, <Py_ssize_t>PIECE), p, q)
    return dx


def sigmoid_backward(dy, x, out=None, int threads=0):
    """dx = s (1 - s) dy, s = 1 / (1 + exp(-x))."""
    return backward_kernel(SIGMOID, "sigmoid_backward", dy, x, 0, 0, out, threads)


def tanh_backward(dy, x, out=None, int threads=0):
    """dx = (1 - tanh(x)^2) dy."""
    return backward_kernel(TANH, "tanh_backward", dy, x, 0, 0, out, threads)


def leaky_relu(x, double slope, out=None, int threads=0):
    """x where positive, else slope x."""
    return forward_kernel(LEAKY_RELU, "leaky_relu", x, slope, 0, out, threads)


def leaky_relu_backward(dy, x, double slope, out=None, int threads=0):
    """dx = dy where x > 0, else slope dy."""
    return backward_kernel(LEAKY_RELU, "leaky_relu_backward", dy, x, slope, 0, out, threads)


def elu(x, double alpha, out=None, int threads=0):
    """x where positive, else alpha (exp(x) - 1)."""
    return forward_kernel(ELU, "elu", x, alpha, 0, out, threads)


def elu_backward(dy, x, double alpha, out=None, int threads=0):
    """dx = dy where x > 0, else alpha exp(x) dy."""
    return backward_kernel(ELU, "elu_backward", dy, x, alpha, 0, out, threads)


def softplus(x, double beta, double threshold, out=None, int threads=0):
    """log(1 + exp(beta x)) / beta; x itself where beta x is above the threshold."""
    return forward_kernel(SOFTPLUS, "softplus", x, beta, threshold, out, threads)


def softplus_backward(dy, x, double beta, double threshold, out=None, int threads=0):
    """dx = dy / (1 + exp(-beta x)); dy above the threshold."""
    return backward_kernel(SOFTPLUS, "softplus_backward", dy, x, beta, threshold, out, threads)


def silu(x, out=None, int threads=0):
    """x / (1 + exp(-x))."""
    return forward_kernel(SILU, "silu", x, 0, 0, out, threads)


def silu_backward(dy, x, out=None, int threads=0):
    """dx = s (1 + x (1 - s)) dy, s = 1 / (1 + exp(-x))."""
    return backward_kernel(SILU, "silu_backward", dy, x, 0, 0, out, threads)


def gelu(x, bint tanh=False, out=None, int threads=0):
    """x times the normal distribution function of x, or its approximation by tanh."""
    return forward_kernel(GELU_TANH if tanh else GELU, "gelu", x, 0, 0, out, threads)


def gelu_backward(dy, x, bint tanh=False, out=None, int threads=0):
    """dx = (P(x) + x P'(x)) dy, P the normal distribution function."""
    return backward_kernel(GELU_TANH if tanh else GELU, "gelu_backward", dy, x, 0, 0, out, threads)
