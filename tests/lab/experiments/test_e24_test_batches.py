"""These tests check E24: all sides of the rule, and small batches of a model."""

import numpy as np
import pytest

import minidl as md
from minidl import nn
from minidl.lab.experiments import e24_test_batches as e24
from minidl.lab.verdict import Verdict
from tests.support import random_images

experiment = e24.OwnStatistics()


def seeds(*ones, population=0.95):
    """Return a result for each seed with these accuracies for single examples."""
    return [
        {
            "sizes": [1, 2],
            **{
                kind: {
                    "population": population,
                    "accuracy": {"1": one, "2": 0.5},
                    "changed": {"1": 0.0, "2": 0.4},
                }
                for kind in e24.KINDS
            },
        }
        for one in ones
    ]


@pytest.mark.parametrize(
    "ones, population, verdict",
    [
        ((0.10, 0.11, 0.095), 0.95, Verdict.SUPPORTED),
        ((0.50, 0.60, 0.70), 0.95, Verdict.REFUTED),
        ((0.10, 0.15, 0.10), 0.95, Verdict.INCONCLUSIVE),
        ((0.10, 0.11, 0.095), 0.10, Verdict.REFUTED),
        ((0.10,), 0.95, Verdict.INCONCLUSIVE),
        ((0.10, np.nan), 0.95, Verdict.INCONCLUSIVE),
    ],
)
def test_the_rule_judges_figures_on_both_sides(ones, population, verdict):
    assert experiment.judge(seeds(*ones, population=population)).verdict is verdict


@pytest.mark.parametrize("kind", e24.KINDS)
def test_batches_of_a_size(kind):
    md.manual_seed(0)
    model = e24.build(kind, "batch")
    images = np.random.default_rng(0).random((8, 28, 28, 1), np.float32)
    with md.no_grad(), nn.batch_statistics(model.eval()):
        expected = np.concatenate([model(images[:4]).numpy(), model(images[4:]).numpy()])
        found = e24.with_batches_of(4, kind, model)(images).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_single_examples_of_a_dense_network_look_all_the_same():
    model = e24.with_batches_of(1, "dense", e24.build("dense", "batch"))
    found = model(np.random.default_rng(0).random((4, 28, 28, 1), np.float32)).numpy()
    np.testing.assert_array_equal(found, np.tile(found[:1], (4, 1)))


@pytest.mark.parametrize("rate", [0.1, 1e30])
def test_it_runs_and_is_judged_and_plotted(rate, monkeypatch):
    monkeypatch.setattr(e24, "mnist", random_images.data(28, 28, 1))
    settings = {
        **experiment.settings(True),
        "sizes": [1, 2],
        "images": 80,
        "population": 40,
        "steps": {"dense": 3, "convolution": 2},
        "rate": dict.fromkeys(e24.KINDS, rate),
        "test": dict.fromkeys(e24.KINDS, 16),
    }
    found = [experiment.run(0, settings)]
    assert set(found[0]["dense"]["accuracy"]) == {"1", "2"}
    assert experiment.judge(found).verdict is Verdict.INCONCLUSIVE
    experiment.plot(found)


def test_one_seed_is_plotted():
    assert len(experiment.plot(seeds(0.1)).axes) == 2
