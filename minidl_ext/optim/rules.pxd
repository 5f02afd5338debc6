# The rules of optimizers: how each changes the values of one piece of a parameter, in place.
from cython cimport floating

from minidl_ext.simd.vecmath cimport vsqrt

cdef enum Rule:
    SGD, ADAM, RMSPROP, ADAGRAD, LARS

# Which array of a parameter is which. SQUARES are averages of squared gradients, or their sums.
cdef enum:
    PARAMS, GRADS, VELOCITIES, MEANS, SQUARES, SLOTS

# Consecutive values of one parameter, of its gradient, and of its states.
cdef struct Piece:
    char* data[SLOTS]       # NULL for a state that the call does not have
    Py_ssize_t count        # values of the piece
    Py_ssize_t parameter    # number of the parameter in its group
    double squares[2]       # sums of squares of the parameter and the gradient, if they are needed

# The numbers of one call.
cdef struct Step:
    double lr, momentum, weight_decay, beta1, beta2, eps, correction1, correction2, alpha, trust
    bint nesterov, decoupled
    const double* rates     # LARS: a factor for each parameter's gradient,
    const double* decays    # and its weight decay


cdef inline floating decayed(floating g, floating decay, floating p) noexcept nogil:
    """g + decay * p. Without decay, p is left out: if it is infinite, 0 * p would be NaN."""
    return g + decay * p if decay != 0 else g


cdef inline void sgd(floating* p, const floating* g, floating* v, Py_ssize_t n, const Step* s
                     ) noexcept nogil:
    cdef floating lr = <floating>s.lr, momentum = <floating>s.momentum
    cdef floating decay = <floating>s.weight_decay, d
    cdef Py_ssize_t i
    if v == NULL:
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


cdef inline void adam(floating* p, const floating* g, floating* m, floating* v, Py_ssize_t n,
                      const Step* s) noexcept nogil:
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
        p[i] -= rate * m[i] / (vsqrt(v[i]) * scale + eps)


cdef inline void rmsprop(floating* p, const floating* g, floating* s, floating* m, floating* v,
                         Py_ssize_t n, const Step* o) noexcept nogil:
    cdef floating lr = <floating>o.lr, momentum = <floating>o.momentum, eps = <floating>o.eps
    cdef floating decay = <floating>o.weight_decay, keep = <floating>o.alpha
    cdef floating new = <floating>(1 - o.alpha), d, square
    cdef Py_ssize_t i
    for i in range(n):
        d = decayed(g[i], decay, p[i])
        s[i] = keep * s[i] + new * d * d
        square = s[i]
        if m != NULL:                   # centered: the variance of the gradient
            m[i] += new * (d - m[i])
            square -= m[i] * m[i]
            if square < 0:              # rounding can make it so; NaN stays
                square = 0
        d /= vsqrt(square) + eps
        if v != NULL:
            v[i] = momentum * v[i] + d
            d = v[i]
        p[i] -= lr * d


cdef inline void adagrad(floating* p, const floating* g, floating* s, Py_ssize_t n, const Step* o
                         ) noexcept nogil:
    cdef floating lr = <floating>o.lr, eps = <floating>o.eps, decay = <floating>o.weight_decay, d
    cdef Py_ssize_t i
    for i in range(n):
        d = decayed(g[i], decay, p[i])
        s[i] += d * d
        p[i] -= lr * d / (vsqrt(s[i]) + eps)


cdef inline void lars(floating* p, const floating* g, floating* v, Py_ssize_t n,
                      Py_ssize_t parameter, const Step* o) noexcept nogil:
    cdef floating lr = <floating>o.lr, momentum = <floating>o.momentum
    cdef floating rate = <floating>o.rates[parameter], decay = <floating>o.decays[parameter], d
    cdef Py_ssize_t i
    for i in range(n):
        d = rate * decayed(g[i], decay, p[i])
        if v != NULL:
            v[i] = momentum * v[i] + d
            d = v[i]
        p[i] -= lr * d


cdef inline void update_piece(Rule rule, floating* p, Piece* a, const Step* s
                              ) noexcept nogil:
    """One step of a rule. `p` are the values of the parameter; all arrays have its type."""
    cdef const floating* g = <const floating*>a.data[GRADS]
    cdef floating* velocity = <floating*>a.data[VELOCITIES]
    cdef floating* mean = <floating*>a.data[MEANS]
    cdef floating* square = <floating*>a.data[SQUARES]
    if rule == SGD:
        sgd(p, g, velocity, a.count, s)
    elif rule == ADAM:
        adam(p, g, mean, square, a.count, s)
    elif rule == RMSPROP:
        rmsprop(p, g, square, mean, velocity, a.count, s)
    elif rule == ADAGRAD:
        adagrad(p, g, square, a.count, s)
    else:
        lars(p, g, velocity, a.count, a.parameter, s)
