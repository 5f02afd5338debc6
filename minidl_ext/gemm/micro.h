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
 * Meanwhile memory that is needed soon is asked for: `ahead`, ahead_step bytes further each time;
 * in one go, so many requests would make the multiplications wait.
 *
 * Written with vector extensions of GCC and Clang at the width of the instruction set that this
 * file is compiled for. Sums run in one order, whatever the number of threads. This file must be
 * compiled with -ffp-contract=fast, so that a * b + c becomes one instruction.
 */
#ifndef MINIDL_MICRO_H
#define MINIDL_MICRO_H
#include <stddef.h>
#include <string.h>

#include "simd/vectors.h"

#if VECTOR_BYTES == 64
#define MR 12               /* 12 x 2 sums + 2 columns + 1 row value in 32 registers */
#else
#define MR 6                /* 6 x 2 sums + 2 + 1 in 16 registers */
#endif

#define MICRO_INLINE static inline __attribute__((always_inline))

#define BODY "gemm/micro_body.h"
#include "simd/both_reals.h"
#undef BODY

/* Ask for part i of `parts` of some memory that is needed soon. */
MICRO_INLINE void prefetch_part(const char *p, ptrdiff_t bytes, ptrdiff_t i, ptrdiff_t parts) {
    ptrdiff_t a = bytes * i / parts & ~(ptrdiff_t)63, end = bytes * (i + 1) / parts;
    for (; a < end; a += 64) __builtin_prefetch(p + a, 0, 2);
}

#endif
