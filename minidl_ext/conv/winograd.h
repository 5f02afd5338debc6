/* The transforms of Winograd's F(4x4, 3x3) on vectors of channels, float32.
 *
 * A 4x4 tile of outputs comes from a 6x6 tile of inputs by 36 products instead of 144:
 *     Y = At [(G g Gt) * (Bt d B)] A            (Lavin & Gray 2016, arXiv:1509.09308)
 * Interpolation points are 0, +-sqrt(1/2), +-sqrt(2) and infinity: with the textbook's 0, +-1,
 * +-2 rounding errors are five to ten times larger. Each function *_1d is one factor of a
 * transform, applied to six (or four, or three) vectors; the functions *_tile and *_vector
 * transform by columns, then by rows.
 *
 * A transformed tile has 36 frequencies, `step` floats apart; the channels of one lie together.
 * Images may have any number of channels that a vector holds or more. This file must be compiled
 * so that a * b + c becomes one instruction (FUSED in setup.py).
 */
#ifndef MINIDL_WINOGRAD_H
#define MINIDL_WINOGRAD_H
#include <stdint.h>

#include "gemm/micro.h"

/* Products of a tile, and floats between those of two frequencies, so that the products of all
 * frequencies do not compete for the same sets of the cache. */
enum { FREQUENCIES = 36, GAP = 16 };

typedef vec_f32 wv;
#define WV ((ptrdiff_t)(VECTOR_BYTES / sizeof(float)))
#define LOAD(p) (*(const wv *)(p))
#define STORE(p, v) (*(wv *)(p) = (v))
#define UNROLL _Pragma("GCC unroll 6")

/* A loop over vectors of channels, at c. Where channels do not fill the last vector, it overlaps
 * the one before: what both cover is computed twice, to the same bits. */
#define VECTORS(c, channels) \
    for (ptrdiff_t c = 0; c < channels && (c = c + WV > channels ? channels - WV : c, 1); c += WV)

#define P 0.70710678118654752f          /* the points */
#define Q 1.41421356237309505f

/* Bt d, of an input tile. */
ALWAYS_INLINE void input_1d(const wv *d, wv *t) {
    const wv e1 = d[4] - 2.0f * d[2], o1 = P * d[3] - Q * d[1];
    const wv e2 = d[4] - 0.5f * d[2], o2 = Q * d[3] - P * d[1];
    t[0] = d[0] + d[4] - 2.5f * d[2];
    t[1] = e1 + o1;
    t[2] = e1 - o1;
    t[3] = e2 + o2;
    t[4] = e2 - o2;
    t[5] = d[1] + d[5] - 2.5f * d[3];
}

/* At m, of the products of a tile. */
ALWAYS_INLINE void output_1d(const wv *m, wv *y) {
    const wv s1 = m[1] + m[2], d1 = m[1] - m[2], s2 = m[3] + m[4], d2 = m[3] - m[4];
    y[0] = m[0] + (s1 + s2);
    y[1] = P * d1 + Q * d2;
    y[2] = 0.5f * s1 + 2.0f * s2;
    y[3] = (P * 0.5f) * d1 + ((2.0f * Q) * d2 + m[5]);
}

/* A y, of the gradient of an output tile: the transpose of output_1d. */
ALWAYS_INLINE void output_grad_1d(const wv *y, wv *z) {
    const wv e1 = y[0] + 0.5f * y[2], o1 = P * y[1] + (P * 0.5f) * y[3];
    const wv e2 = y[0] + 2.0f * y[2], o2 = Q * y[1] + (2.0f * Q) * y[3];
    z[0] = y[0];
    z[1] = e1 + o1;
    z[2] = e1 - o1;
    z[3] = e2 + o2;
    z[4] = e2 - o2;
    z[5] = y[3];
}

/* G g, of weights. */
ALWAYS_INLINE void weight_1d(const wv *g, wv *u) {
    const float k = -1.0f / 1.5f, l = 1.0f / 6.0f;
    const wv e1 = k * (g[0] + 0.5f * g[2]), o1 = (k * P) * g[1];
    const wv e2 = l * (g[0] + 2.0f * g[2]), o2 = (l * Q) * g[1];
    u[0] = g[0];
    u[1] = e1 + o1;
    u[2] = e1 - o1;
    u[3] = e2 + o2;
    u[4] = e2 - o2;
    u[5] = g[2];
}

/* Gt u, of the gradient of transformed weights: the transpose of weight_1d. */
ALWAYS_INLINE void weight_grad_1d(const wv *u, wv *g) {
    const float k = -1.0f / 1.5f, l = 1.0f / 6.0f;
    const wv s1 = u[1] + u[2], d1 = u[1] - u[2], s2 = u[3] + u[4], d2 = u[3] - u[4];
    g[0] = u[0] + (k * s1 + l * s2);
    g[1] = (k * P) * d1 + (l * Q) * d2;
    g[2] = u[5] + ((k * 0.5f) * s1 + (l * 2.0f) * s2);
}

/* Transforms a SIZE x SIZE tile at x, whose rows are `row` and pixels `pixel` floats apart, by
 * columns and then by rows, to v[frequency * step + channel]. */
template <int SIZE, void transform(const wv *, wv *)>
ALWAYS_INLINE void to_frequencies(const float *x, ptrdiff_t row, ptrdiff_t pixel,
                                  ptrdiff_t channels, float *v, ptrdiff_t step) {
    VECTORS(c, channels) {
        wv t[6][SIZE];
        UNROLL for (int j = 0; j < SIZE; j++) {
            wv d[SIZE], o[6];
            UNROLL for (int i = 0; i < SIZE; i++) d[i] = LOAD(x + i * row + j * pixel + c);
            transform(d, o);
            UNROLL for (int i = 0; i < 6; i++) t[i][j] = o[i];
        }
        UNROLL for (int i = 0; i < 6; i++) {
            wv o[6];
            transform(t[i], o);
            UNROLL for (int j = 0; j < 6; j++) STORE(v + (i * 6 + j) * step + c, o[j]);
        }
    }
}

/* Transforms a 6x6 tile of inputs. */
static __attribute__((noinline)) void input_tile(const float *x, ptrdiff_t row, ptrdiff_t pixel,
                                                 ptrdiff_t channels, float *v, ptrdiff_t step) {
    to_frequencies<6, input_1d>(x, row, pixel, channels, v, step);
}

/* Transforms a 4x4 tile of output gradients, whose pixels lie side by side. */
static __attribute__((noinline)) void
output_grad_tile(const float *dy, ptrdiff_t row, ptrdiff_t channels, float *z, ptrdiff_t step) {
    to_frequencies<4, output_grad_1d>(dy, row, channels, channels, z, step);
}

/* m[tile][columns] = v[tile][CI] u[CI][columns] for MR tiles and C vectors of columns. This is the
 * micro-kernel for a constant CI: rows need no pointers, which pays where the sums are short. */
template <int CI, int C>
ALWAYS_INLINE void product_block(const float *v, const float *u, float *m, ptrdiff_t co,
                                 const char *prefetch, ptrdiff_t prefetch_step) {
    wv sum[MR][C];
    _Pragma("GCC unroll 12") for (int r = 0; r < MR; r++)
        _Pragma("GCC unroll 2") for (int c = 0; c < C; c++) sum[r][c] = wv{0};
    for (int k = 0; k < CI; k++, u += 2 * WV, prefetch += prefetch_step) {
        __builtin_prefetch(prefetch, 0, 2);
        wv w[C];
        _Pragma("GCC unroll 2") for (int c = 0; c < C; c++) w[c] = LOAD(u + c * WV);
        _Pragma("GCC unroll 12") for (int r = 0; r < MR; r++)
            _Pragma("GCC unroll 2") for (int c = 0; c < C; c++) sum[r][c] += v[r * CI + k] * w[c];
    }
    _Pragma("GCC unroll 12") for (int r = 0; r < MR; r++, m += co)
        _Pragma("GCC unroll 2") for (int c = 0; c < C; c++) STORE(m + c * WV, sum[r][c]);
}

/* The same for `blocks` times MR tiles, and 1 or 2 `vectors` of columns. */
template <int CI>
ALWAYS_INLINE void product_blocks(int vectors, const float *v, const float *u, float *m,
                                  ptrdiff_t blocks, ptrdiff_t co, const char *prefetch,
                                  ptrdiff_t prefetch_step) {
    const ptrdiff_t v_step = MR * CI, m_step = MR * co, block_step = CI * prefetch_step;
    if (vectors == 1) {
        for (ptrdiff_t i = 0; i < blocks; i++, v += v_step, m += m_step, prefetch += block_step)
            product_block<CI, 1>(v, u, m, co, prefetch, prefetch_step);
    } else {
        for (ptrdiff_t i = 0; i < blocks; i++, v += v_step, m += m_step, prefetch += block_step)
            product_block<CI, 2>(v, u, m, co, prefetch, prefetch_step);
    }
}

/* Whether product_tiles has a block for so many input channels. */
ALWAYS_INLINE int has_product_tiles(ptrdiff_t ci) {
    return ci == 16 || ci == 24 || ci == 32 || ci == 64;
}

/* The products of one frequency and panel, for `blocks` times MR tiles. */
static __attribute__((noinline)) void product_tiles(ptrdiff_t ci, int vectors, const float *v,
                                                    const float *u, float *m, ptrdiff_t blocks,
                                                    ptrdiff_t co, const char *prefetch,
                                                    ptrdiff_t prefetch_step) {
    switch (ci) {
    case 16: product_blocks<16>(vectors, v, u, m, blocks, co, prefetch, prefetch_step); break;
    case 24: product_blocks<24>(vectors, v, u, m, blocks, co, prefetch, prefetch_step); break;
    case 32: product_blocks<32>(vectors, v, u, m, blocks, co, prefetch, prefetch_step); break;
    default: product_blocks<64>(vectors, v, u, m, blocks, co, prefetch, prefetch_step);
    }
}

/* Transforms the products m[frequency * step + channel] to a tile of `rows` x `cols` outputs, 4x4
 * but at a border, at y, whose rows are `row` floats apart. */
static __attribute__((noinline)) void output_tile(const float *m, ptrdiff_t step, float *y,
                                                  ptrdiff_t row, ptrdiff_t channels, ptrdiff_t rows,
                                                  ptrdiff_t cols) {
    const int complete = rows == 4 && cols == 4;
    VECTORS(c, channels) {
        wv s[4][6];
        UNROLL for (int j = 0; j < 6; j++) {
            wv d[6], o[4];
            UNROLL for (int i = 0; i < 6; i++) d[i] = LOAD(m + (i * 6 + j) * step + c);
            output_1d(d, o);
            UNROLL for (int i = 0; i < 4; i++) s[i][j] = o[i];
        }
        if (complete) {
            UNROLL for (int i = 0; i < 4; i++) {
                wv o[4];
                output_1d(s[i], o);
                UNROLL for (int j = 0; j < 4; j++) STORE(y + i * row + j * channels + c, o[j]);
            }
        } else {
            for (int i = 0; i < rows; i++) {
                wv o[4];
                output_1d(s[i], o);
                for (int j = 0; j < cols; j++) STORE(y + i * row + j * channels + c, o[j]);
            }
        }
    }
}

/* Makes a tile, the size x size pixels from (y0, x0) on, of the gradient of what a max-pool of 2x2
 * windows side by side read, from that of its outputs, dy (h, w, channels), and the places that
 * won. */
static __attribute__((noinline)) void unpooled_tile(const float *dy, const uint8_t *argmax,
                                                    ptrdiff_t h, ptrdiff_t w, ptrdiff_t channels,
                                                    ptrdiff_t y0, ptrdiff_t x0, ptrdiff_t size,
                                                    float *__restrict tile) {
    for (ptrdiff_t y = y0; y < y0 + size; y++)
        for (ptrdiff_t x = x0; x < x0 + size; x++, tile += channels) {
            if (y < 0 || x < 0 || y >= 2 * h || x >= 2 * w) {
                memset(tile, 0, channels * sizeof(float));
                continue;
            }
            const ptrdiff_t from = (y / 2 * w + x / 2) * channels;
            const float *__restrict g = dy + from;
            const uint8_t *__restrict winner = argmax + from;
            const uint8_t place = (uint8_t)(y % 2 * 2 + x % 2);
            for (ptrdiff_t c = 0; c < channels; c++) tile[c] = winner[c] == place ? g[c] : 0.0f;
        }
}

/* Transforms one vector of weights w[tap * tap_step] to u[frequency * step]. */
ALWAYS_INLINE void weight_vector(const float *w, ptrdiff_t tap_step, float *u, ptrdiff_t step) {
    wv t[6][3];
    UNROLL for (int j = 0; j < 3; j++) {
        wv g[3], o[6];
        UNROLL for (int i = 0; i < 3; i++) g[i] = LOAD(w + (i * 3 + j) * tap_step);
        weight_1d(g, o);
        UNROLL for (int i = 0; i < 6; i++) t[i][j] = o[i];
    }
    UNROLL for (int i = 0; i < 6; i++) {
        wv o[6];
        weight_1d(t[i], o);
        UNROLL for (int j = 0; j < 6; j++) STORE(u + (i * 6 + j) * step, o[j]);
    }
}

/* Transforms a block of `rows` x `cols` channels, at most WV x WV, of
 *     w[tap * tap_step + row * row_step + col * col_step]
 * to rows of `width` values at u, with zeros after the columns; with `turned` taps are turned
 * around. */
static void weight_block(const float *w, ptrdiff_t tap_step, ptrdiff_t row_step, ptrdiff_t col_step,
                         int turned, ptrdiff_t rows, ptrdiff_t cols, float *u, ptrdiff_t width,
                         ptrdiff_t step) {
    float block[9][VECTOR_BYTES / sizeof(float)][VECTOR_BYTES / sizeof(float)] = {{{0}}};
    for (int tap = 0; tap < 9; tap++)
        for (int c = 0; c < cols; c++)
            for (int r = 0; r < rows; r++)
                block[turned ? 8 - tap : tap][r][c] =
                    w[tap * tap_step + r * row_step + c * col_step];
    for (int r = 0; r < rows; r++) weight_vector(block[0][r], WV * WV, u + r * width, step);
}

/* Transforms du[frequency * step] back to one vector of the gradient of the weights. */
ALWAYS_INLINE void weight_grad_vector(const float *du, ptrdiff_t step, float *dw,
                                      ptrdiff_t tap_step) {
    wv t[3][6];
    UNROLL for (int j = 0; j < 6; j++) {
        wv d[6], o[3];
        UNROLL for (int i = 0; i < 6; i++) d[i] = LOAD(du + (i * 6 + j) * step);
        weight_grad_1d(d, o);
        UNROLL for (int i = 0; i < 3; i++) t[i][j] = o[i];
    }
    UNROLL for (int i = 0; i < 3; i++) {
        wv o[3];
        weight_grad_1d(t[i], o);
        UNROLL for (int j = 0; j < 3; j++) STORE(dw + (i * 3 + j) * tap_step, o[j]);
    }
}

#undef P
#undef Q
#undef LOAD
#undef STORE
#undef UNROLL
#undef VECTORS
#endif
