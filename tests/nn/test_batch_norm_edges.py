"""These tests check BatchNorm with all options where batches are small, and values large, small or
not numbers.
"""

import copy
import warnings

import numpy as np
import pytest

import minidl as md
from minidl import nn
from tests.support.arrays import close, uniform
from tests.support.errors import refuses
from tests.support.marks import both_backends, both_floats, small_batches
from tests.support.threads import threads

OPTIONS = {
    "plain": {},
    "mask": {"mask": True},
    "ghosts": {"ghost_batch": 5},
    "renorm": {"renorm": True},
    "everything": {"mask": True, "ghost_batch": 5, "renorm": True, "momentum": None},
}
every_option = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)


def layer_and_mask(options, features, shape, dtype=np.float32, **more):
    options = {**options, **more}
    mask = uniform(*shape[:-1], seed=7) < 0.4 if options.pop("mask", False) else None
    return nn.BatchNorm(features, **options).astype(dtype), mask


def step(layer, mask, x, dy, residual=None):
    """Return everything that a train step computes."""
    t = md.tensor(x, requires_grad=True)
    y = layer(t, mask)
    y = md.relu(y if residual is None else y + residual)
    for p in layer.parameters():
        p.grad = None
    y.backward(dy)
    return [
        y.data,
        t.grad,
        *(p.grad for p in layer.parameters()),
        layer.running_mean,
        layer.running_var,
    ]


def told(f):
    """Return the texts of the warnings of a call."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        f()
    assert all(w.category is UserWarning for w in caught)
    return [str(w.message) for w in caught]


# ------------------------------------------------------------------------------------ warnings


def test_few_values_are_reported_once_for_each_layer():
    layer, other = nn.BatchNorm(3), nn.BatchNorm(3)
    x = uniform(7, 3)
    (text,) = told(lambda: layer(x))
    for part in ("BatchNorm: ", "7 values a channel", "larger batches", "renorm", "freeze_stats()"):
        assert part in text
    assert told(lambda: layer(x)) == []
    assert told(lambda: copy.deepcopy(layer)(x)) == []
    assert len(told(lambda: other(x[:2]))) == 1


def test_the_warning_points_to_the_caller():
    layer = nn.BatchNorm(3)
    with pytest.warns(UserWarning, match="values a channel") as caught:
        layer(uniform(4, 3))
    assert caught[0].filename == __file__


@pytest.mark.parametrize(
    "options, shape, counted, fewest",
    [
        ({}, (8, 3), None, None),
        ({}, (2, 2, 2, 3), None, None),
        ({}, (1, 7, 1, 3), None, 7),
        ({"ghost_batch": 4}, (8, 2, 3), None, None),
        ({"ghost_batch": 4}, (8, 3), None, 4),
        ({"ghost_batch": 16}, (8, 3), None, None),
        ({"ghost_batch": 8}, (18, 3), None, 2),
        ({}, (20, 3), 8, None),
        ({}, (20, 3), 5, 5),
        ({}, (20, 3), 0, None),
        ({"ghost_batch": 10}, (30, 3), 18, None),  # virtual batches of 10 and 8 values
        ({"ghost_batch": 10}, (30, 3), 17, 7),
        ({"track_stats": False}, (4, 3), None, 4),
        ({"renorm": True}, (4, 3), None, 4),
    ],
)
def test_what_counts_as_few(options, shape, counted, fewest):
    layer = nn.BatchNorm(3, **options)
    x = uniform(*shape)
    mask = (
        None if counted is None else (np.arange(np.prod(shape[:-1])) < counted).reshape(shape[:-1])
    )
    messages = told(lambda: layer(x, mask))
    assert len(messages) == (fewest is not None)
    assert fewest is None or f"{fewest} values a channel" in messages[0]


@pytest.mark.parametrize("mode", ["eval", "freeze", "freeze_stats"])
@pytest.mark.parametrize("options", [{}, {"ghost_batch": 2}, {"renorm": True}])
def test_no_warning_where_running_statistics_are_used(options, mode):
    layer = getattr(nn.BatchNorm(3, **options), mode)()
    assert told(lambda: layer(uniform(4, 3))) == []
    assert told(lambda: layer(uniform(4, 3), np.array([True, False, False, False]))) == []


# ---------------------------------------------------------------------------------- one value


@small_batches
@pytest.mark.parametrize("track", [True, False])
@pytest.mark.parametrize(
    "options, shape, mask",
    [
        ({"ghost_batch": 1}, (4, 3), None),
        ({"ghost_batch": 3}, (7, 3), None),
        ({"ghost_batch": 3}, (7, 1, 1, 3), None),
        ({}, (4, 3), [False, True, False, False]),
        ({"ghost_batch": 2}, (6, 3), [True, True, True, True, False, True]),
    ],
)
def test_one_value_a_channel_changes_nothing(options, shape, mask, track):
    layer = nn.BatchNorm(3, track_stats=track, **options)
    layer(uniform(12, 4, 3))
    before = layer.state_dict()
    what = "virtual batch", "ghost_batch" if options else "mask"
    with refuses(
        ValueError,
        str(shape),
        *what[not options :],
        "1 value",
        "at least 2",
        "larger batches",
        "eval()",
    ):
        layer(uniform(*shape), mask)
    for name, value in layer.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    if track:
        assert np.isfinite(layer.eval()(uniform(*shape), mask).data).all()


@small_batches
def test_one_image_a_virtual_batch_is_enough_where_it_has_positions():
    x = uniform(3, 4, 4, 2)
    mean, var = x.mean((1, 2), keepdims=True), x.var((1, 2), keepdims=True)
    close(nn.BatchNorm(2, ghost_batch=1)(x).data, (x - mean) / np.sqrt(var + 1e-5), 5)


@small_batches
@pytest.mark.parametrize("shape", [(0, 3), (4, 0, 2, 3), (6, 3), (2, 3, 4, 3)])
@pytest.mark.parametrize("options", [{}, {"ghost_batch": 2}, {"renorm": True}])
def test_a_batch_that_nothing_counts_in(shape, options):
    layer = nn.BatchNorm(3, **options)
    layer(uniform(20, 3, seed=5))
    before = layer.state_dict()
    t = md.tensor(np.full(shape, np.nan, np.float32), requires_grad=True)
    y = layer(t, np.zeros(shape[:-1], bool))
    y.backward(np.ones(shape, np.float32))
    assert not y.data.any() and not t.grad.any()
    assert not layer.gamma.grad.any() and not layer.beta.grad.any()
    for name, value in layer.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


# --------------------------------------------------------------------------------- the numbers


@both_backends
@both_floats
def test_what_the_mask_leaves_out_does_not_matter(dtype, backend):
    shape = (12, 4, 4, 5)
    x, dy, residual = (uniform(*shape, dtype=dtype, seed=k) for k in range(3))
    results = []
    for bad in (0, np.nan, np.inf, 1e30):
        layer, mask = layer_and_mask(OPTIONS["everything"], 5, shape, dtype)
        spoiled = np.where(mask[..., None], x, dtype(bad))
        with md.use_backend(backend):
            for _ in range(3):
                results.append(step(layer, mask, spoiled, dy, residual))
    for k, result in enumerate(results[3:]):
        for found, clean in zip(result, results[k % 3], strict=True):
            np.testing.assert_array_equal(found, clean)
            assert np.isfinite(found).all()
    y, dx = results[0][:2]
    np.testing.assert_array_equal(y[~mask], np.maximum(residual[~mask], 0))
    assert not dx[~mask].any() and dx[mask].any()


@every_option
@both_floats
def test_a_mask_of_all_is_none(options, dtype):
    shape = (10, 6, 6, 20)
    results = []
    for mask in (None, np.ones(shape[:-1], bool), np.ones(shape[:-1], bool).tolist()):
        layer, _ = layer_and_mask(options, 20, shape, dtype)
        for k in range(3):
            x, dy, residual = (uniform(*shape, dtype=dtype, seed=3 * k + j) for j in range(3))
            results.append(step(layer, mask, x, dy, residual))
    for k, result in enumerate(results[3:]):
        for one, other in zip(result, results[k % 3], strict=True):
            np.testing.assert_array_equal(one, other)


@every_option
@both_floats
@both_backends
def test_a_constant_channel_gives_beta(options, dtype, backend):
    shape = (10, 3, 3, 4)
    layer, mask = layer_and_mask(options, 4, shape, dtype)
    layer.beta.data = np.array([1, 2, 3, 4], dtype)
    x = uniform(*shape, dtype=dtype)
    x[..., 1], x[..., 2] = 0, 1e4
    layer.running_mean[:] = 0, 0, 1e4, 0  # renorm corrects nothing at this mean
    with md.use_backend(backend):
        y, *rest = step(layer, mask, x, uniform(*shape, dtype=dtype, seed=1))
    counted = y[mask] if mask is not None else y
    np.testing.assert_allclose(
        counted[..., 1:3], np.broadcast_to([2, 3], counted[..., 1:3].shape), rtol=1e-6
    )
    for array in rest:
        assert np.isfinite(array).all()


@every_option
@both_backends
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_stays_in_its_channel(options, backend, bad):
    shape = (10, 5, 5, 19)
    x, dy = uniform(*shape), uniform(*shape, seed=1)
    spoiled = x.copy()
    spoiled[3, :, :, 7] = bad
    others = np.arange(19) != 7
    results = []
    with md.use_backend(backend), np.errstate(invalid="ignore"):
        for values in (x, spoiled):
            layer, mask = layer_and_mask(options, 19, shape)
            for _ in range(2):
                result = step(layer, mask, values, dy)
            results.append(result)
    for clean, found in zip(*results, strict=True):
        np.testing.assert_array_equal(found[..., others], clean[..., others])
        assert np.isfinite(found[..., others]).all()
    assert np.isnan(results[1][-1][7])


@pytest.mark.parametrize("options", [OPTIONS[name] for name in ("plain", "mask", "ghosts")])
@pytest.mark.parametrize(
    "dtype, scale",
    [(np.float32, 1e-15), (np.float32, 1e15), (np.float64, 1e-30), (np.float64, 1e30)],
)
def test_tiny_and_huge_values(options, dtype, scale):
    """With eps 0 the scale of x cancels in y, and divides dx."""
    shape = (20, 8, 8, 3)
    x, dy = uniform(*shape, dtype=np.float64), uniform(*shape, dtype=np.float64, seed=1)
    expected = None
    for factor, kind in ((1.0, np.float64), (scale, dtype)):
        layer, mask = layer_and_mask(options, 3, shape, kind, eps=0, momentum=1.0)
        t = md.tensor((x * factor).astype(kind), requires_grad=True)
        y = layer(t, mask)
        y.backward(dy.astype(kind))
        found = [
            y.data,
            t.grad,
            layer.gamma.grad,
            layer.beta.grad,
            layer.running_mean,
            layer.running_var,
        ]
        powers = (1, 1 / factor, 1, 1, factor, factor**2)
        expected = expected or found
        for value, first, power in zip(found, expected, powers, strict=True):
            close(value, first * power, 50)


@every_option
@both_backends
def test_subnormal_values(options, backend):
    shape = (10, 5, 5, 3)
    layer, mask = layer_and_mask(options, 3, shape)
    x = uniform(*shape) * np.float32(1e-40)
    assert x.any()
    with md.use_backend(backend):
        y, *rest = step(layer, mask, x, uniform(*shape, seed=1))
    assert np.abs(y).max() < 1e-30
    for array in rest:
        assert np.isfinite(array).all()


@pytest.mark.parametrize("options", [OPTIONS[name] for name in ("mask", "ghosts")])
@both_backends
def test_variance_at_large_means(options, backend):
    shape = (30, 16, 16, 3)
    means = np.array([1e4, -1e4, 3e3])
    x = (uniform(*shape, dtype=np.float64) + means).astype(np.float32)
    layer, mask = layer_and_mask(options, 3, shape, momentum=1.0)
    with md.use_backend(backend):
        y = layer(x, mask).data
    rows = (x[-5:] if mask is None else x[mask]).astype(np.float64).reshape(-1, 3)
    np.testing.assert_allclose(layer.running_var, rows.var(0, ddof=1), rtol=1e-4)
    got = (y[-5:] if mask is None else y[mask]).reshape(-1, 3)
    np.testing.assert_allclose(got, (rows - rows.mean(0)) / np.sqrt(rows.var(0) + 1e-5), atol=1e-3)


def test_same_bits_on_any_number_of_threads():
    shape = (21, 20, 20, 24)
    x, dy, residual = (uniform(*shape, seed=k) for k in range(3))
    bits = []
    for n in (1, 2, 3, 4):
        layer, mask = layer_and_mask(OPTIONS["everything"], 24, shape)
        with threads(n):
            bits.append([a.tobytes() for _ in range(2) for a in step(layer, mask, x, dy, residual)])
    assert bits[0] == bits[1] == bits[2] == bits[3]
