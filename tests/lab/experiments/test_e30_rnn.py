"""These tests check E30b: the rule on both sides, and the arms."""

import math

import numpy as np
import pytest

import minidl as md
from minidl import nn
from minidl.lab.experiments import e30_rnn as e30
from minidl.lab.verdict import Verdict

experiment = e30.BatchOrLayerInRNN()
TINY = {
    "hidden": 6,
    "pool": 4,
    "images": 300,
    "rate": 1e-3,
    "clip": 1.0,
    "steps": {"100": 2, "8": 2},
    "population": 100,
    "test": 100,
}


def seeds(large, small):
    """Return a result for each seed, in which layer normalization is so many points above batch
    normalization.
    """

    def arms(gain):
        return {
            name: dict.fromkeys(
                ("precise", "running"), 0.9 + (gain / 100 if name == "layer" else 0)
            )
            for name in e30.ARMS
        }

    return [
        {"accuracy": {"100": arms(a), "8": arms(b)}, "gradient": {"0.0": 50.0, "0.1": 1.0}}
        for a, b in zip(large, small, strict=True)
    ]


@pytest.mark.parametrize(
    "large, small, verdict",
    [
        ((-0.1, 0.3, 0.5), (1, 2, 3), Verdict.SUPPORTED),
        ((-0.9, -0.3, -0.5), (1, 2, 3), Verdict.REFUTED),
        ((0.1, 0.3, 0.5), (-1, -2, -3), Verdict.REFUTED),
        ((-0.9, 0.3, 0.5), (1, 2, 3), Verdict.INCONCLUSIVE),
        ((0.1, 0.3, 0.5), (math.nan, 2, 3), Verdict.INCONCLUSIVE),
        ((1,), (1,), Verdict.INCONCLUSIVE),
    ],
)
def test_the_rule_judges_figures_on_both_sides(large, small, verdict):
    assert experiment.judge(seeds(large, small)).verdict is verdict
    experiment.plot(seeds(large, small))


@pytest.mark.parametrize("arm", e30.ARMS)
def test_arms(arm):
    models = []
    for options in ({}, e30.ARMS[arm]):
        md.manual_seed(0)
        models.append(e30.RowLSTM((7, 7), 5, **options))
    plain, model = models
    assert model(np.zeros((3, 7, 7), np.float32)).shape == (3, 10)
    assert np.array_equal(plain.lstm.cells[0].weight_h.data, model.lstm.cells[0].weight_h.data)
    assert (model.lstm.cells[0].bias.data[5:10] == 1).all()
    for _, layer in model.named_layers():
        if isinstance(layer, nn.StepNorm):
            assert (layer.gamma.data == np.float32(1 if arm == "one" else 0.1)).all()
            assert len(layer.running_mean) == (1 if arm == "shared" else 7)


def test_noise_on_the_first_state_keeps_gradients_small():
    images = np.zeros((20, 6, 7), np.float32)
    images[:, 4:] = np.random.default_rng(0).random((20, 2, 7))
    batch = images, np.arange(20) % 10
    without, with_noise = (e30.first_gradient(noise, batch, 5, 0) for noise in (0.0, e30.NOISE))
    assert without > 3 * with_noise


def test_evaluation_has_no_noise_and_the_population_statistics_have():
    md.manual_seed(0)
    model = e30.RowLSTM((7, 7), 5, **e30.ARMS["batch"])
    images = np.random.default_rng(0).random((20, 7, 7), np.float32)
    with md.no_grad():
        first, second = (model.train()(images).numpy() for _ in range(2))
        assert not np.array_equal(first, second)
        first, second = (model.eval()(images).numpy() for _ in range(2))
        assert np.array_equal(first, second)
    labels = np.zeros(20, np.int64)
    seen = []
    model.first = lambda count: seen.append(count) or e30.RowLSTM.first(model, count)
    e30.evaluated(model, (images, labels), (images, labels))
    assert seen == [20]


def test_rows_are_means_of_pixels():
    images = np.arange(2 * 28 * 28, dtype=np.float32).reshape(2, 28, 28, 1)
    made, _ = e30.rows((images, np.zeros(2)), {"pool": 2})
    assert made.shape == (2, 14, 14)
    assert made[1, 3, 4] == images[1, 6:8, 8:10].mean()


def test_it_runs_and_is_judged_and_plotted():
    found = [experiment.run(0, TINY)]
    assert experiment.judge(found).verdict is Verdict.INCONCLUSIVE
    experiment.plot(found)
