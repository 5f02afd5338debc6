/* Body of norm_rows.h for one type, REAL. No include guard: it is included once per type. */

/* The mean of each channel, good to rounding errors of a sum: to shift values by. */
static void NAME(column_means)(const REAL *restrict x, ptrdiff_t rows, ptrdiff_t channels,
                               REAL *restrict mean) {
    ptrdiff_t r, c;
    for (c = 0; c < channels; c++) mean[c] = 0;
    for (r = 0; r + 4 <= rows; r += 4) {
        const REAL *x0 = x + r * channels, *x1 = x0 + channels, *x2 = x1 + channels,
                   *x3 = x2 + channels;
        for (c = 0; c < channels; c++) mean[c] += (x0[c] + x1[c]) + (x2[c] + x3[c]);
    }
    for (; r < rows; r++)
        for (c = 0; c < channels; c++) mean[c] += x[r * channels + c];
    for (c = 0; c < channels; c++) mean[c] /= (REAL)rows;
}

/* Sums of x - shift and of its square for each channel over a block of rows. */
static void NAME(shifted_sums)(const REAL *restrict x, ptrdiff_t rows, ptrdiff_t channels,
                               const REAL *restrict shift, REAL *restrict off,
                               REAL *restrict squares) {
    ptrdiff_t r, c;
    for (c = 0; c < channels; c++) off[c] = squares[c] = 0;
    for (r = 0; r + 4 <= rows; r += 4) {
        const REAL *x0 = x + r * channels, *x1 = x0 + channels, *x2 = x1 + channels,
                   *x3 = x2 + channels;
        for (c = 0; c < channels; c++) {
            const REAL d0 = x0[c] - shift[c], d1 = x1[c] - shift[c], d2 = x2[c] - shift[c],
                       d3 = x3[c] - shift[c];
            off[c] += (d0 + d1) + (d2 + d3);
            squares[c] += (d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3);
        }
    }
    for (; r < rows; r++)
        for (c = 0; c < channels; c++) {
            const REAL d = x[r * channels + c] - shift[c];
            off[c] += d;
            squares[c] += d * d;
        }
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
        m2[c] = squares - off * off / rows;
        /* Squares that overflowed, or are so small that they lost digits. */
        if (sizeof(REAL) == 4 && !(squares > 1e-30 && squares < 1e38))
            NAME(exact_channel)(x + c, rows, channels, &mean[c], &m2[c]);
    }
}

/* total += part, in double. */
static void NAME(add_sums)(double *restrict total, const REAL *restrict part, ptrdiff_t n) {
    for (ptrdiff_t i = 0; i < n; i++) total[i] += part[i];
}

NORM_INLINE void NAME(apply)(const int add, const int relu, const REAL *restrict x,
                             const REAL *restrict shortcut, REAL *restrict y, ptrdiff_t y_step,
                             ptrdiff_t rows, ptrdiff_t channels, const REAL *restrict mean,
                             const REAL *restrict scale, const REAL *restrict shift) {
    for (ptrdiff_t r = 0; r < rows; r++)
        for (ptrdiff_t c = 0; c < channels; c++) {
            const ptrdiff_t i = r * channels + c;
            REAL v = NORMALIZED(x[i], c);
            if (add) v += shortcut[i];
            if (relu) v = v <= 0 ? 0 : v;       /* NaN stays */
            y[r * y_step + c] = v;
        }
}

/* y = normalized x (+ shortcut), then ReLU if asked; rows of y are y_step apart. `factors` has
 * rows of `channels` values. */
static void NAME(apply_rows)(const REAL *x, const REAL *shortcut, int relu, REAL *y,
                             ptrdiff_t y_step, ptrdiff_t rows, ptrdiff_t channels,
                             const REAL *factors) {
    const REAL *mean = factors, *scale = mean + channels, *shift = scale + channels;
#define CALL(add, relu, other) NAME(apply)(add, relu, x, other, y, y_step, rows, channels, mean, \
                                           scale, shift)
    if (shortcut && relu) CALL(1, 1, shortcut);
    else if (shortcut) CALL(1, 0, shortcut);
    else if (relu) CALL(0, 1, x);
    else CALL(0, 0, x);
#undef CALL
}

enum { NAME(NO_MASK), NAME(MASK_FROM_X), NAME(MASK_FROM_SUM) };

/* g if wanted, else 0: on the bits, since a compiler may make a branch of `wanted ? g : 0`. */
NORM_INLINE REAL NAME(keep_if)(int wanted, REAL g) {
    INT bits;
    memcpy(&bits, &g, sizeof bits);
    bits &= -(INT)wanted;
    memcpy(&g, &bits, sizeof bits);
    return g;
}

NORM_INLINE REAL NAME(masked)(const int mask, REAL g, REAL x, REAL shortcut, REAL mean, REAL scale,
                              REAL shift) {
    if (mask == NAME(MASK_FROM_X)) return NAME(keep_if)((x - mean) * scale + shift > 0, g);
    if (mask == NAME(MASK_FROM_SUM))
        return NAME(keep_if)((x - mean) * scale + shift + shortcut > 0, g);
    return g;
}

NORM_INLINE void NAME(sums)(const int mask, const int keep, const int two,
                            const REAL *restrict dy, const REAL *restrict also,
                            const REAL *restrict x, const REAL *restrict shortcut,
                            REAL *restrict g_out, ptrdiff_t rows, ptrdiff_t channels,
                            const REAL *restrict mean, const REAL *restrict scale,
                            const REAL *restrict shift, REAL *restrict sum_g,
                            REAL *restrict sum_gx) {
    ptrdiff_t r, c;
    for (c = 0; c < channels; c++) sum_g[c] = sum_gx[c] = 0;
    for (r = 0; r + 4 <= rows; r += 4)
        for (c = 0; c < channels; c++) {
            const ptrdiff_t i = r * channels + c;
            REAL g[4], d[4];
            for (int k = 0; k < 4; k++) {
                const ptrdiff_t j = i + k * channels;
                const REAL whole = two ? dy[j] + also[j] : dy[j];
                g[k] = NAME(masked)(mask, whole, x[j], shortcut[j], mean[c], scale[c], shift[c]);
                if (keep) g_out[j] = g[k];
                d[k] = g[k] * (x[j] - mean[c]);
            }
            sum_g[c] += (g[0] + g[1]) + (g[2] + g[3]);
            sum_gx[c] += (d[0] + d[1]) + (d[2] + d[3]);
        }
    for (; r < rows; r++)
        for (c = 0; c < channels; c++) {
            const ptrdiff_t i = r * channels + c;
            const REAL whole = two ? dy[i] + also[i] : dy[i];
            const REAL g = NAME(masked)(mask, whole, x[i], shortcut[i], mean[c], scale[c],
                                        shift[c]);
            if (keep) g_out[i] = g;
            sum_g[c] += g;
            sum_gx[c] += g * (x[i] - mean[c]);
        }
}

/* Sums of g and of g (x - mean_hi) over a block; g is dy, masked by a ReLU whose output is
 * recomputed from x and the shortcut (NULL: none). g is written to g_out unless that is NULL; where
 * it is written, dy may come in two parts, dy + also (NULL: one). */
static void NAME(backward_sums)(const REAL *dy, const REAL *also, const REAL *x, int relu,
                                const REAL *shortcut, REAL *g_out, ptrdiff_t rows,
                                ptrdiff_t channels, const REAL *factors, REAL *sum_g,
                                REAL *sum_gx) {
    const REAL *mean = factors, *scale = mean + channels, *shift = scale + channels;
#define CALL(mask, keep, two, add) NAME(sums)(mask, keep, two, dy, two ? also : dy, x, add, g_out, \
                                             rows, channels, mean, scale, shift, sum_g, sum_gx)
    if (!g_out) {
        if (!relu) CALL(NAME(NO_MASK), 0, 0, x);
        else if (!shortcut) CALL(NAME(MASK_FROM_X), 0, 0, x);
        else CALL(NAME(MASK_FROM_SUM), 0, 0, shortcut);
    } else if (!also) {
        if (!relu) CALL(NAME(NO_MASK), 1, 0, x);
        else if (!shortcut) CALL(NAME(MASK_FROM_X), 1, 0, x);
        else CALL(NAME(MASK_FROM_SUM), 1, 0, shortcut);
    } else {
        if (!relu) CALL(NAME(NO_MASK), 1, 1, x);
        else if (!shortcut) CALL(NAME(MASK_FROM_X), 1, 1, x);
        else CALL(NAME(MASK_FROM_SUM), 1, 1, shortcut);
    }
#undef CALL
}

NORM_INLINE void NAME(gradient)(const int mask, const int centre, const REAL *restrict dy,
                                const REAL *restrict x, const REAL *restrict shortcut,
                                REAL *restrict dx, ptrdiff_t dx_step, ptrdiff_t rows,
                                ptrdiff_t channels, const REAL *restrict mean,
                                const REAL *restrict scale,
                                const REAL *restrict shift, const REAL *restrict slope,
                                const REAL *restrict offset) {
    for (ptrdiff_t r = 0; r < rows; r++)
        for (ptrdiff_t c = 0; c < channels; c++) {
            const ptrdiff_t i = r * channels + c;
            const REAL g = NAME(masked)(mask, dy[i], x[i], shortcut[i], mean[c], scale[c],
                                        shift[c]);
            REAL v = scale[c] * g;
            if (centre) v += (x[i] - mean[c]) * slope[c] + offset[c];
            dx[r * dx_step + c] = v;
        }
}

/* dx = scale g + (x - mean_hi) slope + offset; slope and offset (NULL: 0) carry the gradient
 * through the statistics. Rows of dx are dx_step apart. */
static void NAME(backward_rows)(const REAL *dy, const REAL *x, int relu, const REAL *shortcut,
                                REAL *dx, ptrdiff_t dx_step, ptrdiff_t rows, ptrdiff_t channels,
                                const REAL *factors, const REAL *slope, const REAL *offset) {
    const REAL *mean = factors, *scale = mean + channels, *shift = scale + channels;
#define CALL(mask, centre, add) NAME(gradient)(mask, centre, dy, x, add, dx, dx_step, rows, \
                                              channels, mean, scale, shift, slope, offset)
    if (slope) {
        if (!relu) CALL(NAME(NO_MASK), 1, x);
        else if (!shortcut) CALL(NAME(MASK_FROM_X), 1, x);
        else CALL(NAME(MASK_FROM_SUM), 1, shortcut);
    } else {
        if (!relu) CALL(NAME(NO_MASK), 0, x);
        else if (!shortcut) CALL(NAME(MASK_FROM_X), 0, x);
        else CALL(NAME(MASK_FROM_SUM), 0, shortcut);
    }
#undef CALL
}

/* What the sums give: dgamma, dbeta, and the slope and offset of backward_rows. `sums` holds the
 * sum of g and that of g (x - mean_hi); with M values a channel
 *     dx = scale (g - dbeta / M - xhat dgamma / M),  xhat = (x - mean_hi - mean_lo) rstd */
static void NAME(finish_sums)(const double *sums, double M, ptrdiff_t channels,
                              const REAL *factors, REAL *dgamma, REAL *dbeta, REAL *slope,
                              REAL *offset) {
    const REAL *scale = factors + channels, *rstd = factors + 3 * channels,
               *low = factors + 4 * channels;
    for (ptrdiff_t c = 0; c < channels; c++) {
        const double g = sums[c], gxhat = (sums[channels + c] - low[c] * g) * rstd[c];
        const double steep = -(double)scale[c] * rstd[c] * gxhat / M;
        dbeta[c] = (REAL)g;
        dgamma[c] = (REAL)gxhat;
        slope[c] = (REAL)steep;
        offset[c] = (REAL)(-scale[c] * g / M - steep * low[c]);
    }
}
