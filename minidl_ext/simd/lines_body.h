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
    double total = 0;
    ptrdiff_t i = 0;
    if (n >= SIDE * DOUBLES) {
        line_doubles sum[SIDE];
        EACH(k) sum[k] = (line_doubles){0};
        for (; i + SIDE * DOUBLES <= n; i += SIDE * DOUBLES)
            EACH(k) sum[k] += DOUBLE(x + i + k * DOUBLES);
        total = line_total(sum);
    }
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

/* The sums of G vectors of columns over some rows. */
LINE_INLINE void NAME(block_totals)(const int G, const REAL *x, ptrdiff_t rows, ptrdiff_t columns,
                                    double *totals) {
    line_doubles sum[SIDE];
    ptrdiff_t r = 0;
    for (int k = 0; k < G; k++) sum[k] = (line_doubles){0};
    for (; r + 4 <= rows; r += 4)
        _Pragma("GCC unroll 8") for (int k = 0; k < G; k++) {
            const REAL *p = x + r * columns + k * DOUBLES;
            sum[k] += (DOUBLE(p) + DOUBLE(p + columns))
                    + (DOUBLE(p + 2 * columns) + DOUBLE(p + 3 * columns));
        }
    for (; r < rows; r++)
        for (int k = 0; k < G; k++) sum[k] += DOUBLE(x + r * columns + k * DOUBLES);
    memcpy(totals, sum, G * sizeof(line_doubles));
}

/* The sum of each of `columns` columns over some rows, in double: a few vectors of them through
 * all rows, then what is left one by one. */
static void NAME(column_totals)(const REAL *x, ptrdiff_t rows, ptrdiff_t columns,
                                double *totals) {
    ptrdiff_t c = 0;
    for (; c + 8 * DOUBLES <= columns; c += 8 * DOUBLES)
        NAME(block_totals)(8, x + c, rows, columns, totals + c);
    for (; c + 2 * DOUBLES <= columns; c += 2 * DOUBLES)
        NAME(block_totals)(2, x + c, rows, columns, totals + c);
    for (; c + DOUBLES <= columns; c += DOUBLES)
        NAME(block_totals)(1, x + c, rows, columns, totals + c);
    for (; c < columns; c++) {
        double even = 0, odd = 0;
        ptrdiff_t r = 0;
        for (; r + 4 <= rows; r += 4) {
            const REAL *p = x + r * columns + c;
            even += (double)p[0] + p[2 * columns];
            odd += (double)p[columns] + p[3 * columns];
        }
        for (; r < rows; r++) even += x[r * columns + c];
        totals[c] = even + odd;
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
