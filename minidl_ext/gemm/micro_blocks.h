/* The code of the micro-kernel, whose contract is in micro.h: a block of outputs in registers, for
 * every number of rows and vectors and both float types.
 *
 * One module includes this file, gemm/matmul.pyx, whose object then has the tables that micro.h
 * declares. It must be compiled so that a * b + c becomes one instruction (FUSED in setup.py).
 */
#ifndef MINIDL_MICRO_BLOCKS_H
#define MINIDL_MICRO_BLOCKS_H
#include <utility>

#include "gemm/micro.h"

/* R rows x C vectors, of which `columns` columns exist. */
template <typename Real, int R, int C>
static __attribute__((noinline)) void
micro_block(const Real *const *a, const Real *b, int segments, const ptrdiff_t *a_off,
            const ptrdiff_t *b_off, ptrdiff_t n, ptrdiff_t a_step, ptrdiff_t b_step,
            Real *const *out, ptrdiff_t out_off, ptrdiff_t columns, int accumulate,
            const char *prefetch, ptrdiff_t prefetch_step) {
    typedef Vector<Real> V;
    constexpr ptrdiff_t VL = lanes<Real>;
    V sum[R][C];
    const Real *row[R];
    bool adjacent = true;
    if (!prefetch_step) prefetch = (const char *)a[0];  /* which is in the cache anyway */
    _Pragma("GCC unroll 12") for (int r = 0; r < R; r++) {
        row[r] = a[r];
        adjacent &= row[r] == row[0] + r;
        for (int c = 0; c < C; c++) __builtin_prefetch(out[r] + out_off + c * VL, 1);
        _Pragma("GCC unroll 2") for (int c = 0; c < C; c++) sum[r][c] = V{0};
    }
    const Real *column;
    /* Adds one term: the product of a value of each row, value(r), and C vectors of b. */
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
            /* Twelve pointers do not fit in the registers, so each is loaded for four terms. */
            for (; k + 4 <= n; k += 4, i += 4)
                _Pragma("GCC unroll 4") for (int u = 0; u < 4; u++)
                    add_term([&](int r) { return row[r][i + u]; });
            for (; k < n; k++, i++) add_term([&](int r) { return row[r][i]; });
        } else {
            for (; k < n; k++, i += a_step) add_term([&](int r) { return row[r][i]; });
        }
    }
    _Pragma("GCC unroll 2") for (int c = 0; c < C; c++) {
        const FirstLanes<Real> existing(columns - c * VL);
        _Pragma("GCC unroll 12") for (int r = 0; r < R; r++) {
            Real *o = out[r] + out_off + c * VL;
            /* Added last, so that rounding errors are those of a short sum. */
            if (accumulate) sum[r][c] += existing.load(o);
            existing.store(o, sum[r][c]);
        }
    }
}

template <typename Real, int... R>
constexpr MicroBlocks<Real> micro_blocks(std::integer_sequence<int, R...>) {
    return {{{micro_block<Real, R + 1, 1>, micro_block<Real, R + 1, 2>}...}};
}
typedef std::make_integer_sequence<int, MR> Rows;
template <>
const MicroBlocks<float> MicroBlocks<float>::table = micro_blocks<float>(Rows());
template <>
const MicroBlocks<double> MicroBlocks<double>::table = micro_blocks<double>(Rows());

#endif
