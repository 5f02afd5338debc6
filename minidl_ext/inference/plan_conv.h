/* Steps of plan.h: direct and depthwise convolutions, and dense layers, which are convolutions of
 * images of one pixel. What follows, plus bias, plus another array, then an activation, happens
 * while the sums are in registers. */

/* A vector of sums to its place, as far as it is `there`. */
ALWAYS_INLINE void plan_finish(pv v, float *out, const float *add, const float *bias, int relu_out,
                              FirstLanes<float> there) {
    if (bias) v += PLOAD(bias);
    if (add) v += there.load(add);
    if (relu_out) v = plan_relu(v);
    there.store(out, v);
}

/* R pixels (at most MR) and C vectors of columns, whose sums stay in registers. Segments of n terms
 * lie at a_off in front of each pixel; weights are [segment][n][PANEL]. */
template <int R, int C>
static __attribute__((noinline)) void plan_block(
    const float *const *a, const float *w, int segments, const ptrdiff_t *a_off, ptrdiff_t n,
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
        const FirstLanes<float> there(columns - c * PV);
/* What is done to each sum, while it is in its register. */
#define EACH_ROW _Pragma("GCC unroll 12") for (int r = 0; r < R; r++)
        if (bias) EACH_ROW sum[r][c] += PLOAD(bias + c * PV);
        if (add) EACH_ROW sum[r][c] += there.load(add[r] + c * PV);
        if (relu_out) EACH_ROW sum[r][c] = plan_relu(sum[r][c]);
        EACH_ROW there.store(out[r] + c * PV, sum[r][c]);
#undef EACH_ROW
    }
}

/* The blocks of each size, [rows - 1][vectors - 1]. */
template <typename Rows> struct PlanBlocks;
template <int... R> struct PlanBlocks<std::integer_sequence<int, R...>> {
    static constexpr decltype(&plan_block<1, 1>) of[MR][2] = {
        {plan_block<R + 1, 1>, plan_block<R + 1, 2>}...};
};
static constexpr const auto &plan_blocks = PlanBlocks<std::make_integer_sequence<int, MR>>::of;

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
                    bias ? bias + c * PV : NULL, relu_out, FirstLanes<float>(columns - c * PV));
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
                curve_f32(s->activation, out[r], out[r], columns, s->p, s->q);
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
                curve_f32(s->activation, y + col * s->y.pixel, y + col * s->y.pixel, s->co, s->p,
                          s->q);
    }
}
