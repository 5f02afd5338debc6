/* Mean and variance of each channel over rows of C channels, for either float type.
 *
 * Values are shifted by the mean of the first rows, summed with their squares in their own type
 * over a block of rows, and added in double. `mean` and `m2` below are the mean and the sum of
 * squared deviations from it.
 */
#ifndef MINIDL_NORM_STATISTICS_H
#define MINIDL_NORM_STATISTICS_H
#include <math.h>
#include <string.h>

#include "norm/columns.h"

UNFUSED_BEGIN

/* The sum of squared deviations from the mean, from that of deviations from another number and the
 * sum `off` of these. Squares beyond the range stay infinite, since inf - inf would be NaN. */
static inline double centred(double squares, double off, double rows) {
    return squares < INFINITY ? squares - off * (off / rows) : squares;
}

/* Makes the statistics of `count` values those of these and `other_count` others, for each channel
 * (Chan, Golub & LeVeque 1979). */
static void merge_stats(double *__restrict mean, double *__restrict m2, double count,
                        const double *__restrict other_mean, const double *__restrict other_m2,
                        double other_count, ptrdiff_t channels) {
    const double share = other_count / (count + other_count), weight = count * share;
    for (ptrdiff_t c = 0; c < channels; c++) {
        const double delta = other_mean[c] - mean[c];
        mean[c] += delta * share;
        m2[c] += other_m2[c] + delta * delta * weight;
    }
}

/* The statistics of all rows from those of `chunks` chunks of them, which stand in `partial` as a
 * row of means and a row of m2 for each chunk. Chunk q has count_of(q) rows, and is left out if
 * that is 0. Returns the number of rows; where it is 0, mean and m2 are 0. */
template <typename CountOf>
static ptrdiff_t merge_parts(const double *partial, ptrdiff_t chunks, const CountOf &count_of,
                             ptrdiff_t channels, double *mean, double *m2) {
    ptrdiff_t total = 0;
    for (ptrdiff_t c = 0; c < channels; c++) mean[c] = m2[c] = 0;
    for (ptrdiff_t q = 0; q < chunks; q++, partial += 2 * channels) {
        const ptrdiff_t count = count_of(q);
        if (count && total == 0) {
            memcpy(mean, partial, channels * sizeof(double));
            memcpy(m2, partial + channels, channels * sizeof(double));
        } else if (count) {
            merge_stats(mean, m2, total, partial, partial + channels, count, channels);
        }
        total += count;
    }
    for (ptrdiff_t c = 0; c < channels; c++)
        if (m2[c] < 0) m2[c] = 0;
    return total;
}

/* The same for `rows` rows in chunks of `chunk`, of which the last may be smaller. */
static void merge_moments(const double *partial, ptrdiff_t rows, ptrdiff_t chunk,
                          ptrdiff_t channels, double *mean, double *m2) {
    const auto count_of = [=](ptrdiff_t q) {
        return rows - q * chunk < chunk ? rows - q * chunk : chunk;
    };
    merge_parts(partial, (rows + chunk - 1) / chunk, count_of, channels, mean, m2);
}

/* The same, but the biased variance instead of m2. */
static void merge_chunks(const double *partial, ptrdiff_t rows, ptrdiff_t chunk, ptrdiff_t channels,
                         double *mean, double *var) {
    merge_moments(partial, rows, chunk, channels, mean, var);
    for (ptrdiff_t c = 0; c < channels; c++) var[c] /= rows;
}

/* The same for chunks of counts[0], counts[1] ... rows. Returns the number of rows; where it is 0,
 * mean is 0 and var 1. */
static ptrdiff_t merge_counted(const double *partial, ptrdiff_t chunks, const ptrdiff_t *counts,
                               ptrdiff_t channels, double *mean, double *var) {
    const auto count_of = [=](ptrdiff_t q) { return counts[q]; };
    const ptrdiff_t total = merge_parts(partial, chunks, count_of, channels, mean, var);
    for (ptrdiff_t c = 0; c < channels; c++) var[c] = total ? var[c] / total : 1;
    return total;
}

/* The sums of x. */
template <typename Real, int N, int G>
ALWAYS_INLINE void sum_columns(Columns<N, G>, const Real *x, ptrdiff_t rows, ptrdiff_t channels,
                               Real *total) {
    typedef typename VectorOf<Real, N>::type V;
    V sum[G];
    ptrdiff_t r;
    EACH_COLUMN(g) sum[g] = V{0};
    for (r = 0; r + 4 <= rows; r += 4) EACH_COLUMN(g) {
            const Real *p = x + r * channels + g * N;
            sum[g] += (load<N>(p) + load<N>(p + channels)) +
                      (load<N>(p + 2 * channels) + load<N>(p + 3 * channels));
        }
    for (; r < rows; r++) EACH_COLUMN(g) sum[g] += load<N>(x + r * channels + g * N);
    EACH_COLUMN(g) store<N>(total + g * N, sum[g]);
}

/* The sums of x - shift and of its square. */
template <typename Real, int N, int G>
ALWAYS_INLINE void shifted_sum_columns(Columns<N, G>, const Real *x, ptrdiff_t rows,
                                       ptrdiff_t channels, const Real *shifts, Real *off,
                                       Real *squares) {
    typedef typename VectorOf<Real, N>::type V;
    const ptrdiff_t ahead = prefetch_distance<Real>(channels);
    V shift[G], sum[G], square[G];
    ptrdiff_t r;
    EACH_COLUMN(g) {
        shift[g] = load<N>(shifts + g * N);
        sum[g] = square[g] = V{0};
    }
    for (r = 0; r + 4 <= rows; r += 4) EACH_COLUMN(g) {
            const Real *p = x + r * channels + g * N;
            _Pragma("GCC unroll 4") for (int k = 0; k < 4; k++)
                prefetch<N>(p + k * channels, ahead);
            const V d0 = load<N>(p) - shift[g], d1 = load<N>(p + channels) - shift[g],
                    d2 = load<N>(p + 2 * channels) - shift[g],
                    d3 = load<N>(p + 3 * channels) - shift[g];
            sum[g] += (d0 + d1) + (d2 + d3);
            square[g] += (d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3);
        }
    for (; r < rows; r++) EACH_COLUMN(g) {
            const V d = load<N>(x + r * channels + g * N) - shift[g];
            sum[g] += d;
            square[g] += d * d;
        }
    EACH_COLUMN(g) {
        store<N>(off + g * N, sum[g]);
        store<N>(squares + g * N, square[g]);
    }
}

/* The mean of each channel, good to rounding errors of a sum: to shift values by. */
template <typename Real>
static void column_means(const Real *x, ptrdiff_t rows, ptrdiff_t channels, Real *mean) {
    for_columns<Real>(channels, [&](auto columns, ptrdiff_t c) INLINED {
        sum_columns(columns, x + c, rows, channels, mean + c);
    });
    for (ptrdiff_t c = 0; c < channels; c++) mean[c] /= (Real)rows;
}

/* The sums of x - shift and of its square for each channel over a block of rows. */
template <typename Real>
static void shifted_sums(const Real *x, ptrdiff_t rows, ptrdiff_t channels, const Real *shift,
                         Real *off, Real *squares) {
    for_columns<Real>(channels, [&](auto columns, ptrdiff_t c) INLINED {
        shifted_sum_columns(columns, x + c, rows, channels, shift + c, off + c, squares + c);
    });
}

/* The statistics of one channel over some rows, in double: for values whose squares leave the range
 * of Real. */
template <typename Real>
static void exact_channel(const Real *x, ptrdiff_t rows, ptrdiff_t channels, double *mean,
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

/* Whether all values of one channel are `value`. */
template <typename Real>
static bool is_constant(const Real *x, ptrdiff_t rows, ptrdiff_t channels, Real value) {
    ptrdiff_t r = 0;
    while (r < rows && x[r * channels] == value) r++;
    return r == rows;
}

/* Replaces the shifted sums of all rows, in `mean` and `m2`, by their statistics. */
template <typename Real>
static void finish_stats(const Real *x, ptrdiff_t rows, ptrdiff_t channels, const Real *shift,
                         double *mean, double *m2) {
    for (ptrdiff_t c = 0; c < channels; c++) {
        const double off = mean[c], squares = m2[c];
        mean[c] = shift[c] + off / rows;
        m2[c] = centred(squares, off, (double)rows);
        /* These squares overflowed, or are so small that they lost digits; but those of a constant
         * channel, as of a ReLU that never fires, are exactly 0. */
        if (sizeof(Real) == 4 && !(squares > 1e-30 && squares < 1e38) &&
            !(squares == 0 && is_constant(x + c, rows, channels, shift[c])))
            exact_channel(x + c, rows, channels, &mean[c], &m2[c]);
    }
}

/* total += part, in double. */
template <typename Real>
static void add_sums(double *__restrict total, const Real *__restrict part, ptrdiff_t n) {
    for (ptrdiff_t i = 0; i < n; i++) total[i] += part[i];
}

UNFUSED_END

#endif
