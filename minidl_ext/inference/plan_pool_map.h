/* Steps of a plan that are pools, or maps, which compute each value from one or two values. */
#ifndef MINIDL_PLAN_POOL_MAP_H
#define MINIDL_PLAN_POOL_MAP_H

#include "elementwise/curves.h"
#include "inference/plan_step.h"

/* The taps of a window that are inside of an axis: first .. end - 1. */
ALWAYS_INLINE void plan_inside(ptrdiff_t at, ptrdiff_t step, ptrdiff_t taps, ptrdiff_t size,
                               ptrdiff_t *first, ptrdiff_t *end) {
    *first = at < 0 ? (-at + step - 1) / step : 0;
    *end = at + (taps - 1) * step >= size ? (size - at + step - 1) / step : taps;
}

/* The pixel at tap (i, j) of a window that begins at x. */
ALWAYS_INLINE const float *plan_tap(const Step *s, const float *x, ptrdiff_t i, ptrdiff_t j) {
    return x + i * s->dh * s->x.row + j * s->dw * s->x.pixel;
}

static void plan_max_pool(const Step *s, const Work *k) {
    ptrdiff_t item, end;
    plan_share(k, k->images * s->oh * s->ow, &item, &end);
    for (; item < end; item++) {
        const ptrdiff_t image = item / (s->oh * s->ow), row = item / s->ow % s->oh;
        const ptrdiff_t col = item % s->ow, y0 = row * s->sh - s->top, x0 = col * s->sw - s->left;
        const float *x = plan_at(k, &s->x, image, y0, x0);
        float *y = plan_at(k, &s->y, image, row, col);
        ptrdiff_t k0, k1, l0, l1, c = 0;
        plan_inside(y0, s->dh, s->kh, s->h, &k0, &k1);
        plan_inside(x0, s->dw, s->kw, s->w, &l0, &l1);
        for (; c + PV <= s->co; c += PV) {
            pv best = pv{0} - __builtin_inff();
            for (ptrdiff_t i = k0; i < k1; i++)
                for (ptrdiff_t j = l0; j < l1; j++)
                    best = plan_max(best, PLOAD(plan_tap(s, x, i, j) + c));
            PSTORE(y + c, best);
        }
        for (; c < s->co; c++) {
            float best = -__builtin_inff();
            for (ptrdiff_t i = k0; i < k1; i++)
                for (ptrdiff_t j = l0; j < l1; j++) {
                    const float v = plan_tap(s, x, i, j)[c];
                    if (v > best || v != v) best = v;
                }
            y[c] = best;
        }
    }
}

enum { POOLED = 64 };       /* channels of a piece of work: few large windows still make many */

static void plan_avg_pool(const Step *s, const Work *k) {
    const ptrdiff_t pieces = (s->co + POOLED - 1) / POOLED;
    ptrdiff_t item, end;
    plan_share(k, k->images * s->oh * s->ow * pieces, &item, &end);
    for (; item < end; item++) {
        const ptrdiff_t pixel = item / pieces, image = pixel / (s->oh * s->ow);
        const ptrdiff_t row = pixel / s->ow % s->oh, col = pixel % s->ow;
        const ptrdiff_t y0 = row * s->sh - s->top, x0 = col * s->sw - s->left;
        const ptrdiff_t c0 = item % pieces * POOLED;
        const ptrdiff_t channels = s->co - c0 < POOLED ? s->co - c0 : POOLED;
        const float *x = plan_at(k, &s->x, image, y0, x0) + c0;
        float *y = plan_at(k, &s->y, image, row, col) + c0;
        double sum[POOLED] = {0};
        ptrdiff_t k0, k1, l0, l1, c = 0;
        plan_inside(y0, s->dh, s->kh, s->h, &k0, &k1);
        plan_inside(x0, s->dw, s->kw, s->w, &l0, &l1);
        for (ptrdiff_t i = k0; i < k1; i++)
            for (ptrdiff_t j = l0; j < l1; j++) {
                const float *at = plan_tap(s, x, i, j);
                for (ptrdiff_t v = 0; v < channels; v++) sum[v] += at[v];
            }
        const ptrdiff_t *counted = s->counted;
        plan_inside(y0 + counted[0], s->dh, s->kh, s->h + counted[0] + counted[1], &k0, &k1);
        plan_inside(x0 + counted[2], s->dw, s->kw, s->w + counted[2] + counted[3], &l0, &l1);
        const double count = (double)((k1 - k0) * (l1 - l0));
        for (; c < channels; c++) y[c] = (float)(sum[c] / count);
    }
}

/* n values of a map: y = f(x weights + bias + r), where weights and r may be missing. */
ALWAYS_INLINE void plan_values(const Step *s, const float *__restrict x, const float *__restrict r,
                               float *__restrict y, ptrdiff_t n) {
    const float *__restrict w = s->weights, *__restrict b = s->bias;
    if (w)
        for (ptrdiff_t c = 0; c < n; c++) y[c] = x[c] * w[c] + b[c];
    else memcpy(y, x, n * sizeof(float));
    if (r)
        for (ptrdiff_t c = 0; c < n; c++) y[c] += r[c];
    if (s->activation == ACTIVATION_RELU)
        for (ptrdiff_t c = 0; c < n; c++) y[c] = y[c] <= 0 ? 0 : y[c];
    else if (s->activation >= 0) curve(s->activation, y, y, n, s->p, s->q);
}

/* A map of all values. A row of pixels is one run of values if the pixels are contiguous in each
 * View and there are no weights, which differ from channel to channel. */
static void plan_map(const Step *s, const Work *k) {
    const int contiguous = !s->weights && s->x.pixel == s->co && s->y.pixel == s->co &&
                           (!s->adds || s->r.pixel == s->co);
    ptrdiff_t i, end;
    plan_share(k, k->images * s->oh, &i, &end);
    for (; i < end; i++) {
        const ptrdiff_t image = i / s->oh, row = i % s->oh;
        const float *x = plan_at(k, &s->x, image, row, 0);
        const float *r = s->adds ? plan_at(k, &s->r, image, row, 0) : NULL;
        float *y = plan_at(k, &s->y, image, row, 0);
        if (contiguous) {
            plan_values(s, x, r, y, s->ow * s->co);
            continue;
        }
        for (ptrdiff_t col = 0; col < s->ow; col++)
            plan_values(s, x + col * s->x.pixel, r ? r + col * s->r.pixel : NULL,
                        y + col * s->y.pixel, s->co);
    }
}

#endif
