"""These tests check `compare`: paired trainings, the figures of the table, and what is refused
before any training.
"""

import math

import numpy as np
import pytest

import minidl as md
from minidl import data, lab, nn, optim
from minidl.lab import comparison_plots
from minidl.lab.comparison import Comparison, Trained
from tests.support.errors import refuses
from tests.support.marks import small_batches
from tests.support.trainings import pairs

pytestmark = small_batches
LAYERS = {"batch": nn.BatchNorm, "layer": nn.LayerNorm, "none": lambda features: nn.Identity()}


def build(norm):
    layer = LAYERS[norm] if isinstance(norm, str) else norm
    return nn.Sequential(nn.Dense(6, 12), layer(12), nn.ReLU(), nn.Dense(12, 3))


def compared(norms=("batch", "none"), **options):
    return lab.compare(
        build,
        norms,
        **{
            "data": (pairs(64), pairs(32, seed=1)),
            "seeds": 2,
            "epochs": 2,
            "batch_size": 16,
            "progress": False,
            **options,
        },
    )


def made(scores, metric="accuracy", rates=(0.1,)):
    """Return a comparison with these scores: for each norm, a row of seeds for each rate."""
    return Comparison(
        tuple(scores),
        metric,
        tuple(
            Trained(norm, rate, seed, score, {}, {}, 1.0)
            for norm, rows in scores.items()
            for rate, row in zip(rates, rows, strict=True)
            for seed, score in enumerate(row)
        ),
    )


def test_the_comparison_has_scores_and_histories():
    found = compared()
    assert found.norms == ("batch", "none")
    assert [run.seed for run in found.of("none")] == [0, 1]
    for run in found.runs:
        assert run.score == run.history["valid_accuracy"][-1]
        assert len(run.history["loss"]) == 2
        assert run.probe["step"] == list(range(9))
    assert "batch" in str(found).splitlines()[1] and len(str(found).splitlines()) == 3


def test_trainings_are_paired():
    """Two arms with the same normalization give the same trainings, and different seeds give
    different ones.
    """
    found = compared({"a": nn.LayerNorm, "b": "layer"}, measures=())
    a, b = found.of("a"), found.of("b")
    assert [run.history["loss"] for run in a] == [run.history["loss"] for run in b]
    assert a[0].history["loss"] != a[1].history["loss"]
    assert found.difference("b").value == found.difference("b").high == 0
    assert a[0].probe == {}


def test_what_is_drawn_elsewhere_does_not_change():
    drawn = []
    for run in (lambda: None, lambda: compared(seeds=1, measures=())):
        md.manual_seed(5)
        run()
        drawn.append(float(md.rand(1).data[0]))
    assert drawn[0] == drawn[1]


def test_models_of_a_seed_are_those_of_manual_seed():
    md.manual_seed(1)
    expected = build("batch")[0].weight.data
    seen = []
    lab.compare(
        lambda norm: seen.append(build(norm)) or seen[-1],
        ("batch",),
        seeds=2,
        epochs=1,
        data=(pairs(64), pairs(32, seed=1)),
        measures=(),
        progress=False,
        rates=1e-30,
        optimizer=lambda p, rate: optim.SGD(p, lr=rate),
    )
    assert np.array_equal(seen[-1][0].weight.data, expected)


def test_probes_change_nothing():
    for one, other in zip(compared().runs, compared(measures=()).runs, strict=True):
        assert one.history["loss"] == other.history["loss"]


@pytest.mark.parametrize(
    "make",
    [
        lambda: pairs(64)[:],
        lambda: pairs(64),
        lambda: data.DataLoader(pairs(64), 16, shuffle=True, drop_last=True),
    ],
)
def test_what_data_may_be(make):
    found = compared(data=(make(), make()), measures=())
    expected = compared(data=(pairs(64), make()), measures=())
    assert [run.history["loss"] for run in found.runs] == [
        run.history["loss"] for run in expected.runs
    ]


def test_a_loader_of_lists():
    batches = [pairs(16, seed=seed)[:] for seed in range(3)]
    assert len(compared(data=(batches, batches)).runs) == 4


def test_a_loader_of_a_derived_class_is_taken_as_it_is():
    class Twice(data.DataLoader):
        def __iter__(self):
            for _ in range(2):
                yield from super().__iter__()

    found = compared(data=(Twice(pairs(64), 16), pairs(64)), norms=("batch",), seeds=1)
    assert found.runs[0].probe["step"][-1] == 2 * 2 * 4


def test_scores_and_differences():
    found = made({"batch": [[0.9, 0.8, 0.7]], "group": [[0.8, 0.7, 0.6]]})
    assert found.score("batch").value == pytest.approx(0.8)
    assert found.score("batch").low == pytest.approx(0.7)
    assert found.difference("group").value == pytest.approx(-0.1)
    assert found.difference("batch", "group").high == pytest.approx(0.1)
    assert "-0.1000" in str(found)


@pytest.mark.parametrize("metric, best", [("accuracy", 0.3), ("loss", 0.1)])
def test_each_has_its_best_rate(metric, best):
    found = made({"batch": [[0.5, 0.6], [0.7, 0.8], [math.nan, 0.9]]}, metric, (0.1, 0.3, 1.0))
    assert found.rate("batch") == best
    assert len(found.of("batch")) == 2


def test_a_training_that_diverges():
    found = compared(("batch", "none"), rates=1e30, optimizer=lambda p, rate: optim.SGD(p, lr=rate))
    assert math.isnan(found.score("none").value)
    assert "2 of 2 diverged" in str(found)


@pytest.mark.parametrize("options", [{}, {"measures": ()}, {"seeds": 1}, {"rates": 1e30}], ids=str)
def test_a_plot(tmp_path, options):
    pytest.importorskip("matplotlib")
    compared(**options).plot(tmp_path / "found.png")
    assert (tmp_path / "found.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "error, word, options",
    [
        (TypeError, "data", {"data": pairs()}),
        (TypeError, "data", {"data": (pairs(),)}),
        (TypeError, r"data\[0\]", {"data": (np.zeros((4, 6)), np.zeros(4))}),
        (TypeError, r"data\[1\]", {"data": (pairs(), "mnist")}),
        (ValueError, "seeds", {"seeds": 0}),
        (TypeError, "epochs", {"epochs": "5"}),
        (ValueError, "batch_size", {"batch_size": 0}),
        (ValueError, "rates", {"rates": (0.1, -1)}),
        (ValueError, "rates", {"rates": ()}),
        (ValueError, "every", {"every": 0}),
        (ValueError, "rates", {"rates": (0.1, 0.1)}),
        (TypeError, "rates", {"rates": "0.1"}),
        (TypeError, "optimizer", {"optimizer": 0.1}),
        (ValueError, "measures", {"measures": "all"}),
        (TypeError, "measures", {"measures": None}),
        (TypeError, "loss", {"loss": "mse"}),
        (TypeError, "progress", {"progress": "no"}),
        (ValueError, "data[0]", {"data": ((np.zeros((4, 6)), np.zeros(3)), pairs())}),
    ],
)
def test_bad_arguments_are_refused(error, word, options):
    with refuses(error, word.replace("\\", "")):
        compared(**options)


@pytest.mark.parametrize("norms", [(), {}])
def test_no_normalizations_are_refused(norms):
    with refuses(ValueError, "compare", "norms"):
        compared(norms)


@pytest.mark.parametrize(
    "norms",
    [
        (lambda n: nn.GroupNorm(2, n), lambda n: nn.GroupNorm(3, n)),
        ("batch", "layer", "batch"),
        ("BatchNorm", nn.BatchNorm),
        {1: "batch", "1": "layer"},
    ],
)
def test_normalizations_of_one_name(norms):
    with refuses(ValueError, "compare", "norms", "dict"):
        compared(norms)


def test_the_steps_of_a_plot_are_those_of_the_longest_training(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")

    def run(seed, steps):
        probe = {"step": list(range(steps)), "gradient": [1.0] * steps, "layers": []}
        return Trained("batch", 0.1, seed, 0.5, {"valid_accuracy": [0.5]}, probe, 1.0)

    drawn = []
    lines = comparison_plots._lines
    monkeypatch.setattr(
        comparison_plots,
        "_lines",
        lambda ax, x, rows, colours: drawn.append(x) or lines(ax, x, rows, colours),
    )
    Comparison(("batch",), "accuracy", (run(0, 2), run(1, 5))).plot(tmp_path / "found.png")
    assert drawn[1] == {"batch": [0, 1, 2, 3, 4]}


def test_models_that_are_none():
    with refuses(TypeError, "compare", "build"):
        lab.compare("vgg8", data=(pairs(), pairs()))
    with refuses(TypeError, "compare", "build('batch')", "Layer"):
        lab.compare(lambda norm: None, ("batch",), data=(pairs(), pairs()))
    with refuses(ValueError, "Comparison", "norm", "batch"):
        made({"batch": [[1.0]]}).score("group")


def test_rates_may_be_an_array():
    found = compared(("batch",), rates=np.array([0.1, 0.2]), seeds=1, measures=())
    assert {run.rate for run in found.runs} == {0.1, 0.2}


def test_an_unknown_metric():
    with refuses(ValueError, "compare", "metric", "accuracy"):
        compared(metric="recall")


def test_the_lab_is_there_without_its_parts():
    from minidl.lab import compare

    assert md.lab.compare is compare is lab.compare
    with pytest.raises(AttributeError, match="no attribute"):
        _ = lab.measure
