"""These tests check that a normalization is computed at its first use, by the relu or sum that uses
it, and that its result is exact.

What other consumers see of it is in test_lazy_uses, and writes to what it needs are in
test_lazy_writes.
"""

from types import SimpleNamespace

import numpy as np
import pytest

import minidl as md
from minidl import nn
from tests.support.arrays import close, uniform
from tests.support.cases import case, checks_of
from tests.support.curves import CURVES
from tests.support.kernel_calls import kernels_run
from tests.support.norm_programs import PROGRAMS, inputs, numpys, ours

test_values, test_gradients, test_threads = checks_of(
    [
        case(
            f"{name}, {'training' if training else 'inference'}",
            lambda x, s, f=f, training=training: f(ours(training), x, s),
            lambda x, s, f=f, training=training: f(numpys(training), x, s),
            (3, 2, 3),
            (3, 2, 3),
            tolerance=4,
            large=[(211, 80, 3), (211, 80, 3)] if name in ("block", "two normalizations") else None,
        )
        for name, f in PROGRAMS.items()
        for training in (True, False)
    ]
)


@pytest.fixture
def calls(monkeypatch):
    """Return how often each kernel ran."""
    counts = {}

    def counting(name, real):
        def counted(*args, **options):
            counts[name] = counts.get(name, 0) + 1
            return real(*args, **options)

        return counted

    for name in (
        "batch_norm_apply",
        "batch_norm_backward",
        "batch_stats",
        "relu",
        "add",
        "relu_backward",
    ):
        monkeypatch.setattr(md.kernels, name, counting(name, getattr(md.kernels, name)))
    return counts


@pytest.mark.parametrize(
    "name, forward, backward",
    [
        ("relu", {"batch_norm_apply": 1}, {"batch_norm_backward": 1}),
        ("residual", {"batch_norm_apply": 1}, {"batch_norm_backward": 1}),
        ("residual left", {"batch_norm_apply": 1}, {"batch_norm_backward": 1}),
        ("residual and relu", {"batch_norm_apply": 1}, {"batch_norm_backward": 1}),
        ("residual left and relu", {"batch_norm_apply": 1}, {"batch_norm_backward": 1}),
        ("two normalizations and relu", {"batch_norm_apply": 2}, {"batch_norm_backward": 2}),
        ("residual normalized before", {"batch_norm_apply": 2}, {"batch_norm_backward": 2}),
    ],
)
def test_one_pass(name, forward, backward, calls):
    """No ReLU, sum or mask is a pass of its own, and nothing is computed again in the backward
    pass.
    """
    x, s = (t * 1 for t in inputs())
    y = PROGRAMS[name](ours(True), x, s)
    assert calls.pop("batch_stats") == forward["batch_norm_apply"]
    y.sum()
    assert calls == forward
    calls.clear()
    y.backward(np.ones(y.shape))
    assert calls == backward


def test_one_pass_in_a_network(calls):
    """This holds in a Sequential and in a forward method, in training and in evaluation, with a
    graph and without.
    """
    layer = nn.BatchNorm(3)
    model = nn.Sequential(layer, nn.ReLU())
    x, s = (t * 1 for t in inputs())
    for mode in (model.train, model.eval):
        mode()
        for f in (lambda: model(x), lambda: md.relu(layer(x)), lambda: md.relu(layer(x) + s)):
            calls.clear()
            f().data  # noqa: B018
            calls.pop("batch_stats", None)
            assert calls == {"batch_norm_apply": 1}
            calls.clear()
            with md.no_grad():
                f().data  # noqa: B018
            calls.pop("batch_stats", None)
            assert calls == {"batch_norm_apply": 1}


def test_what_does_not_compute_it(calls):
    x, s = inputs()
    m = ours(True)
    for p in (m.bn(x), m.bn(x) + s, m.relu(m.bn(x)), m.relu(m.bn(x) + s)):
        assert (p.shape, p.ndim, p.size, len(p)) == ((5, 4, 3), 3, 60, 5)
        assert p.dtype == np.float32
        assert p.requires_grad
        p.retain_grad()
        assert p.grad is None
        assert p.astype(np.float32) is p
        assert +p is p
    assert "batch_norm_apply" not in calls
    assert "relu" not in calls


def test_it_is_computed_once(calls):
    x, _ = inputs()
    p = ours(True).bn(x)
    for use in (
        lambda: p.data,
        lambda: p * 2,
        lambda: p.sum(),
        lambda: repr(p),
        lambda: p[0],
        lambda: md.relu(p),
        lambda: p + 1,
        lambda: p.numpy(),
    ):
        use()
    assert calls["batch_norm_apply"] == 1


def unfused(f):
    """Run a program with every step computed at once."""

    def step(g):
        def run(*args):
            y = g(*args)
            y.data  # noqa: B018
            return y

        return run

    m = ours(True)
    return lambda x, s: f(
        SimpleNamespace(relu=step(m.relu), bn=step(m.bn), maximum=m.maximum), x, s
    )


@pytest.mark.parametrize("name", PROGRAMS)
def test_fused_and_step_by_step_agree(name):
    results = []
    for f in (lambda x, s: PROGRAMS[name](ours(True), x, s), unfused(PROGRAMS[name])):
        x, s = inputs()
        y = f(x, s)
        dy = uniform(*y.shape, seed=9)
        y.backward(dy, retain_graph=True)
        first = [np.zeros(60) if t.grad is None else t.grad for t in (x, s)]
        y.backward(dy)
        assert x.grad is not first[0]
        close(x.grad, 2 * first[0])
        results.append([y.data, *first])
    for one, other in zip(*results, strict=True):
        close(one, other)


def test_an_unused_normalization_is_never_computed(calls):
    x, _ = inputs()
    ours(True).bn(x)
    x.data[...] = 0
    assert "batch_norm_apply" not in calls


@pytest.mark.parametrize("dtype", (np.float32, np.float64))
@pytest.mark.parametrize("training", (True, False))
@pytest.mark.parametrize("name", CURVES)
def test_an_activation_is_computed_in_the_pass(name, training, dtype, monkeypatch):
    """The bits are those of the two operations."""
    kernel = name.split(" ")[0]
    calls = kernels_run(
        monkeypatch,
        "batch_norm_apply",
        "batch_norm_backward",
        kernel,
        f"{kernel}_backward",
        "batch_norm_activation",
        "batch_norm_activation_backward",
    )
    found = []
    for fused in (True, False):
        x = md.tensor(uniform(50, 6, 3, dtype=dtype), requires_grad=True)
        p = ours(training).bn(x * 1)
        if not fused:
            p.data  # noqa: B018
        calls.clear()
        y = CURVES[name](p)
        y.backward(uniform(*y.shape, dtype=dtype, seed=9))
        found.append((y.data, x.grad))
        assert calls == (
            ["batch_norm_activation_backward", "batch_norm_activation"]
            if fused
            else [kernel, f"{kernel}_backward", "batch_norm_backward"]
        )
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)
