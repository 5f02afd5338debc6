/* Steps of plan.h: 3x3 convolutions by Winograd's F(4x4, 3x3) (winograd.h), with what follows: plus
 * bias, plus another array, then a ReLU, then the largest of 2x2 windows, all in registers.
 *
 * A unit of tiles is transformed, multiplied and transformed back by one thread. Where a group has
 * too few tiles for that, or so many weights that they would leave the cache for each unit, all
 * threads share one unit, each some tiles of the transforms and some frequencies of the products,
 * and wait in between. */

#include "conv/winograd.h"

enum { FREQUENCIES = 36, GAP = 16 };    /* floats between frequencies, for other lines of cache */
#define UNROLL4 _Pragma("GCC unroll 4")

/* The products m[frequency * step + channel] to a tile of rows x cols outputs (4x4 but at a border)
 * of image `image`, from (y0, x0) on. */
static __attribute__((noinline)) void plan_output_tile(
        const Step *s, const Work *k, const float *m, ptrdiff_t step, ptrdiff_t image, ptrdiff_t y0,
        ptrdiff_t x0) {
    const ptrdiff_t h = s->pools ? s->oh * 2 : s->oh, w = s->pools ? s->ow * 2 : s->ow;
    const ptrdiff_t rows = h - y0 < 4 ? h - y0 : 4, cols = w - x0 < 4 ? w - x0 : 4;
    const int relu_out = s->activation == ACTIVATION_RELU;
    const float *r = s->adds ? plan_at(k, &s->r, image, y0, x0) : NULL;
    const ptrdiff_t shrinks = s->pools ? 2 : 1;
    float *y = plan_at(k, &s->y, image, y0 / shrinks, x0 / shrinks);
    for (ptrdiff_t c = 0; c < s->co && (c = c + PV > s->co ? s->co - PV : c, 1); c += PV) {
        const pv bias = s->bias ? PLOAD(s->bias + c) : (pv){0};
        pv t[4][6], o[4][4];
        _Pragma("GCC unroll 6") for (int j = 0; j < 6; j++) {
            pv d[6], e[4];
            _Pragma("GCC unroll 6") for (int i = 0; i < 6; i++)
                d[i] = PLOAD(m + (i * 6 + j) * step + c);
            output_1d(d, e);
            UNROLL4 for (int i = 0; i < 4; i++) t[i][j] = e[i];
        }
        UNROLL4 for (int i = 0; i < 4; i++) {
            output_1d(t[i], o[i]);
            UNROLL4 for (int j = 0; j < 4; j++) {
                o[i][j] += bias;
                if (r && i < rows && j < cols)
                    o[i][j] += PLOAD(r + i * s->r.row + j * s->r.pixel + c);
                if (relu_out) o[i][j] = plan_relu(o[i][j]);
            }
        }
        if (s->pools) {
            UNROLL4 for (int i = 0; i < 4; i += 2)
                UNROLL4 for (int j = 0; j < 4; j += 2)
                    if (i < rows && j < cols)
                        PSTORE(y + i / 2 * s->y.row + j / 2 * s->y.pixel + c,
                               plan_max(plan_max(o[i][j], o[i][j + 1]),
                                        plan_max(o[i + 1][j], o[i + 1][j + 1])));
        } else {
            UNROLL4 for (int i = 0; i < 4; i++)
                UNROLL4 for (int j = 0; j < 4; j++)
                    if (i < rows && j < cols)
                        PSTORE(y + i * s->y.row + j * s->y.pixel + c, o[i][j]);
        }
    }
}

/* One frequency and panel: `count` tiles' products. */
ALWAYS_INLINE void plan_products(const Step *s, const float *v, ptrdiff_t vs, float *m, ptrdiff_t ms,
                                ptrdiff_t cp, ptrdiff_t count, ptrdiff_t f, ptrdiff_t p,
                                ptrdiff_t panels) {
    const float *u = s->weights + (f * panels + p) * s->ci * PANEL;
    const ptrdiff_t blocks = (count + MR - 1) / MR, columns = cp - p * PANEL, none = 0;
    v += f * vs;
    m += f * ms + p * PANEL;
    if (count % MR == 0 && has_product_tiles(s->ci)) {
        product_tiles(s->ci, columns > PV ? 2 : 1, v, u, m, blocks, cp, (const char *)v, 0);
        return;
    }
    for (ptrdiff_t i = 0; i < blocks; i++) {
        const ptrdiff_t first = count * i / blocks, after = count * (i + 1) / blocks;
        const float *a[MR];
        float *out[MR];
        for (ptrdiff_t t = first; t < after; t++) {
            a[t - first] = v + t * s->ci;
            out[t - first] = m + t * cp;
        }
        plan_blocks[after - first - 1][columns > PV](a, u, 1, &none, s->ci, out, NULL, NULL, 0,
                                                     columns);
    }
}

/* A tile of the group: its image and where it begins among the outputs of that. */
ALWAYS_INLINE ptrdiff_t plan_tile(const Step *s, ptrdiff_t tile, ptrdiff_t *y0, ptrdiff_t *x0) {
    const ptrdiff_t h = s->pools ? s->oh * 2 : s->oh, w = s->pools ? s->ow * 2 : s->ow;
    const ptrdiff_t tw = (w + 3) / 4, per_image = (h + 3) / 4 * tw, q = tile % per_image;
    *y0 = q / tw * 4;
    *x0 = q % tw * 4;
    return tile / per_image;
}

static void plan_winograd(const Step *s, const Work *k) {
    const ptrdiff_t h = s->pools ? s->oh * 2 : s->oh, w = s->pools ? s->ow * 2 : s->ow;
    const ptrdiff_t tiles = k->images * ((h + 3) / 4) * ((w + 3) / 4);
    const ptrdiff_t cp = (s->co + PV - 1) / PV * PV, panels = (cp + PANEL - 1) / PANEL;
    const int together = s->unit == 0;      /* all threads share the one unit */
    const ptrdiff_t unit = together ? tiles : s->unit;
    const ptrdiff_t units = together ? 1 : (tiles + unit - 1) / unit;
    const ptrdiff_t vs = unit * s->ci + GAP, ms = unit * cp + GAP;
    float *v = k->places[0] + s->workspace + (together ? 0 : k->me * s->scratch_size);
    float *m = v + FREQUENCIES * vs;
    const Work alone = {.me = 0, .threads = 1};
    const Work *share = together ? k : &alone;
    ptrdiff_t i = 0, end = 1, item, last, y0, x0;
    if (!together) plan_share(k, units, &i, &end);
    for (; i < end; i++) {
        const ptrdiff_t first = tiles * i / units, count = tiles * (i + 1) / units - first;
        plan_share(share, count, &item, &last);
        for (; item < last; item++) {
            const ptrdiff_t image = plan_tile(s, first + item, &y0, &x0);
            input_tile(plan_at(k, &s->x, image, y0 - s->top, x0 - s->left), s->x.row, s->x.pixel,
                       s->ci, v + item * s->ci, vs);
        }
        plan_wait(share);
        plan_share(share, FREQUENCIES * panels, &item, &last);
        for (; item < last; item++)
            plan_products(s, v, vs, m, ms, cp, count, item / panels, item % panels, panels);
        plan_wait(share);
        plan_share(share, count, &item, &last);
        for (; item < last; item++) {
            const ptrdiff_t image = plan_tile(s, first + item, &y0, &x0);
            plan_output_tile(s, k, m + item * cp, ms, image, y0, x0);
        }
    }
}
