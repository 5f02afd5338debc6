/* Steps of a plan that are 3x3 convolutions by Winograd's F(4x4, 3x3) (winograd.h). Their epilogue
 * adds a bias and another array, applies a ReLU, and takes the largest of 2x2 windows, all in
 * registers.
 *
 * A unit of tiles is transformed, multiplied and transformed back by one thread. If a group has too
 * few tiles for that, or so many weights that they would not stay in the cache from unit to unit,
 * all threads share one unit: each does some tiles of the transforms and some frequencies of the
 * products, and waits for the others in between. */
#ifndef MINIDL_PLAN_WINOGRAD_H
#define MINIDL_PLAN_WINOGRAD_H

#include "conv/winograd.h"
#include "inference/plan_conv.h"
#include "inference/plan_step.h"

#define UNROLL4 _Pragma("GCC unroll 4")

/* The height and width of the images that the convolution computes, before they are pooled. */
ALWAYS_INLINE ptrdiff_t conv_height(const Step *s) { return s->pools ? s->oh * 2 : s->oh; }
ALWAYS_INLINE ptrdiff_t conv_width(const Step *s) { return s->pools ? s->ow * 2 : s->ow; }

/* The rows and columns of tiles that cover them. */
ALWAYS_INLINE ptrdiff_t tile_rows(const Step *s) { return (conv_height(s) + 3) / 4; }
ALWAYS_INLINE ptrdiff_t tile_columns(const Step *s) { return (conv_width(s) + 3) / 4; }

/* Transforms the products m[frequency * step + channel] to a tile of outputs of an image, from
 * (y0, x0) on. A tile has 4x4 outputs, and fewer at a border. */
static __attribute__((noinline)) void plan_output_tile(const Step *s, const Work *k, const float *m,
                                                       ptrdiff_t step, ptrdiff_t image,
                                                       ptrdiff_t y0, ptrdiff_t x0) {
    const ptrdiff_t h = conv_height(s), w = conv_width(s);
    const ptrdiff_t rows = h - y0 < 4 ? h - y0 : 4, cols = w - x0 < 4 ? w - x0 : 4;
    const int relu_out = s->activation == ACTIVATION_RELU;
    const float *r = s->adds ? plan_at(k, &s->r, image, y0, x0) : NULL;
    const ptrdiff_t window = s->pools ? 2 : 1;
    float *y = plan_at(k, &s->y, image, y0 / window, x0 / window);
    for (ptrdiff_t c = 0; c < s->co && (c = c + PV > s->co ? s->co - PV : c, 1); c += PV) {
        const pv bias = s->bias ? PLOAD(s->bias + c) : pv{0};
        pv t[4][6], o[4][4];
        _Pragma("GCC unroll 6") for (int j = 0; j < 6; j++) {
            pv d[6], e[4];
            _Pragma("GCC unroll 6") for (int i = 0; i < 6; i++) d[i] =
                PLOAD(m + (i * 6 + j) * step + c);
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
                UNROLL4 for (int j = 0; j < 4; j += 2) if (i < rows && j < cols)
                    PSTORE(y + i / 2 * s->y.row + j / 2 * s->y.pixel + c,
                           plan_max(plan_max(o[i][j], o[i][j + 1]),
                                    plan_max(o[i + 1][j], o[i + 1][j + 1])));
        } else {
            UNROLL4 for (int i = 0; i < 4; i++)
                UNROLL4 for (int j = 0; j < 4; j++) if (i < rows && j < cols)
                    PSTORE(y + i * s->y.row + j * s->y.pixel + c, o[i][j]);
        }
    }
}

/* The products of one frequency f and panel p, for `count` tiles. v and m hold the transformed
 * inputs and the products, with vs and ms floats for each frequency; a tile has cp products. */
ALWAYS_INLINE void plan_products(const Step *s, const float *v, ptrdiff_t vs, float *m,
                                 ptrdiff_t ms, ptrdiff_t cp, ptrdiff_t count, ptrdiff_t f,
                                 ptrdiff_t p, ptrdiff_t panels) {
    const float *u = s->weights + (f * panels + p) * s->ci * PANEL;
    const ptrdiff_t blocks = (count + MR - 1) / MR, columns = cp - p * PANEL, none = 0;
    v += f * vs;
    m += f * ms + p * PANEL;
    if (count % MR == 0 && has_product_tiles(s->ci)) {
        product_tiles(s->ci, columns > PV ? 2 : 1, v, u, m, blocks, cp, (const char *)v, 0);
        return;
    }
    for (ptrdiff_t i = 0; i < blocks; i++) {
        const float *a[MR];
        float *out[MR];
        ptrdiff_t first, end;
        plan_part(count, i, blocks, &first, &end);
        for (ptrdiff_t t = first; t < end; t++) {
            a[t - first] = v + t * s->ci;
            out[t - first] = m + t * cp;
        }
        plan_blocks[end - first - 1][columns > PV](a, u, 1, &none, s->ci, out, NULL, NULL, 0,
                                                   columns);
    }
}

/* Where a tile of the group is: returns its image, and sets its first row and column in it. */
ALWAYS_INLINE ptrdiff_t plan_tile(const Step *s, ptrdiff_t tile, ptrdiff_t *y0, ptrdiff_t *x0) {
    const ptrdiff_t columns = tile_columns(s), per_image = tile_rows(s) * columns;
    const ptrdiff_t in_image = tile % per_image;
    *y0 = in_image / columns * 4;
    *x0 = in_image % columns * 4;
    return tile / per_image;
}

static void plan_winograd(const Step *s, const Work *k) {
    const ptrdiff_t tiles = k->images * tile_rows(s) * tile_columns(s);
    const ptrdiff_t cp = (s->co + PV - 1) / PV * PV, panels = (cp + PANEL - 1) / PANEL;
    const int one_unit = s->unit == 0;      /* which all threads share */
    const ptrdiff_t unit = one_unit ? tiles : s->unit;
    const ptrdiff_t units = one_unit ? 1 : (tiles + unit - 1) / unit;
    const ptrdiff_t vs = unit * s->ci + GAP, ms = unit * cp + GAP;
    float *v = k->places[0] + s->workspace + (one_unit ? 0 : k->me * s->workspace_size);
    float *m = v + FREQUENCIES * vs;
    const Work single = {.me = 0, .threads = 1};
    const Work *share = one_unit ? k : &single;
    ptrdiff_t i = 0, end = 1, item, last, y0, x0;
    if (!one_unit) plan_share(k, units, &i, &end);
    for (; i < end; i++) {
        ptrdiff_t first, count;
        plan_part(tiles, i, units, &first, &count);
        count -= first;
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

#endif
