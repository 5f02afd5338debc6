"""These tests check E31: all sides of the rule, and how times are measured."""

import numpy as np
import pytest

from minidl.lab.experiments import e31_overhead as e31
from minidl.lab.verdict import Verdict

experiment = e31.Overhead()


def seeds(*folded, step=1.2, difference=1e-6):
    """Return a result of one seed for each ratio, which is the median of its rounds."""
    return [
        {
            name: {
                "times": {
                    "step": [[step * 0.1, 0.1], [step * 0.11, 0.1]],
                    "inference, batch 1": [
                        [around * ratio * 1e-3, 1e-3] for around in (0.2, 1.0, 4.0)
                    ],
                },
                "difference": difference,
                "peak MB": {"with BatchNorm": 200.0, "without": 150.0},
            }
            for name in e31.NETWORKS
        }
        for ratio in folded
    ]


@pytest.mark.parametrize(
    "folded, step, difference, verdict",
    [
        ((0.7, 0.75, 0.8), 1.2, 1e-6, Verdict.SUPPORTED),
        ((1.1, 1.2, 1.3), 1.2, 1e-6, Verdict.REFUTED),
        ((0.8, 1.0, 1.2), 1.2, 1e-6, Verdict.INCONCLUSIVE),
        ((0.7, 0.75, 0.8), 1.2, 1e-4, Verdict.REFUTED),
        ((0.7, 0.75, 0.8), 0.8, 1e-6, Verdict.SUPPORTED),  # the overhead is not judged
        ((0.7,), 1.2, 1e-6, Verdict.INCONCLUSIVE),
        ((0.7, 0.75, np.nan), 1.2, 1e-6, Verdict.INCONCLUSIVE),
    ],
)
def test_the_rule_judges_figures_on_both_sides(folded, step, difference, verdict):
    assert experiment.judge(seeds(*folded, step=step, difference=difference)).verdict is verdict


@pytest.mark.parametrize("place", [0, 1])
def test_outputs_that_are_no_number_are_not_equal(place):
    found = seeds(0.7, 0.75, 0.8)
    found[0][e31.NETWORKS[place]]["difference"] = np.nan
    assert experiment.judge(found).verdict is Verdict.REFUTED


def test_sides_take_turns():
    called = []
    found = e31.alternate([lambda: called.append("a"), lambda: called.append("b")], 3, 2)
    assert "".join(called) == "aabbbbaa" * 2  # the first round is not counted
    assert np.shape(found) == (3, 2)


def test_times_stay_with_their_side(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(e31.time, "perf_counter", lambda: clock[0])

    def side(seconds):
        def run():
            clock[0] += seconds

        return run

    assert e31.alternate([side(1.0), side(4.0)], 4, 1) == [[1.0, 4.0]] * 4


def test_rounds_are_no_seeds():
    assert e31.ratio(seeds(0.7), "C6", "inference, batch 1").count == 1
    assert e31.ratio(seeds(0.7, 0.8), "C6", "inference, batch 1").value == pytest.approx(0.75)


def test_memory_of_a_process():
    found = e31.peak("C6", "batch", 2)
    assert np.isnan(found) or 10 < found < 10_000


def test_plot_separates_training_and_inference():
    training, inference = experiment.plot(seeds(0.7, 0.8)).axes
    assert [label.get_text() for label in training.get_xticklabels()] == list(e31.NETWORKS)
    assert [label.get_text() for label in inference.get_xticklabels()] == [
        f"{name}\n1" for name in e31.NETWORKS
    ]
