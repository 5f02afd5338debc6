"""Plans: networks for inference as lists of steps, run without Python between them.

plan_step.h says what a step is, and plan.h computes it. A Plan owns its steps. It checks once that
none of them reads or writes outside of its arrays, and runs them on arrays that each call gives.
"""
cimport numpy as cnp
from cpython.exc cimport PyErr_CheckSignals
from libc.stdlib cimport calloc, free

from minidl_ext.conv.winograd cimport FREQUENCIES, GAP
from minidl_ext.elementwise.curves cimport curves_by_name
from minidl_ext.runtime.arguments cimport typed_array
from minidl_ext.runtime.memory cimport ceil_div, product, workspace
from minidl_ext.runtime.threads cimport pieces_at_once, threads_for

cnp.import_array()

cdef extern from "inference/plan.h" nogil:
    enum:
        PLAN_CONV, PLAN_WINOGRAD, PLAN_DEPTHWISE, PLAN_MAX_POOL, PLAN_AVG_POOL, PLAN_MAP
        ACTIVATION_NONE, ACTIVATION_RELU, PANEL, PV, PLAN_SEGMENTS, PLAN_PLACES

    ctypedef struct View:
        int place
        Py_ssize_t at, image, row, pixel

    ctypedef struct Step:
        int kind, activation
        float p, q
        Py_ssize_t h, w, ci, oh, ow, co, kh, kw, sh, sw, dh, dw, top, left, groups
        View x, y, r
        int adds, pools
        Py_ssize_t border_top, border_bottom, border_left, border_right
        const float* weights
        const float* bias
        Py_ssize_t unit, workspace, workspace_size
        Py_ssize_t counted[4]

    Py_ssize_t tile_rows(const Step* s)
    Py_ssize_t tile_columns(const Step* s)
    void plan_run(const Step* steps, Py_ssize_t count, float* arena, Py_ssize_t arena_size,
                  float** outside, const Py_ssize_t* image_size, int arrays, Py_ssize_t images,
                  Py_ssize_t group, int threads, int shared)

KINDS = {"direct": PLAN_CONV, "winograd": PLAN_WINOGRAD, "depthwise": PLAN_DEPTHWISE,
         "max_pool": PLAN_MAX_POOL, "avg_pool": PLAN_AVG_POOL, "map": PLAN_MAP}
CURVES = curves_by_name()

# What planning must know.
PLAN_VECTOR = PV                # floats of a vector
PLAN_FREQUENCIES = FREQUENCIES
PLAN_GAP = GAP                  # floats
PLAN_TAPS = PLAN_SEGMENTS       # most taps of a convolution's window
PLAN_ARRAYS = PLAN_PLACES - 1   # most arrays outside of the arena

cdef enum:
    MOST = 0x7fffffff   # limit of a size, so that products of two do not overflow


cdef class Plan:
    """Steps for groups of at most `group` images.

    `steps` are dicts of the fields of a Step (plan_step.h). In these, "kind" and "activation" are
    names, and "weights" and "bias" are arrays, packed as the kernel reads them
    (minidl/compiled/planning.py). `sizes` are the floats of an image in each array outside of the
    arena, and `arena` the floats of the arena for a group. ValueError for a step that would read or
    write outside of its arrays.
    """

    cdef Step* steps
    cdef readonly Py_ssize_t count, group, arena
    cdef readonly double work
    cdef readonly bint shared
    cdef Py_ssize_t sizes[PLAN_PLACES]
    cdef bint written[PLAN_PLACES]
    cdef int arrays, most
    cdef list kept

    def __cinit__(self, list steps, sizes, Py_ssize_t arena, Py_ssize_t group, bint shared,
                  int threads):
        cdef Step* s
        cdef Py_ssize_t i
        self.kept, self.arena, self.group, self.shared = [], arena, group, shared
        self.most = threads
        self.count, self.arrays = len(steps), len(sizes)
        if self.arrays > PLAN_PLACES - 1:
            raise ValueError(f"Plan: at most {PLAN_PLACES - 1} arrays, got {self.arrays}")
        if not 1 <= group <= MOST or arena < 0 or threads < 1:
            raise ValueError(f"Plan: no groups of {group} images in {arena} values by {threads} "
                             "threads")
        for i in range(self.arrays):
            self.sizes[i] = sizes[i]
            if self.sizes[i] < 0:
                raise ValueError(f"Plan: sizes must not be negative, got {self.sizes[i]}")
        self.steps = <Step*>calloc(max(self.count, 1), sizeof(Step))
        if self.steps == NULL:
            raise MemoryError("Plan: steps")
        for i in range(self.count):
            s = self.steps + i
            self.fill(s, steps[i])
            self.check(s, steps[i], threads)
            self.work += work_of(s)

    def __dealloc__(self):
        free(self.steps)

    cdef int fill(self, Step* s, dict f) except -1:
        """Set all fields of a step but its weights; ValueError for sizes out of range."""
        if f["kind"] not in KINDS:
            raise ValueError(f"Plan: kind must be one of {sorted(KINDS)}, got {f['kind']!r}")
        s.kind = KINDS[f["kind"]]
        activation = f.get("activation")
        if activation is None:
            s.activation = ACTIVATION_NONE
        elif activation[0] == "relu":
            s.activation = ACTIVATION_RELU
        else:
            if activation[0] not in CURVES:
                raise ValueError(f"Plan: activation must be one of {tuple(CURVES)}, "
                                 f"got {activation[0]!r}")
            s.activation = CURVES[activation[0]][0]
            s.p = activation[1] if len(activation) > 1 else 0
            s.q = activation[2] if len(activation) > 2 else 0
        s.h, s.w, s.ci = f["read"]
        s.oh, s.ow, s.co = f["written"]
        s.kh, s.kw = f.get("kernel", (1, 1))
        s.sh, s.sw = f.get("stride", (1, 1))
        s.dh, s.dw = f.get("dilation", (1, 1))
        s.top, s.left = f.get("start", (0, 0))
        s.groups = f.get("groups", 1)
        set_view(&s.x, f["x"])
        set_view(&s.y, f["y"])
        s.adds = f.get("r") is not None
        if s.adds:
            set_view(&s.r, f["r"])
        s.pools = f.get("pools", False)
        s.border_top, s.border_bottom, s.border_left, s.border_right = f.get("border", (0, 0, 0, 0))
        s.unit, s.workspace, s.workspace_size = f.get("unit", (0, 0, 0))
        s.counted[0], s.counted[1], s.counted[2], s.counted[3] = f.get("counted", (0, 0, 0, 0))
        for size in (s.h, s.w, s.ci, s.oh, s.ow, s.co, s.kh, s.kw, s.sh, s.sw, s.dh, s.dw,
                     s.groups):
            if not 1 <= size <= MOST:
                raise ValueError(f"Plan: sizes must be from 1 to {MOST}, got {size}")
        for size in (s.border_top, s.border_bottom, s.border_left, s.border_right, abs(s.top),
                     abs(s.left), s.counted[0], s.counted[1], s.counted[2], s.counted[3]):
            if not 0 <= size <= MOST:
                raise ValueError(f"Plan: borders and starts must be to {MOST}, got {size}")
        if s.kind in (PLAN_MAX_POOL, PLAN_AVG_POOL) and (
                s.adds or s.activation != ACTIVATION_NONE or s.groups != 1):
            raise ValueError("Plan: a pool has no activation, no groups, and adds nothing")
        if s.pools and (s.kind != PLAN_WINOGRAD or s.adds):
            raise ValueError("Plan: only Winograd convolutions to which nothing is added pool")
        return 0

    cdef int give(self, Step* s, dict f, Py_ssize_t weights, Py_ssize_t biases) except -1:
        """Set the weights and biases of a step, which reads so many of each."""
        if weights:
            s.weights = self.floats(f.get("weights"), weights)
        if f.get("bias") is not None:
            s.bias = self.floats(f["bias"], biases)
        return 0

    cdef const float* floats(self, object array, Py_ssize_t needed) except NULL:
        """The memory of an array of at least `needed` values, which the plan then keeps alive."""
        cdef cnp.ndarray a = typed_array(array, "Plan", "weights", -1, cnp.NPY_FLOAT32)
        if cnp.PyArray_SIZE(a) < needed:
            raise ValueError(f"Plan: {needed} weights are needed, got {cnp.PyArray_SIZE(a)}")
        self.kept.append(a)
        return <const float*>a.data

    cdef int check(self, Step* s, dict f, int threads) except -1:
        """Set the weights of a step, and check that it stays inside of its arrays."""
        cdef Py_ssize_t own = s.co // s.groups, panels = ceil_div(own, PANEL)
        cdef Py_ssize_t rows, cols, cp, size, copies
        cdef double needed      # floats of the workspace
        if s.kind == PLAN_CONV:
            if s.ci % s.groups or s.co % s.groups or s.kh * s.kw > PLAN_SEGMENTS:
                raise ValueError(f"Plan: no convolution of {s.kh}x{s.kw} in {s.groups} groups")
            size = s.kh * s.kw * (s.ci // s.groups) * PANEL
            self.give(s, f, product(s.groups, panels, size), s.groups * panels * PANEL)
        elif s.kind == PLAN_DEPTHWISE:
            if s.ci != s.co or s.co < PV or s.groups not in (1, s.ci):
                raise ValueError(f"Plan: no depthwise kernel for {s.ci} and {s.co} channels")
            self.give(s, f, product(s.kh, s.kw, s.co), s.co)
        elif s.kind == PLAN_WINOGRAD:
            if (s.groups != 1 or s.ci < PV or s.co < PV or (s.kh, s.kw, s.sh, s.sw, s.dh, s.dw)
                    != (3, 3, 1, 1, 1, 1) or s.activation > ACTIVATION_RELU):
                raise ValueError("Plan: Winograd computes no such convolution")
            self.give(s, f, product(FREQUENCIES * panels, s.ci, PANEL), s.co)
            rows, cols = tile_rows(s), tile_columns(s)
            cp = ceil_div(s.co, PV) * PV
            needed = <double>s.unit if s.unit else <double>self.group * rows * cols
            needed = FREQUENCIES * (needed * (s.ci + cp) + 2 * GAP)
            copies = threads if self.shared and s.unit else 1
            if s.workspace < 0 or s.workspace_size < needed or s.unit < 0 or (
                    s.workspace + <double>s.workspace_size * copies > self.arena):
                raise ValueError("Plan: the workspace is too small")
            inside(&s.x, -s.top, 4 * rows + 2 - s.top, -s.left, 4 * cols + 2 - s.left, s.ci, self)
        elif s.kind == PLAN_MAP:
            self.give(s, f, s.co if f.get("weights") is not None else 0, s.co)
            if (s.weights == NULL) != (s.bias == NULL):
                raise ValueError("Plan: weights and bias come together")
            inside(&s.x, 0, s.oh, 0, s.ow, s.co, self)
        else:
            inside(&s.x, 0, s.h, 0, s.w, s.co, self)
        if s.kind == PLAN_CONV or s.kind == PLAN_DEPTHWISE:
            inside(&s.x, -s.top, (s.oh - 1) * s.sh + (s.kh - 1) * s.dh + 1 - s.top, -s.left,
                   (s.ow - 1) * s.sw + (s.kw - 1) * s.dw + 1 - s.left, s.ci, self)
        bordered = s.border_top + s.border_bottom + s.border_left + s.border_right > 0
        inside(&s.y, -s.border_top, s.oh + s.border_bottom, -s.border_left, s.ow + s.border_right,
               max(s.co, s.y.pixel) if bordered else s.co, self)
        if s.adds:
            inside(&s.r, 0, s.oh, 0, s.ow, s.co, self)
        if s.y.place:
            self.written[s.y.place - 1] = True
        return 0

    def run(self, list arrays, Py_ssize_t images, int threads=0):
        """Run all steps for `images` images.

        `arrays` are those outside of the arena: C-contiguous, float32, of `images` images each, and
        writeable if a step writes to them.
        """
        cdef float* outside[PLAN_PLACES]
        cdef cnp.ndarray a, arena
        cdef Py_ssize_t first = 0, at_once, count
        cdef int i, t = threads_for(threads, self.work * images)
        if len(arrays) != self.arrays or images < 0:
            raise ValueError(f"Plan.run: {self.arrays} arrays are needed, got {len(arrays)}, of "
                             f"{images} images")
        for i in range(self.arrays):
            a = typed_array(arrays[i], "Plan.run", "arrays", -1, cnp.NPY_FLOAT32)
            if <size_t>cnp.PyArray_SIZE(a) != product(images, self.sizes[i]):
                raise ValueError(f"Plan.run: array {i} must have {self.sizes[i]} values an image")
            if self.written[i] and not cnp.PyArray_ISWRITEABLE(a):
                raise ValueError(f"Plan.run: array {i}, which is written to, is read-only")
            outside[i] = <float*>a.data
        if self.shared:
            t = min(t, self.most)
        else:
            t = max(1, min(t, <int>ceil_div(images, self.group)))
        arena = workspace(product(1 if self.shared else t, self.arena, sizeof(float)))
        # So that an interrupt can end a long run, it is cut into parts with groups for each thread.
        at_once = product(self.group, t)
        at_once = pieces_at_once(ceil_div(images, at_once), 8 * self.work * images, 1) \
            * at_once
        while first < images:
            count = min(at_once, images - first)
            with nogil:
                plan_run(self.steps, self.count, <float*>arena.data, self.arena, outside,
                         self.sizes, self.arrays, count, self.group, t, self.shared)
            for i in range(self.arrays):
                outside[i] += count * self.sizes[i]
            first += count
            PyErr_CheckSignals()


cdef double work_of(Step* s) noexcept:
    """The work of a step for an image, as `threads_for` counts it: element operations, of which a
    multiply-add of a convolution counts as an eighth."""
    cdef double values = <double>s.oh * s.ow * s.co * (4 if s.pools else 1)
    if s.kind <= PLAN_DEPTHWISE:
        return values * s.kh * s.kw * (s.ci // s.groups) / 8
    if s.kind == PLAN_MAP:
        return values * (16 if s.activation >= 0 else 1)
    return values * s.kh * s.kw


cdef int set_view(View* v, tuple given) except -1:
    v.place, v.at, v.image, v.row, v.pixel = given
    return 0


cdef int inside(View* v, Py_ssize_t row0, Py_ssize_t row1, Py_ssize_t col0, Py_ssize_t col1,
                Py_ssize_t channels, Plan plan) except -1:
    """Check that rows row0 .. row1 - 1 and columns col0 .. col1 - 1 of the images of a View are
    inside of its array, and do not overlap."""
    cdef Py_ssize_t size, images = 1
    cdef double row = v.row, pixel = v.pixel, image = v.image   # doubles do not overflow
    if not 0 <= v.place <= plan.arrays or v.row < 0 or v.pixel < 0 or v.image < 0:
        raise ValueError(f"Plan: there is no array {v.place}")
    if v.place:
        size = plan.sizes[v.place - 1]
        if v.image != size:
            raise ValueError("Plan: images of an array outside lie side by side")
    else:
        size, images = plan.arena, plan.group
    if pixel < channels or row < (col1 - col0) * pixel or image < (row1 - row0) * row:
        raise ValueError("Plan: pixels, rows or images of an array overlap")
    if (v.at + row0 * row + col0 * pixel < 0 or v.at + (images - 1) * image + (row1 - 1) * row
            + (col1 - 1) * pixel + channels > size):
        raise ValueError(f"Plan: a step leaves its array of {size} values")
    return 0
