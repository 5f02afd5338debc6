/* Steps of plan.h: direct and depthwise convolutions, and dense layers, which are convolutions of
 * images of one pixel. What follows, plus bias, plus another array, then an activation, happens
 * while the sums are in registers. */

/* A vector of sums, of which `columns` exist, to its place. */
ALWAYS_INLINE void plan_finish(pv v, float *out, const float *add, const float *bias, int relu_out,
                              ptrdiff_t columns) {
    if (bias) v += PLOAD(bias);
    if (add) v += columns >= PV ? PLOAD(add) : load_part(add, columns);
    if (relu_out) v = plan_relu(v);
    if (columns >= PV) PSTORE(out, v);
    else store_part(out, v, columns);
}

/* Up to MR pixels in registers: R of them and C vectors of columns, constants after inlining.
 * Segments of n terms lie at a_off in front of each pixel; weights are [segment][n][PANEL]. */
ALWAYS_INLINE void plan_block(const int R, const int C, const float *const *a, const float *w,
                             int segments, const ptrdiff_t *a_off, ptrdiff_t n, float *const *out,
                             const float *const *add, const float *bias, int relu_out,
                             ptrdiff_t columns) {
    pv sum[MR][2];
    const int whole = columns >= C * PV;
    _Pragma("GCC unroll 12") for (int r = 0; r < R; r++)
        _Pragma("GCC unroll 2") for (int c = 0; c < C; c++) sum[r][c] = (pv){0};
    for (int s = 0; s < segments; s++) {
        const float *row[MR];
        ptrdiff_t k = 0;
        _Pragma("GCC unroll 12") for (int r = 0; r < R; r++) row[r] = a[r] + a_off[s];
#define TERM(i) do { \
            pv v[2]; \
            _Pragma("GCC unroll 2") for (int c = 0; c < C; c++) v[c] = PLOAD(w + c * PV); \
            w += PANEL; \
            _Pragma("GCC unroll 12") for (int r = 0; r < R; r++) { \
                const float x = row[r][i]; \
                _Pragma("GCC unroll 2") for (int c = 0; c < C; c++) sum[r][c] += x * v[c]; \
            } \
        } while (0)
        for (; k + 4 <= n; k += 4)
            _Pragma("GCC unroll 4") for (int u = 0; u < 4; u++) TERM(k + u);
        for (; k < n; k++) TERM(k);
#undef TERM
    }
    _Pragma("GCC unroll 12") for (int r = 0; r < R; r++)
        _Pragma("GCC unroll 2") for (int c = 0; c < C; c++)
            plan_finish(sum[r][c], out[r] + c * PV, add ? add[r] + c * PV : NULL,
                        bias ? bias + c * PV : NULL, relu_out, whole ? PV : columns - c * PV);
}

#define PARAMETERS const float *const *a, const float *w, int segments, const ptrdiff_t *a_off, \
    ptrdiff_t n, float *const *out, const float *const *add, const float *bias, int relu_out, \
    ptrdiff_t columns
#define DEFINE(R, C) static __attribute__((noinline)) void plan_block_##R##_##C(PARAMETERS) { \
    plan_block(R, C, a, w, segments, a_off, n, out, add, bias, relu_out, columns); }
#define DEFINE_ROWS(R) DEFINE(R, 1) DEFINE(R, 2)
DEFINE_ROWS(1) DEFINE_ROWS(2) DEFINE_ROWS(3) DEFINE_ROWS(4) DEFINE_ROWS(5) DEFINE_ROWS(6)
#if MR == 12
DEFINE_ROWS(7) DEFINE_ROWS(8) DEFINE_ROWS(9) DEFINE_ROWS(10) DEFINE_ROWS(11) DEFINE_ROWS(12)
#endif
#define ENTRY(R) {plan_block_##R##_1, plan_block_##R##_2}
static void (*const plan_blocks[MR][2])(PARAMETERS) = {
    ENTRY(1), ENTRY(2), ENTRY(3), ENTRY(4), ENTRY(5), ENTRY(6),
#if MR == 12
    ENTRY(7), ENTRY(8), ENTRY(9), ENTRY(10), ENTRY(11), ENTRY(12),
#endif
};
#undef ENTRY
#undef DEFINE_ROWS
#undef DEFINE
#undef PARAMETERS

/* A dense layer's panels, ROW_PANELS at most, for one row. A single sum would wait for each
 * addition; several panels side by side do not, and each sum keeps its order. */
enum { ROW_PANELS = 4 };

ALWAYS_INLINE void plan_row(const int P, const float *a, const float *w, ptrdiff_t n, float *out,
                           const float *add, const float *bias, int relu_out, ptrdiff_t columns) {
    pv sum[ROW_PANELS][2] = {{{0}}};
    for (ptrdiff_t k = 0; k < n; k++)
        _Pragma("GCC unroll 4") for (int p = 0; p < P; p++) {
            const float *at = w + p * n * PANEL + k * PANEL;
            sum[p][0] += a[k] * PLOAD(at);
            sum[p][1] += a[k] * PLOAD(at + PV);
        }
    for (int c = 0; c < 2 * P && columns > c * PV; c++)
        plan_finish(sum[c / 2][c % 2], out + c * PV, add ? add + c * PV : NULL,
                    bias ? bias + c * PV : NULL, relu_out, columns - c * PV);
}

enum { PLAN_SEGMENTS = 256 };

/* A step's segments: the taps of a kernel row lie together if they take all channels. */
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

/* Pixels times panels; a block is at most MR pixels and one panel. */
static void plan_conv(const Step *s, const Work *k) {
    const ptrdiff_t pixels = k->images * s->oh * s->ow, blocks = (pixels + MR - 1) / MR;
    const ptrdiff_t own = s->co / s->groups, panels = (own + PANEL - 1) / PANEL;
    const ptrdiff_t taps = s->kh * s->kw * (s->ci / s->groups);
    ptrdiff_t a_off[PLAN_SEGMENTS], n, item, end;
    const int segments = plan_segments(s, a_off, &n);
    plan_share(k, blocks * panels * s->groups, &item, &end);
    for (; item < end; item++) {
        const ptrdiff_t panel = item / blocks, block = item % blocks, group = panel / panels;
        const ptrdiff_t first = pixels * block / blocks, after = pixels * (block + 1) / blocks;
        const ptrdiff_t channel = group * own + panel % panels * PANEL;
        ptrdiff_t columns = own - panel % panels * PANEL;
        const float *a[MR], *add[MR];
        float *out[MR];
        ptrdiff_t image = first / (s->oh * s->ow), row = first / s->ow % s->oh, col = first % s->ow;
        const int rows = (int)(after - first);
        for (int r = 0; r < rows;) {
            const float *x = plan_at(k, &s->x, image, row * s->sh - s->top, col * s->sw - s->left)
                             + group * (s->ci / s->groups);
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
        if (rows == 1 && segments == 1) {       /* of one pixel each item is a panel */
            const int several = panels - panel % panels >= ROW_PANELS && end - item >= ROW_PANELS;
            const ptrdiff_t most = several ? ROW_PANELS * PANEL : PANEL;
            if (columns > most) columns = most;
            if (several)
                plan_row(ROW_PANELS, a[0] + a_off[0], w, n, out[0], s->adds ? add[0] : NULL, bias,
                         relu_out, columns);
            else
                plan_row(1, a[0] + a_off[0], w, n, out[0], s->adds ? add[0] : NULL, bias, relu_out,
                         columns);
            if (several) item += ROW_PANELS - 1;
        } else {
            if (columns > PANEL) columns = PANEL;
            plan_blocks[rows - 1][columns > PV](a, w, segments, a_off, n, out,
                                                s->adds ? add : NULL, bias, relu_out, columns);
        }
        if (s->activation >= 0)
            for (int r = 0; r < rows; r++)
                curve(s->activation, out[r], out[r], columns, s->p, s->q);
    }
}

/* P pixels and C vectors of channels of a depthwise convolution; both are constants. */
ALWAYS_INLINE void plan_depthwise_block(const int P, const int C, const Step *s, const float *x,
                                       ptrdiff_t c, float *y, const float *r) {
    pv sum[4][2];
    const float *w = s->weights + c;
    _Pragma("GCC unroll 4") for (int p = 0; p < P; p++)
        _Pragma("GCC unroll 2") for (int v = 0; v < C; v++)
            sum[p][v] = s->bias ? PLOAD(s->bias + c + v * PV) : (pv){0};
    for (ptrdiff_t i = 0; i < s->kh; i++)
        for (ptrdiff_t j = 0; j < s->kw; j++, w += s->co) {
            const float *at = x + i * s->dh * s->x.row + j * s->dw * s->x.pixel + c;
            pv weight[2];
            _Pragma("GCC unroll 2") for (int v = 0; v < C; v++) weight[v] = PLOAD(w + v * PV);
            _Pragma("GCC unroll 4") for (int p = 0; p < P; p++)
                _Pragma("GCC unroll 2") for (int v = 0; v < C; v++)
                    sum[p][v] += PLOAD(at + p * s->sw * s->x.pixel + v * PV) * weight[v];
        }
    _Pragma("GCC unroll 4") for (int p = 0; p < P; p++)
        _Pragma("GCC unroll 2") for (int v = 0; v < C; v++) {
            pv o = sum[p][v];
            if (r) o += PLOAD(r + p * s->r.pixel + c + v * PV);
            if (s->activation == ACTIVATION_RELU) o = plan_relu(o);
            PSTORE(y + p * s->y.pixel + c + v * PV, o);
        }
}

/* P pixels of all channels, of which there is at least a vector: where they do not fill the last
 * one, it overlaps the one before, and what both cover is computed twice. */
ALWAYS_INLINE void plan_depthwise_pixels(const int P, const Step *s, const float *x, float *y,
                                        const float *r) {
    ptrdiff_t c = 0;
    for (; c + 2 * PV <= s->co; c += 2 * PV) plan_depthwise_block(P, 2, s, x, c, y, r);
    for (; c < s->co; c += PV)
        plan_depthwise_block(P, 1, s, x, c + PV > s->co ? s->co - PV : c, y, r);
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
            plan_depthwise_pixels(4, s, x + col * s->sw * s->x.pixel, y + col * s->y.pixel,
                                  r ? r + col * s->r.pixel : NULL);
        for (; col < s->ow; col++)
            plan_depthwise_pixels(1, s, x + col * s->sw * s->x.pixel, y + col * s->y.pixel,
                                  r ? r + col * s->r.pixel : NULL);
        if (s->activation >= 0)
            for (col = 0; col < s->ow; col++)
                curve(s->activation, y + col * s->y.pixel, y + col * s->y.pixel, s->co, s->p,
                          s->q);
    }
}
