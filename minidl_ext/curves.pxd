# Activations and their gradients: plain loops over contiguous memory, the result apart from what is
# read, which the compiler vectorizes in float32 (vecmath.h).
from cython cimport floating

from minidl_ext.vecmath cimport vabs, vexp, vexp_below_0, vexpm1, vgauss, vlog1p, vlogistic, \
    vnormal_tail, vtanh

cdef enum Curve:
    LEAKY_RELU, ELU, SOFTPLUS, SILU, GELU, GELU_TANH, SIGMOID, TANH

cdef extern from *:
    """
    #define TWO_ROOT_2_OVER_PI 1.5957691216057308    /* of GELU by tanh */
    #define CUBIC 0.044715
    #define DENSITY_AT_0 0.3989422804014327          /* 1 / sqrt(2 pi) */
    """
    double TWO_ROOT_2_OVER_PI, CUBIC, DENSITY_AT_0


cdef inline floating logistic_end(floating x) noexcept nogil:
    """How far from 0 exp(-|x|) has vanished."""
    if floating is float:
        return 104
    else:
        return 800


cdef inline floating normal_end(floating x) noexcept nogil:
    """How far from 0 exp(-x^2 / 2) has vanished."""
    if floating is float:
        return 14.5
    else:
        return 40


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


cdef inline floating reach(floating x, floating end) noexcept nogil:
    """|x|, at most `end`; NaN stays."""
    x = vabs(x)
    return end if x > end else x


cdef inline floating near(floating x, floating end) noexcept nogil:
    """x; 0 where it is farther from 0 than `end`, and what it is multiplied with has vanished."""
    return 0 if vabs(x) > end else x


cdef inline void curve(Curve f, const floating* x, floating* y, Py_ssize_t n, floating p, floating q
                       ) noexcept nogil:
    """y = f(x)."""
    cdef Py_ssize_t i
    cdef floating zero = 0, one = 1, two_a = <floating>TWO_ROOT_2_OVER_PI, b = <floating>CUBIC, v, e
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
            e = vexp_below_0(-reach(x[i], logistic_end(x[i])))
            v = one / (one + e)
            y[i] = from_below(x[i]) * (e * v if x[i] < 0 else v)
    elif f == SIGMOID:
        for i in range(n):
            y[i] = vlogistic(x[i])
    elif f == TANH:
        for i in range(n):
            y[i] = vtanh(x[i])
    elif f == GELU:
        for i in range(n):
            v = reach(x[i], normal_end(x[i]))
            v = vnormal_tail(v, vgauss(v))
            y[i] = from_below(x[i]) * (v if x[i] < 0 else one - v)
    else:               # (1 + tanh(u)) / 2 is the logistic function of 2u
        for i in range(n):
            v = within(x[i])
            y[i] = from_below(x[i]) * vlogistic(two_a * (v + b * v * v * v))


cdef inline void curve_gradient(Curve f, const floating* dy, const floating* x, floating* dx,
                                Py_ssize_t n, floating p, floating q) noexcept nogil:
    """dx = f'(x) dy."""
    cdef Py_ssize_t i
    cdef floating zero = 0, one = 1, three = 3, four = 4, two_a = <floating>TWO_ROOT_2_OVER_PI
    cdef floating b = <floating>CUBIC, density = <floating>DENSITY_AT_0
    cdef floating v, e, share, rest, above, below
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
            e = vexp_below_0(-reach(x[i], logistic_end(x[i])))
            v = near(x[i], logistic_end(x[i]))
            above = one / (one + e)
            below = e * above
            share = below if x[i] < 0 else above
            rest = above if x[i] < 0 else below
            dx[i] = dy[i] * (share * (one + v * rest))
    elif f == GELU:
        for i in range(n):
            v = reach(x[i], normal_end(x[i]))
            e = vgauss(v)
            share = vnormal_tail(v, e)
            v = near(x[i], normal_end(x[i]))
            dx[i] = dy[i] * ((share if x[i] < 0 else one - share) + v * density * e)
    else:
        for i in range(n):
            v = within(x[i])
            e = two_a * (v + b * v * v * v)
            e = vexp(-e if e > 0 else e)
            share = (e if v < 0 else one) / (one + e)
            rest = (one if v < 0 else e) / (one + e)
            dx[i] = dy[i] * (share * (one + v * two_a * (one + three * b * v * v) * rest))
