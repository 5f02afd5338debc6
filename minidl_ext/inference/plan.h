/* A plan: the steps of a whole network for inference, run without Python between them (float32).
 *
 * Every array is a View: where its first value is and how far images, rows and pixels are apart, in
 * the arena of the plan or outside of it. What convolutions read has a border of zeros around it,
 * as wide as they need, which the step that writes the array writes too; so no step asks whether a
 * tap is inside. Weights are packed when the plan is made.
 *
 * A batch is cut into groups of images. Either one group is computed by all threads, which share
 * the work of each step and wait for each other after it, or each thread computes groups of its
 * own from the first step to the last, in an arena of its own that stays in its cache. Sums run in
 * one order either way.
 */
#ifndef MINIDL_PLAN_H
#define MINIDL_PLAN_H
#include <stddef.h>
#include <string.h>
#ifdef _OPENMP
#include <omp.h>
#endif

#include "gemm/micro.h"

enum { PLAN_CONV, PLAN_WINOGRAD, PLAN_DEPTHWISE, PLAN_MAX_POOL, PLAN_AVG_POOL, PLAN_MAP };
enum { PLAN_PLACES = 64 };
enum { ACTIVATION_NONE = -2, ACTIVATION_RELU = -1 };    /* from 0 on: the curves of curves.h */

typedef vec_f32 pv;
#define PV ((ptrdiff_t)(VECTOR_BYTES / sizeof(float)))
#define PANEL (2 * PV)          /* columns of a panel of packed weights */
#define PLOAD(p) (*(const pv *)(p))
#define PSTORE(p, v) (*(pv *)(p) = (v))

typedef int32_t pvi __attribute__((vector_size(VECTOR_BYTES)));

typedef struct {
    int place;                      /* 0: the arena; k > 0: the k-th array outside */
    ptrdiff_t at;                   /* floats before the first value that is no border */
    ptrdiff_t image, row, pixel;    /* floats from one to the next */
} View;

typedef struct {
    int kind, activation;
    float p, q;                     /* parameters of the activation */
    ptrdiff_t h, w, ci;             /* of each image that is read, without its border */
    ptrdiff_t oh, ow, co;           /* of each that is written */
    ptrdiff_t kh, kw, sh, sw, dh, dw, top, left, groups;
    View x, y, r;                   /* read, written, and added before the activation */
    int adds, pools;                /* whether there is an r; whether it ends with 2x2 pools */
    ptrdiff_t above, below, before, after;      /* the border of y */
    const float *weights, *bias;    /* packed; NULL: none */
    ptrdiff_t unit, workspace, scratch_size;      /* Winograd: tiles at a time; floats in the arena */
    ptrdiff_t counted[4];           /* padding that counts in averages, in the border's order */
} Step;

/* What a thread computes with: where arrays are, for so many images; thread `me` of `threads`. */
typedef struct {
    float *places[PLAN_PLACES];
    ptrdiff_t images;
    int me, threads;
} Work;

ALWAYS_INLINE float *plan_at(const Work *k, const View *v, ptrdiff_t image, ptrdiff_t row,
                            ptrdiff_t col) {
    return k->places[v->place] + v->at + image * v->image + row * v->row + col * v->pixel;
}

/* The part of `count` things that a thread does: first .. after. */
ALWAYS_INLINE void plan_share(const Work *k, ptrdiff_t count, ptrdiff_t *first, ptrdiff_t *after) {
    *first = count * k->me / k->threads;
    *after = count * (k->me + 1) / k->threads;
}

static void plan_wait(const Work *k) {
    if (k->threads > 1) {
#ifdef _OPENMP
        _Pragma("omp barrier")
#endif
    }
}

ALWAYS_INLINE pv plan_relu(pv v) {       /* NaN stays */
    return (pv)((pvi)v & ~(pvi)(v <= 0.0f));
}

ALWAYS_INLINE pv plan_max(pv a, pv b) {  /* NaN wins */
    const pvi wins = (pvi)(b > a) | (pvi)(b != b);
    return (pv)(((pvi)b & wins) | ((pvi)a & ~wins));
}

/* The border of the images that a thread shares in. */
static void plan_border(const Step *s, const Work *k) {
    const ptrdiff_t rows = s->above + s->oh + s->below;
    const ptrdiff_t line = (s->before + s->ow + s->after) * s->y.pixel;
    ptrdiff_t i, end;
    if (s->above + s->below + s->before + s->after == 0) return;
    plan_share(k, k->images * rows, &i, &end);
    for (; i < end; i++) {
        const ptrdiff_t row = i % rows - s->above;
        float *at = plan_at(k, &s->y, i / rows, row, -s->before);
        if (row < 0 || row >= s->oh) {
            memset(at, 0, line * sizeof(float));
        } else {
            memset(at, 0, s->before * s->y.pixel * sizeof(float));
            memset(at + (s->before + s->ow) * s->y.pixel, 0, s->after * s->y.pixel * sizeof(float));
        }
    }
}

#include "elementwise/curves.h"
#include "inference/plan_conv.h"
#include "inference/plan_rows.h"
#include "inference/plan_winograd.h"

static void plan_step(const Step *s, const Work *k) {
    plan_border(s, k);
    switch (s->kind) {
    case PLAN_CONV: plan_conv(s, k); break;
    case PLAN_WINOGRAD: plan_winograd(s, k); break;
    case PLAN_DEPTHWISE: plan_depthwise(s, k); break;
    case PLAN_MAX_POOL: plan_max_pool(s, k); break;
    case PLAN_AVG_POOL: plan_avg_pool(s, k); break;
    default: plan_map(s, k);
    }
}

/* All steps for `images` images, a group at a time. `outside` are the arrays that are no arena,
 * with the floats of an image of each in `image_size`; `arena` has arena_size floats for each
 * thread that has groups of its own, once if all threads share them. */
static void plan_run(const Step *steps, ptrdiff_t count, float *arena, ptrdiff_t arena_size,
                     float *const *outside, const ptrdiff_t *image_size, int arrays,
                     ptrdiff_t images, ptrdiff_t group, int threads, int shared) {
    const ptrdiff_t groups = (images + group - 1) / group;
#ifdef _OPENMP
    #pragma omp parallel num_threads(threads)
#endif
    {
        Work k;
        ptrdiff_t g, i, first = 0, after = groups;
        int a, me = 0, thread_count = 1;
#ifdef _OPENMP
        me = omp_get_thread_num();
        thread_count = omp_get_num_threads();
#endif
        k.me = shared ? me : 0;
        k.threads = shared ? thread_count : 1;
        k.places[0] = arena + (shared ? 0 : me * arena_size);
        if (!shared) {
            first = groups * me / thread_count;
            after = groups * (me + 1) / thread_count;
        }
        for (g = first; g < after; g++) {
            const ptrdiff_t from = images * g / groups;
            k.images = images * (g + 1) / groups - from;
            for (a = 0; a < arrays; a++) k.places[a + 1] = outside[a] + from * image_size[a];
            for (i = 0; i < count; i++) {
                plan_step(steps + i, &k);
                plan_wait(&k);
            }
        }
    }
}

#endif
