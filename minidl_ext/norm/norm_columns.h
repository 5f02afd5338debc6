/* Body of norm_rows_body.h for columns of one width, LANES channels. No include guard.
 *
 * PUT(p, v) stores a vector, past the caches if `stream`. A function does G columns side by side, a constant after inlining, so that their sums and
 * factors stay in registers while rows pass by. Arrays start at the first column.
 */
typedef REAL COLUMN(vec) __attribute__((vector_size(LANES * sizeof(REAL)), aligned(sizeof(REAL)),
                                        may_alias));
typedef INT COLUMN(mask) __attribute__((vector_size(LANES * sizeof(REAL)), may_alias));
#define V COLUMN(vec)
#define M COLUMN(mask)
#define LOAD(p) (*(const V *)(p))
#define STORE(p, v) (*(V *)(p) = (v))
/* Ask for what comes some rows after p: hardware alone keeps too few of several streams coming. */
#define ASK(p) do { if (LANES == WIDE) __builtin_prefetch((p) + ahead); } while (0)
#define EACH(g) _Pragma("GCC unroll 4") for (int g = 0; g < G; g++)

/* The sums of x. */
NORM_INLINE void COLUMN(column_sums)(const int G, const REAL *x, ptrdiff_t rows,
                                     ptrdiff_t channels, REAL *total) {
    V sum[MAX_COLUMNS];
    ptrdiff_t r;
    EACH(g) sum[g] = (V){0};
    for (r = 0; r + 4 <= rows; r += 4)
        EACH(g) {
            const REAL *p = x + r * channels + g * LANES;
            sum[g] += (LOAD(p) + LOAD(p + channels))
                    + (LOAD(p + 2 * channels) + LOAD(p + 3 * channels));
        }
    for (; r < rows; r++)
        EACH(g) sum[g] += LOAD(x + r * channels + g * LANES);
    EACH(g) STORE(total + g * LANES, sum[g]);
}

/* The sums of x - shift and of its square. */
NORM_INLINE void COLUMN(shifted_sums)(const int G, const REAL *x, ptrdiff_t rows,
                                      ptrdiff_t channels, const REAL *shifts, REAL *off,
                                      REAL *squares) {
    V shift[MAX_COLUMNS], sum[MAX_COLUMNS], square[MAX_COLUMNS];
    ptrdiff_t r;
    EACH(g) {
        shift[g] = LOAD(shifts + g * LANES);
        sum[g] = square[g] = (V){0};
    }
    for (r = 0; r + 4 <= rows; r += 4)
        EACH(g) {
            const REAL *p = x + r * channels + g * LANES;
            const V d0 = LOAD(p) - shift[g], d1 = LOAD(p + channels) - shift[g],
                    d2 = LOAD(p + 2 * channels) - shift[g],
                    d3 = LOAD(p + 3 * channels) - shift[g];
            sum[g] += (d0 + d1) + (d2 + d3);
            square[g] += (d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3);
        }
    for (; r < rows; r++)
        EACH(g) {
            const V d = LOAD(x + r * channels + g * LANES) - shift[g];
            sum[g] += d;
            square[g] += d * d;
        }
    EACH(g) {
        STORE(off + g * LANES, sum[g]);
        STORE(squares + g * LANES, square[g]);
    }
}

/* a where the mask is set, else 0. */
NORM_INLINE V COLUMN(keep)(M mask, V a) { return (V)((M)a & mask); }

/* y = normalized x (+ residual), then ReLU. */
NORM_INLINE void COLUMN(apply)(const int G, const int add, const int relu, const int stream,
                               const REAL *x, const REAL *residual, REAL *y, ptrdiff_t y_step,
                               ptrdiff_t rows, ptrdiff_t channels, const REAL *factors) {
    const ptrdiff_t ahead = AHEAD(channels);
    V mean[MAX_COLUMNS], scale[MAX_COLUMNS], shift[MAX_COLUMNS];
    EACH(g) {
        mean[g] = LOAD(factors + g * LANES);
        scale[g] = LOAD(factors + channels + g * LANES);
        shift[g] = LOAD(factors + 2 * channels + g * LANES);
    }
    for (ptrdiff_t r = 0; r < rows; r++)
        EACH(g) {
            const ptrdiff_t i = r * channels + g * LANES;
            ASK(x + i);
            if (add) ASK(residual + i);
            V v = (LOAD(x + i) - mean[g]) * scale[g] + shift[g];
            if (add) v += LOAD(residual + i);
            if (relu) v = COLUMN(keep)(~(M)(v <= 0), v);        /* NaN stays */
            PUT(y + r * y_step + g * LANES, v);
        }
}

/* dy where the output, before its ReLU, is positive; `x` is x - mean_hi. */
NORM_INLINE V COLUMN(masked)(const int mask, V dy, V x, const REAL *residual, V scale, V shift) {
    if (mask == MASK_FROM_X) return COLUMN(keep)((M)(x * scale + shift > 0), dy);
    if (mask == MASK_FROM_SUM)
        return COLUMN(keep)((M)(x * scale + shift + LOAD(residual) > 0), dy);
    return dy;
}

/* The sums of g and of g (x - mean_hi), g being dy (+ dy2), masked; g is kept in g_out. */
NORM_INLINE void COLUMN(sums)(const int G, const int mask, const int keep, const int two,
                              const REAL *dy, const REAL *dy2, const REAL *x,
                              const REAL *residual, REAL *g_out, ptrdiff_t rows,
                              ptrdiff_t channels, const REAL *factors, REAL *sum_g,
                              REAL *sum_gx) {
    const ptrdiff_t ahead = AHEAD(channels);
    V mean[MAX_COLUMNS], scale[MAX_COLUMNS], shift[MAX_COLUMNS], sum[MAX_COLUMNS],
        product[MAX_COLUMNS];
    ptrdiff_t r;
    EACH(g) {
        mean[g] = LOAD(factors + g * LANES);
        scale[g] = LOAD(factors + channels + g * LANES);
        shift[g] = LOAD(factors + 2 * channels + g * LANES);
        sum[g] = product[g] = (V){0};
    }
/* Row `row`: its g and g (x - mean_hi). */
#define TERMS(row, one, other) do { \
        const ptrdiff_t i = (row) * channels + g * LANES; \
        ASK(x + i); \
        ASK(dy + i); \
        if (two) ASK(dy2 + i); \
        if (mask == MASK_FROM_SUM) ASK(residual + i); \
        const V d = LOAD(x + i) - mean[g]; \
        V whole = LOAD(dy + i); \
        if (two) whole += LOAD(dy2 + i); \
        one = COLUMN(masked)(mask, whole, d, residual + i, scale[g], shift[g]); \
        if (keep) STORE(g_out + i, one); \
        other = one * d; \
    } while (0)
    for (r = 0; r + 4 <= rows; r += 4)
        EACH(g) {
            V a[4], b[4];
            _Pragma("GCC unroll 4") for (int k = 0; k < 4; k++) TERMS(r + k, a[k], b[k]);
            sum[g] += (a[0] + a[1]) + (a[2] + a[3]);
            product[g] += (b[0] + b[1]) + (b[2] + b[3]);
        }
    for (; r < rows; r++)
        EACH(g) {
            V a, b;
            TERMS(r, a, b);
            sum[g] += a;
            product[g] += b;
        }
#undef TERMS
    EACH(g) {
        STORE(sum_g + g * LANES, sum[g]);
        STORE(sum_gx + g * LANES, product[g]);
    }
}

/* dx = scale (g + (x - mean_hi) slope + offset), g being dy, masked; `centre` THROUGH_NONE: without
 * the last two, THROUGH_GROUP: rstd (gamma g + (x - mean_hi) slope + offset). */
NORM_INLINE void COLUMN(gradient)(const int G, const int mask, const int centre, const int stream,
                                  const REAL *dy, const REAL *x, const REAL *residual, REAL *dx,
                                  ptrdiff_t dx_step, ptrdiff_t rows, ptrdiff_t channels,
                                  const REAL *factors, const REAL *gammas, const REAL *slopes,
                                  const REAL *offsets) {
    const ptrdiff_t ahead = AHEAD(channels);
    V mean[MAX_COLUMNS], scale[MAX_COLUMNS], shift[MAX_COLUMNS], slope[MAX_COLUMNS],
        offset[MAX_COLUMNS], gamma[MAX_COLUMNS];
    EACH(g) {
        mean[g] = LOAD(factors + g * LANES);
        scale[g] = LOAD(factors + (centre == THROUGH_GROUP ? 3 : 1) * channels + g * LANES);
        shift[g] = LOAD(factors + 2 * channels + g * LANES);
        if (centre == THROUGH_GROUP) gamma[g] = LOAD(gammas + g * LANES);
        if (centre) {
            slope[g] = LOAD(slopes + g * LANES);
            offset[g] = LOAD(offsets + g * LANES);
        }
    }
    for (ptrdiff_t r = 0; r < rows; r++)
        EACH(g) {
            const ptrdiff_t i = r * channels + g * LANES;
            ASK(x + i);
            ASK(dy + i);
            if (mask == MASK_FROM_SUM) ASK(residual + i);
            const V d = LOAD(x + i) - mean[g];
            V v = COLUMN(masked)(mask, LOAD(dy + i), d, residual + i, scale[g], shift[g]);
            if (centre == THROUGH_GROUP) v *= gamma[g];
            if (centre) v += d * slope[g] + offset[g];
            v *= scale[g];
            PUT(dx + r * dx_step + g * LANES, v);
        }
}

#undef V
#undef M
#undef LOAD
#undef STORE
#undef ASK
#undef EACH
