/* Max pooling of the channels of one window, and its gradient, in vectors of channels.
 *
 * The places of a window are bytes or 32-bit integers beside values of four or eight bytes, which
 * compilers do not vectorize well by themselves.
 */
#ifndef MINIDL_MAX_WINDOW_H
#define MINIDL_MAX_WINDOW_H
#include "simd/vectors.h"

/* As many places as a register holds values. */
template <typename Real, typename Place>
struct Places {
    typedef Place type __attribute__((vector_size(lanes<Real> * sizeof(Place)),
                                      aligned(sizeof(Place)), may_alias));
};

/* The largest value of each channel over the taps (k, l), k0 <= k < k1, l0 <= l < l1, of a window
 * whose (0, 0) is at `window`, and its place k * kw + l. Taps lie row_step values apart in k and
 * step in l. NaN wins; the first of equals wins. */
template <typename Real, typename Place>
static void max_window(const Real *window, ptrdiff_t row_step, ptrdiff_t step, ptrdiff_t channels,
                       ptrdiff_t k0, ptrdiff_t k1, ptrdiff_t l0, ptrdiff_t l1, ptrdiff_t kw,
                       Real *best, Place *where) {
    typedef Vector<Real> V;
    typedef Mask<Real> M;
    typedef typename IntegerOf<Real>::type Int;
    typedef typename Places<Real, Place>::type P;
    ptrdiff_t c = 0, k, l;
    for (; c + lanes<Real> <= channels; c += lanes<Real>) {
        V top = *(const V *)(window + k0 * row_step + l0 * step + c);
        M place = M{0} + (Int)(k0 * kw + l0);
        for (k = k0; k < k1; k++)
            for (l = l0; l < l1; l++) {
                const V v = *(const V *)(window + k * row_step + l * step + c);
                const M wins = (M)(v > top) | ((M)(v != v) & (M)(top == top));
                top = (V)(((M)v & wins) | ((M)top & ~wins));
                place = ((M{0} + (Int)(k * kw + l)) & wins) | (place & ~wins);
            }
        *(V *)(best + c) = top;
        *(P *)(where + c) = __builtin_convertvector(place, P);
    }
    for (; c < channels; c++) {
        Real top = window[k0 * row_step + l0 * step + c];
        ptrdiff_t place = k0 * kw + l0;
        for (k = k0; k < k1; k++)
            for (l = l0; l < l1; l++) {
                const Real v = window[k * row_step + l * step + c];
                if (v > top || (v != v && top == top)) top = v, place = k * kw + l;
            }
        best[c] = top;
        where[c] = (Place)place;
    }
}

/* The gradient of all inputs of a window: dy at the place that won, 0 elsewhere. Rows of the window
 * lie row_step values apart. */
template <typename Real, typename Place>
static void spread_window(const Real *dy, const Place *where, ptrdiff_t row_step,
                          ptrdiff_t channels, ptrdiff_t kh, ptrdiff_t kw, Real *window) {
    typedef Vector<Real> V;
    typedef Mask<Real> M;
    typedef typename IntegerOf<Real>::type Int;
    typedef typename Places<Real, Place>::type P;
    ptrdiff_t c = 0, k, l;
    for (; c + lanes<Real> <= channels; c += lanes<Real>) {
        const V g = *(const V *)(dy + c);
        const M place = __builtin_convertvector(*(const P *)(where + c), M);
        for (k = 0; k < kh; k++)
            for (l = 0; l < kw; l++)
                *(V *)(window + k * row_step + l * channels + c) =
                    (V)((M)g & (M)(place == M{0} + (Int)(k * kw + l)));
    }
    for (; c < channels; c++)
        for (k = 0; k < kh; k++)
            for (l = 0; l < kw; l++)
                window[k * row_step + l * channels + c] = where[c] == k * kw + l ? dy[c] : 0;
}

#endif
