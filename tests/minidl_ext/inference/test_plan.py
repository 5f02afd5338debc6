"""Plans of the kernels: what they compute, step by step, and that no step leaves its arrays.

A Plan has no NumPy twin: its reference is what the other kernels compute, and for whole networks
the model itself (`tests/compiled`).
"""

import signal

import numpy as np
import pytest

from minidl import kernels
from tests.support.arrays import close, uniform
from tests.support.errors import refuses
from tests.support.processes import printed

V = kernels.PLAN_VECTOR
PANEL = 2 * V


def view(place, height, width, channels, border=(0, 0), group=1):
    """Where images lie in an array: those of an arena with a border on all sides."""
    row = (width + 2 * border[1]) * channels
    image = (height + 2 * border[0]) * row
    return place, border[0] * row + border[1] * channels, image, row, channels


def step(kind, read, written, **more):
    return {
        "kind": kind,
        "read": read,
        "written": written,
        "x": view(1, *read),
        "y": view(2, *written),
        **more,
    }


def run(steps, x, written, arena=0, group=2, shared=False, threads=2, r=None):
    sizes = [x[0].size, int(np.prod(written)), *([] if r is None else [r[0].size])]
    plan = kernels.Plan(steps, sizes, arena, group, shared, threads)
    y = np.full((len(x), *written), np.nan, np.float32)
    plan.run([x, y, *([] if r is None else [r])], len(x))
    return y


def panels(weight):
    """Weights (taps, C_out) as [panel][tap][PANEL], zeros at the end."""
    taps, out = weight.shape
    packed = np.zeros((-(-out // PANEL), PANEL, taps), np.float32)
    packed.reshape(-1, taps)[:out] = weight.T
    return np.ascontiguousarray(packed.swapaxes(1, 2))


# ------------------------------------------------------------------------------ what is computed


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("channels", [1, 3, V, 2 * V + 3])
def test_maps(shared, channels):
    x, r = uniform(5, 4, 3, channels), uniform(5, 4, 3, channels, seed=1)
    w, b = uniform(channels, seed=2), uniform(channels, seed=3)
    shape = 4, 3, channels
    close(run([step("map", shape, shape)], x, shape, shared=shared), x)
    close(
        run(
            [step("map", shape, shape, weights=w, bias=b, activation=("relu",))],
            x,
            shape,
            shared=shared,
        ),
        np.maximum(x * w + b, 0),
    )
    added = step("map", shape, shape, r=view(3, *shape), activation=("tanh",))
    close(run([added], x, shape, shared=shared, r=r), np.tanh(x + r))


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("out", [1, V, PANEL, 5 * PANEL + 3])
@pytest.mark.parametrize("images", [1, 2, 13])
def test_dense_layers(shared, out, images):
    x, w, b = uniform(images, 1, 1, 37), uniform(37, out, seed=1), uniform(1, out, seed=2)
    y = run(
        [step("direct", (1, 1, 37), (1, 1, out), weights=panels(w), bias=panels(b))],
        x,
        (1, 1, out),
        shared=shared,
        group=16,
    )
    close(y[:, 0, 0], x[:, 0, 0].astype(np.float64) @ w + b[0])


def test_pools():
    x = uniform(3, 5, 6, V + 3)
    for kind, kernel in (("max_pool", kernels.max_pool), ("avg_pool", kernels.avg_pool)):
        found = kernel(x, (3, 2), (2, 1), ((1, 1), (1, 1)))
        expected = found[0] if isinstance(found, tuple) else found
        written = expected.shape[1:]
        close(
            run(
                [
                    step(
                        kind,
                        x.shape[1:],
                        written,
                        kernel=(3, 2),
                        stride=(2, 1),
                        start=(1, 1),
                        counted=(1, 1, 1, 1),
                    )
                ],
                x,
                written,
            ),
            expected,
        )


@pytest.mark.parametrize("counted", [((0, 0), (0, 0)), ((1, 2), (0, 1))])
def test_padding_that_counts(counted):
    x = uniform(2, 5, 6, V + 3)
    options = {"window": (3, 2), "stride": (2, 2), "padding": ((1, 3), (0, 1)), "dilation": (2, 1)}
    expected = kernels.avg_pool(x, **options, counted=counted)
    close(
        run(
            [
                step(
                    "avg_pool",
                    x.shape[1:],
                    expected.shape[1:],
                    kernel=(3, 2),
                    stride=(2, 2),
                    dilation=(2, 1),
                    start=(1, 0),
                    counted=(*counted[0], *counted[1]),
                )
            ],
            x,
            expected.shape[1:],
        ),
        expected,
    )


def test_a_border_is_written_each_time():
    """The arena is memory that something else has used before."""
    x, w = uniform(3, 4, 5, V), uniform(3, 3, 1, V, seed=1)
    size = 6 * 7 * V
    padded = view(0, 4, 5, V, (1, 1))
    steps = [
        step("map", (4, 5, V), (4, 5, V)) | {"y": padded, "border": (1, 1, 1, 1)},
        step(
            "depthwise",
            (4, 5, V),
            (4, 5, V),
            weights=w[:, :, 0],
            kernel=(3, 3),
            start=(1, 1),
            groups=V,
        )
        | {"x": padded},
    ]
    expected = kernels.conv(x, w, None, (1, 1), ((1, 1), (1, 1)), groups=V)
    for _ in range(3):
        kernels.empty((3 * 2 * size,), np.float32).fill(np.nan)
        close(run(steps, x, (4, 5, V), arena=2 * size), expected)


# ------------------------------------------------------------------------------ what is refused

GOOD = step("map", (4, 3, 2), (4, 3, 2))
CONV = step("direct", (4, 3, 2), (4, 3, 2), weights=np.zeros(2 * PANEL, np.float32))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"read": (0, 3, 2)}, "sizes must be"),
        ({"written": (4, 3, 2**31)}, "sizes must be"),
        ({"written": (5, 3, 2)}, "overlap"),
        ({"written": (4, 4, 2)}, "overlap"),
        ({"y": (2, 1, 24, 6, 2)}, "leaves its array"),
        ({"y": (2, -1, 24, 6, 2)}, "leaves its array"),
        ({"y": (2, 0, 24, 5, 2)}, "overlap"),
        ({"y": (2, 0, 24, 6, 1)}, "overlap"),
        ({"y": (2, 0, 24, 2**62, 2)}, "overlap"),
        ({"y": (2, 0, 12, 6, 2)}, "side by side"),
        ({"y": (3, 0, 24, 6, 2)}, "no array"),
        ({"y": (-1, 0, 24, 6, 2)}, "no array"),
        ({"x": (0, 0, 24, 6, 2)}, "leaves its array"),
        ({"r": (1, 8, 24, 6, 2)}, "leaves its array"),
        ({"border": (0, 0, 0, 1)}, "overlap"),
        ({"border": (-1, 1, 0, 0)}, "borders"),
        ({"weights": np.zeros(2, np.float32)}, "come together"),
        ({"pools": True}, "pool"),
        ({"weights": np.zeros(1, np.float32), "bias": np.zeros(2, np.float32)}, "2 weights"),
    ],
)
def test_a_step_that_leaves_its_arrays(change, words):
    kernels.Plan([GOOD], [24, 24], 0, 2, False, 2)
    with refuses(ValueError, "Plan: ", words):
        kernels.Plan([GOOD | change], [24, 24], 0, 2, False, 2)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kernel": (2, 1), "weights": np.zeros(4 * PANEL, np.float32)}, "overlap"),
        ({"kernel": (2, 1)}, "weights are needed"),
        ({"kernel": (17, 16)}, "no convolution"),
        ({"stride": (2, 1)}, "overlap"),
        ({"start": (1, 0)}, "leaves its array"),
        ({"groups": 3}, "groups"),
        ({"weights": np.zeros(PANEL, np.float32)}, "weights are needed"),
        ({"weights": None}, "array"),
        ({"weights": np.zeros(2 * PANEL)}, "float32"),
        ({"bias": np.zeros(2, np.float32)}, "weights are needed"),
        ({"kind": "depthwise"}, "depthwise"),
        ({"kind": "winograd"}, "Winograd"),
        ({"activation": ("sine",)}, ""),
        ({"kind": "fft"}, ""),
    ],
)
def test_a_convolution_that_does_not_fit(change, words):
    kernels.Plan([CONV], [24, 24], 0, 2, False, 2)
    with refuses((ValueError, TypeError, KeyError), words):
        kernels.Plan([CONV | change], [24, 24], 0, 2, False, 2)


def test_wrong_calls():
    plan, x = kernels.Plan([GOOD], [24, 24], 0, 2, False, 2), np.zeros((3, 24), np.float32)
    for arrays, images, error in (
        ([x], 3, ValueError),
        ([x, x], 2, ValueError),
        ([x, x], -1, ValueError),
        ([x, x.astype(np.float64)], 3, TypeError),
        ([x, x.T], 3, ValueError),
        ([x, None], 3, TypeError),
    ):
        with pytest.raises(error):
            plan.run(arrays, images)
    with pytest.raises((MemoryError, ValueError)):
        kernels.Plan([], [2**40], 0, 1, False, 1).run([x[:0]], 2**40)
    with pytest.raises(MemoryError):
        kernels.Plan([], [24], 2**61, 1, False, 1).run([x], 3)
    for options in ((0, 0, False, 2), (-1, 2, False, 2), (0, 2, False, 0), (0, 2**31, False, 1)):
        with refuses(ValueError, "Plan"):
            kernels.Plan([], [24], *options)
    with refuses(ValueError, "at most 63 arrays"):
        kernels.Plan([], [1] * 64, 0, 1, False, 1)
    plan.run([x, np.array(x)], 3)
    read_only = x.copy()
    read_only.flags.writeable = False
    with refuses(ValueError, "array 1, which is written to, is read-only"):
        plan.run([read_only, read_only], 3)
    for change, words in (
        ({"kind": "nix"}, "kind must be one of"),
        ({"activation": ("nix",)}, "activation must be one of"),
        ({"kind": "max_pool", "activation": ("relu",)}, "a pool has"),
        ({"kind": "avg_pool", "groups": 2}, "a pool has"),
    ):
        with refuses(ValueError, words):
            kernels.Plan([GOOD | change], [24, 24], 0, 2, False, 2)


@pytest.mark.parametrize("groups", [2, 100])
def test_groups_of_kernels_without_groups(groups):
    weights = np.zeros(36 * 32 * PANEL, np.float32)
    size = 4 * 4 * 32
    with refuses(ValueError, "Winograd"):
        kernels.Plan(
            [
                step(
                    "winograd",
                    (4, 4, 32),
                    (2, 2, 32),
                    kernel=(3, 3),
                    weights=weights,
                    groups=groups,
                )
            ],
            [size, 128],
            10**6,
            1,
            False,
            1,
        )
    with refuses(ValueError, "depthwise"):
        kernels.Plan(
            [step("depthwise", (4, 4, 32), (4, 4, 32), weights=weights, groups=groups)],
            [size, size],
            0,
            1,
            False,
            1,
        )


def test_interrupts():
    """Some seconds' work is done in parts, between which Python's signal handlers run."""
    images, size = 40, 256
    w = panels(np.zeros((9 * size, size), np.float32))
    plan = kernels.Plan(
        [step("direct", (66, 66, size), (64, 64, size), kernel=(3, 3), weights=w)],
        [66 * 66 * size, 64 * 64 * size],
        0,
        1,
        False,
        1,
    )
    x = np.zeros((images, 66, 66, size), np.float32)
    y = np.full((images, 64, 64, size), np.nan, np.float32)

    def interrupt(*_):
        raise InterruptedError

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(InterruptedError):
            plan.run([x, y], images)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert np.isnan(y[-1]).all()


# What a program in a process of its own finds beside the kernels: arrays that end, or begin, where
# memory does.
GUARDED = """
import ctypes, mmap
import numpy as np
import minidl as md
from minidl import kernels, nn

PAGE = mmap.PAGESIZE
libc = ctypes.CDLL(None, use_errno=True)
libc.mprotect.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int

def guarded(array, end):
    "A copy beside a page that nobody may touch."
    pages = -(-array.nbytes // PAGE) + 2
    memory = mmap.mmap(-1, pages * PAGE)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    for page in (0, pages - 1):
        assert libc.mprotect(start + page * PAGE, PAGE, 0) == 0
    at = (pages - 1) * PAGE - array.nbytes if end else PAGE
    made = np.frombuffer(memory, array.dtype, array.size, at).reshape(array.shape)
    made[...] = array
    return made
"""


def test_no_step_touches_what_is_beside_its_arrays():
    """Inputs, outputs and weights of all kinds of steps; a touch ends the process."""
    assert printed(
        GUARDED
        + """
plain = kernels.Plan

class Guarded(plain):
    def __new__(cls, steps, *options):
        for step in steps:
            for name in ("weights", "bias"):
                if step.get(name) is not None and "unit" not in step:
                    step[name] = guarded(step[name], True)
        return plain.__new__(cls, steps, *options)

    def __init__(self, *options):
        pass

    def run(self, arrays, images, threads=0):
        for end in (False, True):
            placed = [guarded(x, end) for x in arrays]
            super().run(placed, images, threads)
        for x, y in zip(arrays, placed):
            if x.flags.writeable:
                x[...] = y

kernels.Plan = Guarded
S, compared = nn.Sequential, 0
rng = np.random.default_rng(0)
for channels in (1, 3, 16, 17, 24, 40):
    for model in (S(nn.Conv(channels, 17, 3), nn.ReLU()), S(nn.Conv(channels, 16, 1), md.gelu),
                  S(nn.Conv(channels, 32, 3), nn.MaxPool(2)), S(nn.Conv(channels, 5, (1, 3))),
                  S(nn.Conv(channels, channels, 3, stride=2, groups=channels), md.silu),
                  S(nn.MaxPool(3, 2, 1), md.relu), S(nn.AvgPool(2), nn.Flatten()),
                  S(md.global_avg_pool, nn.Dense(channels, 33)), S(nn.BatchNorm(channels)),
                  S(nn.Flatten(), nn.Dense(35 * channels, 150), md.tanh),
                  lambda x: md.concatenate([x, x * 2], axis=-1), lambda x: x + md.relu(x)):
        x = rng.normal(0, 1, (3, 5, 7, channels)).astype(np.float32)
        compiled = md.compile(model, x)
        for size in (1, 3):
            y = compiled(x[:size])
            expected = (model.predict(x[:size]) if isinstance(model, nn.Layer)
                        else model(md.tensor(x[:size])).data)
            assert np.abs(y - expected).max() <= 1e-5 * np.abs(expected).max()
            compared += 1
print(compared)
""",
        OMP_NUM_THREADS="2",
    ) == ["144"]


def test_hostile_steps_are_refused_or_stay_inside():
    """Fields of steps in order with other numbers in some places."""
    told = printed(
        GUARDED
        + """
import copy, random
V, PANEL = kernels.PLAN_VECTOR, 2 * kernels.PLAN_VECTOR
ODD = (-2**63, -2**31, -3, -1, 0, 1, 2, 3, 5, 16, 17, 63, 256, 2**16, 2**31 - 1, 2**31, 2**32,
       2**40, 2**61, 2**62, 2**63 - 1, 2**64, 1.5, "x", None)
z = lambda n: guarded(np.zeros(n, np.float32), True)

def at(place, h, w, c, top=0, left=0):
    row = (w + 2 * left) * c
    return place, top * row + left * c, (h + 2 * top) * row, row, c

def base(rng):
    c = 16
    common = {"read": (6, 5, c), "written": (6, 5, c), "x": at(1, 6, 5, c), "y": at(2, 6, 5, c)}
    padded = {"x": at(0, 6, 5, c, 3, 5), "kernel": (3, 3), "start": (1, 1)}
    return copy.copy(rng.choice([
        {**common, "kind": "map", "r": at(1, 6, 5, c), "activation": ("elu", 0.5)},
        {**common, "kind": "map", "weights": z(c), "bias": z(c)},
        {**common, "kind": "map", "y": at(0, 6, 5, c, 3, 5), "border": (3, 3, 5, 5)},
        {**common, "kind": "max_pool", "kernel": (3, 3), "stride": (1, 1), "start": (1, 1)},
        {**common, "kind": "avg_pool", "kernel": (3, 3), "stride": (1, 1), "start": (1, 1)},
        {**common, "kind": "direct", "weights": z(c * PANEL), "bias": z(PANEL)},
        {**common, **padded, "kind": "direct", "weights": z(9 * c * PANEL), "r": at(1, 6, 5, c)},
        {**common, **padded, "kind": "depthwise", "groups": c, "weights": z(9 * c)},
        {**common, **padded, "kind": "winograd", "weights": z(36 * c * PANEL),
         "unit": (4, 4800, 36 * (4 * 2 * c + 32))}]))

def changed(value, rng):
    if isinstance(value, tuple) and value and rng.random() < 0.9:
        k = rng.randrange(len(value))
        return (*value[:k], changed(value[k], rng), *value[k + 1:])
    if isinstance(value, int) and rng.random() < 0.5:
        return value + rng.choice((-16, -1, 1, 2, 16, value))
    return rng.choice(ODD)

done = refused = 0
for seed in range(6000):
    rng = random.Random(seed)
    steps = [base(rng) for _ in range(rng.choice((1, 1, 2)))]
    options = [[480, 480], 9600, rng.choice((1, 2)), rng.random() < 0.5, rng.choice((1, 2, 3))]
    for _ in range(rng.choice((0, 1, 1, 2, 3))):
        step = rng.choice(steps)
        name = rng.choice([name for name in step if name not in ("weights", "bias", "kind")]
                          + ["stride", "dilation", "groups", "pools", "border", "counted"])
        if rng.random() < 0.1:
            k = rng.choice((1, 2, 4))
            options[k] = changed(options[k], rng)
        step[name] = changed(step.get(name, (1, 1)), rng)
    images = rng.choice((0, 1, 3, 3, 3, -1))
    try:
        plan = kernels.Plan(steps, *options)
        end = rng.random() < 0.5
        arrays = [guarded(np.ones((max(images, 0), 480), np.float32), end) for _ in range(2)]
        plan.run(arrays, images)
        done += 1
    except (ValueError, TypeError, KeyError, OverflowError, MemoryError, IndexError):
        refused += 1
print(done, refused)
""",
        OMP_NUM_THREADS="2",
    )
    done, refused = map(int, told)
    assert done > 500 and refused > 1000
