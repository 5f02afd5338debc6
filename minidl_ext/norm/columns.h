/* How the loops of a normalization go over rows of C channels.
 *
 * A loop takes a few vectors of channels, which lie side by side, through all rows of a block, so
 * that their factors and sums stay in registers. It is a template over the type, over the number of
 * channels in a vector and of vectors side by side (Columns), and over its options (Constant), and
 * is inlined where for_columns calls it, so all of these are constants to the compiler.
 */
#ifndef MINIDL_NORM_COLUMNS_H
#define MINIDL_NORM_COLUMNS_H
#include <type_traits>

#include "simd/vectors.h"

/* `count` vectors side by side, of `width` channels each. */
template <int Width, int Count>
struct Columns {
    static constexpr int width = Width, count = Count;
};

/* A loop needs up to five registers for each of the vectors side by side. */
constexpr int MAX_COLUMNS = VECTOR_BYTES == 64 ? 4 : 2;

#define EACH_COLUMN(g) _Pragma("GCC unroll 4") for (int g = 0; g < G; g++)

/* Calls body(columns, c) until all channels c .. are covered, with columns as wide as possible and
 * as many of them side by side as possible. The last call may overlap the one before it, where the
 * channels are no multiple of its width: what both cover is computed twice, to the same bits. */
template <typename Real, typename Body>
ALWAYS_INLINE void for_columns(ptrdiff_t channels, const Body &body) {
    constexpr int wide = lanes<Real>, narrow = 16 / sizeof(Real);
    if (channels >= wide)
        for (ptrdiff_t c = 0; c < channels;) {
            if (c + MAX_COLUMNS * wide <= channels) {
                body(Columns<wide, MAX_COLUMNS>{}, c);
                c += MAX_COLUMNS * wide;
            } else if (c + 2 * wide <= channels) {
                body(Columns<wide, 2>{}, c);
                c += 2 * wide;
            } else {
                if (c + wide > channels) c = channels - wide;
                body(Columns<wide, 1>{}, c);
                c += wide;
            }
        }
    else if (channels >= narrow)
        for (ptrdiff_t c = 0; c < channels; c += narrow) {
            if (c + narrow > channels) c = channels - narrow;
            body(Columns<narrow, 1>{}, c);
        }
    else
        for (ptrdiff_t c = 0; c < channels; c++) body(Columns<1, 1>{}, c);
}

/* An option of a loop as a type, so that the loop is compiled for each of its values. */
template <int Value>
using Constant = std::integral_constant<int, Value>;

/* Calls body(Constant<1>) or body(Constant<0>). */
template <typename Body>
ALWAYS_INLINE void with_flag(bool flag, const Body &body) {
    if (flag) body(Constant<1>{});
    else body(Constant<0>{});
}

/* How many values ahead of their use rows are prefetched: complete rows, about a kilobyte. The
 * hardware alone follows too few of a loop's streams. */
template <typename Real>
ALWAYS_INLINE ptrdiff_t prefetch_distance(ptrdiff_t channels) {
    return channels * (1 + 1023 / (channels * (ptrdiff_t)sizeof(Real)));
}

/* Prefetches what comes `distance` values after p, in columns of full registers only: narrower
 * ones belong to rows so short that the hardware follows them. */
template <int Width, typename Real>
ALWAYS_INLINE void prefetch(const Real *p, ptrdiff_t distance) {
    if (Width == lanes<Real>) __builtin_prefetch(p + distance);
}

/* The N values at p. */
template <int N, typename Real>
ALWAYS_INLINE typename VectorOf<Real, N>::type load(const Real *p) {
    return *(const typename VectorOf<Real, N>::type *)p;
}

/* Writes N values to p; with Stream past the caches, for which p must be aligned. */
template <int N, int Stream = 0, typename Real>
ALWAYS_INLINE void store(Real *p, typename VectorOf<Real, N>::type v) {
#if defined(STREAM)
    if constexpr (Stream && N == lanes<Real>) STREAM(p, v);
    else
#endif
        *(typename VectorOf<Real, N>::type *)p = v;
}

/* Whether rows of `channels` values that begin at p, p + step ... consist of aligned vectors. */
template <typename Real>
ALWAYS_INLINE bool aligned_rows(const Real *p, ptrdiff_t step, ptrdiff_t channels) {
    return (uintptr_t)p % VECTOR_BYTES == 0 && step % lanes<Real> == 0 &&
           channels % lanes<Real> == 0;
}

#endif
