"""These tests check sweeps of the learning rate: what is stable, how far a climb goes, and the
steps to an accuracy.
"""

import math

import numpy as np
import pytest

import minidl as md
from minidl import nn
from minidl.lab import sweeps
from minidl.lab.problems import mlp
from minidl.lab.training import CHANCE


def course(rate, accuracy=(0.5,), loss=1.0, every=10, rise=0.3, spread=0.5):
    return {
        "rate": rate,
        "every": every,
        "loss": loss,
        "accuracy": list(accuracy),
        "rise": rise,
        "spread": spread,
    }


@pytest.mark.parametrize(
    "loss, rise, spread, expected",
    [
        (1.5, 0.0, 0.5, True),
        (1.5, 9.0, 0.5, True),
        (2.303, 0.0, 0.5, True),  # has not learned anything yet
        (2.303, 0.9, 0.5, False),  # its loss had risen, so it has collapsed
        (2.303, 0.0, 0.001, False),  # has the same output for all images
        (2.45, 0.1, 0.5, False),
        (5.0, 0.0, 0.5, False),
        (math.inf, 0.0, 0.5, False),
        (math.nan, 0.0, 0.5, False),
        (2.303, 0.0, math.nan, False),
    ],
)
def test_stable_is_what_is_not_thrown_back(loss, rise, spread, expected):
    assert sweeps.stable(course(1, loss=loss, rise=rise, spread=spread)) == expected


def test_the_rise_of_a_loss():
    assert sweeps.rise([2.4] * 10 + [3.0] * 10 + [2.3] * 5) == pytest.approx(0.6)
    assert sweeps.rise([1.0] * 10 + [2.4] * 10) == pytest.approx(2.4 - sweeps.GUESSING)
    assert sweeps.rise([2.4, math.inf]) == math.inf


def test_climb_ends_after_two_unstable_rates_in_a_row():
    losses = {1: 2.3, 2: 2.3, 3: 1.0, 4: 9.0, 5: 1.0, 6: 9.0, 7: 9.0, 8: 1.0}
    found = sweeps.climb(lambda rate: course(rate, loss=losses[rate]), losses)
    assert [one["rate"] for one in found] == [1, 2, 3, 4, 5, 6, 7]
    assert sweeps.ceiling(found) == 5
    last = sweeps.at_the_end(found, [5, 6, 8])
    assert last[:2] == [0.5, 0.5]
    assert math.isnan(last[2])  # `climb` did not try this rate


def test_the_ceiling_is_below_the_grid_where_nothing_is_stable():
    assert sweeps.ceiling([course(1, loss=2.3), course(2, loss=math.inf)]) == 0


def test_steps_to_an_accuracy_are_those_of_the_first_checkpoint_there():
    found = course(1, (0.2, 0.6, 0.4, 0.6))
    assert sweeps.steps_to(found, 0.6) == 20
    assert sweeps.steps_to(found, 0.7) == math.inf
    assert sweeps.best([found, course(2, (0.5, 0.5))]) is found


def test_quotients_are_averaged_as_factors():
    found = sweeps.quotient([10, 20, 80], [1, 1, 1])
    assert found.value == pytest.approx(16000 ** (1 / 3))
    assert 10 <= found.low < found.value < found.high <= 80 * (1 + 1e-9)
    assert sweeps.quotient([0, 0], [1, 2]).high == 0
    assert math.isnan(sweeps.quotient([1, math.nan], [1, 1]).low)


def test_geometric_means_have_as_many_digits_however_small_they_are():
    assert sweeps.geometric_mean(np.array([1e-6, 4e-6])) == pytest.approx(2e-6, rel=1e-11)
    assert sweeps.geometric_mean(np.array([3e-15, 3e-15])) == 3e-15
    assert sweeps.geometric_mean(np.array([10.0, 10.0])) == 10
    assert sweeps.geometric_mean(np.array([[1.0, 4.0], [0.0, 2.0]])).tolist() == [2, 0]


def test_a_course_has_its_checkpoints_and_guesses_after_a_divergence():
    rng = np.random.default_rng(0)
    arrays = rng.standard_normal((64, 8)).astype(np.float32), rng.integers(0, 10, 64)
    settings = {"steps": 20, "every": 5, "batch": 16}
    for rate, ends in ((0.1, False), (1e30, True)):
        md.manual_seed(0)
        seen = []
        found = sweeps.course(
            mlp("none", (8, 16, 10), nn.ReLU),
            arrays,
            arrays,
            rate,
            0,
            settings,
            watch=lambda seen=seen: seen.append(1),
        )
        assert len(found["accuracy"]) == 4
        assert (len(seen) < 4) == ends == (found["loss"] == math.inf)
        assert (found["accuracy"][-1] == CHANCE) == ends
        assert sweeps.stable(found) != ends


def test_binary_mnist_is_black_and_white():
    images, _ = sweeps.binary_mnist("test")
    assert set(np.unique(images)) == {0, 1}
