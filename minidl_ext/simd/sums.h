/* Sums and the maximum of values that lie side by side. Sums are in double whatever the values are:
 * no square of a float leaves its range, and no digit is lost. */
#ifndef MINIDL_SUMS_H
#define MINIDL_SUMS_H
#include <string.h>

#include "simd/vectors.h"

#define SUMS 8                  /* vectors that are added to side by side */
#define DOUBLES lanes<double>
#define EACH(k) _Pragma("GCC unroll 8") for (int k = 0; k < SUMS; k++)

/* As many values as there are doubles in a register, as doubles. */
template <typename Real> ALWAYS_INLINE vec_f64 as_doubles(const Real *p) {
    typedef typename VectorOf<Real, DOUBLES>::type Part;
    return __builtin_convertvector(*(const Part *)p, vec_f64);
}

/* The sum of all values of SUMS vectors. */
static inline double total_of(const vec_f64 *sum) {
    vec_f64 all = sum[0];
    double total = 0;
    for (int k = 1; k < SUMS; k++) all += sum[k];
    for (int j = 0; j < DOUBLES; j++) total += all[j];
    return total;
}

/* The sum of n values, in double. */
template <typename Real> static double row_sum(const Real *x, ptrdiff_t n) {
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

/* The sum of (x - shift)^2 over n values, in double; that of x - shift goes to *sum_off. */
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

/* The sum of a b over n values, in double. */
template <typename Real> static double row_dot(const Real *a, const Real *b, ptrdiff_t n) {
    vec_f64 sum[SUMS];
    ptrdiff_t i = 0;
    EACH(k) sum[k] = vec_f64{0};
    for (; i + SUMS * DOUBLES <= n; i += SUMS * DOUBLES)
        EACH(k) sum[k] += as_doubles(a + i + k * DOUBLES) * as_doubles(b + i + k * DOUBLES);
    double total = total_of(sum);
    for (; i < n; i++) total += (double)a[i] * b[i];
    return total;
}

/* The sums of G vectors of columns over some rows. */
template <int G, typename Real>
ALWAYS_INLINE void block_totals(const Real *x, ptrdiff_t rows, ptrdiff_t columns, double *totals) {
    vec_f64 sum[SUMS];
    ptrdiff_t r = 0;
    for (int k = 0; k < G; k++) sum[k] = vec_f64{0};
    for (; r + 4 <= rows; r += 4)
        _Pragma("GCC unroll 8") for (int k = 0; k < G; k++) {
            const Real *p = x + r * columns + k * DOUBLES;
            sum[k] += (as_doubles(p) + as_doubles(p + columns))
                    + (as_doubles(p + 2 * columns) + as_doubles(p + 3 * columns));
        }
    for (; r < rows; r++)
        for (int k = 0; k < G; k++) sum[k] += as_doubles(x + r * columns + k * DOUBLES);
    memcpy(totals, sum, G * sizeof(vec_f64));
}

/* The sum of each of `columns` columns over some rows, in double: a few vectors of them through
 * all rows, then what is left one by one. */
template <typename Real>
static void column_totals(const Real *x, ptrdiff_t rows, ptrdiff_t columns, double *totals) {
    ptrdiff_t c = 0;
    for (; c + 8 * DOUBLES <= columns; c += 8 * DOUBLES)
        block_totals<8>(x + c, rows, columns, totals + c);
    for (; c + 2 * DOUBLES <= columns; c += 2 * DOUBLES)
        block_totals<2>(x + c, rows, columns, totals + c);
    for (; c + DOUBLES <= columns; c += DOUBLES)
        block_totals<1>(x + c, rows, columns, totals + c);
    for (; c < columns; c++) {
        double even = 0, odd = 0;
        ptrdiff_t r = 0;
        for (; r + 4 <= rows; r += 4) {
            const Real *p = x + r * columns + c;
            even += (double)p[0] + p[2 * columns];
            odd += (double)p[columns] + p[3 * columns];
        }
        for (; r < rows; r++) even += x[r * columns + c];
        totals[c] = even + odd;
    }
}

/* The largest of n >= 1 values; what it is if one of them is NaN is not said. */
template <typename Real> static Real row_max(const Real *x, ptrdiff_t n) {
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
