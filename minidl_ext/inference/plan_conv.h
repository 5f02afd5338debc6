/* Steps of a plan that are direct or depthwise convolutions, or dense layers, which are
 * convolutions of images of one pixel. Their epilogue adds a bias and another array, and applies a
 * ReLU, while the sums are in registers; other activations are applied once sums are stored. */
#ifndef MINIDL_PLAN_CONV_H
#define MINIDL_PLAN_CONV_H
#include <utility>

#include "elementwise/curves.h"
#include "gemm/micro.h"
#include "inference/plan_step.h"

/* Applies the epilogue to a vector of sums, and stores those lanes of it that exist. */
ALWAYS_INLINE void plan_finish(pv v, float *out, const float *add, const float *bias, int relu_out,
                               FirstLanes<float> existing) {
    if (bias) v += PLOAD(bias);
    if (add) v += existing.load(add);
    if (relu_out) v = plan_relu(v);
    existing.store(out, v);
}

/* R pixels and C vectors of columns, in registers. The taps of a pixel are `segments` runs of n
 * terms; run s begins a_off[s] floats after the pixel. Weights are [segment][n][PANEL]. */
template <int R, int C>
static __attribute__((noinline)) void
plan_block(const float *const *a, const float *w, int segments, const ptrdiff_t *a_off, ptrdiff_t n,
           float *const *out, const float *const *add, const float *bias, int relu_out,
           ptrdiff_t columns) {
    pv sum[R][C];
    _Pragma("GCC unroll 12") for (int r = 0; r < R; r++)
        _Pragma("GCC unroll 2") for (int c = 0; c < C; c++) sum[r][c] = pv{0};
    for (int s = 0; s < segments; s++) {
        const float *row[R];
        ptrdiff_t k = 0;
        _Pragma("GCC unroll 12") for (int r = 0; r < R; r++) row[r] = a[r] + a_off[s];
        const auto add_term = [&](ptrdiff_t i) __attribute__((always_inline)) {
            pv v[C];
            _Pragma("GCC unroll 2") for (int c = 0; c < C; c++) v[c] = PLOAD(w + c * PV);
            w += PANEL;
            _Pragma("GCC unroll 12") for (int r = 0; r < R; r++) {
                const float x = row[r][i];
                _Pragma("GCC unroll 2") for (int c = 0; c < C; c++) sum[r][c] += x * v[c];
            }
        };
        for (; k + 4 <= n; k += 4)
            _Pragma("GCC unroll 4") for (int u = 0; u < 4; u++) add_term(k + u);
        for (; k < n; k++) add_term(k);
    }
    _Pragma("GCC unroll 2") for (int c = 0; c < C; c++) {
        const FirstLanes<float> existing(columns - c * PV);
/* What is done to each sum, while it is in its register. */
#define EACH_ROW _Pragma("GCC unroll 12") for (int r = 0; r < R; r++)
        if (bias) EACH_ROW sum[r][c] += PLOAD(bias + c * PV);
        if (add) EACH_ROW sum[r][c] += existing.load(add[r] + c * PV);
        if (relu_out) EACH_ROW sum[r][c] = plan_relu(sum[r][c]);
        EACH_ROW existing.store(out[r] + c * PV, sum[r][c]);
#undef EACH_ROW
    }
}

/* The blocks of each size, [pixels - 1][vectors - 1]. */
typedef decltype(&plan_block<1, 1>) PlanBlock;
template <typename Rows>
struct PlanBlocks;
template <int... R>
struct PlanBlocks<std::integer_sequence<int, R...>> {
    static constexpr PlanBlock of[MR][2] = {{plan_block<R + 1, 1>, plan_block<R + 1, 2>}...};
};
constexpr auto &plan_blocks = PlanBlocks<std::make_integer_sequence<int, MR>>::of;

/* P panels of a dense layer, for one row. A single sum would have to wait for each addition; sums
 * of several panels do not wait for one another, and each keeps its order. Each weight is used
 * once, so that its memory limits the speed: it is prefetched some terms ahead. */
enum { ROW_PANELS = 4, ROW_AHEAD = 8 };

template <int P>
ALWAYS_INLINE void plan_row(const float *a, const float *w, ptrdiff_t n, float *out,
                            const float *add, const float *bias, int relu_out, ptrdiff_t columns) {
    pv sum[P][2] = {};
    for (ptrdiff_t k = 0; k < n; k++) _Pragma("GCC unroll 4") for (int p = 0; p < P; p++) {
            const float *at = w + p * n * PANEL + k * PANEL;
            for (int line = 0; line < PANEL; line += 16)
                __builtin_prefetch(at + ROW_AHEAD * PANEL + line);
            sum[p][0] += a[k] * PLOAD(at);
            sum[p][1] += a[k] * PLOAD(at + PV);
        }
    for (int c = 0; c < 2 * P && columns > c * PV; c++)
        plan_finish(sum[c / 2][c % 2], out + c * PV, add ? add + c * PV : NULL,
                    bias ? bias + c * PV : NULL, relu_out, FirstLanes<float>(columns - c * PV));
}

enum { PLAN_SEGMENTS = 256 };

/* Finds the segments of a step, and returns their number. The taps of a row of the kernel are one
 * segment if they take all channels, since they are then contiguous. */
ALWAYS_INLINE int plan_segments(const Step *s, ptrdiff_t *a_off, ptrdiff_t *n) {
    const ptrdiff_t own = s->ci / s->groups;
    int count = 0;
    if (s->groups == 1 && s->dw == 1 && s->x.pixel == s->ci) {
        *n = s->kw * s->ci;
        for (ptrdiff_t i = 0; i < s->kh; i++) a_off[count++] = i * s->dh * s->x.row;
    } else {
        *n = own;
        for (ptrdiff_t i = 0; i < s->kh; i++)
            for (ptrdiff_t j = 0; j < s->kw; j++)
                a_off[count++] = i * s->dh * s->x.row + j * s->dw * s->x.pixel;
    }
    return count;
}

/* A convolution: all pixels times all panels of weights, in blocks of at most MR pixels and one
 * panel. */
static void plan_conv(const Step *s, const Work *k) {
    const ptrdiff_t pixels = k->images * s->oh * s->ow, blocks = (pixels + MR - 1) / MR;
    const ptrdiff_t own = s->co / s->groups, panels = (own + PANEL - 1) / PANEL;
    const ptrdiff_t taps = s->kh * s->kw * (s->ci / s->groups);
    ptrdiff_t a_off[PLAN_SEGMENTS], n, item, end;
    const int segments = plan_segments(s, a_off, &n);
    plan_share(k, blocks * panels * s->groups, &item, &end);
    for (; item < end; item++) {
        const ptrdiff_t panel = item / blocks, block = item % blocks, group = panel / panels;
        ptrdiff_t first, end_pixel;
        plan_part(pixels, block, blocks, &first, &end_pixel);
        const ptrdiff_t channel = group * own + panel % panels * PANEL;
        ptrdiff_t columns = own - panel % panels * PANEL;
        const float *a[MR], *add[MR];
        float *out[MR];
        ptrdiff_t image = first / (s->oh * s->ow), row = first / s->ow % s->oh, col = first % s->ow;
        const int rows = (int)(end_pixel - first);
        for (int r = 0; r < rows;) {
            const float *x = plan_at(k, &s->x, image, row * s->sh - s->top, col * s->sw - s->left) +
                             group * (s->ci / s->groups);
            const float *add_row = s->adds ? plan_at(k, &s->r, image, row, col) + channel : NULL;
            float *y = plan_at(k, &s->y, image, row, col) + channel;
            const int here = (int)(s->ow - col < rows - r ? s->ow - col : rows - r);
            for (int i = 0; i < here; i++) {
                a[r + i] = x + i * s->sw * s->x.pixel;
                out[r + i] = y + i * s->y.pixel;
                add[r + i] = add_row ? add_row + i * s->r.pixel : NULL;
            }
            r += here;
            col = 0;
            if (++row == s->oh) row = 0, image++;
        }
        const float *w = s->weights + panel * taps * PANEL;
        const float *bias = s->bias ? s->bias + panel * PANEL : NULL;
        const int relu_out = s->activation == ACTIVATION_RELU;
        if (rows == 1 && segments == 1) {       /* one pixel: each item is a panel */
            const int several = panels - panel % panels >= ROW_PANELS && end - item >= ROW_PANELS;
            const ptrdiff_t most = several ? ROW_PANELS * PANEL : PANEL;
            if (columns > most) columns = most;
            const float *added = s->adds ? add[0] : NULL;
            if (several)
                plan_row<ROW_PANELS>(a[0] + a_off[0], w, n, out[0], added, bias, relu_out, columns);
            else plan_row<1>(a[0] + a_off[0], w, n, out[0], added, bias, relu_out, columns);
            if (several) item += ROW_PANELS - 1;
        } else {
            if (columns > PANEL) columns = PANEL;
            plan_blocks[rows - 1][columns > PV](a, w, segments, a_off, n, out, s->adds ? add : NULL,
                                                bias, relu_out, columns);
        }
        if (s->activation >= 0)
            for (int r = 0; r < rows; r++)
                curve(s->activation, out[r], out[r], columns, s->p, s->q);
    }
}

/* P pixels and C vectors of channels of a depthwise convolution. */
template <int P, int C>
ALWAYS_INLINE void plan_depthwise_block(const Step *s, const float *x, ptrdiff_t c, float *y,
                                        const float *r) {
    pv sum[P][C];
    const float *w = s->weights + c;
    _Pragma("GCC unroll 4") for (int p = 0; p < P; p++)
        _Pragma("GCC unroll 2") for (int v = 0; v < C; v++) sum[p][v] =
            s->bias ? PLOAD(s->bias + c + v * PV) : pv{0};
    for (ptrdiff_t i = 0; i < s->kh; i++)
        for (ptrdiff_t j = 0; j < s->kw; j++, w += s->co) {
            const float *at = x + i * s->dh * s->x.row + j * s->dw * s->x.pixel + c;
            pv weight[C];
            _Pragma("GCC unroll 2") for (int v = 0; v < C; v++) weight[v] = PLOAD(w + v * PV);
            _Pragma("GCC unroll 4") for (int p = 0; p < P; p++)
                _Pragma("GCC unroll 2") for (int v = 0; v < C; v++) sum[p][v] +=
                PLOAD(at + p * s->sw * s->x.pixel + v * PV) * weight[v];
        }
    _Pragma("GCC unroll 4") for (int p = 0; p < P; p++)
        _Pragma("GCC unroll 2") for (int v = 0; v < C; v++) {
        pv o = sum[p][v];
        if (r) o += PLOAD(r + p * s->r.pixel + c + v * PV);
        if (s->activation == ACTIVATION_RELU) o = plan_relu(o);
        PSTORE(y + p * s->y.pixel + c + v * PV, o);
    }
}

/* P pixels of all channels, which fill at least one vector. Where they do not fill the last vector,
 * it overlaps the one before, and the channels that both cover are computed twice. */
template <int P>
ALWAYS_INLINE void plan_depthwise_pixels(const Step *s, const float *x, float *y, const float *r) {
    ptrdiff_t c = 0;
    for (; c + 2 * PV <= s->co; c += 2 * PV) plan_depthwise_block<P, 2>(s, x, c, y, r);
    for (; c < s->co; c += PV)
        plan_depthwise_block<P, 1>(s, x, c + PV > s->co ? s->co - PV : c, y, r);
}

static void plan_depthwise(const Step *s, const Work *k) {
    ptrdiff_t i, end;
    plan_share(k, k->images * s->oh, &i, &end);
    for (; i < end; i++) {
        const ptrdiff_t image = i / s->oh, row = i % s->oh;
        const float *x = plan_at(k, &s->x, image, row * s->sh - s->top, -s->left);
        const float *r = s->adds ? plan_at(k, &s->r, image, row, 0) : NULL;
        float *y = plan_at(k, &s->y, image, row, 0);
        ptrdiff_t col = 0;
        for (; col + 4 <= s->ow; col += 4)
            plan_depthwise_pixels<4>(s, x + col * s->sw * s->x.pixel, y + col * s->y.pixel,
                                     r ? r + col * s->r.pixel : NULL);
        for (; col < s->ow; col++)
            plan_depthwise_pixels<1>(s, x + col * s->sw * s->x.pixel, y + col * s->y.pixel,
                                     r ? r + col * s->r.pixel : NULL);
        if (s->activation >= 0)
            for (col = 0; col < s->ow; col++)
                curve(s->activation, y + col * s->y.pixel, y + col * s->y.pixel, s->co, s->p, s->q);
    }
}

#endif
