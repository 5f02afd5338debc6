/* A plan: the steps of a network for inference, run without Python between them (float32).
 *
 * A batch is cut into groups of images. Either all threads compute one group, share the work of
 * each step and wait for one another after it; or each thread computes groups of its own from the
 * first step to the last, in an arena of its own that stays in its cache. Sums run in one order
 * either way. Weights are packed when the plan is made.
 *
 * plan_step.h says what a step is; plan_conv.h, plan_winograd.h and plan_pool_map.h compute the
 * kinds of steps. */
#ifndef MINIDL_PLAN_H
#define MINIDL_PLAN_H

#include "inference/plan_conv.h"
#include "inference/plan_pool_map.h"
#include "inference/plan_step.h"
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

/* Runs all steps for `images` images, one group after another. `outside` are the arrays that are
 * not in the arena, and `image_size` the floats of an image of each. `arena` has arena_size floats,
 * once if all threads share a group, else for each thread. */
static void plan_run(const Step *steps, ptrdiff_t count, float *arena, ptrdiff_t arena_size,
                     float *const *outside, const ptrdiff_t *image_size, int arrays,
                     ptrdiff_t images, ptrdiff_t group, int threads, int shared) {
    const ptrdiff_t groups = (images + group - 1) / group;
#ifdef _OPENMP
#pragma omp parallel num_threads(threads)
#endif
    {
        Work k;
        ptrdiff_t g, i, first = 0, end = groups;
        int a, me = 0, thread_count = 1;
#ifdef _OPENMP
        me = omp_get_thread_num();
        thread_count = omp_get_num_threads();
#endif
        k.me = shared ? me : 0;
        k.threads = shared ? thread_count : 1;
        k.places[0] = arena + (shared ? 0 : me * arena_size);
        if (!shared) plan_part(groups, me, thread_count, &first, &end);
        for (g = first; g < end; g++) {
            ptrdiff_t from, to;
            plan_part(images, g, groups, &from, &to);
            k.images = to - from;
            for (a = 0; a < arrays; a++) k.places[a + 1] = outside[a] + from * image_size[a];
            for (i = 0; i < count; i++) {
                plan_step(steps + i, &k);
                plan_wait(&k);
            }
        }
    }
}

#endif
