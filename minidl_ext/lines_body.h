/* Body of lines.h for one type, REAL. No include guard: it is included once per type. */

typedef REAL NAME(line_vec) __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(REAL)),
                                           may_alias));
typedef INT NAME(line_mask) __attribute__((vector_size(VECTOR_BYTES), may_alias));
typedef REAL NAME(line_part) __attribute__((vector_size(DOUBLES * sizeof(REAL)),
                                            aligned(sizeof(REAL)), may_alias));
#define V NAME(line_vec)
#define M NAME(line_mask)
#define LANES ((ptrdiff_t)(VECTOR_BYTES / sizeof(REAL)))
#define LOAD(p) (*(const V *)(p))
#define DOUBLE(p) __builtin_convertvector(*(const NAME(line_part) *)(p), line_doubles)
#define EACH(k) _Pragma("GCC unroll 8") for (int k = 0; k < SIDE; k++)

/* The sum of n values, in double. */
static double NAME(line_sum)(const REAL *x, ptrdiff_t n) {
    line_doubles sum[SIDE];
    ptrdiff_t i = 0;
    EACH(k) sum[k] = (line_doubles){0};
    for (; i + SIDE * DOUBLES <= n; i += SIDE * DOUBLES)
        EACH(k) sum[k] += DOUBLE(x + i + k * DOUBLES);
    double total = line_total(sum);
    for (; i < n; i++) total += x[i];
    return total;
}

/* The sum of (x - shift)^2 over n values, in double; that of x - shift goes to *sum_off. */
static double NAME(line_squares)(const REAL *x, ptrdiff_t n, double shift, double *sum_off) {
    line_doubles square[SIDE], sum[SIDE];
    ptrdiff_t i = 0;
    EACH(k) square[k] = sum[k] = (line_doubles){0};
    for (; i + SIDE * DOUBLES <= n; i += SIDE * DOUBLES)
        EACH(k) {
            const line_doubles d = DOUBLE(x + i + k * DOUBLES) - shift;
            square[k] += d * d;
            sum[k] += d;
        }
    double total = line_total(square), off = line_total(sum);
    for (; i < n; i++) {
        const double d = x[i] - shift;
        total += d * d;
        off += d;
    }
    *sum_off = off;
    return total;
}

/* The sum of a b over n values, in double. */
static double NAME(line_dot)(const REAL *a, const REAL *b, ptrdiff_t n) {
    line_doubles sum[SIDE];
    ptrdiff_t i = 0;
    EACH(k) sum[k] = (line_doubles){0};
    for (; i + SIDE * DOUBLES <= n; i += SIDE * DOUBLES)
        EACH(k) sum[k] += DOUBLE(a + i + k * DOUBLES) * DOUBLE(b + i + k * DOUBLES);
    double total = line_total(sum);
    for (; i < n; i++) total += (double)a[i] * b[i];
    return total;
}

/* The sum of each of `columns` columns over some rows, in double: a few vectors of them through
 * all rows, then what is left one by one. */
static void NAME(column_totals)(const REAL *x, ptrdiff_t rows, ptrdiff_t columns,
                                double *totals) {
    ptrdiff_t c = 0;
    while (c + DOUBLES <= columns) {
        const int side = c + SIDE * DOUBLES <= columns ? SIDE : 1;
        line_doubles sum[SIDE];
        EACH(k) sum[k] = (line_doubles){0};
        if (side == SIDE)
            for (ptrdiff_t r = 0; r < rows; r++)
                EACH(k) sum[k] += DOUBLE(x + r * columns + c + k * DOUBLES);
        else
            for (ptrdiff_t r = 0; r < rows; r++) sum[0] += DOUBLE(x + r * columns + c);
        memcpy(totals + c, sum, side * sizeof(line_doubles));
        c += side * DOUBLES;
    }
    for (; c < columns; c++) {
        double sum[SIDE] = {0};
        ptrdiff_t r = 0;
        for (; r + SIDE <= rows; r += SIDE) EACH(k) sum[k] += x[(r + k) * columns + c];
        for (; r < rows; r++) sum[0] += x[r * columns + c];
        totals[c] = 0;
        EACH(k) totals[c] += sum[k];
    }
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
#undef DOUBLE
#undef EACH
