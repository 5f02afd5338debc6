/* Transposes blocks of a matrix in registers, for panels whose terms lie side by side in memory.
 *
 * Writing a panel value by value takes a store for each; a block of 4 x 4 takes four.
 */
#ifndef MINIDL_GEMM_TRANSPOSE_H
#define MINIDL_GEMM_TRANSPOSE_H
#include "simd/vectors.h"

#if defined(__clang__)
#define SHUFFLE(a, b, i, j, k, l) __builtin_shufflevector(a, b, i, j, k, l)
#else
#define SHUFFLE(a, b, i, j, k, l) \
    __builtin_shuffle(a, b, typename VectorOf<Real, 4>::mask{i, j, k, l})
#endif

/* Four columns of panel from four rows of b: panel[k * width + j] = b[j * step + k]. */
template <typename Real>
ALWAYS_INLINE void transpose_block(const Real *b, ptrdiff_t step, Real *panel, ptrdiff_t width) {
    typedef typename VectorOf<Real, 4>::type V;
    const V b0 = *(const V *)b, b1 = *(const V *)(b + step), b2 = *(const V *)(b + 2 * step),
            b3 = *(const V *)(b + 3 * step);
    const V low0 = SHUFFLE(b0, b1, 0, 4, 1, 5), high0 = SHUFFLE(b0, b1, 2, 6, 3, 7),
            low1 = SHUFFLE(b2, b3, 0, 4, 1, 5), high1 = SHUFFLE(b2, b3, 2, 6, 3, 7);
    *(V *)panel = SHUFFLE(low0, low1, 0, 1, 4, 5);
    *(V *)(panel + width) = SHUFFLE(low0, low1, 2, 3, 6, 7);
    *(V *)(panel + 2 * width) = SHUFFLE(high0, high1, 0, 1, 4, 5);
    *(V *)(panel + 3 * width) = SHUFFLE(high0, high1, 2, 3, 6, 7);
}

/* The first `columns` columns of a panel: panel[k * width + j] = b[j * step + k], k < terms. */
template <typename Real>
static void transpose(const Real *b, ptrdiff_t step, ptrdiff_t columns, ptrdiff_t terms,
                      Real *panel, ptrdiff_t width) {
    for (ptrdiff_t j = 0; j < columns; j += 4) {
        ptrdiff_t k = 0;
        if (j + 4 <= columns)
            for (; k + 4 <= terms; k += 4)
                transpose_block(b + j * step + k, step, panel + k * width + j, width);
        for (; k < terms; k++)
            for (ptrdiff_t i = j; i < j + 4 && i < columns; i++)
                panel[k * width + i] = b[i * step + k];
    }
}
#endif
