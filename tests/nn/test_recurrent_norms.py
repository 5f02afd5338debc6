"""These tests check which statistics normalized recurrent layers and StepNorm use, in training and
in evaluation.
"""

import numpy as np
import pytest

from minidl import nn
from tests.support.arrays import close, uniform
from tests.support.marks import both_floats, small_batches
from tests.support.recurrent import each, made


def test_layer_norm_does_not_see_the_batch_and_batch_norm_does():
    x = uniform(6, 4, 3, dtype=np.float64)
    for norm, alone in (("layer", True), ("batch", False)):
        layer = made("LSTM", 3, 4, norm=norm)
        assert np.allclose(layer(x)[0].data[:2], layer(x[:2])[0].data) == alone


def test_running_statistics_are_those_of_each_step():
    """These are the statistics of x W_x, which are known without the recurrence. max_steps is 3,
    with 2 batches of 5 steps and 1 of 2.
    """
    layer = made("RNN", 2, 3, norm="batch", max_steps=3)
    norm, w = layer.cells[0].norm_x, layer.cells[0].weight_x.data
    mean, var = np.zeros((3, 3)), np.ones((3, 3))
    for k, steps in enumerate((5, 2, 5)):
        x = uniform(8, steps, 2, seed=k, dtype=np.float64) * (k + 1) + np.arange(steps)[:, None]
        layer(x)
        for t in range(steps):
            row = min(t, 2)  # the steps beyond it share the last row, one after another
            values = x[:, t] @ w
            mean[row] = 0.9 * mean[row] + 0.1 * values.mean(0)
            var[row] = 0.9 * var[row] + 0.1 * values.var(0, ddof=1)
        close(norm.running_mean, mean)
        close(norm.running_var, var)
    np.testing.assert_array_equal(norm.num_batches, [3, 3, 6])
    np.testing.assert_array_equal(layer.cells[0].norm_h.num_batches, [3, 3, 6])
    assert np.ptp(layer.cells[0].norm_h.running_mean, axis=0).all()


def test_the_way_back_counts_steps_from_its_own_start():
    layer = made("RNN", 2, 3, bidirectional=True, norm="batch", max_steps=4)
    x = uniform(8, 3, 2, dtype=np.float64)
    layer(x)
    back = layer.cells[1]
    close(back.norm_x.running_mean[0], 0.1 * (x[:, -1] @ back.weight_x.data).mean(0))
    np.testing.assert_array_equal(back.norm_x.num_batches, [1, 1, 1, 0])


@each
def test_eval_uses_running_statistics_and_those_of_the_last_trained_step_beyond(name):
    layer = made(name, 2, 3, norm="batch", max_steps=10)
    for k in range(3):
        layer(uniform(8, 4, 2, seed=k, dtype=np.float64))
    layer.eval()
    before = layer.state_dict()
    x = uniform(5, 12, 2, seed=9, dtype=np.float64)
    y = layer(x)[0].data
    close(layer(x[:, :4])[0].data, y[:, :4])  # it does not look ahead
    close(layer(x[1:2])[0].data, y[1:2])  # it does not use other examples, so that one is enough
    for key, value in layer.state_dict().items():
        np.testing.assert_array_equal(value, before[key])
    # The rows after the fourth have never been used, so those of the fourth apply.
    for _, inner in layer.named_layers():
        if isinstance(inner, nn.StepNorm):
            np.testing.assert_array_equal(inner.num_batches, [3] * 4 + [0] * 6)
            inner.running_mean[4:] = np.nan
    close(layer(x)[0].data, y)
    for _, inner in layer.named_layers():
        if isinstance(inner, nn.StepNorm):
            inner.running_mean[3] += 1
    changed = layer(x)[0].data
    np.testing.assert_array_equal(changed[:, :3], y[:, :3])
    assert (np.abs(changed[:, 3:] - y[:, 3:]).max((0, 2)) > 1e-6).all()


def test_step_norm_by_its_definition():
    norm = nn.StepNorm(3, 2, gamma_init=0.5, shift=True, eps=0.01, momentum=None)
    norm.beta.data = uniform(3)
    rows = [[], []]
    for k in range(4):
        x = uniform(6, 3, seed=k)
        y = norm(x, k % 2)
        rows[k % 2].append((x.mean(0), x.var(0, ddof=1)))
        close(y.data, 0.5 * (x - x.mean(0)) / np.sqrt(x.var(0) + 0.01) + norm.beta.data)
    for k, seen in enumerate(rows):  # momentum None means the plain average
        close(norm.running_mean[k], np.mean([m for m, _ in seen], axis=0))
        close(norm.running_var[k], np.mean([v for _, v in seen], axis=0))
    norm.eval()
    expected = (x - norm.running_mean[1]) / np.sqrt(norm.running_var[1] + 0.01)
    close(norm(x, 7).data, 0.5 * expected + norm.beta.data)
    assert nn.StepNorm(3, 2).beta is None
    np.testing.assert_array_equal(nn.StepNorm(3, 2).gamma.data, np.full(3, 0.1, np.float32))
    close(nn.StepNorm(3, 2, gamma_init=1.0).eval()(x, 1).data, x / np.sqrt(1 + 1e-5))


@pytest.mark.parametrize(
    "options, parameters, text",
    [
        ({"affine": False}, [], "affine=False"),
        ({"affine": False, "shift": True}, [], "affine=False"),
        ({"bias": True}, ["gamma", "beta"], "shift=True"),
        ({"bias": False}, ["gamma"], ""),
    ],
)
def test_step_norm_with_and_without_parameters(options, parameters, text):
    norm = nn.StepNorm(3, 2, gamma_init=1.0, **options)
    assert [name for name, _ in norm.named_parameters()] == parameters
    assert repr(norm) == (
        f"StepNorm(3, max_steps=2{text and ', ' + text}, eps=1e-05, momentum=0.1)"
    )
    x = uniform(8, 3)
    expected = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5)
    close(norm(x, 0).data, expected, 2)
    assert norm.eval()(x, 5).shape == (8, 3)


@small_batches
@pytest.mark.parametrize("stop", ["freeze", "freeze_stats", "eval"])
def test_step_norm_stops_as_batch_norm_does(stop):
    norm, plain = nn.StepNorm(3, 2, gamma_init=1.0), nn.BatchNorm(3)
    for k in range(2):
        norm(uniform(6, 3, seed=k), 0)
        plain(uniform(6, 3, seed=k))
    assert getattr(norm, stop)() is norm
    getattr(plain, stop)()
    x, before = uniform(1, 3, seed=5), norm.state_dict()
    close(norm(x, 0).data, plain(x).data)
    # This step has never been trained.
    np.testing.assert_array_equal(norm(x, 1).data, norm(x, 0).data)
    for name, value in norm.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    assert norm.gamma.requires_grad == (stop != "freeze")


def test_freezing_the_network_stops_statistics_and_gradients():
    layer = made("LSTM", 2, 3, norm="batch")
    layer(uniform(4, 5, 2, dtype=np.float64))
    layer.freeze()
    before = layer.state_dict()
    y, _ = layer(uniform(1, 5, 2, dtype=np.float64))
    assert not y.requires_grad
    for name, value in layer.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


@both_floats
def test_constant_inputs_give_finite_gradients(dtype):
    """Equal examples, such as the black rows of images, have no variance over the batch."""
    layer = made("LSTM", 3, 4, norm="batch", dtype=dtype)
    y, _ = layer(np.ones((4, 6, 3), dtype))
    (y * uniform(4, 6, 4, dtype=dtype)).sum().backward()
    assert all(np.isfinite(p.grad).all() for p in layer.parameters())


def test_recalibrate_gives_each_time_step_the_statistics_of_the_data():
    """E30b needs this: running statistics lag behind, and those of the data do not."""
    rnn = nn.LSTM(3, 4, norm="batch", max_steps=4).astype(np.float64)
    batches = [uniform(8, 6, 3, seed=k).astype(np.float64) for k in range(3)]
    rnn.train()
    for x in batches:  # the running statistics change only a little
        rnn(x)
    norm = rnn.cells[0].norm_x
    lagging = norm.running_mean.copy()
    with pytest.warns(UserWarning, match=r"cells\.0\.norm_x"):
        report = nn.recalibrate(rnn, batches)
    w = rnn.cells[0].weight_x.data
    projected = np.concatenate([x @ w for x in batches])  # (24, 6, 16)
    for step in range(3):
        np.testing.assert_allclose(norm.running_mean[step], projected[:, step].mean(axis=0))
        np.testing.assert_allclose(norm.running_var[step], projected[:, step].var(axis=0))
    shared = projected[:, 3:].reshape(-1, 16)  # steps from max_steps on share the last row
    np.testing.assert_allclose(norm.running_mean[3], shared.mean(axis=0))
    np.testing.assert_allclose(norm.running_var[3], shared.var(axis=0))
    gap = next(gap for gap in report.gaps if gap.layer == "cells.0.norm_x")
    assert gap.values == 24 * 6 and rnn.training
    report.restore()
    np.testing.assert_array_equal(norm.running_mean, lagging)


def test_batch_statistics_of_recurrent_layers():
    rnn = nn.GRU(3, 4, norm="batch").astype(np.float64)
    x = uniform(8, 5, 3).astype(np.float64)
    expected = rnn(x)[0].data
    rnn.eval()
    state = rnn.state_dict()
    with nn.batch_statistics(rnn):
        np.testing.assert_allclose(rnn(x)[0].data, expected, rtol=1e-12)
    assert np.abs(rnn(x)[0].data - expected).max() > 1e-3
    for name, value in rnn.state_dict().items():
        np.testing.assert_array_equal(value, state[name])
