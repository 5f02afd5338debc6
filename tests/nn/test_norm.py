"""These tests check BatchNorm by its definition: running statistics, modes, edge cases,
invariances.

Its values and gradients in training are compared in `test_layers`; these tests check its
properties.
"""

import copy

import numpy as np
import pytest

import minidl as md
from minidl import nn
from tests.support.arrays import close, uniform
from tests.support.errors import refuses
from tests.support.marks import both_backends, both_floats
from tests.support.threads import threads

SHAPES = [(12, 3), (4, 5, 3), (2, 4, 5, 3), (2, 3, 2, 2, 3)]
every_rank = pytest.mark.parametrize("shape", SHAPES, ids=["2-D", "3-D", "4-D", "5-D"])


def batches(shape, count=5, dtype=np.float64):
    """Return batches whose channels have different means and spreads, which drift with time."""
    scale, shift = np.array([0.5, 1, 3]), np.array([-2, 0, 5])
    return [
        (uniform(*shape, dtype=np.float64, seed=k) * scale * (1 + k) + shift - k).astype(dtype)
        for k in range(count)
    ]


def statistics(x):
    """Return (mean, biased variance, unbiased variance) of each channel, in float64."""
    rows = x.astype(np.float64).reshape(-1, x.shape[-1])
    return rows.mean(0), rows.var(0), rows.var(0, ddof=1)


def same_state(layer, before):
    return all(np.array_equal(value, before[name]) for name, value in layer.state_dict().items())


def step(layer, x, dy):
    """Return everything that a train step through the layer and a ReLU computes."""
    t = md.tensor(x, requires_grad=True)
    y = md.relu(layer(t))
    y.backward(dy)
    return [
        y.data,
        t.grad,
        layer.gamma.grad,
        layer.beta.grad,
        layer.running_mean,
        layer.running_var,
    ]


# -------------------------------------------------------------------------- running statistics


@every_rank
@both_backends
@pytest.mark.parametrize("momentum", [0.1, 0.0, 0.7, 1.0, None])
def test_running_statistics_by_the_definition(shape, momentum, backend):
    layer = nn.BatchNorm(3, momentum=momentum).astype(np.float64)
    mean, var, seen = np.zeros(3), np.ones(3), []
    with md.use_backend(backend):
        for k, x in enumerate(batches(shape)):
            layer(x)
            m, _, unbiased = statistics(x)
            seen.append((m, unbiased))
            if momentum is None:  # the plain average over all training batches
                mean, var = np.mean(seen, axis=0)
            else:
                mean = (1 - momentum) * mean + momentum * m
                var = (1 - momentum) * var + momentum * unbiased
            close(layer.running_mean, mean)
            close(layer.running_var, var)
            assert layer.num_batches == k + 1


@every_rank
@both_floats
def test_eval_normalizes_with_the_running_statistics(shape, dtype):
    layer = nn.BatchNorm(3, eps=0.01).astype(dtype)
    layer.gamma.data, layer.beta.data = uniform(3, dtype=dtype), uniform(3, dtype=dtype, seed=1)
    for x in batches(shape, 3, dtype):
        layer(x)
    layer.eval()
    before = layer.state_dict()
    mean, var = (before[name].astype(np.float64) for name in ("running_mean", "running_var"))
    for x in batches(shape, 2, dtype):
        expected = (x - mean) / np.sqrt(var + 0.01) * layer.gamma.data + layer.beta.data
        close(layer(x).data, expected)
        assert same_state(layer, before)


@every_rank
def test_eval_before_training_uses_mean_0_and_variance_1(shape):
    layer = nn.BatchNorm(3).eval()
    x = uniform(*shape)
    close(layer(x).data, x / np.sqrt(1 + 1e-5))


def test_statistics_move_at_the_call_whether_the_output_is_used_or_not():
    layer, twin = nn.BatchNorm(3), nn.BatchNorm(3)
    x = batches((12, 3), 1, np.float32)[0]
    layer(x)
    with md.no_grad():
        twin(x).data.sum()
    assert layer.num_batches == 1
    assert same_state(twin, layer.state_dict())
    assert layer.running_mean.any()


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_an_output_is_that_of_the_call_whatever_changes_later(mode):
    """This holds even if the output is computed at its first use: x, parameters and statistics may
    change before.
    """
    layer = nn.BatchNorm(3)
    x = md.tensor(batches((12, 3), 1, np.float32)[0])
    getattr(layer, mode)()
    expected = np.maximum(nn.Sequential(copy.deepcopy(layer))(x).data, 0)
    y = layer(x)
    layer.load_state_dict({name: value + 2 for name, value in layer.state_dict().items()})
    x.data[...] = 7
    np.testing.assert_array_equal(md.relu(y).data, expected)


@both_backends
def test_variance_is_exact_for_large_means(backend):
    rng = np.random.default_rng(0)
    means = np.array([1e4, -1e4, 3e3, 0])
    x = (rng.normal(size=(64, 8, 8, 4)) + means).astype(np.float32)
    layer = nn.BatchNorm(4, momentum=1.0)
    with md.use_backend(backend):
        y = layer(x).data
    mean, var, unbiased = statistics(x)
    np.testing.assert_allclose(layer.running_var, unbiased, rtol=1e-4)
    np.testing.assert_allclose(y, (x - mean) / np.sqrt(var + 1e-5), atol=1e-3)


# --------------------------------------------------------------------------------------- ranks


@both_floats
def test_one_layer_serves_every_rank(dtype):
    rows = batches((40, 3), 1, dtype)[0]
    dy = uniform(40, 3, dtype=dtype)
    results = []
    for shape in ((40, 3), (8, 5, 3), (2, 4, 5, 3), (2, 2, 2, 5, 3)):
        layer = nn.BatchNorm(3).astype(dtype)
        x = md.tensor(rows.reshape(shape), requires_grad=True)
        y = layer(x)
        y.backward(dy.reshape(shape))
        results.append(
            [
                y.data,
                x.grad,
                layer.gamma.grad,
                layer.beta.grad,
                *(value for _, value in layer.named_buffers()),
            ]
        )
    for result in results[1:]:
        for a, b in zip(results[0], result, strict=True):
            np.testing.assert_array_equal(a.ravel(), b.ravel())


@every_rank
@both_backends
@pytest.mark.parametrize("mode", ["train", "eval", "freeze_stats"])
@pytest.mark.parametrize("affine", [True, False])
def test_gradients(shape, backend, mode, affine):
    layer = nn.BatchNorm(3, affine=affine).astype(np.float64)
    layer(batches(shape, 1)[0])
    getattr(layer, mode)()
    x = md.tensor(uniform(*shape, dtype=np.float64), requires_grad=True)
    with md.use_backend(backend):
        assert md.gradcheck(lambda x, *rest: md.sigmoid(layer(x)), [x, *layer.parameters()])


def test_same_bits_on_any_number_of_threads():
    x, dy = uniform(64, 14, 14, 24), uniform(64, 14, 14, 24, seed=1)
    bits = []
    for n in (1, 2, 3, 4):
        with threads(n):
            bits.append([a.tobytes() for a in step(nn.BatchNorm(24), x, dy)])
    assert bits[0] == bits[1] == bits[2] == bits[3]


# ------------------------------------------------------------------------------------- options


def test_without_affine_there_are_no_parameters():
    layer = nn.BatchNorm(3, affine=False)
    assert layer.parameters() == []
    assert set(layer.state_dict()) == {"running_mean", "running_var", "num_batches"}
    x = batches((12, 3), 1, np.float32)[0]
    mean, var, _ = statistics(x)
    close(layer(x).data, (x - mean) / np.sqrt(var + 1e-5), 2)


def test_without_statistics_eval_uses_the_batch():
    layer = nn.BatchNorm(3, eps=0.25, track_stats=False)
    assert list(layer.state_dict()) == ["gamma", "beta"]
    for x in batches((12, 3), 2, np.float32):
        mean, var, _ = statistics(x)
        for mode in (layer.train, layer.eval, layer.freeze_stats, layer.freeze):
            mode()
            close(layer(x).data, (x - mean) / np.sqrt(var + 0.25), 2)
    assert list(layer.state_dict()) == ["gamma", "beta"]


# ---------------------------------------------------------------------------------- edge cases


@pytest.mark.parametrize("track", [True, False])
@pytest.mark.parametrize("shape", [(1, 3), (1, 1, 1, 3), (0, 3), (4, 0, 2, 3)])
def test_too_few_values_in_training_is_an_error_that_says_what_to_do(shape, track):
    layer = nn.BatchNorm(3, track_stats=track)
    layer(uniform(8, 3))
    before = layer.state_dict()
    with refuses(ValueError, str(shape), "at least 2", "larger batch", "drop_last", "eval()"):
        layer(uniform(*shape))
    assert same_state(layer, before)
    if track:
        assert layer.eval()(uniform(*shape)).shape == shape


def test_one_image_is_enough_where_it_has_positions():
    x = uniform(1, 3, 3, 2)
    mean, var, _ = statistics(x)
    close(nn.BatchNorm(2)(x).data, (x - mean) / np.sqrt(var + 1e-5), 2)


@both_floats
@both_backends
@pytest.mark.parametrize("value", [0.0, 0.1, -7.0, 1e4])
def test_a_constant_channel_gives_beta_and_finite_gradients(dtype, backend, value):
    layer = nn.BatchNorm(3).astype(dtype)
    layer.gamma.data, layer.beta.data = uniform(3, dtype=dtype), uniform(3, dtype=dtype, seed=1)
    values = uniform(4, 3, 3, 3, dtype=dtype)
    values[..., 1] = value
    x = md.tensor(values, requires_grad=True)
    with md.use_backend(backend):
        y = layer(x)
        y.backward(uniform(4, 3, 3, 3, dtype=dtype, seed=2))
    np.testing.assert_allclose(y.data[..., 1], layer.beta.data[1], rtol=1e-6)
    for gradient in (x.grad, layer.gamma.grad, layer.beta.grad):
        assert np.isfinite(gradient).all()
    np.testing.assert_allclose(layer.running_var[1], 0.9, rtol=1e-6)


@both_floats
@both_backends
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_stay_in_their_channel(dtype, backend, bad):
    x, dy = uniform(6, 5, 5, 19, dtype=dtype), uniform(6, 5, 5, 19, dtype=dtype, seed=1)
    spoiled = x.copy()
    spoiled[3, 2, 1, 7] = bad
    others = np.arange(19) != 7
    results = []
    with md.use_backend(backend), np.errstate(invalid="ignore"):
        for values in (x, spoiled):
            results.append(step(nn.BatchNorm(19).astype(dtype), values, dy))
    for clean, found in zip(*results, strict=True):
        np.testing.assert_array_equal(found[..., others], clean[..., others])
        assert np.isfinite(found[..., others]).all()
    y, _, _, _, mean, var = results[1]
    assert np.isnan(y[3, 2, 1, 7]) and np.isnan(var[7]) and not np.isfinite(mean[7])


# --------------------------------------------------------------------------------- invariances


def normalized(u, w, eps, bias=None):
    """Return BN(u W + b), and its gradients with respect to u, W and b, in float64."""
    layer = nn.BatchNorm(w.shape[1], eps=eps).astype(np.float64)
    layer.gamma.data = uniform(w.shape[1], dtype=np.float64, seed=8)
    tensors = [md.tensor(a, requires_grad=True) for a in (u, w, *(() if bias is None else (bias,)))]
    y = layer(tensors[0] @ tensors[1] + (0 if bias is None else tensors[2]))
    y.backward(uniform(*y.shape, dtype=np.float64, seed=9))
    return [y.data, *(t.grad for t in tensors)]


@both_backends
@pytest.mark.parametrize("a", [1e-3, 0.5, 3.0, 1e4])
@pytest.mark.parametrize("eps", [0.0, 1e-18])
def test_scaling_the_weights_before_it_changes_nothing_but_their_gradient(a, eps, backend):
    u, w = uniform(20, 6, dtype=np.float64), uniform(6, 4, dtype=np.float64, seed=1)
    with md.use_backend(backend):
        y, du, dw = normalized(u, w, eps)
        y_a, du_a, dw_a = normalized(u, a * w, eps)
    close(y_a, y, 10)
    close(du_a, du, 100)
    close(a * dw_a, dw, 100)
    assert np.abs((w * dw).sum(0)).max() < 1e-12 * np.abs(dw).max()  # so dW is orthogonal to W


@both_backends
def test_a_bias_before_it_is_redundant(backend):
    u, w = uniform(20, 6, dtype=np.float64), uniform(6, 4, dtype=np.float64, seed=1)
    with md.use_backend(backend):
        y, _, dw = normalized(u, w, 1e-5)
        moved, _, _, db = normalized(u, w, 1e-5, bias=np.array([1.0, -2, 30, 0]))
    close(moved, y, 100)
    assert np.abs(db).max() < 1e-12 * np.abs(dw).max() * len(u)


def test_a_convolution_bias_before_it_has_no_gradient():
    conv, norm = nn.Conv(2, 5, 3).astype(np.float64), nn.BatchNorm(5).astype(np.float64)
    y = md.tanh(norm(conv(uniform(3, 6, 6, 2, dtype=np.float64))))
    (y * y).sum().backward()
    assert np.abs(conv.weight.grad).max() > 0.1
    assert np.abs(conv.bias.grad).max() < 1e-12 * np.abs(conv.weight.grad).max() * y.size
