/* Inner loops of a batch normalization with a ReLU and a 2x2 max-pool behind it, float32.
 *
 * Two rows of an image at a time, as cells of 2x2 positions, in vectors of channels, which come
 * in multiples of 16. The backward finds the winner of a cell again, by the expressions of the
 * forward; they are those of norm_rows.h, so the bits are the same as one after the other.
 */
#ifndef MINIDL_NORM_POOL_H
#define MINIDL_NORM_POOL_H
#include "gemm/micro.h"
#include "norm/norm_rows.h"

typedef int32_t vec_i32 __attribute__((vector_size(VECTOR_BYTES), may_alias));
#define WV ((ptrdiff_t)(VECTOR_BYTES / sizeof(float)))
#define LOAD(p) (*(const vec_f32 *)(p))
#define STORE(p, v) (*(vec_f32 *)(p) = (v))

/* mask ? a : b, lane by lane */
ALWAYS_INLINE vec_f32 choose(vec_i32 mask, vec_f32 a, vec_f32 b) {
    return (vec_f32)(((vec_i32)a & mask) | ((vec_i32)b & ~mask));
}
ALWAYS_INLINE vec_f32 keep(vec_i32 mask, vec_f32 a) { return (vec_f32)((vec_i32)a & mask); }

/* Four inputs, and which of them wins when they are normalized. */
typedef struct {
    vec_f32 x[4];           /* minus mean_hi */
    vec_f32 top;            /* the largest normalized value */
    vec_i32 wins[3];        /* whether 1, 2, 3 beat all before them */
} cell;

/* The cell whose first input is at x0 and whose second row starts at x1. NaN wins, then the first
 * of equals, as in max_pool. */
ALWAYS_INLINE cell cell_at(const float *x0, const float *x1, ptrdiff_t channels, vec_f32 mean,
                          vec_f32 scale, vec_f32 shift) {
    cell s = {.x = {LOAD(x0) - mean, LOAD(x0 + channels) - mean, LOAD(x1) - mean,
                    LOAD(x1 + channels) - mean}};
    s.top = s.x[0] * scale + shift;
    _Pragma("GCC unroll 3") for (int i = 1; i < 4; i++) {
        const vec_f32 v = s.x[i] * scale + shift;
        s.wins[i - 1] = ~(vec_i32)(v <= s.top) & (vec_i32)(s.top == s.top);
        s.top = choose(s.wins[i - 1], v, s.top);
    }
    return s;
}

#define FACTORS(c) const vec_f32 mean = LOAD(factors + (c)), \
    scale = LOAD(factors + channels + (c)), shift = LOAD(factors + 2 * channels + (c))

/* y: the max-pool of normalized x, after a ReLU if asked; one row of `cells` outputs. */
static void pool_row(const float *x0, const float *x1, int relu, ptrdiff_t cells,
                     ptrdiff_t channels, const float *factors, float *y) {
    for (ptrdiff_t c = 0; c < channels; c += WV) {
        FACTORS(c);
        for (ptrdiff_t j = 0; j < cells; j++) {
            const ptrdiff_t i = 2 * j * channels + c;
            vec_f32 top = cell_at(x0 + i, x1 + i, channels, mean, scale, shift).top;
            if (relu) top = keep(~(vec_i32)(top <= 0.0f), top);     /* NaN stays */
            STORE(y + j * channels + c, top);
        }
    }
}

/* Sums of g and g (x - mean_hi), where g is dy at the inputs that won. */
static void pool_row_sums(const float *x0, const float *x1, int relu, ptrdiff_t cells,
                          ptrdiff_t channels, const float *factors, const float *dy, float *sum_g,
                          float *sum_gx) {
    for (ptrdiff_t c = 0; c < channels; c += WV) {
        FACTORS(c);
        vec_f32 total = {0}, product = {0};
        for (ptrdiff_t j = 0; j < cells; j++) {
            const ptrdiff_t i = 2 * j * channels + c;
            const cell s = cell_at(x0 + i, x1 + i, channels, mean, scale, shift);
            const vec_f32 winner = choose(
                s.wins[2], s.x[3], choose(s.wins[1], s.x[2], choose(s.wins[0], s.x[1], s.x[0])));
            vec_f32 g = LOAD(dy + j * channels + c);
            if (relu) g = keep((vec_i32)(s.top > 0.0f), g);
            total += g;
            product += g * winner;
        }
        STORE(sum_g + c, total);
        STORE(sum_gx + c, product);
    }
}

/* The gradient of an input of a cell: g if it won, and what goes through the statistics. */
ALWAYS_INLINE vec_f32 cell_gradient(const int centre, vec_i32 won, vec_f32 g, vec_f32 x,
                                   vec_f32 scale, vec_f32 slope, vec_f32 offset) {
    if (!centre) return scale * keep(won, g);
    return scale * (keep(won, g) + (x * slope + offset));
}

ALWAYS_INLINE void gradient_row(const int centre, const float *x0, const float *x1, int relu,
                               ptrdiff_t cells, ptrdiff_t channels, const float *factors,
                               const float *dy, const float *slopes, const float *offsets,
                               float *d0, float *d1) {
    for (ptrdiff_t c = 0; c < channels; c += WV) {
        FACTORS(c);
        const vec_f32 slope = LOAD(slopes + c), offset = LOAD(offsets + c);
        for (ptrdiff_t j = 0; j < cells; j++) {
            const ptrdiff_t i = 2 * j * channels + c;
            const cell s = cell_at(x0 + i, x1 + i, channels, mean, scale, shift);
            vec_f32 g = LOAD(dy + j * channels + c);
            if (relu) g = keep((vec_i32)(s.top > 0.0f), g);
            const vec_i32 low = ~(s.wins[1] | s.wins[2]);       /* 0 or 1 won */
            STORE(d0 + i,
                  cell_gradient(centre, low & ~s.wins[0], g, s.x[0], scale, slope, offset));
            STORE(d0 + i + channels,
                  cell_gradient(centre, low & s.wins[0], g, s.x[1], scale, slope, offset));
            STORE(d1 + i,
                  cell_gradient(centre, s.wins[1] & ~s.wins[2], g, s.x[2], scale, slope, offset));
            STORE(d1 + i + channels,
                  cell_gradient(centre, s.wins[2], g, s.x[3], scale, slope, offset));
        }
    }
}

/* dx = scale (g + (x - mean_hi) slope + offset), rows d0 and d1; without the last two if not
 * `centre`. */
static void pool_row_gradient(const float *x0, const float *x1, int relu, ptrdiff_t cells,
                              ptrdiff_t channels, const float *factors, const float *dy,
                              int centre, const float *slope, const float *offset, float *d0,
                              float *d1) {
    if (centre)
        gradient_row(1, x0, x1, relu, cells, channels, factors, dy, slope, offset, d0, d1);
    else
        gradient_row(0, x0, x1, relu, cells, channels, factors, dy, slope, offset, d0, d1);
}

/* The same for positions that no cell covers: g is 0. */
static void uncovered(const float *__restrict x, float *__restrict dx, ptrdiff_t rows,
                      ptrdiff_t channels, const float *__restrict factors, int centre,
                      const float *__restrict slope, const float *__restrict offset) {
    const float *mean = factors, *scale = factors + channels;
    for (ptrdiff_t r = 0; r < rows; r++)
        for (ptrdiff_t c = 0; c < channels; c++)
            dx[r * channels + c] =
                centre ? scale[c] * ((x[r * channels + c] - mean[c]) * slope[c] + offset[c]) : 0;
}

#undef WV
#undef LOAD
#undef STORE
#undef FACTORS
#endif
