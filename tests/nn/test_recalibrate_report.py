"""What nn.recalibrate reports and takes back; and nn.batch_statistics."""

import copy

import numpy as np
import pytest

from minidl import nn
from tests.harness import close, refuses
from tests.nn.test_recalibrate import batches, everything, large_gaps, model_of

# ------------------------------------------------------------------------------------- report

def test_gaps_and_their_warning():
    """running_mean 3 standard deviations off, running_var 4 times too large."""
    x = np.float32([[-1], [1]] * 8)
    bn = nn.Sequential(nn.BatchNorm(1, eps=0))
    bn.children()[0].running_mean[:], bn.children()[0].running_var[:] = 3, 4
    with pytest.warns(UserWarning, match="recalibrate: .* of 0 were far") as caught:
        report = nn.recalibrate(bn, [x])
    assert caught[0].filename == __file__
    (gap,) = report.gaps
    np.testing.assert_allclose((gap.shift, gap.factor), (3, 4), rtol=1e-5)
    assert gap.large
    assert "3.000 std" in str(report) and "4.000" in str(report) and "large" in str(report)
    again = nn.recalibrate(bn, [x])         # silent, and nothing left
    assert (again.gaps[0].shift, again.gaps[0].factor, again.gaps[0].large) == (0, 1, False)
    assert "large" not in str(again)


@pytest.mark.parametrize("mean, var, large", [(0.2, 1, False), (-0.3, 1, True), (0, 1.45, False),
                                              (0, 1.55, True), (0, 0.6, True), (0, 0.7, False)])
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
        with nn.batch_statistics(model):        # nested
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
