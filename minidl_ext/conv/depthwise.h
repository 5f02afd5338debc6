/* Inner loops of depthwise convolution: vectors of channels, with sums of several pixels or taps in
 * registers.
 *
 * A span is `count` outputs of one row that meet the same taps t: output p of channel c meets the
 * inputs x[offset[t] + p * in_step + c] and the weights w[row[t] + c]. Channels come in multiples
 * of a vector. This file must be compiled so that a * b + c becomes one instruction (FUSED in
 * setup.py).
 */
#ifndef MINIDL_DEPTHWISE_H
#define MINIDL_DEPTHWISE_H
#include "simd/vectors.h"

#define WV ((ptrdiff_t)(VECTOR_BYTES / sizeof(float)))
#define LOAD(p) (*(const vec_f32 *)(p))
#define STORE(p, v) (*(vec_f32 *)(p) = (v))
#if VECTOR_BYTES == 64
enum { PIXELS = 4, SIDE = 2 }; /* 4 x 4 sums and 4 weights, or 9 x 2 sums, in 32 registers */
#else
enum { PIXELS = 2, SIDE = 1 };
#endif
enum { TAPS = 9 }; /* of a 3x3 kernel */

/* N outputs of G vectors of channels. */
template <int N, int G>
ALWAYS_INLINE void span_block(const float *x, const ptrdiff_t *offset, ptrdiff_t in_step,
                              const float *w, const ptrdiff_t *row, int taps, float *y,
                              ptrdiff_t out_step) {
    vec_f32 sum[N][G];
    _Pragma("GCC unroll 4") for (int p = 0; p < N; p++)
        _Pragma("GCC unroll 4") for (int c = 0; c < G; c++) sum[p][c] = (vec_f32){0};
    for (int t = 0; t < taps; t++) {
        const float *in = x + offset[t];
        vec_f32 weight[G];
        _Pragma("GCC unroll 4") for (int c = 0; c < G; c++) weight[c] = LOAD(w + row[t] + c * WV);
        _Pragma("GCC unroll 4") for (int p = 0; p < N; p++)
            _Pragma("GCC unroll 4") for (int c = 0; c < G; c++) sum[p][c] +=
            LOAD(in + p * in_step + c * WV) * weight[c];
    }
    _Pragma("GCC unroll 4") for (int p = 0; p < N; p++)
        _Pragma("GCC unroll 4") for (int c = 0; c < G; c++)
            STORE(y + p * out_step + c * WV, sum[p][c]);
}

/* N outputs of all channels. */
template <int N>
ALWAYS_INLINE void span_columns(const float *x, const ptrdiff_t *offset, ptrdiff_t in_step,
                                const float *w, const ptrdiff_t *row, int taps, float *y,
                                ptrdiff_t out_step, ptrdiff_t channels) {
    ptrdiff_t c = 0;
    for (; c + 4 * WV <= channels; c += 4 * WV)
        span_block<N, 4>(x + c, offset, in_step, w + c, row, taps, y + c, out_step);
    for (; c + 2 * WV <= channels; c += 2 * WV)
        span_block<N, 2>(x + c, offset, in_step, w + c, row, taps, y + c, out_step);
    for (; c < channels; c += WV)
        span_block<N, 1>(x + c, offset, in_step, w + c, row, taps, y + c, out_step);
}

/* y[p * out_step + c] = sum over taps t of x[offset[t] + p * in_step + c] * w[row[t] + c]
 *
 * The loop over channels is inside that over pixels: memory is read and written in its order. */
static void depthwise_span(const float *x, const ptrdiff_t *offset, ptrdiff_t in_step,
                           const float *w, const ptrdiff_t *row, int taps, float *y,
                           ptrdiff_t out_step, ptrdiff_t count, ptrdiff_t channels) {
    ptrdiff_t p = 0;
    for (; p + PIXELS <= count; p += PIXELS)
        span_columns<PIXELS>(x + p * in_step, offset, in_step, w, row, taps, y + p * out_step,
                             out_step, channels);
    for (; p < count; p++)
        span_columns<1>(x + p * in_step, offset, in_step, w, row, taps, y + p * out_step, out_step,
                        channels);
}

/* N taps of G vectors of channels. */
template <int N, int G>
ALWAYS_INLINE void grad_block(const float *x, const ptrdiff_t *offset, ptrdiff_t in_step,
                              const float *dy, ptrdiff_t out_step, ptrdiff_t count, float *dw,
                              const ptrdiff_t *row) {
    vec_f32 sum[N][G];
    _Pragma("GCC unroll 9") for (int t = 0; t < N; t++)
        _Pragma("GCC unroll 2") for (int c = 0; c < G; c++) sum[t][c] = LOAD(dw + row[t] + c * WV);
    for (ptrdiff_t p = 0; p < count; p++) {
        const float *in = x + p * in_step;
        vec_f32 out[G];
        _Pragma("GCC unroll 2") for (int c = 0; c < G; c++) out[c] =
            LOAD(dy + p * out_step + c * WV);
        _Pragma("GCC unroll 9") for (int t = 0; t < N; t++)
            _Pragma("GCC unroll 2") for (int c = 0; c < G; c++) sum[t][c] +=
            LOAD(in + offset[t] + c * WV) * out[c];
    }
    _Pragma("GCC unroll 9") for (int t = 0; t < N; t++)
        _Pragma("GCC unroll 2") for (int c = 0; c < G; c++) STORE(dw + row[t] + c * WV, sum[t][c]);
}

/* All taps of G vectors of channels. */
template <int G>
ALWAYS_INLINE void grad_columns(const float *x, const ptrdiff_t *offset, ptrdiff_t in_step,
                                const float *dy, ptrdiff_t out_step, float *dw,
                                const ptrdiff_t *row, int taps, ptrdiff_t count) {
    int t = 0;
    for (; t + TAPS <= taps; t += TAPS)
        grad_block<TAPS, G>(x, offset + t, in_step, dy, out_step, count, dw, row + t);
    for (; t + 3 <= taps; t += 3)
        grad_block<3, G>(x, offset + t, in_step, dy, out_step, count, dw, row + t);
    for (; t < taps; t++)
        grad_block<1, G>(x, offset + t, in_step, dy, out_step, count, dw, row + t);
}

/* dw[row[t] + c] += sum over p of x[offset[t] + p * in_step + c] * dy[p * out_step + c] */
static void depthwise_grad_span(const float *x, const ptrdiff_t *offset, ptrdiff_t in_step,
                                const float *dy, ptrdiff_t out_step, float *dw,
                                const ptrdiff_t *row, int taps, ptrdiff_t count,
                                ptrdiff_t channels) {
    ptrdiff_t c = 0;
    for (; c + SIDE * WV <= channels; c += SIDE * WV)
        grad_columns<SIDE>(x + c, offset, in_step, dy + c, out_step, dw + c, row, taps, count);
    for (; c < channels; c += WV)
        grad_columns<1>(x + c, offset, in_step, dy + c, out_step, dw + c, row, taps, count);
}

#undef WV
#undef LOAD
#undef STORE
#endif
