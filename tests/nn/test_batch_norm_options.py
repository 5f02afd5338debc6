"""These tests check BatchNorm's options, alone and together: formulas, fusion, modes, state.

Warnings, and values that are small, large or not numbers, are in test_batch_norm_edges.
"""

import copy
import pickle

import numpy as np
import pytest

import minidl as md
from minidl import nn
from tests.support.arrays import close, uniform
from tests.support.errors import refuses
from tests.support.kernel_calls import kernels_run
from tests.support.marks import both_floats, small_batches
from tests.support.reference import norm as formulas

pytestmark = small_batches

RENORM = {"r_max": 1.5, "d_max": 0.5, "warmup": 2, "r_ramp": 3, "d_ramp": 5}
OPTIONS = {
    "unbiased": {"unbiased": False},
    "momentum": {"momentum": None},
    "gamma_init": {"gamma_init": 0.5},
    "ghost_batch": {"ghost_batch": 4},
    "renorm": {"renorm": RENORM},
    "not affine": {"affine": False, "renorm": RENORM, "ghost_batch": 5},
    "no statistics": {"track_stats": False, "ghost_batch": 4, "gamma_init": 2},
    "all": {
        "eps": 1e-3,
        "momentum": 0.3,
        "unbiased": False,
        "gamma_init": 0.5,
        "ghost_batch": 4,
        "renorm": RENORM,
    },
    "average": {"momentum": None, "ghost_batch": 3, "renorm": RENORM},
}
every_option = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
maybe_masked = pytest.mark.parametrize("masked", [False, True], ids=["", "mask"])


def batch(k, dtype=np.float64, shape=(10, 4, 4, 3)):
    """Return (x, residual, dy, mask) of batch k, whose statistics drift with k."""
    x, residual, dy = (uniform(*shape, dtype=np.float64, seed=3 * k + j) for j in range(3))
    mask = uniform(*shape[:-1], seed=k) < 0.3
    return (x * (1 + k / 2) + k / 4).astype(dtype), residual.astype(dtype), dy.astype(dtype), mask


class Formula:
    """The layer by the formulas of tests/support/reference/norm.py."""

    def __init__(self, options, features=3):
        self.options = {"eps": 1e-5, **options}
        init, self.tracked = (
            self.options.pop(name, default)
            for name, default in (("gamma_init", 1.0), ("track_stats", True))
        )
        if "renorm" in options:
            self.options["renorm"] = nn.Renorm(**options["renorm"]).limits
        self.gamma, self.beta = np.full(features, float(init)), np.zeros(features)
        self.state = {"mean": np.zeros(features), "var": np.ones(features), "batches": 0}

    def __call__(self, x, gamma, beta, mask, training=True):
        return formulas.batch_norm(
            x,
            gamma,
            beta,
            self.state,
            training=training,
            mask=mask,
            tracked=self.tracked,
            **self.options,
        )

    def gradients(self, f, dy, *arrays):
        before, found = dict(self.state), []
        for k in range(len(arrays)):  # each step changes the statistics

            def again(*moved):
                self.state.update(before)
                return f(*moved)

            found.append(
                formulas.gradients(
                    lambda a, k=k, again=again: again(*arrays[:k], a, *arrays[k + 1 :]),
                    dy,
                    arrays[k],
                )[0]
            )
        self.state.update(before)
        return found


def same_stats(layer, formula):
    if layer.track_stats:
        close(layer.running_mean, formula.state["mean"], 5)
        close(layer.running_var, formula.state["var"], 5)
        assert layer.num_batches == formula.state["batches"]


# --------------------------------------------------------------------------- values and fusion


@every_option
@both_floats
@maybe_masked
def test_training_steps_and_eval(options, dtype, masked):
    """The steps include a warm-up, ramps, and a batch whose mask counts nothing; then the layer is
    evaluated.
    """
    layer, formula = nn.BatchNorm(3, **options).astype(dtype), Formula(options)
    for k in range(6):
        x, _, _, mask = batch(k, dtype)
        if not masked:
            mask = None
        elif k == 3:
            mask = np.zeros_like(mask)
        close(
            layer(x, mask).data,
            formula(x.astype(np.float64), formula.gamma, formula.beta, mask),
            30,
        )
        same_stats(layer, formula)
    layer.eval()
    before = layer.state_dict()
    x, _, _, mask = batch(7, dtype)
    mask = mask if masked else None
    close(
        layer(x, mask).data,
        formula(x.astype(np.float64), formula.gamma, formula.beta, mask, False),
        30,
    )
    for name, value in layer.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


FUSED = {
    "relu": (lambda bn, x, s: md.relu(bn(x)), lambda p, s: formulas.relu(p)),
    "sum": (lambda bn, x, s: md.relu(bn(x) + s), lambda p, s: formulas.relu(p + s)),
    "sum, residual first": (lambda bn, x, s: md.relu(s + bn(x)), lambda p, s: formulas.relu(p + s)),
    "pool": (lambda bn, x, s: md.max_pool(md.relu(bn(x)), 2), lambda p, s: pool(formulas.relu(p))),
}


def pool(y):
    n, h, w, c = y.shape
    windows = y.reshape(n, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 5, 2, 4)
    windows = windows.reshape(n, h // 2, w // 2, c, 4)
    at = windows.real.argmax(-1)[..., None]
    return np.take_along_axis(windows, at, -1)[..., 0]


@pytest.mark.parametrize(
    "options", [OPTIONS[name] for name in ("ghost_batch", "renorm", "all", "average", "not affine")]
)
@maybe_masked
@pytest.mark.parametrize("name", FUSED)
def test_fused_values_and_gradients(name, options, masked):
    """They are compared in the third step, when corrections and running statistics have an
    effect.
    """
    layer, formula = nn.BatchNorm(16, **options), Formula(options, 16)
    for k in range(3):
        x, residual, _, mask = batch(k, np.float32, (6, 2, 2, 16))
        mask = mask if masked else None
        if k < 2:
            layer(x, mask)
            formula(x.astype(np.float64), formula.gamma, formula.beta, mask)
    ours, theirs = FUSED[name]
    t, s = (md.tensor(a, requires_grad=True) for a in (x, residual))
    arrays = [a.astype(np.float64) for a in (x, residual, formula.gamma, formula.beta)]

    def f(x, s, gamma, beta):
        return theirs(formula(x, gamma, beta, mask), s)

    dy = uniform(*f(*arrays).shape, seed=99)
    formula.state.update(
        {
            "mean": layer.running_mean.astype(np.float64),
            "batches": int(layer.num_batches),
            "var": layer.running_var.astype(np.float64),
        }
    )
    grads = formula.gradients(f, dy, *arrays)
    y = ours(lambda x: layer(x, mask), t, s)
    y.backward(dy)
    close(y.data, f(*arrays), 30)
    tensors = [t, s, *layer.parameters()]
    for tensor, grad in zip(tensors, grads, strict=False):
        close(np.zeros(tensor.shape, np.float32) if tensor.grad is None else tensor.grad, grad, 60)


@pytest.mark.parametrize("options", [OPTIONS["renorm"], OPTIONS["all"], OPTIONS["ghost_batch"]])
def test_between_convolutions(options):
    """A chain in which kernels read through plain normalizations gives the same as step by step."""
    results = []
    for watched in (False, True):
        md.manual_seed(3)
        layers = [
            nn.Conv(16, 16, 3, padding=1, groups=16, bias=False),
            nn.BatchNorm(16, **options),
            nn.ReLU(),
            nn.Conv(16, 32, 1, bias=False),
            nn.BatchNorm(32, **options),
            nn.ReLU(),
            nn.MaxPool(2),
        ]
        model = nn.Sequential(*layers)
        for step in range(4):
            t = md.tensor(batch(step, np.float32, (8, 6, 6, 16))[0], requires_grad=True)
            y = t * 1
            for layer in layers:
                y = layer(y)
                if watched:
                    y.data  # noqa: B018
            model.zero_grad()
            y.backward(uniform(*y.shape, seed=step))
        results.append(
            [
                y.data,
                t.grad,
                *(p.grad for p in model.parameters()),
                *(b for _, b in model.named_buffers()),
            ]
        )
    for one, other in zip(*results, strict=True):
        close(one, other, 10)


@maybe_masked
@pytest.mark.parametrize("options", [{}, OPTIONS["all"]], ids=["", "all"])
def test_relu_and_sum_are_no_extra_pass(options, masked, monkeypatch):
    x, residual, dy, mask = batch(0, np.float32)
    layer = nn.BatchNorm(3, **options)
    t, s = (md.tensor(a, requires_grad=True) for a in (x, residual))
    calls = kernels_run(monkeypatch, "relu", "add", "relu_backward")
    for mode in (layer.train, layer.eval, layer.train, layer.freeze_stats):
        mode()
        a, b = t * 1, s * 1
        y = md.relu(layer(a, mask if masked else None) + b)
        y.data  # noqa: B018
        y.backward(dy)
    assert calls == []


# --------------------------------------------------------------------------- modes and state


def test_frozen_statistics_can_move_again_and_are_seen():
    layer, x = nn.BatchNorm(3), uniform(16, 3)
    assert "statistics frozen" in repr(layer.freeze_stats())
    layer(x)
    assert layer.num_batches == 0
    assert "frozen" not in repr(layer.freeze_stats(False))
    layer(x)
    assert layer.num_batches == 1


@every_option
@maybe_masked
@pytest.mark.parametrize("how", ["freeze_stats", "freeze"])
def test_frozen_is_eval_mode(options, masked, how):
    """It applies while the rest of the model trains, and to gradients as well."""
    x, _, dy, mask = batch(1)
    mask = mask if masked else None
    layer = nn.BatchNorm(3, **options).astype(np.float64)
    layer(batch(0)[0])
    if not layer.track_stats:
        return
    found = []
    for mode in (copy.deepcopy(layer).eval(), getattr(copy.deepcopy(layer), how)()):
        t = md.tensor(x, requires_grad=True)
        y = md.relu(mode(t, mask))
        y.backward(dy)
        found.append([y.data, t.grad, *mode.state_dict().values()])
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


@every_option
@pytest.mark.parametrize("way", ["state_dict", "file", "deepcopy", "pickle"])
def test_a_copy_goes_on_alike(options, way, tmp_path):
    layer = nn.BatchNorm(3, **options).astype(np.float64)
    for k in range(3):
        layer(batch(k)[0])
    if way == "deepcopy":
        other = copy.deepcopy(layer)
    elif way == "pickle":
        other = pickle.loads(pickle.dumps(layer))
    else:
        state = layer.state_dict()
        if way == "file":
            md.save(tmp_path / "bn.safetensors", state)
            state = md.load(tmp_path / "bn.safetensors")
        other = nn.BatchNorm(3, **options).astype(np.float64)
        other.load_state_dict(state)
    assert repr(other) == repr(layer)
    for mode in ("train", "train", "eval"):
        x, _, _, mask = batch(4)
        np.testing.assert_array_equal(
            getattr(other, mode)()(x, mask).data, getattr(layer, mode)()(x, mask).data
        )
    for name, value in other.state_dict().items():
        np.testing.assert_array_equal(value, layer.state_dict()[name])


def test_repr_names_what_is_not_default():
    assert repr(nn.BatchNorm(4)) == "BatchNorm(4, eps=1e-05, momentum=0.1)"
    text = repr(nn.BatchNorm(4, ghost_batch=8, renorm=True, unbiased=False, gamma_init=0))
    for part in ("ghost_batch=8", "renorm=Renorm(r_max=3", "unbiased=False", "gamma_init=0"):
        assert part in text
    assert "renorm" not in repr(nn.BatchNorm(4, renorm=False))


def test_ghosts_are_for_training_only():
    x = batch(0, np.float32)[0]
    one, plain = (nn.BatchNorm(3, track_stats=False, ghost_batch=n) for n in (2, None))
    assert np.abs(one(x).data - plain(x).data).max() > 0.1
    np.testing.assert_array_equal(one.eval()(x).data, plain(x).data)


def test_limits_of_renorm():
    ramps = nn.Renorm(3, 5, warmup=10, r_ramp=20, d_ramp=40)
    assert [ramps.limits(n) for n in (0, 9, 10, 20, 30, 50, 99)] == [
        (1, 0),
        (1, 0),
        (1, 0),
        (2, 1.25),
        (3, 2.5),
        (3, 5),
        (3, 5),
    ]
    assert nn.Renorm(3, 5).limits(0) == (3, 5)
    none = nn.Renorm(np.inf, np.inf, warmup=1, r_ramp=2, d_ramp=2)
    assert [none.limits(n) for n in range(3)] == [(1, 0), (1, 0), (np.inf, np.inf)]


@pytest.mark.parametrize(
    "options, error, words",
    [
        ({"ghost_batch": 0}, ValueError, "ghost_batch"),
        ({"ghost_batch": True}, TypeError, "ghost_b"),
        ({"ghost_batch": 2.5}, TypeError, "ghost_batch"),
        ({"renorm": 3}, TypeError, "renorm must be"),
        ({"renorm": {"rmax": 3}}, ValueError, "renorm has no rmax"),
        ({"renorm": {"r_max": 0.5}}, ValueError, "r_max must be a number >= 1"),
        ({"renorm": {"d_max": -1}}, ValueError, "d_max must be a number >= 0"),
        ({"renorm": {"warmup": -1}}, ValueError, "warmup"),
        ({"renorm": {"r_max": np.nan}}, ValueError, "r_max"),
        ({"renorm": True, "track_stats": False}, ValueError, "track_stats=False"),
        ({"gamma_init": "zero"}, TypeError, "gamma_init"),
        ({"gamma_init": None}, TypeError, "gamma"),
    ],
)
def test_bad_options_are_refused(options, error, words):
    with refuses(error, words):
        nn.BatchNorm(4, **options)
