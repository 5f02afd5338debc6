/* Elementary functions for float and double. Those for float are written here without branches,
 * so that the compiler turns a loop of them into vector instructions, which it cannot do with
 * calls of the C library. Those for double are the C library's. At the end of the file, each
 * function has one name for both types (vexp, vtanh, ...).
 *
 * The methods for float, with their largest error in units in the last place (ulp):
 *   exp   The argument is split, x = k ln 2 + r with |r| <= ln(2) / 2. A polynomial gives exp(r);
 *         its coefficients are those of Cephes' expf (Moshier 1992). 2^k is multiplied in two
 *         factors, so that both ends of the range are right: infinity above 88.72, denormal
 *         numbers down to -103.97, then 0. NaN stays NaN. 1.5 ulp.
 *   tanh  Cephes' polynomial serves for |x| < 0.625, and exp elsewhere. 2 ulp.
 *   log   The argument is split, x = 2^k m with sqrt(1/2) <= m < sqrt(2); Cephes' polynomial (logf)
 *         gives log(m). Denormal numbers are scaled up first. The logarithm of 0 is -infinity, that
 *         of a negative number NaN. 1 ulp.
 */
#ifndef MINIDL_VECMATH_H
#define MINIDL_VECMATH_H
#include <math.h>
#include <stdint.h>
#include <string.h>

/* a * b + c, rounded once where the CPU has an instruction for it, else twice. */
static inline float mdl_fma(float a, float b, float c) {
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
    return __builtin_fmaf(a, b, c);
#else
    return a * b + c;
#endif
}

/* The float whose bits are those of an integer. */
static inline float mdl_float_of(int32_t bits) {
    float f;
    memcpy(&f, &bits, 4);
    return f;
}

static inline float mdl_power_of_two(int32_t k) {
    return mdl_float_of((int32_t)((uint32_t)(k + 127) << 23));
}

/* Splits x = k ln 2 + r, and returns exp(r) - 1. */
static inline float mdl_exp_parts(float x, int32_t *k) {
    const float magic = 12582912.0f;            /* 1.5 * 2^23: adding it rounds to an integer */
    const float shifted = mdl_fma(x, 1.44269504088896341f, magic);
    const float multiple = shifted - magic;     /* k, as a float */
    int32_t bits;
    memcpy(&bits, &shifted, 4);
    *k = bits - 0x4B400000;
    const float r = mdl_fma(multiple, 2.12194440e-4f, mdl_fma(multiple, -0.693359375f, x));
    float p = 1.9875691500e-4f;
    p = mdl_fma(p, r, 1.3981999507e-3f);
    p = mdl_fma(p, r, 8.3334519073e-3f);
    p = mdl_fma(p, r, 4.1665795894e-2f);
    p = mdl_fma(p, r, 1.6666665459e-1f);
    p = mdl_fma(p, r, 5.0000001201e-1f);
    return mdl_fma(p * r, r, r);
}

static inline float mdl_exp_f32(float x) {
    int32_t k;
    x = x > 89.0f ? 89.0f : x;
    x = x < -104.0f ? -104.0f : x;
    const float p = mdl_exp_parts(x, &k) + 1.0f;
    const int32_t half = k >> 1;
    return p * mdl_power_of_two(half) * mdl_power_of_two(k - half);
}

/* exp(x) for -106 < x <= 0 and for NaN. Such an x need not be clamped: k stays in its range. */
static inline float mdl_exp_below_0_f32(float x) {
    int32_t k;
    const float p = mdl_exp_parts(x, &k) + 1.0f;
    const int32_t half = k >> 1;
    return p * mdl_power_of_two(half) * mdl_power_of_two(k - half);
}

/* exp(x) - 1, to full precision near 0, where exp(x) - 1 would cancel. */
static inline float mdl_expm1_f32(float x) {
    int32_t k;
    x = x > 89.0f ? 89.0f : x;
    x = x < -104.0f ? -104.0f : x;
    const float p = mdl_exp_parts(x, &k);
    const int32_t half = k >> 1;
    const float a = mdl_power_of_two(half), b = mdl_power_of_two(k - half);
    return (p * a + (a - mdl_power_of_two(half - k))) * b;
}

static inline float mdl_log_f32(float x) {
    const int small = x < 1.17549435e-38f;
    const float scaled = small ? x * 8388608.0f : x;
    int32_t bits;
    memcpy(&bits, &scaled, 4);
    /* 0x3F3504F3 are the bits of sqrt(1/2). The difference is unsigned, since the bits of a
     * negative number would overflow. */
    const int32_t k = (int32_t)((uint32_t)bits - 0x3F3504F3u) >> 23;
    const float f = mdl_float_of((int32_t)((uint32_t)bits - ((uint32_t)k << 23))) - 1.0f, z = f * f;
    const float e = (float)(small ? k - 23 : k);
    float p = 7.0376836292e-2f;
    p = mdl_fma(p, f, -1.1514610310e-1f);
    p = mdl_fma(p, f, 1.1676998740e-1f);
    p = mdl_fma(p, f, -1.2420140846e-1f);
    p = mdl_fma(p, f, 1.4249322787e-1f);
    p = mdl_fma(p, f, -1.6668057665e-1f);
    p = mdl_fma(p, f, 2.0000714765e-1f);
    p = mdl_fma(p, f, -2.4999993993e-1f);
    p = mdl_fma(p, f, 3.3333331174e-1f);
    p = mdl_fma(e, -2.12194440e-4f, p * f * z);
    p = mdl_fma(z, -0.5f, p);
    p = mdl_fma(e, 0.693359375f, f + p);
    p = x == 0.0f ? -INFINITY : p;
    p = x < 0.0f ? NAN : p;
    return x < INFINITY ? p : x;                        /* infinity and NaN stay */
}

/* log(1 + x) for 0 <= x <= 1. The factor x / kept corrects the rounding of 1 + x (Kahan). */
static inline float mdl_log1p_f32(float x) {
    const float u = 1.0f + x, kept = u - 1.0f;
    return kept == 0.0f ? x : mdl_log_f32(u) * (x / kept);
}

static inline float mdl_tanh_f32(float x) {
    const float a = fabsf(x), z = a * a;
    float p = -5.70498872745e-3f;
    p = mdl_fma(p, z, 2.06390887954e-2f);
    p = mdl_fma(p, z, -5.37397155531e-2f);
    p = mdl_fma(p, z, 1.33314422036e-1f);
    p = mdl_fma(p, z, -3.33332819422e-1f);
    p = mdl_fma(p * z, a, a);
    const float e = 1.0f - 2.0f / (mdl_exp_f32(2.0f * a) + 1.0f);
    return copysignf(a < 0.625f ? p : e, x);        /* for NaN the answer is e, which is NaN */
}

/* exp(-a^2 / 2) for 0 <= a < 14.55. The rounding error of the square is computed as well (by
 * Dekker's product where there is no fused multiply-add), and its effect is added, since it would
 * grow with a^2. */
static inline float mdl_gauss_f32(float a) {
    const float square = a * a;
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
    const float lost = __builtin_fmaf(a, a, -square);
#else
    int32_t bits;
    memcpy(&bits, &a, 4);
    const float high = mdl_float_of(bits & ~0xFFF), low = a - high;
    const float lost = ((high * high - square) + 2.0f * high * low) + low * low;
#endif
    const float e = mdl_exp_below_0_f32(-0.5f * square);
    return mdl_fma(-0.5f * lost, e, e);
}

/* The normal distribution function at -a, for a >= 0; `gauss` is exp(-a^2 / 2). The result is
 * gauss P(t) / (a + 3) with t = (a - 3) / (a + 3). The polynomial P replaces a function that is
 * smooth from 0 to infinity; it was fitted for the least relative error, which is 5e-8. */
static inline float mdl_normal_tail_f32(float a, float gauss) {
    const float r = 1.0f / (a + 3.0f), t = (a - 3.0f) * r;
    float p = -2.6298928423784673e-4f;
    p = mdl_fma(p, t, -8.977543911896646e-4f);
    p = mdl_fma(p, t, 1.0747319320216775e-3f);
    p = mdl_fma(p, t, 6.920006591826677e-3f);
    p = mdl_fma(p, t, -1.0480092838406563e-2f);
    p = mdl_fma(p, t, -4.725528508424759e-2f);
    p = mdl_fma(p, t, 2.3001940548419952e-1f);
    p = mdl_fma(p, t, -5.093322992324829e-1f);
    p = mdl_fma(p, t, 7.290836572647095e-1f);
    return gauss * (p * r);
}

/* --------------------------------------------------------------- one name for both types */

static inline float vexp(float x) { return mdl_exp_f32(x); }
static inline double vexp(double x) { return exp(x); }
static inline float vexpm1(float x) { return mdl_expm1_f32(x); }
static inline double vexpm1(double x) { return expm1(x); }
static inline float vlog(float x) { return mdl_log_f32(x); }
static inline double vlog(double x) { return log(x); }
static inline float vlog1p(float x) { return mdl_log1p_f32(x); }       /* for 0 <= x <= 1 */
static inline double vlog1p(double x) { return log1p(x); }
static inline float vtanh(float x) { return mdl_tanh_f32(x); }
static inline double vtanh(double x) { return tanh(x); }
static inline float vsqrt(float x) { return sqrtf(x); }
static inline double vsqrt(double x) { return sqrt(x); }
static inline float vpow(float x, float y) { return powf(x, y); }
static inline double vpow(double x, double y) { return pow(x, y); }

/* 1 / (1 + exp(-x)), computed from exp(-|x|), so that nothing overflows. */
template <typename Real>
static inline Real vlogistic(Real x) {
    const Real e = vexp(x > 0 ? -x : x), one = 1;
    return (x < 0 ? e : one) / (one + e);
}

#endif
