/* Inner loops of depthwise convolution: vectors over channels, pixels or taps in registers.
 *
 * A span is `count` outputs of one row that use the same taps: output p of channel c meets the
 * inputs x[offset[t] + p * in_step + c]. Channels come in multiples of a vector. Must be
 * compiled with -ffp-contract=fast, like micro.h.
 */
#ifndef MINIDL_DEPTHWISE_H
#define MINIDL_DEPTHWISE_H
#include "micro.h"

#define WV ((ptrdiff_t)(VECTOR_BYTES / sizeof(float)))
#define LOAD(p) (*(const vec_f32 *)(p))
#define STORE(p, v) (*(vec_f32 *)(p) = (v))
enum { PIXELS = 8, TAPS = 9 };      /* sums in registers */

/* `n` outputs of one vector of channels; n is a constant after inlining. */
MICRO_INLINE void span_block(const int n, const float *x, const ptrdiff_t *offset,
                             ptrdiff_t in_step, const float *w, const ptrdiff_t *row, int taps,
                             float *y, ptrdiff_t out_step) {
    vec_f32 sum[PIXELS];
    _Pragma("GCC unroll 8") for (int p = 0; p < n; p++) sum[p] = (vec_f32){0};
    for (int t = 0; t < taps; t++) {
        const vec_f32 weight = LOAD(w + row[t]);
        const float *in = x + offset[t];
        _Pragma("GCC unroll 8") for (int p = 0; p < n; p++)
            sum[p] += LOAD(in + p * in_step) * weight;
    }
    _Pragma("GCC unroll 8") for (int p = 0; p < n; p++) STORE(y + p * out_step, sum[p]);
}

/* y[p * out_step + c] = sum over taps t of x[offset[t] + p * in_step + c] * w[row[t] + c] */
static void depthwise_span(const float *x, const ptrdiff_t *offset, ptrdiff_t in_step,
                           const float *w, const ptrdiff_t *row, int taps, float *y,
                           ptrdiff_t out_step, ptrdiff_t count, ptrdiff_t channels) {
    for (ptrdiff_t c = 0; c < channels; c += WV) {
        ptrdiff_t p = 0;
        for (; p + PIXELS <= count; p += PIXELS)
            span_block(PIXELS, x + p * in_step + c, offset, in_step, w + c, row, taps,
                       y + p * out_step + c, out_step);
        for (; p < count; p++)
            span_block(1, x + p * in_step + c, offset, in_step, w + c, row, taps,
                       y + p * out_step + c, out_step);
    }
}

/* n taps of one vector of channels; n is a constant after inlining. */
MICRO_INLINE void grad_block(const int n, const float *x, const ptrdiff_t *offset,
                             ptrdiff_t in_step, const float *dy, ptrdiff_t out_step,
                             ptrdiff_t count, float *dw, const ptrdiff_t *row) {
    vec_f32 sum[TAPS];
    _Pragma("GCC unroll 9") for (int t = 0; t < n; t++) sum[t] = LOAD(dw + row[t]);
    for (ptrdiff_t p = 0; p < count; p++) {
        const vec_f32 g = LOAD(dy + p * out_step);
        const float *in = x + p * in_step;
        _Pragma("GCC unroll 9") for (int t = 0; t < n; t++) sum[t] += LOAD(in + offset[t]) * g;
    }
    _Pragma("GCC unroll 9") for (int t = 0; t < n; t++) STORE(dw + row[t], sum[t]);
}

/* dw[row[t] + c] += sum over p of x[offset[t] + p * in_step + c] * dy[p * out_step + c] */
static void depthwise_grad_span(const float *x, const ptrdiff_t *offset, ptrdiff_t in_step,
                                const float *dy, ptrdiff_t out_step, float *dw,
                                const ptrdiff_t *row, int taps, ptrdiff_t count,
                                ptrdiff_t channels) {
    for (ptrdiff_t c = 0; c < channels; c += WV) {
        int t = 0;
        for (; t + TAPS <= taps; t += TAPS)
            grad_block(TAPS, x + c, offset + t, in_step, dy + c, out_step, count, dw + c, row + t);
        for (; t + 3 <= taps; t += 3)
            grad_block(3, x + c, offset + t, in_step, dy + c, out_step, count, dw + c, row + t);
        for (; t < taps; t++)
            grad_block(1, x + c, offset + t, in_step, dy + c, out_step, count, dw + c, row + t);
    }
}

#undef WV
#undef LOAD
#undef STORE
#endif
