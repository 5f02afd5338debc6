/* Inner loops of a batch normalization with a ReLU and a 2x2 max-pool of stride 2, float32.
 *
 * Two rows of an image are read at a time, in windows of 2x2 positions and in vectors of channels,
 * of which there is a multiple of 16. The backward finds the winner of a window again by the
 * expressions of the forward. These are the expressions of normalize.h, so the bits are those of
 * the operations one after the other.
 */
#ifndef MINIDL_BATCH_NORM_POOL_H
#define MINIDL_BATCH_NORM_POOL_H
#include "norm/columns.h"

constexpr int FLOATS = lanes<float>;

/* a where the mask is set, else b, lane by lane. */
ALWAYS_INLINE vec_f32 choose(vec_i32 mask, vec_f32 a, vec_f32 b) {
    return (vec_f32)(((vec_i32)a & mask) | ((vec_i32)b & ~mask));
}

/* a where the mask is set, else 0. */
ALWAYS_INLINE vec_f32 keep(vec_i32 mask, vec_f32 a) { return (vec_f32)((vec_i32)a & mask); }

/* The factors of some channels. */
struct ChannelFactors {
    vec_f32 mean, scale, shift;
};

ALWAYS_INLINE ChannelFactors factors_of(const float *factors, ptrdiff_t channels, ptrdiff_t c) {
    return {load<FLOATS>(factors + c), load<FLOATS>(factors + channels + c),
            load<FLOATS>(factors + 2 * channels + c)};
}

/* Four inputs, and which of them wins when they are normalized. */
struct Window {
    vec_f32 x[4];           /* x - mean_hi */
    vec_f32 top;            /* the largest normalized value */
    vec_i32 wins[3];        /* whether input 1, 2, 3 beats those before it */
};

/* The window whose first row starts at x0 and whose second row starts at x1. As in max_pool, NaN
 * wins, and otherwise the first of several equal values. */
ALWAYS_INLINE Window window_at(const float *x0, const float *x1, ptrdiff_t channels,
                               const ChannelFactors &f) {
    Window s = {.x = {load<FLOATS>(x0) - f.mean, load<FLOATS>(x0 + channels) - f.mean,
                      load<FLOATS>(x1) - f.mean, load<FLOATS>(x1 + channels) - f.mean}};
    s.top = s.x[0] * f.scale + f.shift;
    _Pragma("GCC unroll 3") for (int i = 1; i < 4; i++) {
        const vec_f32 v = s.x[i] * f.scale + f.shift;
        s.wins[i - 1] = ~(vec_i32)(v <= s.top) & (vec_i32)(s.top == s.top);
        s.top = choose(s.wins[i - 1], v, s.top);
    }
    return s;
}

/* Write y, the max-pool of normalized x with a ReLU if asked, for one row of `windows` outputs. */
static void pool_row(const float *x0, const float *x1, int relu, ptrdiff_t windows,
                     ptrdiff_t channels, const float *factors, float *y) {
    for (ptrdiff_t c = 0; c < channels; c += FLOATS) {
        const ChannelFactors f = factors_of(factors, channels, c);
        for (ptrdiff_t j = 0; j < windows; j++) {
            const ptrdiff_t i = 2 * j * channels + c;
            vec_f32 top = window_at(x0 + i, x1 + i, channels, f).top;
            if (relu) top = keep(~(vec_i32)(top <= 0.0f), top);     /* NaN stays */
            store<FLOATS>(y + j * channels + c, top);
        }
    }
}

/* Write the sums of g and g (x - mean_hi), where g is dy at the inputs that won. */
static void pool_row_sums(const float *x0, const float *x1, int relu, ptrdiff_t windows,
                          ptrdiff_t channels, const float *factors, const float *dy, float *sum_g,
                          float *sum_gx) {
    for (ptrdiff_t c = 0; c < channels; c += FLOATS) {
        const ChannelFactors f = factors_of(factors, channels, c);
        vec_f32 total = {0}, product = {0};
        for (ptrdiff_t j = 0; j < windows; j++) {
            const ptrdiff_t i = 2 * j * channels + c;
            const Window s = window_at(x0 + i, x1 + i, channels, f);
            const vec_f32 winner = choose(
                s.wins[2], s.x[3], choose(s.wins[1], s.x[2], choose(s.wins[0], s.x[1], s.x[0])));
            vec_f32 g = load<FLOATS>(dy + j * channels + c);
            if (relu) g = keep((vec_i32)(s.top > 0.0f), g);
            total += g;
            product += g * winner;
        }
        store<FLOATS>(sum_g + c, total);
        store<FLOATS>(sum_gx + c, product);
    }
}

/* Write dx = scale (g + (x - mean_hi) slope + offset) of a row of windows to rows d0 and d1, where
 * g is dy at the inputs that won. If the statistics are constants, slope and offset are left out. */
template <int Through>
ALWAYS_INLINE void gradient_row(Constant<Through>, const float *x0, const float *x1, int relu,
                                ptrdiff_t windows, ptrdiff_t channels, const float *factors,
                                const float *dy, const float *slopes, const float *offsets,
                                float *d0, float *d1) {
    for (ptrdiff_t c = 0; c < channels; c += FLOATS) {
        const ChannelFactors f = factors_of(factors, channels, c);
        const vec_f32 slope = load<FLOATS>(slopes + c), offset = load<FLOATS>(offsets + c);
        for (ptrdiff_t j = 0; j < windows; j++) {
            const ptrdiff_t i = 2 * j * channels + c;
            const Window s = window_at(x0 + i, x1 + i, channels, f);
            vec_f32 g = load<FLOATS>(dy + j * channels + c);
            if (relu) g = keep((vec_i32)(s.top > 0.0f), g);
            const auto put = [&](float *to, int k, vec_i32 won) INLINED {
                vec_f32 v = keep(won, g);
                if (Through) v += s.x[k] * slope + offset;
                store<FLOATS>(to, f.scale * v);
            };
            const vec_i32 low = ~(s.wins[1] | s.wins[2]);       /* input 0 or 1 won */
            put(d0 + i, 0, low & ~s.wins[0]);
            put(d0 + i + channels, 1, low & s.wins[0]);
            put(d1 + i, 2, s.wins[1] & ~s.wins[2]);
            put(d1 + i + channels, 3, s.wins[2]);
        }
    }
}

/* Do the same; `training` says whether the gradient goes through the statistics. */
static void pool_row_gradient(const float *x0, const float *x1, int relu, ptrdiff_t windows,
                              ptrdiff_t channels, const float *factors, const float *dy,
                              int training, const float *slopes, const float *offsets, float *d0,
                              float *d1) {
    with_flag(training, [&](auto through) INLINED {
        gradient_row(through, x0, x1, relu, windows, channels, factors, dy, slopes, offsets, d0,
                     d1);
    });
}

/* Do the same for `rows` positions that no window covers, where g is 0. */
static void uncovered(const float *__restrict x, float *__restrict dx, ptrdiff_t rows,
                      ptrdiff_t channels, const float *__restrict factors, int training,
                      const float *__restrict slope, const float *__restrict offset) {
    const float *mean = factors, *scale = factors + channels;
    for (ptrdiff_t r = 0; r < rows; r++)
        for (ptrdiff_t c = 0; c < channels; c++)
            dx[r * channels + c] =
                training ? scale[c] * ((x[r * channels + c] - mean[c]) * slope[c] + offset[c]) : 0;
}

#endif
