/* Batch normalization of rows of C channels, and its gradient, for either float type.
 *
 * Forward and backward compute the normalized value by one expression, (x - mean) * scale + shift,
 * and never with a fused multiply-add, so that the backward finds a ReLU's mask again bit for bit.
 * That holds in every family that includes this file, also where its other loops may be fused.
 *
 * `factors` holds five rows of C values: mean_hi, scale, shift, rstd and mean_lo; the mean is the
 * sum of mean_hi and mean_lo.
 */
#ifndef MINIDL_NORM_NORMALIZE_H
#define MINIDL_NORM_NORMALIZE_H
#include "norm/columns.h"
#include "norm/statistics.h"

UNFUSED_BEGIN

/* What masks a gradient: nothing (there is no ReLU), the sign of the normalized x, or that of the
 * normalized x plus the residual. */
enum { NO_MASK, MASK_FROM_X, MASK_FROM_SUM };

/* Which statistics pass the gradient on: none (they are constants), those of each channel, or those
 * of a group of channels, whose gammas differ. */
enum { THROUGH_NONE, THROUGH_CHANNEL, THROUGH_GROUP };

/* y = normalized x (+ residual), then ReLU. */
template <typename Real, int N, int G, int Add, int Relu, int Stream>
ALWAYS_INLINE void apply_columns(Columns<N, G>, Constant<Add>, Constant<Relu>, Constant<Stream>,
                                 const Real *x, const Real *residual, Real *y, ptrdiff_t y_step,
                                 ptrdiff_t rows, ptrdiff_t channels, const Real *factors) {
    typedef typename VectorOf<Real, N>::type V;
    typedef typename VectorOf<Real, N>::mask M;
    const ptrdiff_t ahead = prefetch_distance<Real>(channels);
    V mean[G], scale[G], shift[G];
    EACH_COLUMN(g) {
        mean[g] = load<N>(factors + g * N);
        scale[g] = load<N>(factors + channels + g * N);
        shift[g] = load<N>(factors + 2 * channels + g * N);
    }
    for (ptrdiff_t r = 0; r < rows; r++) EACH_COLUMN(g) {
            const ptrdiff_t i = r * channels + g * N;
            prefetch<N>(x + i, ahead);
            if (Add) prefetch<N>(residual + i, ahead);
            V v = (load<N>(x + i) - mean[g]) * scale[g] + shift[g];
            if (Add) v += load<N>(residual + i);
            if (Relu) v = (V)((M)v & ~(M)(v <= 0));         /* NaN stays */
            store<N, Stream>(y + r * y_step + g * N, v);
        }
}

/* The gradient dy where the output, before its ReLU, is positive, else 0. `d` is x - mean_hi. */
template <int MaskFrom, int N, typename Real>
ALWAYS_INLINE typename VectorOf<Real, N>::type
masked(typename VectorOf<Real, N>::type dy, typename VectorOf<Real, N>::type d,
       const Real *residual, typename VectorOf<Real, N>::type scale,
       typename VectorOf<Real, N>::type shift) {
    typedef typename VectorOf<Real, N>::type V;
    typedef typename VectorOf<Real, N>::mask M;
    if (MaskFrom == MASK_FROM_X) return (V)((M)dy & (M)(d * scale + shift > 0));
    if (MaskFrom == MASK_FROM_SUM)
        return (V)((M)dy & (M)(d * scale + shift + load<N>(residual) > 0));
    return dy;
}

/* The sums of g and of g (x - mean_hi), where g is dy (+ dy2), masked; g is kept in g_out. */
template <typename Real, int N, int G, int MaskFrom, int Keep, int Two>
ALWAYS_INLINE void sum_gradient_columns(Columns<N, G>, Constant<MaskFrom>, Constant<Keep>,
                                        Constant<Two>, const Real *dy, const Real *dy2,
                                        const Real *x, const Real *residual, Real *g_out,
                                        ptrdiff_t rows, ptrdiff_t channels, const Real *factors,
                                        Real *sum_g, Real *sum_gx) {
    typedef typename VectorOf<Real, N>::type V;
    const ptrdiff_t ahead = prefetch_distance<Real>(channels);
    V mean[G], scale[G], shift[G], sum[G], product[G];
    ptrdiff_t r;
    EACH_COLUMN(g) {
        mean[g] = load<N>(factors + g * N);
        scale[g] = load<N>(factors + channels + g * N);
        shift[g] = load<N>(factors + 2 * channels + g * N);
        sum[g] = product[g] = V{0};
    }
    /* What a row adds to the sums: `one` and `other`. */
    const auto add_row = [&](ptrdiff_t row, int g, V &one, V &other) INLINED {
        const ptrdiff_t i = row * channels + g * N;
        prefetch<N>(x + i, ahead);
        prefetch<N>(dy + i, ahead);
        if (Two) prefetch<N>(dy2 + i, ahead);
        if (MaskFrom == MASK_FROM_SUM) prefetch<N>(residual + i, ahead);
        const V d = load<N>(x + i) - mean[g];
        V total = load<N>(dy + i);
        if (Two) total += load<N>(dy2 + i);
        one = masked<MaskFrom, N>(total, d, residual + i, scale[g], shift[g]);
        if (Keep) store<N>(g_out + i, one);
        other = one * d;
    };
    for (r = 0; r + 4 <= rows; r += 4) EACH_COLUMN(g) {
            V a[4], b[4];
            _Pragma("GCC unroll 4") for (int k = 0; k < 4; k++) add_row(r + k, g, a[k], b[k]);
            sum[g] += (a[0] + a[1]) + (a[2] + a[3]);
            product[g] += (b[0] + b[1]) + (b[2] + b[3]);
        }
    for (; r < rows; r++) EACH_COLUMN(g) {
            V a, b;
            add_row(r, g, a, b);
            sum[g] += a;
            product[g] += b;
        }
    EACH_COLUMN(g) {
        store<N>(sum_g + g * N, sum[g]);
        store<N>(sum_gx + g * N, product[g]);
    }
}

/* dx = scale (g + (x - mean_hi) slope + offset), where g is dy, masked. THROUGH_NONE leaves out
 * slope and offset; THROUGH_GROUP makes it rstd (gamma g + (x - mean_hi) slope + offset). */
template <typename Real, int N, int G, int MaskFrom, int Through, int Stream>
ALWAYS_INLINE void gradient_columns(Columns<N, G>, Constant<MaskFrom>, Constant<Through>,
                                    Constant<Stream>, const Real *dy, const Real *x,
                                    const Real *residual, Real *dx, ptrdiff_t dx_step,
                                    ptrdiff_t rows, ptrdiff_t channels, const Real *factors,
                                    const Real *gammas, const Real *slopes, const Real *offsets) {
    typedef typename VectorOf<Real, N>::type V;
    const ptrdiff_t ahead = prefetch_distance<Real>(channels);
    V mean[G], scale[G], shift[G], slope[G], offset[G], gamma[G];
    EACH_COLUMN(g) {
        mean[g] = load<N>(factors + g * N);
        scale[g] = load<N>(factors + (Through == THROUGH_GROUP ? 3 : 1) * channels + g * N);
        shift[g] = load<N>(factors + 2 * channels + g * N);
        if (Through == THROUGH_GROUP) gamma[g] = load<N>(gammas + g * N);
        if (Through != THROUGH_NONE) {
            slope[g] = load<N>(slopes + g * N);
            offset[g] = load<N>(offsets + g * N);
        }
    }
    for (ptrdiff_t r = 0; r < rows; r++) EACH_COLUMN(g) {
            const ptrdiff_t i = r * channels + g * N;
            prefetch<N>(x + i, ahead);
            prefetch<N>(dy + i, ahead);
            if (MaskFrom == MASK_FROM_SUM) prefetch<N>(residual + i, ahead);
            const V d = load<N>(x + i) - mean[g];
            V v = masked<MaskFrom, N>(load<N>(dy + i), d, residual + i, scale[g], shift[g]);
            if (Through == THROUGH_GROUP) v *= gamma[g];
            if (Through != THROUGH_NONE) v += d * slope[g] + offset[g];
            v *= scale[g];
            store<N, Stream>(dx + r * dx_step + g * N, v);
        }
}

/* Calls body with the constant that says what masks the gradient. */
template <typename Body>
ALWAYS_INLINE void with_mask(int relu, const void *residual, const Body &body) {
    if (!relu) body(Constant<NO_MASK>{});
    else if (!residual) body(Constant<MASK_FROM_X>{});
    else body(Constant<MASK_FROM_SUM>{});
}

/* y = normalized x (+ residual unless that is NULL), then ReLU if asked. Rows of y lie y_step
 * values apart. `stream` says that y is not read soon. */
template <typename Real>
static void apply_rows(const Real *x, const Real *residual, int relu, Real *y, ptrdiff_t y_step,
                       ptrdiff_t rows, ptrdiff_t channels, const Real *factors, int stream) {
    if (!aligned_rows(y, y_step, channels)) stream = 0;
    for_columns<Real>(channels, [&](auto columns, ptrdiff_t c) INLINED {
        with_flag(stream, [&](auto streamed) INLINED {
            with_flag(residual, [&](auto add) INLINED {
                with_flag(relu, [&](auto rectified) INLINED {
                    apply_columns(columns, add, rectified, streamed, x + c,
                                  residual ? residual + c : NULL, y + c, y_step, rows, channels,
                                  factors + c);
                });
            });
        });
    });
    if (stream) STREAMED();
}

/* The sums of g and of g (x - mean_hi) over a block of rows, where g is dy, masked by a ReLU whose
 * output is computed again from x and the residual (NULL: none). g is written to g_out unless that
 * is NULL; where it is written, dy may come in two parts, dy + dy2 (NULL: one). */
template <typename Real>
static void backward_sums(const Real *dy, const Real *dy2, const Real *x, int relu,
                          const Real *residual, Real *g_out, ptrdiff_t rows, ptrdiff_t channels,
                          const Real *factors, Real *sum_g, Real *sum_gx) {
    for_columns<Real>(channels, [&](auto columns, ptrdiff_t c) INLINED {
        const auto sum = [&](auto keep, auto two) INLINED {
            with_mask(relu, residual, [&](auto mask) INLINED {
                sum_gradient_columns(columns, mask, keep, two, dy + c, two ? dy2 + c : NULL, x + c,
                                     mask == MASK_FROM_SUM ? residual + c : x + c,
                                     keep ? g_out + c : NULL, rows, channels, factors + c,
                                     sum_g + c, sum_gx + c);
            });
        };
        if (!g_out) sum(Constant<0>{}, Constant<0>{});
        else if (!dy2) sum(Constant<1>{}, Constant<0>{});
        else sum(Constant<1>{}, Constant<1>{});
    });
}

/* Adds the same sums over `rows` rows to `sums` (2, C): those of a block in the type of x, in
 * `work` (2, C), which are added in double. It is inlined, so that arguments that are NULL wherever
 * a family calls it leave only the loops that it needs. */
template <typename Real>
ALWAYS_INLINE void add_backward_sums(const Real *dy, const Real *dy2, const Real *x, int relu,
                                     const Real *residual, Real *g_out, ptrdiff_t rows,
                                     ptrdiff_t block, ptrdiff_t channels, const Real *factors,
                                     Real *work, double *sums) {
    for (ptrdiff_t first = 0; first < rows; first += block) {
        const ptrdiff_t at = first * channels;
        backward_sums(dy + at, dy2 ? dy2 + at : NULL, x + at, relu, residual ? residual + at : NULL,
                      g_out ? g_out + at : NULL, rows - first < block ? rows - first : block,
                      channels, factors, work, work + channels);
        add_sums(sums, work, 2 * channels);
    }
}

/* dx = scale (g + (x - mean_hi) slope + offset). slope and offset carry the gradient through the
 * statistics; they are NULL where these are constants. Rows of dx lie dx_step values apart.
 * `stream` says that dx is not read soon. */
template <typename Real>
static void backward_rows(const Real *dy, const Real *x, int relu, const Real *residual, Real *dx,
                          ptrdiff_t dx_step, ptrdiff_t rows, ptrdiff_t channels,
                          const Real *factors, const Real *slope, const Real *offset, int stream) {
    if (!aligned_rows(dx, dx_step, channels)) stream = 0;
    for_columns<Real>(channels, [&](auto columns, ptrdiff_t c) INLINED {
        const auto gradient = [&](auto through, auto streamed) INLINED {
            with_mask(relu, residual, [&](auto mask) INLINED {
                gradient_columns(columns, mask, through, streamed, dy + c, x + c,
                                 mask == MASK_FROM_SUM ? residual + c : x + c, dx + c, dx_step,
                                 rows, channels, factors + c, (const Real *)NULL,
                                 through ? slope + c : NULL, through ? offset + c : NULL);
            });
        };
        if (slope && stream) gradient(Constant<THROUGH_CHANNEL>{}, Constant<1>{});
        else if (slope) gradient(Constant<THROUGH_CHANNEL>{}, Constant<0>{});
        else gradient(Constant<THROUGH_NONE>{}, Constant<0>{});
    });
    if (stream) STREAMED();
}

/* dx = rstd (gamma dy + (x - mean_hi) slope + offset), where all but gamma belong to a group. */
template <typename Real>
static void group_backward_rows(const Real *dy, const Real *x, Real *dx, ptrdiff_t rows,
                                ptrdiff_t channels, const Real *factors, const Real *gamma,
                                const Real *slope, const Real *offset) {
    for_columns<Real>(channels, [&](auto columns, ptrdiff_t c) INLINED {
        gradient_columns(columns, Constant<NO_MASK>{}, Constant<THROUGH_GROUP>{}, Constant<0>{},
                         dy + c, x + c, x + c, dx + c, channels, rows, channels, factors + c,
                         gamma + c, slope + c, offset + c);
    });
}

/* Makes dgamma, dbeta, and the slope and offset of backward_rows from the sums of g and of
 * g (x - mean_hi) over M values of each channel:
 *     dx = scale (g - dbeta / M - xhat dgamma / M),  xhat = (x - mean_hi - mean_lo) rstd */
template <typename Real>
static void finish_sums(const double *sums, double M, ptrdiff_t channels, const Real *factors,
                        Real *dgamma, Real *dbeta, Real *slope, Real *offset) {
    const Real *rstd = factors + 3 * channels, *low = factors + 4 * channels;
    for (ptrdiff_t c = 0; c < channels; c++) {
        const double g = sums[c], gxhat = (sums[channels + c] - low[c] * g) * rstd[c];
        const double steep = -rstd[c] * gxhat / M;
        dbeta[c] = (Real)g;
        dgamma[c] = (Real)gxhat;
        slope[c] = (Real)steep;
        offset[c] = (Real)(-g / M - steep * low[c]);
    }
}

UNFUSED_END

#endif
