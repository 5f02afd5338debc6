/* Activation functions other than ReLU, and their gradients, for either float type: of contiguous
 * values, and of rows of channels that are normalized as they are read.
 *
 * Each function is written once, for one value, without branches; loops for a constant function are
 * vectorized by the compiler (in float32; in float64 they call libm). The compiler makes no fused
 * multiply-adds of its own here, so that a value comes out the same bit for bit in every loop and
 * in every family that includes this file.
 */
#ifndef MINIDL_CURVES_H
#define MINIDL_CURVES_H
#include <stddef.h>
#include <type_traits>

#include "simd/vecmath.h"
#include "simd/vectors.h"

UNFUSED_BEGIN

/* The only list of them: in C, the name by which Python asks for it, how many parameters it has. */
#define EACH_CURVE(DO) \
    DO(LEAKY_RELU, "leaky_relu", 1) \
    DO(ELU, "elu", 1) \
    DO(SOFTPLUS, "softplus", 2) \
    DO(SILU, "silu", 0) \
    DO(GELU, "gelu", 0) \
    DO(GELU_TANH, "gelu_tanh", 0) \
    DO(SIGMOID, "sigmoid", 0) \
    DO(TANH, "tanh", 0)

#define NUMBER(F, name, parameters) F,
enum { EACH_CURVE(NUMBER) CURVES };
#undef NUMBER

typedef struct {
    const char *name;
    int parameters;
} CurveOptions;

#define OPTIONS(F, name, parameters) {name, parameters},
constexpr CurveOptions CURVE_OPTIONS[CURVES] = {EACH_CURVE(OPTIONS)};
#undef OPTIONS

constexpr double ROOT_2_OVER_PI = 0.7978845608028654;       /* of GELU by tanh, as CUBIC */
constexpr double CUBIC = 0.044715;
constexpr double DENSITY_AT_0 = 0.3989422804014327;         /* 1 / sqrt(2 pi) */

/* How far from 0 exp(-|x|) has vanished, and exp(-x^2 / 2). */
template <typename Real>
constexpr Real LOGISTIC_END = sizeof(Real) == 4 ? 104.0 : 800.0;
template <typename Real>
constexpr Real NORMAL_END = sizeof(Real) == 4 ? 14.5 : 40.0;

/* What the two types compute in different ways, beside the functions of vecmath.h. */
ALWAYS_INLINE float exp_below_0(float x) { return mdl_exp_below_0_f32(x); }
ALWAYS_INLINE double exp_below_0(double x) { return exp(x); }
ALWAYS_INLINE float distance(float x) { return fabsf(x); }
ALWAYS_INLINE double distance(double x) { return fabs(x); }
ALWAYS_INLINE float gauss_of(float a) { return mdl_gauss_f32(a); }
ALWAYS_INLINE double gauss_of(double a) { return exp(-0.5 * a * a); }
ALWAYS_INLINE float normal_tail(float a, float gauss) { return mdl_normal_tail_f32(a, gauss); }
ALWAYS_INLINE double normal_tail(double a, double) { return 0.5 * erfc(0.7071067811865476 * a); }

/* |x|, at most `end`; NaN stays. */
template <typename Real>
ALWAYS_INLINE Real distance_within(Real x, Real end) {
    const Real a = distance(x);
    return a > end ? end : a;
}

/* x; 0 where it is farther from 0 than `end`, and what it is multiplied with has vanished. */
template <typename Real>
ALWAYS_INLINE Real zero_beyond(Real x, Real end) {
    return distance(x) > end ? 0 : x;
}

/* x, but no farther from 0 than `end`. */
template <typename Real>
ALWAYS_INLINE Real within(Real x, Real end) {
    x = x > end ? end : x;
    return x < -end ? -end : x;
}

/* x; 0 so far below 0 that what it is multiplied with has vanished. */
template <typename Real>
ALWAYS_INLINE Real zero_far_below(Real x) {
    return x < -LOGISTIC_END<Real> ? 0 : x;
}

/* f(x); p and q are the parameters of f. */
template <int F, typename Real>
ALWAYS_INLINE Real curve_value(Real x, Real p, Real q) {
    constexpr Real end = LOGISTIC_END<Real>;
    if (F == LEAKY_RELU) return x > 0 ? x : p * x;
    if (F == ELU) {
        const Real below = p * vexpm1(x > 0 ? 0 : x);
        return x > 0 ? x : below;
    }
    if (F == SOFTPLUS) {
        const Real v = p * x, smooth = (v > 0 ? v : 0) + vlog1p(vexp(v > 0 ? -v : v));
        return v > q ? x : smooth / p;
    }
    if (F == SILU) {
        const Real e = exp_below_0(-distance_within(x, end)), above = 1 / (1 + e);
        return zero_far_below(x) * (x < 0 ? e * above : above);
    }
    if (F == GELU) {
        const Real a = distance_within(x, NORMAL_END<Real>), tail = normal_tail(a, gauss_of(a));
        return zero_far_below(x) * (x < 0 ? tail : 1 - tail);
    }
    if (F == GELU_TANH) {       /* (1 + tanh(u)) / 2 is the logistic function of 2u */
        const Real v = within(x, end), two_a = (Real)(2 * ROOT_2_OVER_PI), b = (Real)CUBIC;
        return zero_far_below(x) * vlogistic(two_a * (v + b * v * v * v));
    }
    if (F == SIGMOID) return vlogistic(x);
    return vtanh(x);
}

/* f'(x) dy. */
template <int F, typename Real>
ALWAYS_INLINE Real curve_slope(Real dy, Real x, Real p, Real q) {
    constexpr Real end = LOGISTIC_END<Real>;
    if (F == LEAKY_RELU) return x > 0 ? dy : p * dy;
    if (F == ELU) {
        const Real below = p * vexp(x > 0 ? 0 : x);
        return dy * (x > 0 ? 1 : below);
    }
    if (F == SOFTPLUS) {
        const Real v = p * x, share = vlogistic(v);
        return dy * (v > q ? 1 : share);
    }
    if (F == SILU) {
        const Real e = exp_below_0(-distance_within(x, end)), v = zero_beyond(x, end);
        const Real above = 1 / (1 + e), below = e * above;
        return dy * ((x < 0 ? below : above) * (1 + v * (x < 0 ? above : below)));
    }
    if (F == GELU) {
        const Real a = distance_within(x, NORMAL_END<Real>), gauss = gauss_of(a);
        const Real tail = normal_tail(a, gauss), v = zero_beyond(x, NORMAL_END<Real>);
        return dy * ((x < 0 ? tail : 1 - tail) + v * (Real)DENSITY_AT_0 * gauss);
    }
    if (F == GELU_TANH) {
        const Real v = within(x, end), two_a = (Real)(2 * ROOT_2_OVER_PI), b = (Real)CUBIC;
        const Real u = two_a * (v + b * v * v * v), e = vexp(u > 0 ? -u : u);
        const Real share = (v < 0 ? e : 1) / (1 + e), rest = (v < 0 ? 1 : e) / (1 + e);
        return dy * (share * (1 + v * two_a * (1 + 3 * b * v * v) * rest));
    }
    if (F == SIGMOID) {
        const Real e = vexp(x > 0 ? -x : x);
        return dy * (e / ((1 + e) * (1 + e)));
    }
    const Real v = x + x, e = vexp(v > 0 ? -v : v);
    return dy * (4 * e / ((1 + e) * (1 + e)));
}

/* Calls body with f as a constant. */
template <typename Body>
ALWAYS_INLINE void with_curve(int f, const Body &body) {
    switch (f) {
#define CASE(F, name, parameters) \
    case F: return body(std::integral_constant<int, F>{});
        EACH_CURVE(CASE)
#undef CASE
    }
}

/* y = f(x). */
template <typename Real>
static void curve(int f, const Real *x, Real *y, ptrdiff_t n, Real p, Real q) {
    with_curve(f, [&](auto F) INLINED {
        for (ptrdiff_t i = 0; i < n; i++) y[i] = curve_value<F.value>(x[i], p, q);
    });
}

/* dx = f'(x) dy. */
template <typename Real>
static void curve_gradient(int f, const Real *dy, const Real *x, Real *dx, ptrdiff_t n, Real p,
                           Real q) {
    with_curve(f, [&](auto F) INLINED {
        for (ptrdiff_t i = 0; i < n; i++) dx[i] = curve_slope<F.value>(dy[i], x[i], p, q);
    });
}

/* curve_rows for one function; Backward says whether there is a dy. */
template <int F, bool Backward, typename Real>
ALWAYS_INLINE void one_curve_rows(const Real *__restrict dy, const Real *__restrict x,
                                  Real *__restrict y, ptrdiff_t rows, ptrdiff_t channels,
                                  const Real *__restrict factors, Real p, Real q) {
    const Real *__restrict mean = factors, *__restrict scale = factors + channels,
                           *__restrict shift = factors + 2 * channels;
    /* How many values ahead rows are prefetched: complete rows, about four kilobytes. */
    const ptrdiff_t cache_line = 64 / sizeof(Real);
    const ptrdiff_t ahead = channels * (1 + 64 * cache_line / channels);
    for (ptrdiff_t r = 0; r < rows; r++) {
        for (ptrdiff_t c = 0; c < channels; c += cache_line) {
            __builtin_prefetch(x + r * channels + ahead + c);
            if (Backward) __builtin_prefetch(dy + r * channels + ahead + c);
        }
        for (ptrdiff_t c = 0; c < channels; c++) {
            const ptrdiff_t i = r * channels + c;
            const Real u = (x[i] - mean[c]) * scale[c] + shift[c];
            if constexpr (Backward) y[i] = curve_slope<F>(dy[i], u, p, q);
            else y[i] = curve_value<F>(u, p, q);
        }
    }
}

/* Rows of x, normalized with the factors (mean, scale, shift) of their channels by the expression
 * of norm/normalize.h: y = f(normalized x), or f'(normalized x) dy unless dy is NULL. */
template <typename Real>
static void curve_rows(int f, const Real *__restrict dy, const Real *__restrict x,
                       Real *__restrict y, ptrdiff_t rows, ptrdiff_t channels,
                       const Real *__restrict factors, Real p, Real q) {
    with_curve(f, [&](auto F) INLINED {
        if (dy) one_curve_rows<F.value, true>(dy, x, y, rows, channels, factors, p, q);
        else one_curve_rows<F.value, false>(dy, x, y, rows, channels, factors, p, q);
    });
}

UNFUSED_END

#endif
