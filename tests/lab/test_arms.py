"""These tests check the training that arms share: frozen parts stay as they are, results of
diverged trainings are complete, and differences are paired.
"""

import numpy as np
import pytest

import minidl as md
from minidl import nn
from minidl.lab import arms, problems, training
from minidl.lab.verdict import Verdict, below, interval


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 200)
    images = rng.standard_normal((200, 8)).astype(np.float32)
    images[np.arange(200), labels % 8] += 3
    return images, labels


def model():
    md.manual_seed(0)
    return problems.mlp("batch", (8, 16, 10), activation=nn.ReLU)


def test_train_and_test_returns_a_curve_and_ends_at_rate_0(arrays):
    found = arms.train_and_test(
        model(), arrays, arrays, {"rate": 0.1, "batch": 20, "steps": 40}, 0, looks=4, glance=100
    )
    assert found["steps"] == [10, 20, 30, 40]
    assert len(found["curve"]) == 4
    assert found["accuracy"] > 0.5


def test_a_training_that_diverges_has_a_whole_curve(arrays):
    found = arms.train_and_test(
        model(), arrays, arrays, {"rate": 1e30, "batch": 20, "steps": 40}, 0, looks=4
    )
    assert found["curve"] == [found["accuracy"]] * 4 == [training.CHANCE] * 4


def test_a_training_that_diverges_counts_as_guessing(arrays):
    trained = model()
    losses = arms.train_with_linear_decay(
        trained, arrays, {"rate": 1e30, "batch": 20, "steps": 5}, 0
    )
    assert training.diverged(losses)
    assert training.score(trained, losses, arrays) == training.CHANCE
    assert training.score(model(), [1.0], arrays) == training.accuracy(model(), arrays)
    assert not training.diverged([])


def test_what_is_frozen_stays(arrays):
    frozen = model()
    frozen.dense1.freeze()
    before = frozen.dense1.weight.data.copy(), frozen.dense2.weight.data.copy()
    arms.train_with_linear_decay(frozen, arrays, {"rate": 0.1, "batch": 20, "steps": 2}, 0)
    assert np.array_equal(frozen.dense1.weight.data, before[0])
    assert not np.array_equal(frozen.dense2.weight.data, before[1])


def test_points_are_paired():
    seeds = [
        {"a": {"test": [0.0, a]}, "b": b}
        for a, b in zip([0.95, 0.85, 0.75], [0.94, 0.84, 0.74], strict=True)
    ]
    found = arms.paired(seeds, ("a", "test", -1), ("b",))
    assert found.value == pytest.approx(1)
    assert found.high - found.low < 1e-9
    assert arms.percent(seeds, "b") == pytest.approx([94, 84, 74])


@pytest.mark.parametrize(
    "values, verdict",
    [
        ((0.1, 0.2, 0.2), Verdict.SUPPORTED),
        ((-0.1, 0.1, 0.2), Verdict.REFUTED),
        ((-0.1, 0.1, 0.5), Verdict.INCONCLUSIVE),
        ((np.nan, 0.1), Verdict.INCONCLUSIVE),
    ],
)
def test_better(values, verdict):
    gain = interval(values)
    assert arms.better(gain, none=[below(gain, 0.3)]) is verdict
