/* The micro-kernel of matrix products and convolutions: what a caller may rely on.
 *
 *     out[r][out_off + c] (+)= sum over segments s and terms k < n:
 *                        a[r][a_off[s] + k a_step] * b[b_off[s] + k b_step + c]
 *
 * for up to MR rows r and one or two vectors of columns c, whose sums stay in registers. Rows are
 * found through pointers, so that one kernel serves all callers: a row is a row of a matrix, or an
 * output pixel of a convolution of any stride and dilation (a segment is then a run of taps that
 * lie together in memory), or a tap of a weight gradient (a segment is then a row of output
 * pixels). Where `columns` are fewer than the vectors hold, b is read as if it had the rest, and
 * out is neither read nor written there. With `accumulate` the sums are added to out.
 *
 * While it multiplies, the kernel prefetches memory that is needed soon: the cache line at
 * `prefetch`, then one `prefetch_step` bytes further at each term. Asked for all at once, so many
 * lines would hold up the multiplications.
 *
 * Each sum runs in one order, whatever the number of threads. The code is in micro_blocks.h.
 */
#ifndef MINIDL_MICRO_H
#define MINIDL_MICRO_H
#include <string.h>

#include "simd/vectors.h"

#if VECTOR_BYTES == 64
#define MR 12               /* 12 x 2 sums + 2 columns + 1 row value in 32 registers */
#else
#define MR 6                /* 6 x 2 sums + 2 + 1 in 16 registers */
#endif

template <typename Real>
using MicroBlock = void (*)(const Real *const *a, const Real *b, int segments,
                            const ptrdiff_t *a_off, const ptrdiff_t *b_off, ptrdiff_t n,
                            ptrdiff_t a_step, ptrdiff_t b_step, Real *const *out, ptrdiff_t out_off,
                            ptrdiff_t columns, int accumulate, const char *prefetch,
                            ptrdiff_t prefetch_step);

/* The kernels of all sizes, [rows - 1][vectors - 1]. They take long to compile, so one object of a
 * library has them (that of gemm/matmul.pyx), to which the others refer. */
template <typename Real>
struct __attribute__((visibility("hidden"))) MicroBlocks {
    MicroBlock<Real> of[MR][2];
    static const MicroBlocks table;
};
template <>
const MicroBlocks<float> MicroBlocks<float>::table;
template <>
const MicroBlocks<double> MicroBlocks<double>::table;

/* `rows` (1..MR) rows and up to two vectors of columns, as described above. */
template <typename Real>
ALWAYS_INLINE void micro(int rows, const Real *const *a, const Real *b, int segments,
                         const ptrdiff_t *a_off, const ptrdiff_t *b_off, ptrdiff_t n,
                         ptrdiff_t a_step, ptrdiff_t b_step, Real *const *out, ptrdiff_t out_off,
                         ptrdiff_t columns, int accumulate, const char *prefetch,
                         ptrdiff_t prefetch_step) {
    MicroBlocks<Real>::table.of[rows - 1][columns > lanes<Real>](
        a, b, segments, a_off, b_off, n, a_step, b_step, out, out_off, columns, accumulate,
        prefetch, prefetch_step);
}

/* Prefetches part i of `parts` of some memory that is needed soon. */
ALWAYS_INLINE void prefetch_part(const char *p, ptrdiff_t bytes, ptrdiff_t i, ptrdiff_t parts) {
    ptrdiff_t a = bytes * i / parts & ~(ptrdiff_t)63, end = bytes * (i + 1) / parts;
    for (; a < end; a += 64) __builtin_prefetch(p + a, 0, 2);
}

#endif
