/* Sums of rows, sums of columns, and the maximum of a row. Sums are in double whatever the type of
 * the values is, so that no square of a float overflows and no digit is lost. The order of
 * the additions depends on the number of values and the width of a register alone. */
#ifndef MINIDL_SUMS_H
#define MINIDL_SUMS_H
#include <string.h>

#include "simd/vectors.h"

#define SUMS 8                  /* vectors of partial sums: additions to them do not wait */
#define DOUBLES lanes<double>
#define EACH(k) _Pragma("GCC unroll 8") for (int k = 0; k < SUMS; k++)

/* The next DOUBLES values, converted: as many as there are doubles in a register. */
template <typename Real>
ALWAYS_INLINE vec_f64 as_doubles(const Real *p) {
    typedef typename VectorOf<Real, DOUBLES>::type Part;
    return __builtin_convertvector(*(const Part *)p, vec_f64);
}

/* The sum of all values in SUMS vectors. */
static inline double total_of(const vec_f64 *sum) {
    vec_f64 all = sum[0];
    double total = 0;
    for (int k = 1; k < SUMS; k++) all += sum[k];
    for (int j = 0; j < DOUBLES; j++) total += all[j];
    return total;
}

/* The sum of n values, in double. */
template <typename Real>
static double row_sum(const Real *x, ptrdiff_t n) {
    double total = 0;
    ptrdiff_t i = 0;
    if (n >= SUMS * DOUBLES) {
        vec_f64 sum[SUMS];
        EACH(k) sum[k] = vec_f64{0};
        for (; i + SUMS * DOUBLES <= n; i += SUMS * DOUBLES)
            EACH(k) sum[k] += as_doubles(x + i + k * DOUBLES);
        total = total_of(sum);
    }
    for (; i < n; i++) total += x[i];
    return total;
}

/* The sum of (x - shift)^2 over n values, in double. The sum of x - shift goes to *sum_off. */
template <typename Real>
static double row_squares(const Real *x, ptrdiff_t n, double shift, double *sum_off) {
    vec_f64 square[SUMS], sum[SUMS];
    ptrdiff_t i = 0;
    EACH(k) square[k] = sum[k] = vec_f64{0};
    for (; i + SUMS * DOUBLES <= n; i += SUMS * DOUBLES)
        EACH(k) {
            const vec_f64 d = as_doubles(x + i + k * DOUBLES) - shift;
            square[k] += d * d;
            sum[k] += d;
        }
    double total = total_of(square), off = total_of(sum);
    for (; i < n; i++) {
        const double d = x[i] - shift;
        total += d * d;
        off += d;
    }
    *sum_off = off;
    return total;
}

/* The dot product of two rows of n values, in double. */
template <typename Real>
static double row_dot(const Real *a, const Real *b, ptrdiff_t n) {
    vec_f64 sum[SUMS];
    ptrdiff_t i = 0;
    EACH(k) sum[k] = vec_f64{0};
    for (; i + SUMS * DOUBLES <= n; i += SUMS * DOUBLES)
        EACH(k) sum[k] += as_doubles(a + i + k * DOUBLES) * as_doubles(b + i + k * DOUBLES);
    double total = total_of(sum);
    for (; i < n; i++) total += (double)a[i] * b[i];
    return total;
}

/* The sums over some rows, `step` values apart, of G vectors of columns. */
template <int G, typename Real>
ALWAYS_INLINE void block_totals(const Real *x, ptrdiff_t rows, ptrdiff_t step, double *totals) {
    vec_f64 sum[SUMS];
    ptrdiff_t r = 0;
    for (int k = 0; k < G; k++) sum[k] = vec_f64{0};
    for (; r + 4 <= rows; r += 4) _Pragma("GCC unroll 8") for (int k = 0; k < G; k++) {
            const Real *p = x + r * step + k * DOUBLES;
            sum[k] += (as_doubles(p) + as_doubles(p + step)) +
                      (as_doubles(p + 2 * step) + as_doubles(p + 3 * step));
        }
    for (; r < rows; r++)
        for (int k = 0; k < G; k++) sum[k] += as_doubles(x + r * step + k * DOUBLES);
    memcpy(totals, sum, G * sizeof(vec_f64));
}

/* The sum of each of `columns` columns over some rows, `step` values apart, in double. Eight
 * vectors of columns are summed over all rows before the next eight. The columns left over are
 * summed two vectors, one vector, and at last one column at a time. */
template <typename Real>
static void column_totals(const Real *x, ptrdiff_t rows, ptrdiff_t columns, ptrdiff_t step,
                          double *totals) {
    ptrdiff_t c = 0;
    for (; c + 8 * DOUBLES <= columns; c += 8 * DOUBLES)
        block_totals<8>(x + c, rows, step, totals + c);
    for (; c + 2 * DOUBLES <= columns; c += 2 * DOUBLES)
        block_totals<2>(x + c, rows, step, totals + c);
    for (; c + DOUBLES <= columns; c += DOUBLES) block_totals<1>(x + c, rows, step, totals + c);
    for (; c < columns; c++) {
        double even = 0, odd = 0;
        ptrdiff_t r = 0;
        for (; r + 4 <= rows; r += 4) {
            const Real *p = x + r * step + c;
            even += (double)p[0] + p[2 * step];
            odd += (double)p[step] + p[3 * step];
        }
        for (; r < rows; r++) even += x[r * step + c];
        totals[c] = even + odd;
    }
}

/* The largest of n >= 1 values. If one of them is NaN, the result may be any of them. */
template <typename Real>
static Real row_max(const Real *x, ptrdiff_t n) {
    typedef Vector<Real> V;
    typedef Mask<Real> M;
    Real top = x[0];
    ptrdiff_t i = 0;
    if (n >= lanes<Real>) {
        V best = *(const V *)x;
        for (i = lanes<Real>; i + lanes<Real> <= n; i += lanes<Real>) {
            const V v = *(const V *)(x + i);
            const M wins = (M)(v > best);
            best = (V)(((M)v & wins) | ((M)best & ~wins));
        }
        for (int j = 0; j < lanes<Real>; j++) top = best[j] > top ? best[j] : top;
    }
    for (; i < n; i++) top = x[i] > top ? x[i] : top;
    return top;
}

#undef SUMS
#undef DOUBLES
#undef EACH

#endif
