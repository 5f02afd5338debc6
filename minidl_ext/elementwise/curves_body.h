/* Body of curves.h for one type, REAL. No include guard: it is included once per type. */

#define FAR NAME(LOGISTIC_END)

/* |x|, at most `end`; NaN stays. */
CURVES_INLINE REAL NAME(reach)(REAL x, REAL end) {
    const REAL a = NAME(abs)(x);
    return a > end ? end : a;
}

/* x; 0 where it is farther from 0 than `end`, and what it is multiplied with has vanished. */
CURVES_INLINE REAL NAME(near)(REAL x, REAL end) { return NAME(abs)(x) > end ? 0 : x; }

/* x, but no farther from 0 than `end`. */
CURVES_INLINE REAL NAME(within)(REAL x, REAL end) {
    x = x > end ? end : x;
    return x < -end ? -end : x;
}

/* x; 0 so far below 0 that what it is multiplied with has vanished. */
CURVES_INLINE REAL NAME(from_below)(REAL x) { return x < -FAR ? 0 : x; }

CURVES_INLINE REAL NAME(logistic)(REAL x) {
    const REAL e = NAME(exp)(x > 0 ? -x : x);
    return (x < 0 ? e : 1) / (1 + e);
}

/* f(x); p and q are its parameters. */
CURVES_INLINE REAL NAME(value)(const int f, REAL x, REAL p, REAL q) {
    if (f == LEAKY_RELU) return x > 0 ? x : p * x;
    if (f == ELU) {
        const REAL below = p * NAME(expm1)(x > 0 ? 0 : x);
        return x > 0 ? x : below;
    }
    if (f == SOFTPLUS) {
        const REAL v = p * x, smooth = (v > 0 ? v : 0) + NAME(log1p)(NAME(exp)(v > 0 ? -v : v));
        return v > q ? x : smooth / p;
    }
    if (f == SILU) {
        const REAL e = NAME(exp_below_0)(-NAME(reach)(x, FAR)), above = 1 / (1 + e);
        return NAME(from_below)(x) * (x < 0 ? e * above : above);
    }
    if (f == GELU) {
        const REAL a = NAME(reach)(x, NAME(NORMAL_END));
        const REAL tail = NAME(normal_tail)(a, NAME(gauss)(a));
        return NAME(from_below)(x) * (x < 0 ? tail : 1 - tail);
    }
    if (f == GELU_TANH) {       /* (1 + tanh(u)) / 2 is the logistic function of 2u */
        const REAL v = NAME(within)(x, FAR), two_a = (REAL)(2 * ROOT_2_OVER_PI), b = (REAL)CUBIC;
        return NAME(from_below)(x) * NAME(logistic)(two_a * (v + b * v * v * v));
    }
    if (f == SIGMOID) return NAME(logistic)(x);
    return NAME(tanh)(x);
}

/* f'(x) dy. */
CURVES_INLINE REAL NAME(slope)(const int f, REAL dy, REAL x, REAL p, REAL q) {
    if (f == LEAKY_RELU) return x > 0 ? dy : p * dy;
    if (f == ELU) {
        const REAL below = p * NAME(exp)(x > 0 ? 0 : x);
        return dy * (x > 0 ? 1 : below);
    }
    if (f == SOFTPLUS) {
        const REAL v = p * x, share = NAME(logistic)(v);
        return dy * (v > q ? 1 : share);
    }
    if (f == SILU) {
        const REAL e = NAME(exp_below_0)(-NAME(reach)(x, FAR)), v = NAME(near)(x, FAR);
        const REAL above = 1 / (1 + e), below = e * above;
        return dy * ((x < 0 ? below : above) * (1 + v * (x < 0 ? above : below)));
    }
    if (f == GELU) {
        const REAL a = NAME(reach)(x, NAME(NORMAL_END)), gauss = NAME(gauss)(a);
        const REAL tail = NAME(normal_tail)(a, gauss), v = NAME(near)(x, NAME(NORMAL_END));
        return dy * ((x < 0 ? tail : 1 - tail) + v * (REAL)DENSITY_AT_0 * gauss);
    }
    if (f == GELU_TANH) {
        const REAL v = NAME(within)(x, FAR), two_a = (REAL)(2 * ROOT_2_OVER_PI), b = (REAL)CUBIC;
        const REAL u = two_a * (v + b * v * v * v), e = NAME(exp)(u > 0 ? -u : u);
        const REAL share = (v < 0 ? e : 1) / (1 + e), rest = (v < 0 ? 1 : e) / (1 + e);
        return dy * (share * (1 + v * two_a * (1 + 3 * b * v * v) * rest));
    }
    if (f == SIGMOID) {
        const REAL e = NAME(exp)(x > 0 ? -x : x);
        return dy * (e / ((1 + e) * (1 + e)));
    }
    const REAL v = x + x, e = NAME(exp)(v > 0 ? -v : v);
    return dy * (4 * e / ((1 + e) * (1 + e)));
}

/* y = f(x). */
static void NAME(curve)(int f, const REAL *x, REAL *y, ptrdiff_t n, REAL p, REAL q) {
    switch (f) {
#define CASE(F) case F: for (ptrdiff_t i = 0; i < n; i++) y[i] = NAME(value)(F, x[i], p, q); break;
        EACH_CURVE(CASE)
#undef CASE
    }
}

/* dx = f'(x) dy. */
static void NAME(curve_gradient)(int f, const REAL *dy, const REAL *x, REAL *dx, ptrdiff_t n,
                                 REAL p, REAL q) {
    switch (f) {
#define CASE(F) \
        case F: \
            for (ptrdiff_t i = 0; i < n; i++) dx[i] = NAME(slope)(F, dy[i], x[i], p, q); \
            break;
        EACH_CURVE(CASE)
#undef CASE
    }
}

/* Rows of x, normalized with the factors (mean, scale, shift) of their channels by the expression
 * of norm_columns.h: y = f(normalized x), or f'(normalized x) dy if there is a dy. */
static void NAME(curve_rows)(int f, const REAL *__restrict dy, const REAL *__restrict x,
                             REAL *__restrict y, ptrdiff_t rows, ptrdiff_t channels,
                             const REAL *__restrict factors, REAL p, REAL q) {
    const REAL *__restrict mean = factors, *__restrict scale = factors + channels,
               *__restrict shift = factors + 2 * channels;
    /* How far ahead memory is asked for: whole rows, about four kilobytes. */
    const ptrdiff_t line = 64 / sizeof(REAL), ahead = channels * (1 + 64 * line / channels);
#define ROWS(RESULT) \
    for (ptrdiff_t r = 0; r < rows; r++) { \
        for (ptrdiff_t c = 0; c < channels; c += line) { \
            __builtin_prefetch(x + r * channels + ahead + c); \
            if (dy) __builtin_prefetch(dy + r * channels + ahead + c); \
        } \
        for (ptrdiff_t c = 0; c < channels; c++) { \
            const ptrdiff_t i = r * channels + c; \
            const REAL u = (x[i] - mean[c]) * scale[c] + shift[c]; \
            y[i] = RESULT; \
        } \
    }
    switch (f) {
#define CASE(F) \
        case F: \
            if (dy) ROWS(NAME(slope)(F, dy[i], u, p, q)) \
            else ROWS(NAME(value)(F, u, p, q)) \
            break;
        EACH_CURVE(CASE)
#undef CASE
    }
#undef ROWS
}

#undef FAR
