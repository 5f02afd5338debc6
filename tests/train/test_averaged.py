"""These tests check averaged weights: the formula, their BatchNorm statistics, and what is
validated.
"""

import copy

import numpy as np
import pytest

from minidl import data, nn
from minidl.train.averaged import BATCHES, Averaged
from tests.support.trainings import loader, network, pairs, trainer


class Keep:
    """Keeps the weights after every step."""

    def __init__(self):
        self.weights = []

    def on_batch_end(self, trainer):
        self.weights.append([np.array(p.data) for p in trainer.model.parameters()])


@pytest.mark.parametrize("decay", [0.0, 0.3, 0.999])
def test_the_formula(decay):
    keep, model = Keep(), network()
    expected = [0.0] * len(model.parameters())
    t = trainer(model, ema=decay, callbacks=[keep])
    t.fit(loader(), epochs=3)
    for step, weights in enumerate(keep.weights, 1):
        expected = [
            total + decay ** (15 - step) * w.astype(np.float64)
            for total, w in zip(expected, weights, strict=True)
        ]
    assert len(keep.weights) == 15
    shares = sum(decay ** (15 - step) for step in range(1, 16))
    for average, total in zip(t.averaged.parameters(), expected, strict=True):
        np.testing.assert_allclose(average.data, total / shares, rtol=1e-5, atol=1e-6)


def test_weights_of_two_dtypes():
    model = nn.Sequential(nn.Dense(3, 4), nn.Dense(4, 2).astype("float64"))
    averaged = Averaged(model, decay=0.5)
    for value in (0.0, 3.0):
        for p in model.parameters():
            p.data[...] = value
        averaged.update()
    for average, p in zip(averaged.model.parameters(), model.parameters(), strict=True):
        assert average.dtype == p.dtype
        np.testing.assert_allclose(average.data, 2)  # (0.5 · 0 + 1 · 3) / (0.5 + 1)


@pytest.mark.parametrize("valid", [None, pairs(16, seed=8)], ids=["without", "with validation"])
def test_statistics_are_recalibrated_on_training_batches(valid):
    batches = loader()
    t = trainer(ema=0.9)
    history = t.fit(batches, valid=valid, epochs=2)
    expected = copy.deepcopy(t.averaged)
    nn.recalibrate(expected, batches.once(), BATCHES, quiet=True)
    own, other = t.averaged.state_dict(), expected.state_dict()
    assert all(np.array_equal(own[name], other[name]) for name in own)
    assert not np.array_equal(own["1.running_mean"], t.model.state_dict()["1.running_mean"])
    if valid is not None:
        assert history["valid_loss"][-1] == t.evaluate(valid)["loss"]
        outputs = t.averaged.predict(valid.images)
        assert history["valid_accuracy"][-1] == np.mean(outputs.argmax(1) == valid.labels)


def test_the_model_keeps_its_own_weights():
    plain = network()
    trainer(plain).fit(loader(), epochs=2)
    averaged = network()  # it seeds dropout, too
    trainer(averaged, ema=0.9).fit(loader(), epochs=2)
    own, other = plain.state_dict(), averaged.state_dict()
    assert all(np.array_equal(own[name], other[name]) for name in own)


def test_a_model_without_batch_norm_and_with_a_buffer():
    class Net(nn.Layer):
        def __init__(self):
            super().__init__()
            self.fc = nn.Dense(6, 3)
            self.count = np.zeros(1)

        def forward(self, x):
            if self.training:
                self.count += 1
            return self.fc(x)

    t = trainer(Net(), ema=0.5)
    t.fit(data.DataLoader(pairs(), 8), valid=pairs(8), epochs=2)
    assert t.averaged.count == t.model.count == 10


def test_without_it_there_is_no_averaged_model():
    assert trainer().averaged is None
