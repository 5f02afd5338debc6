/* exp and tanh in float32, free of branches so that a compiler turns a loop of them into vectors.
 *
 * exp: x = k ln 2 + r with |r| <= ln(2) / 2; a polynomial for exp(r) (the coefficients are those
 * of Cephes' expf, Moshier 1992); 2^k in two factors, so that the ends of the range come out
 * right: infinity above 88.72, denormals down to -103.97, then 0. NaN stays NaN. Largest error
 * 1.5 units in the last place. tanh: Cephes' polynomial below 0.625, else from exp; 2 units.
 */
#ifndef MINIDL_VECMATH_H
#define MINIDL_VECMATH_H
#include <math.h>
#include <stdint.h>
#include <string.h>

static inline float mdl_power_of_two(int32_t k) {
    int32_t bits = (int32_t)((uint32_t)(k + 127) << 23);
    float f;
    memcpy(&f, &bits, 4);
    return f;
}

static inline float mdl_exp_f32(float x) {
    const float magic = 12582912.0f;            /* 1.5 * 2^23: adding it rounds to an integer */
    x = x > 89.0f ? 89.0f : x;
    x = x < -104.0f ? -104.0f : x;
    const float shifted = x * 1.44269504088896341f + magic;
    const float whole = shifted - magic;
    int32_t bits;
    memcpy(&bits, &shifted, 4);
    const int32_t k = bits - 0x4B400000;
    const float r = (x - whole * 0.693359375f) + whole * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    const int32_t half = k >> 1;
    return p * mdl_power_of_two(half) * mdl_power_of_two(k - half);
}

static inline float mdl_tanh_f32(float x) {
    const float a = fabsf(x), z = x * x;
    float p = -5.70498872745e-3f;
    p = p * z + 2.06390887954e-2f;
    p = p * z - 5.37397155531e-2f;
    p = p * z + 1.33314422036e-1f;
    p = p * z - 3.33332819422e-1f;
    p = p * z * x + x;
    const float e = 1.0f - 2.0f / (mdl_exp_f32(2.0f * a) + 1.0f);
    return a < 0.625f ? p : (x < 0.0f ? -e : e);    /* NaN: the last branch, e is NaN */
}
#endif
