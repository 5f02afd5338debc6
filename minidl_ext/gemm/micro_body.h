/* Body of micro.h for one type, REAL. No include guard: it is included once per type. */

typedef REAL NAME(vec) __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(REAL)), may_alias));
#define V NAME(vec)
#define VL ((ptrdiff_t)(VECTOR_BYTES / sizeof(REAL)))

MICRO_INLINE V NAME(load_part)(const REAL *p, ptrdiff_t n) {
    V v = {0};
    for (ptrdiff_t i = 0; i < n && i < VL; i++) v[i] = p[i];
    return v;
}

MICRO_INLINE void NAME(store_part)(REAL *p, V v, ptrdiff_t n) {
    for (ptrdiff_t i = 0; i < n && i < VL; i++) p[i] = v[i];
}

/* R rows x C vectors, of which `columns` columns exist; R and C are constants after inlining. */
MICRO_INLINE void NAME(block)(const int R, const int C, const REAL *const *a, const REAL *b,
                              int segments, const ptrdiff_t *a_off, const ptrdiff_t *b_off,
                              ptrdiff_t n, ptrdiff_t a_step, ptrdiff_t b_step,
                              REAL *const *out, ptrdiff_t out_off, ptrdiff_t columns,
                              int accumulate, const char *ahead, ptrdiff_t ahead_step) {
    V sum[MR][2];
    const REAL *row[MR];
    const int whole = columns >= C * VL;
    int adjacent = 1;
    if (!ahead_step) ahead = (const char *)a[0];        /* nothing: a line that is there anyway */
    _Pragma("GCC unroll 12") for (int r = 0; r < R; r++) {
        row[r] = a[r];
        adjacent &= row[r] == row[0] + r;
        for (int c = 0; c < C; c++) __builtin_prefetch(out[r] + out_off + c * VL, 1);
        _Pragma("GCC unroll 2") for (int c = 0; c < C; c++) sum[r][c] = (V){0};
    }
/* One term: the product of a value of each row, a float at `value`, and C vectors of b. */
#define TERM(value) do { \
        V w[2]; \
        __builtin_prefetch(ahead, 0, 2); \
        ahead += ahead_step; \
        _Pragma("GCC unroll 2") for (int c = 0; c < C; c++) w[c] = *(const V *)(col + c * VL); \
        col += b_step; \
        _Pragma("GCC unroll 12") for (int r = 0; r < R; r++) { \
            const REAL x = value; \
            _Pragma("GCC unroll 2") for (int c = 0; c < C; c++) sum[r][c] += x * w[c]; \
        } \
    } while (0)
    for (int s = 0; s < segments; s++) {
        const REAL *col = b + b_off[s];
        const REAL *at = row[0] + a_off[s];
        ptrdiff_t i = a_off[s], k = 0;
        if (adjacent) {
            for (; k < n; k++, at += a_step) TERM(at[r]);
        } else if (a_step == 1) {
            /* Twelve pointers do not fit in the registers: four terms for each time they come. */
            for (; k + 4 <= n; k += 4, i += 4)
                _Pragma("GCC unroll 4") for (int u = 0; u < 4; u++) TERM(row[r][i + u]);
            for (; k < n; k++, i++) TERM(row[r][i]);
        } else {
            for (; k < n; k++, i += a_step) TERM(row[r][i]);
        }
    }
#undef TERM
    _Pragma("GCC unroll 12") for (int r = 0; r < R; r++) {
        _Pragma("GCC unroll 2") for (int c = 0; c < C; c++) {
            REAL *o = out[r] + out_off + c * VL;
            /* Added last, not started from: rounding errors are those of a short sum. */
            if (accumulate)
                sum[r][c] += whole ? *(const V *)o : NAME(load_part)(o, columns - c * VL);
            if (whole) *(V *)o = sum[r][c];
            else NAME(store_part)(o, sum[r][c], columns - c * VL);
        }
    }
}

#define PARAMETERS const REAL *const *a, const REAL *b, int segments, const ptrdiff_t *a_off, \
    const ptrdiff_t *b_off, ptrdiff_t n, ptrdiff_t a_step, ptrdiff_t b_step, REAL *const *out, \
    ptrdiff_t out_off, ptrdiff_t columns, int accumulate, const char *ahead, ptrdiff_t ahead_step
#define DEFINE(R, C) static __attribute__((noinline)) void NAME(block_##R##_##C)(PARAMETERS) { \
    NAME(block)(R, C, a, b, segments, a_off, b_off, n, a_step, b_step, out, out_off, columns, \
                accumulate, ahead, ahead_step); }
#define DEFINE_ROWS(R) DEFINE(R, 1) DEFINE(R, 2)
DEFINE_ROWS(1) DEFINE_ROWS(2) DEFINE_ROWS(3) DEFINE_ROWS(4) DEFINE_ROWS(5) DEFINE_ROWS(6)
#if MR == 12
DEFINE_ROWS(7) DEFINE_ROWS(8) DEFINE_ROWS(9) DEFINE_ROWS(10) DEFINE_ROWS(11) DEFINE_ROWS(12)
#endif

#define ENTRY(R) {NAME(block_##R##_1), NAME(block_##R##_2)}
static void (*const NAME(blocks)[MR][2])(PARAMETERS) = {
    ENTRY(1), ENTRY(2), ENTRY(3), ENTRY(4), ENTRY(5), ENTRY(6),
#if MR == 12
    ENTRY(7), ENTRY(8), ENTRY(9), ENTRY(10), ENTRY(11), ENTRY(12),
#endif
};

/* `rows` (1..MR) rows and up to two vectors of columns, as described in micro.h. */
MICRO_INLINE void NAME(micro)(int rows, PARAMETERS) {
    NAME(blocks)[rows - 1][columns > VL](a, b, segments, a_off, b_off, n, a_step, b_step, out,
                                         out_off, columns, accumulate, ahead, ahead_step);
}

#undef ENTRY
#undef DEFINE_ROWS
#undef DEFINE
#undef PARAMETERS
#undef VL
#undef V
