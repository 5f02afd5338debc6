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

/* Applies an activation that is no ReLU to stored outputs. */
ALWAYS_INLINE void plan_curve(const Step *s, float *out, ptrdiff_t columns) {
    if (s->activation >= 0) curve(s->activation, out, out, columns, s->p, s->q);
}

/* A convolution with a single pixel and segment, as a dense layer for one image: all panels. */
static void plan_pixel(const Step *s, const Work *k, ptrdiff_t offset, ptrdiff_t n) {
    const ptrdiff_t own = s->co / s->groups, panels = (own + PANEL - 1) / PANEL;
    const int relu_out = s->activation == ACTIVATION_RELU;
    ptrdiff_t item, end;
    plan_share(k, panels * s->groups, &item, &end);
    while (item < end) {
        const ptrdiff_t group = item / panels, panel = item % panels;
        const ptrdiff_t channel = group * own + panel * PANEL;
        const int several = panels - panel >= ROW_PANELS && end - item >= ROW_PANELS;
        const ptrdiff_t most = several ? ROW_PANELS * PANEL : PANEL, left = own - panel * PANEL;
        const ptrdiff_t columns = left < most ? left : most;
        const float *x = plan_at(k, &s->x, 0, -s->top, -s->left) + group * (s->ci / s->groups);
        const float *w = s->weights + item * n * PANEL;
        const float *bias = s->bias ? s->bias + item * PANEL : NULL;
        const float *add = s->adds ? plan_at(k, &s->r, 0, 0, 0) + channel : NULL;
        float *out = plan_at(k, &s->y, 0, 0, 0) + channel;
        if (several) plan_row<ROW_PANELS>(x + offset, w, n, out, add, bias, relu_out, columns);
        else plan_row<1>(x + offset, w, n, out, add, bias, relu_out, columns);
        plan_curve(s, out, columns);
        item += several ? ROW_PANELS : 1;
    }
}

/* A convolution: all pixels times all panels of weights, in blocks of at most MR pixels and one
 * panel. Where a block begins is known from the one before, which spares divisions. */
static void plan_conv(const Step *s, const Work *k) {
    const ptrdiff_t pixels = k->images * s->oh * s->ow, blocks = (pixels + MR - 1) / MR;
    const ptrdiff_t own = s->co / s->groups, panels = (own + PANEL - 1) / PANEL;
    const ptrdiff_t taps = s->kh * s->kw * (s->ci / s->groups);
    const int relu_out = s->activation == ACTIVATION_RELU;
    ptrdiff_t a_off[PLAN_SEGMENTS], n, item, end;
    const int segments = plan_segments(s, a_off, &n);
    if (pixels == 1 && segments == 1) {
        plan_pixel(s, k, a_off[0], n);
        return;
    }
    plan_share(k, blocks * panels * s->groups, &item, &end);
    ptrdiff_t panel = item / blocks, block = item % blocks, first = pixels * block / blocks;
    ptrdiff_t image = first / (s->oh * s->ow), row = first / s->ow % s->oh, col = first % s->ow;
    for (; item < end; item++, block++) {
        if (block == blocks) panel++, block = first = image = row = col = 0;
        const ptrdiff_t next = pixels * (block + 1) / blocks, group = panel / panels;
        const ptrdiff_t left = own - panel % panels * PANEL, channel = (group + 1) * own - left;
        const ptrdiff_t columns = left < PANEL ? left : PANEL;
        const float *a[MR], *add[MR];
        float *out[MR];
        const int rows = (int)(next - first);
        first = next;
        for (int r = 0; r < rows;) {
            const float *x = plan_at(k, &s->x, image, row * s->sh - s->top, col * s->sw - s->left) +
                             group * (s->ci / s->groups);
            float *y = plan_at(k, &s->y, image, row, col) + channel;
            const int here = (int)(s->ow - col < rows - r ? s->ow - col : rows - r);
            for (int i = 0; i < here; i++) {
                a[r + i] = x + i * s->sw * s->x.pixel;
                out[r + i] = y + i * s->y.pixel;
            }
            if (s->adds) {
                const float *added = plan_at(k, &s->r, image, row, col) + channel;
                for (int i = 0; i < here; i++) add[r + i] = added + i * s->r.pixel;
            }
            r += here;
            col += here;
            if (col == s->ow) {
                col = 0;
                if (++row == s->oh) row = 0, image++;
            }
        }
        plan_blocks[rows - 1][columns > PV](
            a, s->weights + panel * taps * PANEL, segments, a_off, n, out, s->adds ? add : NULL,
            s->bias ? s->bias + panel * PANEL : NULL, relu_out, columns);
        for (int r = 0; r < rows; r++) plan_curve(s, out[r], columns);
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
        for (col = 0; col < s->ow; col++) plan_curve(s, y + col * s->y.pixel, s->co);
    }
}

#endif
