/* Body of lines.h for one type, REAL. No include guard: it is included once per type. */

typedef REAL NAME(line_vec) __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(REAL)),
                                           may_alias));
typedef INT NAME(line_mask) __attribute__((vector_size(VECTOR_BYTES), may_alias));
#define V NAME(line_vec)
#define M NAME(line_mask)
#define LANES ((ptrdiff_t)(VECTOR_BYTES / sizeof(REAL)))
#define LOAD(p) (*(const V *)(p))
enum { NAME(SIDE) = 4, NAME(RUN) = 64 };    /* vectors side by side; how often they are added to */

/* The sum of n values: runs in their own type, the runs in double. */
static double NAME(line_sum)(const REAL *x, ptrdiff_t n) {
    const ptrdiff_t step = NAME(SIDE) * LANES;
    double total = 0;
    ptrdiff_t i = 0;
    while (i + step <= n) {
        V sum[NAME(SIDE)];
        for (int k = 0; k < NAME(SIDE); k++) sum[k] = (V){0};
        for (int r = 0; r < NAME(RUN) && i + step <= n; r++, i += step)
            _Pragma("GCC unroll 4") for (int k = 0; k < NAME(SIDE); k++)
                sum[k] += LOAD(x + i + k * LANES);
        for (int k = 0; k < NAME(SIDE); k++)
            for (ptrdiff_t j = 0; j < LANES; j++) total += sum[k][j];
    }
    for (; i < n; i++) total += x[i];
    return total;
}

/* The sum of (x - shift)^2 over n values, like line_sum; that of x - shift goes to *sum_off. */
static double NAME(line_squares)(const REAL *x, ptrdiff_t n, REAL shift, double *sum_off) {
    const ptrdiff_t step = NAME(SIDE) * LANES;
    double total = 0, off = 0;
    ptrdiff_t i = 0;
    while (i + step <= n) {
        V square[NAME(SIDE)], sum[NAME(SIDE)];
        for (int k = 0; k < NAME(SIDE); k++) square[k] = sum[k] = (V){0};
        for (int r = 0; r < NAME(RUN) && i + step <= n; r++, i += step)
            _Pragma("GCC unroll 4") for (int k = 0; k < NAME(SIDE); k++) {
                const V d = LOAD(x + i + k * LANES) - shift;
                square[k] += d * d;
                sum[k] += d;
            }
        for (int k = 0; k < NAME(SIDE); k++)
            for (ptrdiff_t j = 0; j < LANES; j++) {
                total += square[k][j];
                off += sum[k][j];
            }
    }
    for (; i < n; i++) {
        const double d = x[i] - shift;
        total += d * d;
        off += d;
    }
    *sum_off = off;
    return total;
}

/* The sum of a b over n values, like line_sum. */
static double NAME(line_dot)(const REAL *a, const REAL *b, ptrdiff_t n) {
    const ptrdiff_t step = NAME(SIDE) * LANES;
    double total = 0;
    ptrdiff_t i = 0;
    while (i + step <= n) {
        V sum[NAME(SIDE)];
        for (int k = 0; k < NAME(SIDE); k++) sum[k] = (V){0};
        for (int r = 0; r < NAME(RUN) && i + step <= n; r++, i += step)
            _Pragma("GCC unroll 4") for (int k = 0; k < NAME(SIDE); k++)
                sum[k] += LOAD(a + i + k * LANES) * LOAD(b + i + k * LANES);
        for (int k = 0; k < NAME(SIDE); k++)
            for (ptrdiff_t j = 0; j < LANES; j++) total += sum[k][j];
    }
    for (; i < n; i++) total += (double)a[i] * b[i];
    return total;
}

/* The largest of n >= 1 values; what it is if one of them is NaN is not said. */
static REAL NAME(line_max)(const REAL *x, ptrdiff_t n) {
    REAL top = x[0];
    ptrdiff_t i = 0;
    if (n >= LANES) {
        V best = LOAD(x);
        for (i = LANES; i + LANES <= n; i += LANES) {
            const V v = LOAD(x + i);
            const M wins = (M)(v > best);
            best = (V)(((M)v & wins) | ((M)best & ~wins));
        }
        for (ptrdiff_t j = 0; j < LANES; j++) top = best[j] > top ? best[j] : top;
    }
    for (; i < n; i++) top = x[i] > top ? x[i] : top;
    return top;
}

#undef V
#undef M
#undef LANES
#undef LOAD
