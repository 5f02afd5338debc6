/* Elementary functions in float32, free of branches so that a compiler turns a loop of them into
 * vectors.
 *
 * exp: x = k ln 2 + r with |r| <= ln(2) / 2; a polynomial for exp(r) (the coefficients are those
 * of Cephes' expf, Moshier 1992); 2^k in two factors, so that the ends of the range come out
 * right: infinity above 88.72, denormals down to -103.97, then 0. NaN stays NaN. Largest error
 * 1.5 units in the last place. tanh: Cephes' polynomial below 0.625, else from exp; 2 units.
 *
 * log: x = 2^k m with sqrt(1/2) <= m < sqrt(2); Cephes' polynomial (logf) for log(m). Denormals are
 * scaled up first; 0 gives -infinity, less NaN. 1 unit.
 */
#ifndef MINIDL_VECMATH_H
#define MINIDL_VECMATH_H
#include <math.h>
#include <stdint.h>
#include <string.h>

/* a * b + c, in one rounding where that is one instruction. */
static inline float mdl_fma(float a, float b, float c) {
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
    return __builtin_fmaf(a, b, c);
#else
    return a * b + c;
#endif
}

static inline float mdl_float_of(int32_t bits) {
    float f;
    memcpy(&f, &bits, 4);
    return f;
}

static inline float mdl_power_of_two(int32_t k) {
    return mdl_float_of((int32_t)((uint32_t)(k + 127) << 23));
}

/* x = k ln 2 + r; returns exp(r) - 1. */
static inline float mdl_exp_parts(float x, int32_t *k) {
    const float magic = 12582912.0f;            /* 1.5 * 2^23: adding it rounds to an integer */
    const float shifted = mdl_fma(x, 1.44269504088896341f, magic);
    const float whole = shifted - magic;
    int32_t bits;
    memcpy(&bits, &shifted, 4);
    *k = bits - 0x4B400000;
    const float r = mdl_fma(whole, 2.12194440e-4f, mdl_fma(whole, -0.693359375f, x));
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

/* exp(x) for -106 < x <= 0, and NaN: no end of the range is near. */
static inline float mdl_exp_below_0_f32(float x) {
    int32_t k;
    const float p = mdl_exp_parts(x, &k) + 1.0f;
    const int32_t half = k >> 1;
    return p * mdl_power_of_two(half) * mdl_power_of_two(k - half);
}

/* exp(x) - 1, also for small x. */
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
    /* 0x3F3504F3: sqrt(1/2). Unsigned, since the bits of what is below 0 would overflow. */
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
    return x < INFINITY ? p : x;                        /* infinity and NaN as they are */
}

/* log(1 + x) for 0 <= x <= 1: what 1 + x rounds away is put back (Kahan). */
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
    return copysignf(a < 0.625f ? p : e, x);        /* NaN: e is NaN */
}

/* exp(-a^2 / 2) for 0 <= a < 14.55. What the square rounds away, times its slope, is put back (by
 * Dekker's product without a fused multiply-add): it would grow with a^2. */
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

/* The share of a normal distribution below -a, for a >= 0; `gauss` is exp(-a^2 / 2). It is that
 * times P(t) / (a + 3), t = (a - 3) / (a + 3): P is smooth from 0 to infinity, and was fitted for
 * the least relative error (5e-8). */
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
#endif
