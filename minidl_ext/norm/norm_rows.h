/* Inner loops of batch normalization: blocks of rows of C channels, for float and for double.
 *
 * Each loop takes a few vectors of channels through all rows (norm_columns.h), so that sums and
 * factors stay in registers. Forward and backward compute the normalized value by one expression,
 * (x - mean) * scale + shift, and never with a fused multiply-add, so that a ReLU's mask comes out
 * the same bit for bit, also in families whose other loops are compiled with -ffp-contract=fast.
 * Include this file last.
 */
#ifndef MINIDL_NORM_ROWS_H
#define MINIDL_NORM_ROWS_H
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include "simd/vectors.h"

#if defined(__clang__)
#pragma clang fp contract(off)
#else
#pragma GCC push_options
#pragma GCC optimize("fp-contract=off")
#endif

#define NORM_INLINE static inline __attribute__((always_inline))
enum { NO_MASK, MASK_FROM_X, MASK_FROM_SUM };    /* of a ReLU, in the backward */
/* What statistics carry the gradient: none, those of a channel, those of a group of channels, whose
 * gammas differ. */
enum { THROUGH_NONE, THROUGH_CHANNEL, THROUGH_GROUP };
/* Columns side by side: five registers each, at most. */
#define MAX_COLUMNS (VECTOR_BYTES == 64 ? 4 : 2)
#define WIDE ((ptrdiff_t)(VECTOR_BYTES / sizeof(REAL)))
#define NARROW ((ptrdiff_t)(16 / sizeof(REAL)))

/* The sum of squared deviations from the mean, from that of squared deviations from something else
 * and the sum of these. Squares beyond the range stay infinite: inf - inf would be NaN. */
static inline double centred(double squares, double off, double rows) {
    return squares < INFINITY ? squares - off * (off / rows) : squares;
}

/* Statistics of `count` and of `other_count` values as those of their union, channel by channel
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

/* Mean and biased variance of `rows` values from those of chunks of `chunk` values (the last one
 * may be smaller), `partial`: a row of means and one of sums of squares for each chunk. */
static void merge_chunks(const double *partial, ptrdiff_t rows, ptrdiff_t chunk,
                         ptrdiff_t channels, double *mean, double *var) {
    memcpy(mean, partial, channels * sizeof(double));
    memcpy(var, partial + channels, channels * sizeof(double));
    for (ptrdiff_t first = chunk; first < rows; first += chunk) {
        partial += 2 * channels;
        merge_stats(mean, var, first, partial, partial + channels,
                    rows - first < chunk ? rows - first : chunk, channels);
    }
    for (ptrdiff_t c = 0; c < channels; c++) var[c] = var[c] < 0 ? 0 : var[c] / rows;
}

#define BODY "norm/norm_rows_body.h"
#include "simd/both_reals.h"
#undef BODY

#if !defined(__clang__)
#pragma GCC pop_options
#endif

#endif
