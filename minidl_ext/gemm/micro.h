/* The micro-kernel of matrix product and convolution: a small block of outputs in registers.
 *
 *     out[r][c] (+)= sum over segments s, k < n:
 *                        a[r][a_off[s] + k a_step] * b[b_off[s] + k b_step + c]
 *
 * for up to MR rows r and one or two vectors of columns c. Rows are found through pointers, so
 * one kernel serves them all: rows of a matrix, output pixels of a convolution of any stride and
 * dilation (a segment is then a run of taps that lie together in memory), and the taps of a
 * weight gradient (a segment is then a row of output pixels).
 *
 * Meanwhile it prefetches memory that is needed soon, from `prefetch` on, prefetch_step bytes further
 * at each term; in one go, so many requests would make the multiplications wait.
 *
 * Sums run in one order, whatever the number of threads. This file must be compiled with
 * -ffp-contract=fast, so that a * b + c becomes one instruction.
 */
#ifndef MINIDL_MICRO_H
#define MINIDL_MICRO_H
#include <string.h>
#include <utility>

#include "simd/vectors.h"

#if VECTOR_BYTES == 64
#define MR 12               /* 12 x 2 sums + 2 columns + 1 row value in 32 registers */
#else
#define MR 6                /* 6 x 2 sums + 2 + 1 in 16 registers */
#endif

/* R rows x C vectors, of which `columns` columns exist. */
template <typename Real, int R, int C>
static __attribute__((noinline))
void micro_block(const Real *const *a, const Real *b, int segments, const ptrdiff_t *a_off,
                 const ptrdiff_t *b_off, ptrdiff_t n, ptrdiff_t a_step, ptrdiff_t b_step,
                 Real *const *out, ptrdiff_t out_off, ptrdiff_t columns, int accumulate,
                 const char *prefetch, ptrdiff_t prefetch_step) {
    typedef Vector<Real> V;
    constexpr ptrdiff_t VL = lanes<Real>;
    V sum[R][C];
    const Real *row[R];
    bool adjacent = true;
    if (!prefetch_step) prefetch = (const char *)a[0];  /* a line that is in the cache anyway */
    _Pragma("GCC unroll 12") for (int r = 0; r < R; r++) {
        row[r] = a[r];
        adjacent &= row[r] == row[0] + r;
        for (int c = 0; c < C; c++) __builtin_prefetch(out[r] + out_off + c * VL, 1);
        _Pragma("GCC unroll 2") for (int c = 0; c < C; c++) sum[r][c] = V{0};
    }
    const Real *column;
    /* One term: the product of a value of each row, value(r), and C vectors of b. */
    const auto add_term = [&](const auto &value) __attribute__((always_inline)) {
        V w[C];
        __builtin_prefetch(prefetch, 0, 2);
        prefetch += prefetch_step;
        _Pragma("GCC unroll 2") for (int c = 0; c < C; c++) w[c] = *(const V *)(column + c * VL);
        column += b_step;
        _Pragma("GCC unroll 12") for (int r = 0; r < R; r++) {
            const Real x = value(r);
            _Pragma("GCC unroll 2") for (int c = 0; c < C; c++) sum[r][c] += x * w[c];
        }
    };
    for (int s = 0; s < segments; s++) {
        const Real *at = row[0] + a_off[s];
        ptrdiff_t i = a_off[s], k = 0;
        column = b + b_off[s];
        if (adjacent) {
            for (; k < n; k++, at += a_step) add_term([&](int r) { return at[r]; });
        } else if (a_step == 1) {
            /* Twelve pointers do not fit in the registers: four terms for each time they come. */
            for (; k + 4 <= n; k += 4, i += 4)
                _Pragma("GCC unroll 4") for (int u = 0; u < 4; u++)
                    add_term([&](int r) { return row[r][i + u]; });
            for (; k < n; k++, i++) add_term([&](int r) { return row[r][i]; });
        } else {
            for (; k < n; k++, i += a_step) add_term([&](int r) { return row[r][i]; });
        }
    }
    _Pragma("GCC unroll 2") for (int c = 0; c < C; c++) {
        const FirstLanes<Real> there(columns - c * VL);
        _Pragma("GCC unroll 12") for (int r = 0; r < R; r++) {
            Real *o = out[r] + out_off + c * VL;
            /* Added last, not started from: rounding errors are those of a short sum. */
            if (accumulate) sum[r][c] += there.load(o);
            there.store(o, sum[r][c]);
        }
    }
}

/* The blocks of each size, [rows - 1][vectors - 1]. */
template <typename Real> using MicroBlock = decltype(&micro_block<Real, 1, 1>);
template <typename Real, typename Rows> struct MicroBlocks;
template <typename Real, int... R> struct MicroBlocks<Real, std::integer_sequence<int, R...>> {
    static constexpr MicroBlock<Real> of[MR][2] = {
        {micro_block<Real, R + 1, 1>, micro_block<Real, R + 1, 2>}...};
};

/* `rows` (1..MR) rows and up to two vectors of columns, as described above. */
template <typename Real>
ALWAYS_INLINE void micro(int rows, const Real *const *a, const Real *b, int segments,
                         const ptrdiff_t *a_off, const ptrdiff_t *b_off, ptrdiff_t n,
                         ptrdiff_t a_step, ptrdiff_t b_step, Real *const *out, ptrdiff_t out_off,
                         ptrdiff_t columns, int accumulate, const char *prefetch,
                         ptrdiff_t prefetch_step) {
    typedef MicroBlocks<Real, std::make_integer_sequence<int, MR>> Blocks;
    Blocks::of[rows - 1][columns > lanes<Real>](a, b, segments, a_off, b_off, n, a_step, b_step,
                                                out, out_off, columns, accumulate, prefetch,
                                                prefetch_step);
}

/* Prefetch part i of `parts` of some memory that is needed soon. */
ALWAYS_INLINE void prefetch_part(const char *p, ptrdiff_t bytes, ptrdiff_t i, ptrdiff_t parts) {
    ptrdiff_t a = bytes * i / parts & ~(ptrdiff_t)63, end = bytes * (i + 1) / parts;
    for (; a < end; a += 64) __builtin_prefetch(p + a, 0, 2);
}

#endif
