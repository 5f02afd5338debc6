"""These tests check the kernels' plans: what they compute, step by step, and what is refused.

A Plan has no NumPy twin. Its reference is what the other kernels compute and, for whole networks,
the model itself (`tests/compiled`).
"""

import signal

import numpy as np
import pytest

from minidl import kernels
from tests.support.arrays import close, uniform
from tests.support.errors import refuses

V = kernels.PLAN_VECTOR
PANEL = 2 * V


def view(place, height, width, channels, border=(0, 0), group=1):
    """Describe where images lie in an array. Those of an arena have a border on all sides."""
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
    """Return weights (taps, C_out) as [panel][tap][PANEL], with zeros at the end."""
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
        ({"y": (2, 0, -24, 6, 2)}, "must not be negative, got -24, 6 and 2"),
        ({"y": (2, 0, 24, -6, 2)}, "must not be negative"),
        ({"y": (2, 0, 24, 6, -2)}, "must not be negative"),
        ({"y": (2, 0, 24, 6)}, "y of a step must be a tuple of 5 ints, got (2, 0, 24, 6)"),
        ({"x": None}, "x of a step must be a tuple of 5 ints, got None"),
        ({"r": [1, 0, 24, 6, 2]}, "r of a step must be a tuple of 5 ints"),
        ({"read": (4, 3)}, "read of a step must be a tuple of 3 ints"),
        ({"kernel": 3}, "kernel of a step must be a tuple of 2 ints"),
        ({"counted": (1, 1)}, "counted of a step must be a tuple of 4 ints"),
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


@pytest.mark.parametrize("name", ("kind", "read", "written", "x", "y"))
def test_a_step_without_a_field(name):
    lacks = {key: value for key, value in GOOD.items() if key != name}
    with refuses(ValueError, f"Plan: {name}"):
        kernels.Plan([lacks], [24, 24], 0, 2, False, 2)


def test_wrong_calls_are_refused():
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
    """A run that takes seconds is computed in parts, between which Python's signal handlers run."""
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
