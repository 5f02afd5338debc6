"""These tests check what nn.recalibrate reports and restores, and nn.batch_statistics."""

import copy
import pickle

import numpy as np
import pytest

from minidl import nn
from tests.support.arrays import close, uniform
from tests.support.errors import refuses
from tests.support.recalibration import batches, everything, large_gaps, model_of

# ------------------------------------------------------------------------------------- report


def test_gaps_and_their_warning():
    """running_mean is 3 standard deviations off, and running_var is 4 times too large."""
    x = np.float32([[-1], [1]] * 8)
    bn = nn.Sequential(nn.BatchNorm(1, eps=0))
    bn.children()[0].running_mean[:], bn.children()[0].running_var[:] = 3, 4
    with pytest.warns(UserWarning, match="recalibrate: .* of 0 were far") as caught:
        report = nn.recalibrate(bn, [x])
    assert caught[0].filename == __file__
    (gap,) = report.gaps
    np.testing.assert_allclose((gap.shift, gap.factor), (3, 4), rtol=1e-5)
    assert gap.large
    for part in ("3.000 std,   3.000", "4.000, 4.000", "large"):
        assert part in str(report)
    again = nn.recalibrate(bn, [x])  # there is no warning, and no gap is left
    assert (again.gaps[0].shift, again.gaps[0].factor, again.gaps[0].large) == (0, 1, False)
    assert "large" not in str(again)


@pytest.mark.parametrize(
    "mean, var, large",
    [
        (0.2, 1, False),
        (-0.3, 1, True),
        (0, 1.45, False),
        (0, 1.55, True),
        (0, 0.6, True),
        (0, 0.7, False),
    ],
)
def test_what_is_large(mean, var, large):
    bn = nn.BatchNorm(2, eps=0)
    bn.running_mean[:], bn.running_var[:] = mean, var
    x = np.float32([[-1, 1], [1, -1]] * 8)
    if large:
        with pytest.warns(UserWarning, match="recalibrate"):
            report = nn.recalibrate(bn, [x])
    else:
        report = nn.recalibrate(bn, [x])
    assert report.gaps[0].large == large


@large_gaps
def test_restore():
    model = model_of()
    for x in batches((16, 9)):
        model(x)
    before = everything(model)
    report = nn.recalibrate(model, batches())
    assert everything(model) != before
    report.restore()
    assert everything(model) == before


@large_gaps
def test_a_layer_that_no_batch_reaches():
    class Idle(nn.Layer):
        def __init__(self):
            super().__init__()
            self.used, self.idle = nn.BatchNorm(3), nn.BatchNorm(3)

        def forward(self, x):
            return self.used(x)

    model = Idle()
    model.idle.running_mean[:] = 5
    report = nn.recalibrate(model, batches())
    assert (report.gaps[1].values, report.gaps[1].batches) == (0, 0)
    assert "not reached" in str(report)
    assert (model.idle.running_mean == 5).all() and (model.idle.running_var == 1).all()


# --------------------------------------------------------------------------- batch_statistics


@pytest.mark.parametrize("mode", ["train", "eval", "freeze", "freeze_stats"])
def test_batch_statistics(mode):
    model = nn.Sequential(nn.Dense(3, 4), nn.BatchNorm(4, renorm=True), nn.ReLU())
    model.children()[1].running_mean[:] = 3
    (model if hasattr(model, mode) else model.children()[1]).__getattribute__(mode)()
    before, x = everything(model), batches((20,))[0]
    with nn.batch_statistics(model):
        y = model(x).data
        with nn.batch_statistics(model):  # nested
            pass
        np.testing.assert_array_equal(model(x).data, y)
    h = model.children()[0](x).data.astype(np.float64)
    close(y, np.maximum((h - h.mean(0)) / np.sqrt(h.var(0) + 1e-5), 0), 10)
    assert everything(model) == before
    plain = copy.deepcopy(model).eval()(x).data
    assert np.abs(plain - y).max() > 0.1
    with pytest.raises(KeyError), nn.batch_statistics(model):
        raise KeyError
    np.testing.assert_array_equal(model.eval()(x).data, plain)


def test_batch_statistics_of_no_layer():
    with refuses(TypeError, "batch_statistics: model must be a Layer"), nn.batch_statistics(3):
        pass


def test_one_ruined_channel_among_many_is_large():
    z = np.random.default_rng(0).normal(size=(1000, 64)).astype(np.float32)
    for change, worst in ((lambda z: z * 1000, "factor"), (lambda z: z + 1.9, "shift")):
        x = z.copy()
        x[:, 5] = change(x[:, 5])
        with pytest.warns(UserWarning, match="far from"):
            (gap,) = nn.recalibrate(nn.BatchNorm(64), [x]).gaps
        assert gap.large and gap.shift < 0.25 and gap.factor < 1.5
        assert (gap.worst_factor > 1e5) if worst == "factor" else (1.8 < gap.worst_shift < 2)


def test_a_constant_channel_without_eps_is_no_gap_once_it_is_known():
    bn = nn.BatchNorm(2, eps=0)
    x = np.float32([[3, 1], [3, 2]])
    with pytest.warns(UserWarning, match="far from"):
        nn.recalibrate(bn, [x])
    (gap,) = nn.recalibrate(bn, [x]).gaps
    assert (gap.shift, gap.factor, gap.worst_shift, gap.worst_factor) == (0, 1, 0, 1)


def test_the_report_shows_itself():
    report = nn.recalibrate(nn.BatchNorm(2), [np.float32([[-1, 1], [1, -1]])])
    assert repr(report) == str(report) and "model" in repr(report)


@large_gaps
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_copies_made_meanwhile_are_ordinary_layers(copied):
    """batch_statistics and recalibrate affect the model, and not its copies."""
    x = uniform(16, 3)
    bn = nn.BatchNorm(3)
    with nn.batch_statistics(bn):
        made = [copied(bn)]
    nn.recalibrate(bn, (made.append(copied(bn)) or x for _ in range(1)))
    for layer in made:
        layer.train()(x)
        assert layer.num_batches == 1
        expected = (x - layer.running_mean) / np.sqrt(layer.running_var + layer.eps)
        close(layer.eval()(x).data, expected)


@large_gaps
def test_restore_after_a_conversion():
    bn = nn.BatchNorm(3)
    report = nn.recalibrate(bn, [uniform(16, 3) + 5])
    bn.astype(np.float64)
    report.restore()
    assert (bn.running_mean == 0).all() and (bn.running_var == 1).all()
