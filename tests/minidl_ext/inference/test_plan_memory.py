"""These tests put the arrays of steps beside memory that must not be accessed. No kernel reads or
writes outside of its arrays, and false steps are refused or stay inside.
"""

from tests.support.processes import printed

# What a program in a process of its own finds besides the kernels: arrays that end or begin where
# accessible memory does.
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
    """The inputs, outputs and weights of all kinds of steps are checked. Any access beyond them
    ends the process.
    """
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
    """Some fields of valid steps are replaced by other numbers."""
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
