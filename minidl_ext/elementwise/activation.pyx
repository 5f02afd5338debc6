"""Activations with parameters, and gradients of these and of sigmoid and tanh, from x: where y has
come close to 1, it no longer tells how close.

One loop per function over a piece of contiguous memory (curves.h); pieces are shared out to
threads. Formulas are in the twin.
"""
cimport numpy as cnp
from cython.parallel cimport prange

from minidl_ext.runtime.arguments cimport disjoint_or_same, output_like, real_array, same_dtype, same_shape
from minidl_ext.elementwise.curves cimport ELU, GELU, GELU_TANH, LEAKY_RELU, SIGMOID, SILU, SOFTPLUS, TANH, \
    curve_f32, curve_f64, curve_gradient_f32, curve_gradient_f64
from minidl_ext.runtime.threads cimport threads_for

cnp.import_array()

cdef enum:
    PIECE = 16384       # elements a thread takes at a time


cdef forward_kernel(int f, str name, object x, double p, double q, object out, int threads):
    cdef cnp.ndarray a = real_array(x, name, "x", -1), y = output_like(out, name, a)
    cdef Py_ssize_t n = cnp.PyArray_SIZE(a), i
    cdef int t = threads_for(threads, <double>n * (1 if f == LEAKY_RELU else 8))
    disjoint_or_same(y, a, name, "x")
    if cnp.PyArray_TYPE(a) == cnp.NPY_FLOAT32:
        for i in prange((n + PIECE - 1) // PIECE, nogil=True, num_threads=t, schedule='static'):
            curve_f32(f, <float*>a.data + i * PIECE, <float*>y.data + i * PIECE,
                    min(n - i * PIECE, <Py_ssize_t>PIECE), <float>p, <float>q)
    else:
        for i in prange((n + PIECE - 1) // PIECE, nogil=True, num_threads=t, schedule='static'):
            curve_f64(f, <double*>a.data + i * PIECE, <double*>y.data + i * PIECE,
                    min(n - i * PIECE, <Py_ssize_t>PIECE), p, q)
    return y


cdef backward_kernel(int f, str name, object dy, object x, double p, double q, object out,
                     int threads):
    cdef cnp.ndarray g = real_array(dy, name, "dy", -1), a = real_array(x, name, "x", -1), dx
    cdef Py_ssize_t n = cnp.PyArray_SIZE(g), i
    cdef int t = threads_for(threads, <double>n * (1 if f == LEAKY_RELU else 8))
    same_dtype(g, a, name, "dy", "x")
    same_shape(g, a, name, "dy", "x")
    dx = output_like(out, name, g)
    disjoint_or_same(dx, g, name, "dy")
    disjoint_or_same(dx, a, name, "x")
    if cnp.PyArray_TYPE(g) == cnp.NPY_FLOAT32:
        for i in prange((n + PIECE - 1) // PIECE, nogil=True, num_threads=t, schedule='static'):
            curve_gradient_f32(f, <float*>g.data + i * PIECE, <float*>a.data + i * PIECE,
                     <float*>dx.data + i * PIECE, min(n - i * PIECE, <Py_ssize_t>PIECE), <float>p,
                     <float>q)
    else:
        for i in prange((n + PIECE - 1) // PIECE, nogil=True, num_threads=t, schedule='static'):
            curve_gradient_f64(f, <double*>g.data + i * PIECE, <double*>a.data + i * PIECE,
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
