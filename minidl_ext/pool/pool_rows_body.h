/* Body of pool_rows.h for one type, REAL. No include guard: it is included once per type. */

typedef REAL NAME(reals) __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(REAL)), may_alias));
typedef INT NAME(ints) __attribute__((vector_size(VECTOR_BYTES)));
typedef uint8_t NAME(places)
    __attribute__((vector_size(VECTOR_BYTES / sizeof(REAL)), aligned(1), may_alias));
#define V NAME(reals)
#define VI NAME(ints)
#define VP NAME(places)
#define VL ((ptrdiff_t)(VECTOR_BYTES / sizeof(REAL)))

/* The largest value of each channel over taps (k, l), k0 <= k < k1, l0 <= l < l1, of a window
 * whose (0, 0) is at `window`, and its place k * kw + l. Taps are `line` apart in k and `step` in
 * l. NaN wins; the first of equals wins. */
static void NAME(max_window)(const REAL *window, ptrdiff_t line, ptrdiff_t step,
                             ptrdiff_t channels, ptrdiff_t k0, ptrdiff_t k1, ptrdiff_t l0,
                             ptrdiff_t l1, ptrdiff_t kw, REAL *best, uint8_t *where) {
    ptrdiff_t c = 0, k, l;
    for (; c + VL <= channels; c += VL) {
        V top = *(const V *)(window + k0 * line + l0 * step + c);
        VI place = (VI){0} + (INT)(k0 * kw + l0);
        for (k = k0; k < k1; k++)
            for (l = l0; l < l1; l++) {
                const V v = *(const V *)(window + k * line + l * step + c);
                const VI wins = (VI)(v > top) | ((VI)(v != v) & (VI)(top == top));
                top = (V)(((VI)v & wins) | ((VI)top & ~wins));
                place = (((VI){0} + (INT)(k * kw + l)) & wins) | (place & ~wins);
            }
        *(V *)(best + c) = top;
        *(VP *)(where + c) = __builtin_convertvector(place, VP);
    }
    for (; c < channels; c++) {
        REAL top = window[k0 * line + l0 * step + c];
        ptrdiff_t place = k0 * kw + l0;
        for (k = k0; k < k1; k++)
            for (l = l0; l < l1; l++) {
                const REAL v = window[k * line + l * step + c];
                if (v > top || (v != v && top == top)) top = v, place = k * kw + l;
            }
        best[c] = top;
        where[c] = (uint8_t)place;
    }
}

/* dx of a whole window: dy at the place that won, 0 elsewhere. */
static void NAME(spread_window)(const REAL *dy, const uint8_t *where, ptrdiff_t line,
                                ptrdiff_t channels, ptrdiff_t kh, ptrdiff_t kw, REAL *window) {
    ptrdiff_t c = 0, k, l;
    for (; c + VL <= channels; c += VL) {
        const V g = *(const V *)(dy + c);
        const VI place = __builtin_convertvector(*(const VP *)(where + c), VI);
        for (k = 0; k < kh; k++)
            for (l = 0; l < kw; l++)
                *(V *)(window + k * line + l * channels + c) =
                    (V)((VI)g & (VI)(place == (VI){0} + (INT)(k * kw + l)));
    }
    for (; c < channels; c++)
        for (k = 0; k < kh; k++)
            for (l = 0; l < kw; l++)
                window[k * line + l * channels + c] = where[c] == k * kw + l ? dy[c] : 0;
}

#undef V
#undef VI
#undef VP
#undef VL
