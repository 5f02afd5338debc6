/* What a step of a plan is, and what all steps need (plan.h).
 *
 * Every array is a View, which says where its first value is and how far images, rows and pixels
 * are from one another, in the arena of the plan or outside of it. What convolutions read has a
 * border of zeros around it, as wide as they need, so that they need not ask whether a tap is
 * inside. The step that writes an array writes its border too. */
#ifndef MINIDL_PLAN_STEP_H
#define MINIDL_PLAN_STEP_H
#include <stddef.h>
#include <string.h>
#ifdef _OPENMP
#include <omp.h>
#endif

#include "simd/vectors.h"

enum { PLAN_CONV, PLAN_WINOGRAD, PLAN_DEPTHWISE, PLAN_MAX_POOL, PLAN_AVG_POOL, PLAN_MAP };
enum { PLAN_PLACES = 64 };
enum { ACTIVATION_NONE = -2, ACTIVATION_RELU = -1 };    /* from 0 on: the curves of curves.h */

typedef vec_f32 pv;
#define PV ((ptrdiff_t)lanes<float>)
#define PANEL (2 * PV)          /* columns of a panel of packed weights */
#define PLOAD(p) (*(const pv *)(p))
#define PSTORE(p, v) (*(pv *)(p) = (v))

typedef struct {
    int place;                      /* 0: the arena; k > 0: the k-th array outside */
    ptrdiff_t at;                   /* floats before the first value, borders included */
    ptrdiff_t image, row, pixel;    /* floats from one to the next */
} View;

typedef struct {
    int kind, activation;
    float p, q;                     /* parameters of the activation */
    ptrdiff_t h, w, ci;             /* sizes of each image that is read, without its border */
    ptrdiff_t oh, ow, co;           /* sizes of each image that is written */
    ptrdiff_t kh, kw, sh, sw, dh, dw, top, left, groups;
    View x, y, r;                   /* read, written, and added before the activation */
    int adds, pools;                /* whether there is an r; whether 2x2 windows are pooled */
    ptrdiff_t border_top, border_bottom, border_left, border_right;     /* of y */
    const float *weights, *bias;    /* packed; NULL: none */
    ptrdiff_t unit;                 /* Winograd: tiles that a thread computes at a time */
    ptrdiff_t workspace, workspace_size;    /* Winograd: floats, from the start of the arena */
    ptrdiff_t counted[4]; /* padding that counts in averages: top, bottom, left, right */
} Step;

/* What a thread computes with: places of arrays, how many images, and that it is thread `me` of
 * `threads`. */
typedef struct {
    float *places[PLAN_PLACES];
    ptrdiff_t images;
    int me, threads;
} Work;

ALWAYS_INLINE float *plan_at(const Work *k, const View *v, ptrdiff_t image, ptrdiff_t row,
                             ptrdiff_t col) {
    return k->places[v->place] + v->at + image * v->image + row * v->row + col * v->pixel;
}

/* Part i of `count` things that are cut into `parts` even parts: first .. end - 1. */
ALWAYS_INLINE void plan_part(ptrdiff_t count, ptrdiff_t i, ptrdiff_t parts, ptrdiff_t *first,
                             ptrdiff_t *end) {
    *first = count * i / parts;
    *end = count * (i + 1) / parts;
}

/* The part of `count` things that this thread does. */
ALWAYS_INLINE void plan_share(const Work *k, ptrdiff_t count, ptrdiff_t *first, ptrdiff_t *end) {
    plan_part(count, k->me, k->threads, first, end);
}

/* Waits for the threads that share the work. */
static void plan_wait(const Work *k) {
    if (k->threads > 1) {
#ifdef _OPENMP
        _Pragma("omp barrier")
#endif
    }
}

ALWAYS_INLINE pv plan_relu(pv v) { /* NaN stays */
    return (pv)((vec_i32)v & ~(vec_i32)(v <= 0.0f));
}

ALWAYS_INLINE pv plan_max(pv a, pv b) { /* NaN wins */
    const vec_i32 wins = (vec_i32)(b > a) | (vec_i32)(b != b);
    return (pv)(((vec_i32)b & wins) | ((vec_i32)a & ~wins));
}

/* Writes this thread's part of the border of y. */
static void plan_border(const Step *s, const Work *k) {
    const ptrdiff_t rows = s->border_top + s->oh + s->border_bottom, pixel = s->y.pixel;
    const ptrdiff_t row_size = (s->border_left + s->ow + s->border_right) * pixel;
    ptrdiff_t i, end;
    if (s->border_top + s->border_bottom + s->border_left + s->border_right == 0) return;
    plan_share(k, k->images * rows, &i, &end);
    for (; i < end; i++) {
        const ptrdiff_t row = i % rows - s->border_top;
        float *at = plan_at(k, &s->y, i / rows, row, -s->border_left);
        if (row < 0 || row >= s->oh) {
            memset(at, 0, row_size * sizeof(float));
        } else {
            memset(at, 0, s->border_left * pixel * sizeof(float));
            memset(at + (s->border_left + s->ow) * pixel, 0,
                   s->border_right * pixel * sizeof(float));
        }
    }
}

#endif
