/* Activations that are curves, and their gradients, float and double: of contiguous values, and of
 * rows of channels that are normalized before.
 *
 * Each function is written once, for one value, without branches; loops for a constant function
 * are vectorized by the compiler (in float32; double calls libm). Without fused multiply-adds of
 * the compiler's own, so that a value comes out the same bit for bit in every loop and every file.
 */
#ifndef MINIDL_CURVES_H
#define MINIDL_CURVES_H
#include <stddef.h>

#include "simd/vecmath.h"

#if defined(__clang__)
#pragma clang fp contract(off)
#else
#pragma GCC push_options
#pragma GCC optimize("fp-contract=off")
#endif

enum { LEAKY_RELU, ELU, SOFTPLUS, SILU, GELU, GELU_TANH, SIGMOID, TANH };
#define EACH_CURVE(DO) DO(LEAKY_RELU) DO(ELU) DO(SOFTPLUS) DO(SILU) DO(GELU) DO(GELU_TANH) \
    DO(SIGMOID) DO(TANH)

#define CURVES_INLINE static inline __attribute__((always_inline))
#define ROOT_2_OVER_PI 0.7978845608028654       /* of GELU by tanh */
#define CUBIC 0.044715
#define DENSITY_AT_0 0.3989422804014327         /* 1 / sqrt(2 pi) */

/* What the two types compute in different ways. */
#define exp_f32 mdl_exp_f32
#define exp_f64 exp
#define exp_below_0_f32 mdl_exp_below_0_f32
#define exp_below_0_f64 exp
#define expm1_f32 mdl_expm1_f32
#define expm1_f64 expm1
#define log1p_f32 mdl_log1p_f32
#define log1p_f64 log1p
#define tanh_f32 mdl_tanh_f32
#define tanh_f64 tanh
#define abs_f32 fabsf
#define abs_f64 fabs
#define gauss_f32 mdl_gauss_f32
CURVES_INLINE double gauss_f64(double a) { return exp(-0.5 * a * a); }
#define normal_tail_f32 mdl_normal_tail_f32
CURVES_INLINE double normal_tail_f64(double a, double gauss) {
    (void)gauss;
    return 0.5 * erfc(0.7071067811865476 * a);
}
/* How far from 0 exp(-|x|) has vanished, and exp(-x^2 / 2). */
#define LOGISTIC_END_f32 104.0f
#define LOGISTIC_END_f64 800.0
#define NORMAL_END_f32 14.5f
#define NORMAL_END_f64 40.0

#define BODY "elementwise/curves_body.h"
#include "simd/both_reals.h"
#undef BODY

#if !defined(__clang__)
#pragma GCC pop_options
#endif

#endif
