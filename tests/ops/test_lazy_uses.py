"""These tests check that every consumer of a pending normalization sees exact values and
gradients.
"""

import copy

import numpy as np
import pytest

import minidl as md
from minidl import nn
from tests.support.arrays import close, uniform
from tests.support.marks import both_backends
from tests.support.norm_programs import PROGRAMS, inputs, numpys, ours


def test_the_array_is_always_the_same():
    x, _ = inputs()
    p = ours(True).bn(x)
    for other in (p.data, p.numpy()):
        assert p.data.ctypes.data == other.ctypes.data
    assert np.shares_memory(p.detach().data, p.data)


@pytest.mark.parametrize(
    "use",
    [
        lambda p: p.data,
        lambda p: np.asarray(p),
        lambda p: p.detach(),
        lambda p: p * 2,
        lambda p: 2 - p,
        lambda p: p.sum(axis=0),
        lambda p: p.max(),
        lambda p: p > 0,
        lambda p: p == p,
        lambda p: md.argmax(p, axis=1),
        lambda p: p[1:, 0],
        lambda p: p[[0, 0]],
        lambda p: md.stack(list(p)),
        lambda p: p.T,
        lambda p: p.reshape(-1),
        lambda p: p @ p.T[:, :, 0],
        lambda p: md.concatenate([p, p]),
        lambda p: md.where(p > 0, p, 0),
        lambda p: md.clip(p, 0, 1),
        lambda p: md.split(p, 5)[2],
        lambda p: md.exp(p),
        lambda p: md.softmax(p),
        lambda p: md.cross_entropy(p, np.zeros((5, 4), int)),
        lambda p: md.tensor(p),
        lambda p: md.Tensor(p),
        lambda p: p.astype(np.float64),
        lambda p: copy.deepcopy(p.detach()),
        lambda p: md.max_pool(p.reshape(1, 5, 4, 3), 2),
        lambda p: md.dropout(p, 0.0),
        lambda p: md.conv(p.reshape(1, 5, 4, 3), md.ones(2, 2, 3, 1)),
        lambda p: md.tensor(p[0, 0, 0].item()),
        lambda p: md.tensor(float(p[0, 0, 1])),
        lambda p: md.global_avg_pool(p),
        lambda p: md.where(True, p, p.data + 1),
        lambda p: md.zeros_like(p),
        lambda p: md.pad(p, 1, "edge"),
        lambda p: p**p,
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_every_use_sees_its_values(use):
    x, s = (t.data for t in inputs())
    for name in ("bn", "relu", "residual", "residual and relu"):
        value = PROGRAMS[name](ours(True), md.tensor(x), md.tensor(s))
        plain = md.tensor(PROGRAMS[name](ours(True), md.tensor(x), md.tensor(s)).data)
        result, expected = use(value), use(plain)
        np.testing.assert_array_equal(np.asarray(result), np.asarray(expected))


def test_a_copy_without_a_graph():
    x, _ = (t.detach() for t in inputs())
    with md.no_grad():
        p = md.batch_norm(x * 1, None, None, training=True)
        np.testing.assert_array_equal(copy.deepcopy(p).data, p.data)


def test_a_residual_of_another_dtype():
    x, s = inputs()
    wide = md.tensor(s.data.astype(np.float64), requires_grad=True)
    y = md.relu(ours(True).bn(x) + wide)
    assert y.dtype == np.float64
    dx, ds = md.grad(y.sum(), [x, wide])
    assert (dx.dtype, ds.dtype) == (np.float32, np.float64)
    close(y.data.astype(np.float32), PROGRAMS["residual and relu"](numpys(True), x.data, s.data))


@both_backends
@pytest.mark.parametrize("computed", [False, True])
@pytest.mark.parametrize("asked", ["before", "after the sum", "after the relu", "never"])
def test_gradients_inside(asked, computed, backend):
    """retain_grad, called before or after another operation has fused p, q and r, and md.grad see
    their gradients.
    """
    x, s = inputs()
    dy = uniform(5, 4, 3, seed=9)
    retained = []

    def keep(*tensors):
        retained.extend(tensors)
        for t in tensors:
            t.retain_grad()

    with md.use_backend(backend):
        p = ours(True).bn(x)
        if asked == "before":
            keep(p)
        if computed:
            p.data  # noqa: B018
        q = p + s
        if asked == "after the sum":
            keep(p, q)
        r = md.relu(q)
        if asked == "after the relu":
            keep(p, q, r)
        dp, dq, dr, dx, ds = md.grad(r, [p, q, r, x, s], dy, retain_graph=True)
        r.grad = q.grad = p.grad = None
        r.backward(dy)
    np.testing.assert_array_equal(r.data, np.maximum(q.data, 0))
    close(q.data, p.data + s.data)
    np.testing.assert_array_equal(dr, dy)
    for g in (dp, dq, ds, s.grad):
        np.testing.assert_array_equal(g, dy * (r.data > 0))
    np.testing.assert_array_equal(dx, x.grad)
    for t, g in ((p, dp), (q, dq), (r, dr)):
        if any(t is other for other in retained):
            np.testing.assert_array_equal(t.grad, g)
        else:
            assert t.grad is None


def test_hooks_see_exact_values():
    layer = nn.BatchNorm(3)
    seen = []
    layer.register_forward_hook(lambda layer, inputs, output: seen.append(output.data.copy()))
    x, _ = inputs()
    y = md.relu(layer(x * 1))
    np.testing.assert_array_equal(y.data, np.maximum(seen[0], 0))


@both_backends
def test_running_statistics_move_once_at_the_call(backend):
    x, s = inputs()
    with md.use_backend(backend):
        for recording in (True, False):
            mean, var = np.zeros(3, np.float32), np.ones(3, np.float32)
            with md.no_grad() if not recording else md.use_backend(backend):
                p = md.batch_norm(x * 1, None, None, mean, var, training=True)
            after = mean.copy(), var.copy()
            close(after[0], 0.1 * x.data.mean((0, 1), dtype=float))
            q = md.relu(p + s) + md.relu(p) * p.data
            if recording:
                q.sum().backward()
            np.testing.assert_array_equal(mean, after[0])
            np.testing.assert_array_equal(var, after[1])


@both_backends
def test_nan(backend):
    """A NaN in x spoils its channel, and one in the residual its place."""
    x, s = inputs()
    x.data[1, 1, 1] = np.nan
    s.data[2, 2, 2] = np.nan
    with md.use_backend(backend), np.errstate(invalid="ignore"):
        y = md.relu(ours(True).bn(x * 1) + s).data
    expected = np.zeros((5, 4, 3), bool)
    expected[..., 1] = True
    expected[2, 2, 2] = True
    np.testing.assert_array_equal(np.isnan(y), expected)
