/* Body of norm_rows.h for one type, REAL. No include guard: it is included once per type. */

/* How far ahead of its use memory is asked for: whole rows, about a kilobyte. */
#define AHEAD(channels) ((channels) * (1 + 1023 / ((channels) * (ptrdiff_t)sizeof(REAL))))
#define COLUMN(x) NAME(x##_wide)
#define LANES WIDE
#if defined(STREAM)
#define PUT(p, v) do { if (stream) STREAM(p, v); else STORE(p, v); } while (0)
#else
#define PUT(p, v) STORE(p, v)
#endif
#include "norm/norm_columns.h"
#undef PUT
#define PUT(p, v) STORE(p, v)
#undef COLUMN
#undef LANES
#define COLUMN(x) NAME(x##_narrow)
#define LANES NARROW
#include "norm/norm_columns.h"
#undef COLUMN
#undef LANES
#define COLUMN(x) NAME(x##_single)
#define LANES 1
#include "norm/norm_columns.h"
#undef PUT
#undef COLUMN
#undef LANES

/* CALL(f, G, c) for all channels c, in columns as wide as possible, several side by side. The last
 * one may overlap the one before it: what they share is computed twice, and is the same. */
#define COLUMNS(f) do { \
        if (channels >= WIDE) \
            for (ptrdiff_t c = 0; c < channels;) { \
                if (c + MAX_COLUMNS * WIDE <= channels) { \
                    CALL(NAME(f##_wide), MAX_COLUMNS, c); \
                    c += MAX_COLUMNS * WIDE; \
                } else if (c + 2 * WIDE <= channels) { \
                    CALL(NAME(f##_wide), 2, c); \
                    c += 2 * WIDE; \
                } else { \
                    if (c + WIDE > channels) c = channels - WIDE; \
                    CALL(NAME(f##_wide), 1, c); \
                    c += WIDE; \
                } \
            } \
        else if (channels >= NARROW) \
            for (ptrdiff_t c = 0; c < channels; c += NARROW) { \
                if (c + NARROW > channels) c = channels - NARROW; \
                CALL(NAME(f##_narrow), 1, c); \
            } \
        else \
            for (ptrdiff_t c = 0; c < channels; c++) CALL(NAME(f##_single), 1, c); \
    } while (0)

/* The mean of each channel, good to rounding errors of a sum: to shift values by. */
static void NAME(column_means)(const REAL *x, ptrdiff_t rows, ptrdiff_t channels, REAL *mean) {
#define CALL(f, G, c) f(G, x + c, rows, channels, mean + c)
    COLUMNS(column_sums);
#undef CALL
    for (ptrdiff_t c = 0; c < channels; c++) mean[c] /= (REAL)rows;
}

/* Sums of x - shift and of its square for each channel over a block of rows. */
static void NAME(shifted_sums)(const REAL *x, ptrdiff_t rows, ptrdiff_t channels,
                               const REAL *shift, REAL *off, REAL *squares) {
#define CALL(f, G, c) f(G, x + c, rows, channels, shift + c, off + c, squares + c)
    COLUMNS(shifted_sums);
#undef CALL
}

/* One channel of some rows in double, for values whose squares leave the range of REAL. */
static void NAME(exact_channel)(const REAL *x, ptrdiff_t rows, ptrdiff_t channels, double *mean,
                                double *m2) {
    double total = 0, squares = 0;
    for (ptrdiff_t r = 0; r < rows; r++) total += x[r * channels];
    total /= rows;
    for (ptrdiff_t r = 0; r < rows; r++) {
        const double d = x[r * channels] - total;
        squares += d * d;
    }
    *mean = total;
    *m2 = squares;
}

/* What the shifted sums of all rows give: mean and sum of squared deviations, in their place. */
static void NAME(finish_stats)(const REAL *x, ptrdiff_t rows, ptrdiff_t channels,
                               const REAL *shift, double *mean, double *m2) {
    for (ptrdiff_t c = 0; c < channels; c++) {
        const double off = mean[c], squares = m2[c];
        mean[c] = shift[c] + off / rows;
        m2[c] = centred(squares, off, (double)rows);
        /* Squares that overflowed, or are so small that they lost digits. */
        if (sizeof(REAL) == 4 && !(squares > 1e-30 && squares < 1e38))
            NAME(exact_channel)(x + c, rows, channels, &mean[c], &m2[c]);
    }
}

/* total += part, in double. */
static void NAME(add_sums)(double *__restrict total, const REAL *__restrict part, ptrdiff_t n) {
    for (ptrdiff_t i = 0; i < n; i++) total[i] += part[i];
}

/* Whether rows of `channels` values at p, `step` apart, are aligned vectors. */
static int NAME(aligned_rows)(const REAL *p, ptrdiff_t step, ptrdiff_t channels) {
    return (uintptr_t)p % VECTOR_BYTES == 0 && step % WIDE == 0 && channels % WIDE == 0;
}

/* y = normalized x (+ residual), then ReLU if asked; rows of y are y_step apart. `factors` has
 * rows of `channels` values. `stream`: y is not read soon. */
static void NAME(apply_rows)(const REAL *x, const REAL *residual, int relu, REAL *y,
                             ptrdiff_t y_step, ptrdiff_t rows, ptrdiff_t channels,
                             const REAL *factors, int stream) {
    if (!NAME(aligned_rows)(y, y_step, channels)) stream = 0;
#define FORM(f, G, c, add, relu, stream) f(G, add, relu, stream, x + c, add ? residual + c : NULL, \
                                           y + c, y_step, rows, channels, factors + c)
#define KIND(f, G, c, stream) do { \
        if (residual && relu) FORM(f, G, c, 1, 1, stream); \
        else if (residual) FORM(f, G, c, 1, 0, stream); \
        else if (relu) FORM(f, G, c, 0, 1, stream); \
        else FORM(f, G, c, 0, 0, stream); \
    } while (0)
#define CALL(f, G, c) do { if (stream) KIND(f, G, c, 1); else KIND(f, G, c, 0); } while (0)
    COLUMNS(apply);
    if (stream) STREAMED();
#undef CALL
#undef KIND
#undef FORM
}

/* Sums of g and of g (x - mean_hi) over a block; g is dy, masked by a ReLU whose output is
 * recomputed from x and the residual (NULL: none). g is written to g_out unless that is NULL; where
 * it is written, dy may come in two parts, dy + dy2 (NULL: one). */
static void NAME(backward_sums)(const REAL *dy, const REAL *dy2, const REAL *x, int relu,
                                const REAL *residual, REAL *g_out, ptrdiff_t rows,
                                ptrdiff_t channels, const REAL *factors, REAL *sum_g,
                                REAL *sum_gx) {
#define FORM(f, G, c, mask, keep, two) f(G, mask, keep, two, dy + c, two ? dy2 + c : NULL, x + c, \
                                         mask == MASK_FROM_SUM ? residual + c : x + c, \
                                         keep ? g_out + c : NULL, rows, channels, factors + c, \
                                         sum_g + c, sum_gx + c)
#define MASKED(f, G, c, keep, two) do { \
        if (!relu) FORM(f, G, c, NO_MASK, keep, two); \
        else if (!residual) FORM(f, G, c, MASK_FROM_X, keep, two); \
        else FORM(f, G, c, MASK_FROM_SUM, keep, two); \
    } while (0)
#define CALL(f, G, c) do { \
        if (!g_out) MASKED(f, G, c, 0, 0); \
        else if (!dy2) MASKED(f, G, c, 1, 0); \
        else MASKED(f, G, c, 1, 1); \
    } while (0)
    COLUMNS(sums);
#undef CALL
#undef MASKED
#undef FORM
}

/* dx = scale (g + (x - mean_hi) slope + offset); slope and offset (NULL: 0) carry the gradient
 * through the statistics. Rows of dx are dx_step apart. `stream`: dx is not read soon. */
static void NAME(backward_rows)(const REAL *dy, const REAL *x, int relu, const REAL *residual,
                                REAL *dx, ptrdiff_t dx_step, ptrdiff_t rows, ptrdiff_t channels,
                                const REAL *factors, const REAL *slope, const REAL *offset,
                                int stream) {
    if (!NAME(aligned_rows)(dx, dx_step, channels)) stream = 0;
#define FORM(f, G, c, mask, centre, stream) f(G, mask, centre, stream, dy + c, x + c, \
                                      mask == MASK_FROM_SUM ? residual + c : x + c, dx + c, \
                                      dx_step, rows, channels, factors + c, NULL, \
                                      centre ? slope + c : NULL, centre ? offset + c : NULL)
#define MASKED(f, G, c, centre, stream) do { \
        if (!relu) FORM(f, G, c, NO_MASK, centre, stream); \
        else if (!residual) FORM(f, G, c, MASK_FROM_X, centre, stream); \
        else FORM(f, G, c, MASK_FROM_SUM, centre, stream); \
    } while (0)
#define CALL(f, G, c) do { \
        if (slope && stream) MASKED(f, G, c, THROUGH_CHANNEL, 1); \
        else if (slope) MASKED(f, G, c, THROUGH_CHANNEL, 0); \
        else MASKED(f, G, c, THROUGH_NONE, 0); \
    } while (0)
    COLUMNS(gradient);
    if (stream) STREAMED();
#undef CALL
#undef MASKED
#undef FORM
}

/* dx = rstd (gamma dy + (x - mean_hi) slope + offset), all but gamma those of a group. */
static void NAME(group_backward_rows)(const REAL *dy, const REAL *x, REAL *dx, ptrdiff_t rows,
                                      ptrdiff_t channels, const REAL *factors, const REAL *gamma,
                                      const REAL *slope, const REAL *offset) {
#define CALL(f, G, c) f(G, NO_MASK, THROUGH_GROUP, 0, dy + c, x + c, x + c, dx + c, channels, \
                        rows, channels, factors + c, gamma + c, slope + c, offset + c)
    COLUMNS(gradient);
#undef CALL
}

/* What the sums give: dgamma, dbeta, and the slope and offset of backward_rows. `sums` holds the
 * sum of g and that of g (x - mean_hi); with M values a channel
 *     dx = scale (g - dbeta / M - xhat dgamma / M),  xhat = (x - mean_hi - mean_lo) rstd */
static void NAME(finish_sums)(const double *sums, double M, ptrdiff_t channels,
                              const REAL *factors, REAL *dgamma, REAL *dbeta, REAL *slope,
                              REAL *offset) {
    const REAL *rstd = factors + 3 * channels, *low = factors + 4 * channels;
    for (ptrdiff_t c = 0; c < channels; c++) {
        const double g = sums[c], gxhat = (sums[channels + c] - low[c] * g) * rstd[c];
        const double steep = -rstd[c] * gxhat / M;
        dbeta[c] = (REAL)g;
        dgamma[c] = (REAL)gxhat;
        slope[c] = (REAL)steep;
        offset[c] = (REAL)(-g / M - steep * low[c]);
    }
}
#undef COLUMNS
#undef AHEAD
