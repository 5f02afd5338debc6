/* The products of a convolution in float32 and in bytes: blocks of 12 pixels times 32 channels.
 *
 * Both kernels keep their sums in 24 registers, read weights that are packed as they need them,
 * and end as a layer does: in float32 plus a bias and a ReLU, in bytes a scale, a bias, a ReLU and
 * the rounding back to bytes. Bytes go four at a time into a sum of 32 bits (VPDPBUSD of
 * AVX512_VNNI). Compiled for the machine by int8.py.
 */
#include <immintrin.h>

enum { PIXELS = 12, CHANNELS = 32 };
#define EACH_PIXEL _Pragma("GCC unroll 12") for (int p = 0; p < PIXELS; p++)

void block_f32(const float *x, const float *w, const float *bias, float *y, int terms) {
    __m512 sum[PIXELS][2];
    const __m512 zero = _mm512_setzero_ps();
    EACH_PIXEL sum[p][0] = _mm512_loadu_ps(bias), sum[p][1] = _mm512_loadu_ps(bias + 16);
    for (int k = 0; k < terms; k++) {
        const __m512 w0 = _mm512_loadu_ps(w + CHANNELS * k);
        const __m512 w1 = _mm512_loadu_ps(w + CHANNELS * k + 16);
        EACH_PIXEL {
            const __m512 value = _mm512_set1_ps(x[p * terms + k]);
            sum[p][0] = _mm512_fmadd_ps(value, w0, sum[p][0]);
            sum[p][1] = _mm512_fmadd_ps(value, w1, sum[p][1]);
        }
    }
    EACH_PIXEL for (int c = 0; c < 2; c++)
        _mm512_storeu_ps(y + CHANNELS * p + 16 * c, _mm512_max_ps(zero, sum[p][c]));
}

void block_int8(const unsigned char *x, const signed char *w, const float *scale, unsigned char *y,
                int terms) {
    __m512i sum[PIXELS][2];
    EACH_PIXEL sum[p][0] = sum[p][1] = _mm512_setzero_si512();
    for (int k = 0; k < terms; k += 4) {
        const __m512i w0 = _mm512_loadu_si512(w + CHANNELS * k);
        const __m512i w1 = _mm512_loadu_si512(w + CHANNELS * k + 64);
        EACH_PIXEL {
            const __m512i four = _mm512_set1_epi32(*(const int *)(x + p * terms + k));
            sum[p][0] = _mm512_dpbusd_epi32(sum[p][0], four, w0);
            sum[p][1] = _mm512_dpbusd_epi32(sum[p][1], four, w1);
        }
    }
    EACH_PIXEL for (int c = 0; c < 2; c++) {
        const __m512 scaled = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[p][c]),
                                              _mm512_loadu_ps(scale + 16 * c),
                                              _mm512_loadu_ps(scale + CHANNELS + 16 * c));
        const __m512i whole = _mm512_max_epi32(_mm512_cvtps_epi32(scaled), _mm512_setzero_si512());
        _mm_storeu_si128((__m128i *)(y + CHANNELS * p + 16 * c), _mm512_cvtusepi32_epi8(whole));
    }
}

/* The same block so many times. */
void repeat(int bytes, int times, const void *x, const void *w, const float *ends, void *y,
            int terms) {
    for (int i = 0; i < times; i++) {
        if (bytes) block_int8(x, w, ends, y, terms);
        else block_f32(x, w, ends, y, terms);
    }
}
