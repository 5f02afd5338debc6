"""These tests check Probe: its figures, that the training does not change, what it costs, and how
it is resumed.
"""

import json
import math

import numpy as np
import pytest

import minidl as md
from minidl import lab, nn, optim, train
from minidl.lab.probe import MEASURES
from tests.support.errors import refuses
from tests.support.marks import small_batches
from tests.support.trainings import Stop, StopAt, digest, loader, network, pairs, trainer

pytestmark = small_batches


def columns(probe):
    """Return {(layer, figure): values} of a history."""
    return {
        (layer["name"], name): column
        for layer in probe.history["layers"]
        for name, column in layer.items()
        if isinstance(column, list)
    }


def fitted(epochs=2, model=None, optimizer=None, **options):
    """Return a probe that has measured a training."""
    model = network() if model is None else model
    probe = lab.Probe(model, **{"every": 3, **options})
    trainer(model, optimizer, callbacks=[probe]).fit(loader(), epochs=epochs)
    return probe


def test_a_history():
    probe = fitted()
    assert probe.history["step"] == [0, 3, 6, 9]
    kinds = [(row["name"], row["kind"]) for row in probe.history["layers"]]
    assert kinds == [("0", "Dense"), ("1", "BatchNorm"), ("2", "ReLU"), ("4", "Dense")]
    assert all(len(column) == 4 for column in columns(probe).values())
    assert all(len(column) == 4 for name, column in probe.history.items() if name != "layers")
    json.dumps(probe.history)
    found = columns(probe)
    of_steps = [
        found["4", "shift"],
        found["4", "shift_cosine"],
        probe.history["loss_low"],
        probe.history["smoothness"],
        found["4", "drift_mean"],
    ]
    for column in of_steps:
        assert math.isnan(column[0]) and np.isfinite(column[1:]).all()
    assert ("0", "shift") not in found  # there is no step before the first measurement
    assert {name for name, figure in found if figure == "effective_rate"} == {"0"}
    assert all(-1 <= c <= 1 for c in found["4", "shift_cosine"][1:])
    assert probe.seconds > 0


def test_the_figures_of_a_step():
    """The figures are computed again by hand, for plain SGD on the batch of the probe."""
    images, labels = pairs(24)[:]
    batch = images, labels
    model = network(dropout=0)
    probe = lab.Probe(model, every=1, batch=batch)
    rate = 0.2
    trainer(model, optim.SGD(model.parameters(), lr=rate), callbacks=[probe]).fit([batch], epochs=1)
    found, history = columns(probe), probe.history

    model = network(dropout=0)
    first, norm, last = model.children()[0], model.children()[1], model.children()[4]
    before = {p: p.data.copy() for p in model.parameters()}

    def at(step, parameters=None):
        """Return the loss and the gradients of some parameters after so many more steps."""
        for p, value in before.items():
            there = parameters is None or any(p is one for one in parameters)
            p.data[...] = value - (step * gradients[p] if there else 0)
        model.zero_grad()
        loss = md.cross_entropy(model(images), labels)
        loss.backward()
        return loss.item(), {p: p.grad.copy() for p in model.parameters()}

    gradients = dict.fromkeys(before, 0)
    start, gradients = at(0)
    assert history["loss"][0] == pytest.approx(start)
    assert found["0", "gradient"][0] == pytest.approx(
        np.linalg.norm(gradients[first.weight]), rel=1e-4
    )
    assert found["0", "effective_rate"][0] == pytest.approx(
        rate / np.square(before[first.weight]).sum(), rel=1e-4
    )
    along = [at(factor * rate) for factor in (0.5, 1, 2, 4)]
    assert history["loss"][1] == pytest.approx(along[1][0], rel=1e-5)
    losses = [loss for loss, _ in along]
    distances = [
        math.sqrt(sum(np.square(g[p] - gradients[p]).sum() for p in before)) for _, g in along
    ]
    assert history["loss_low"][1] == pytest.approx(min(losses), rel=1e-5)
    assert history["loss_high"][1] == pytest.approx(max(losses), rel=1e-5)
    assert history["distance_low"][1] == pytest.approx(min(distances), rel=1e-3)
    assert history["distance_high"][1] == pytest.approx(max(distances), rel=1e-3)
    length = rate * math.sqrt(sum(np.square(g).sum() for g in gradients.values()))
    assert history["step_norm"][1] == pytest.approx(length, rel=1e-4)
    _, moved = at(rate, [*first.parameters(), *norm.parameters()])
    change = np.linalg.norm(moved[last.weight] - gradients[last.weight])
    assert found["4", "shift_norm"][1] == pytest.approx(change, rel=1e-3)
    assert found["4", "shift"][1] == pytest.approx(
        change / np.linalg.norm(gradients[last.weight]), rel=1e-3
    )


def test_drift_and_saturation():
    model = nn.Sequential(nn.Dense(6, 8), nn.Sigmoid(), nn.Dense(8, 3))
    probe = lab.Probe(model, measures=("activations", "drift"), batch=pairs(24)[:])
    probe.look()
    first, x = model.children()[0], pairs(24)[:][0]
    units = []
    for scale in (1, 10):
        first.weight.data[...] *= scale
        units.append(1 / (1 + np.exp(-(x @ first.weight.data + first.bias.data))))
    probe.look()
    found = columns(probe)
    scale = math.sqrt(np.mean(units[0].var(axis=0)))
    moved = units[1].mean(axis=0) - units[0].mean(axis=0)
    assert found["2", "drift_mean"][1] == pytest.approx(
        math.sqrt(np.mean(moved**2)) / scale, rel=1e-4
    )
    assert found["0", "drift_mean"][1] == found["0", "drift_std"][1] == 0
    assert found["1", "saturated"][0] < 0.05 < 0.3 < found["1", "saturated"][1]


@pytest.mark.parametrize("options", [{}, {"accumulate": 2, "clip": 1.0}, {"ema": 0.9}], ids=str)
def test_the_training_has_the_same_bits_with_a_probe(options):
    """The training has the same bits with and without a probe, although dropout draws numbers,
    statistics move and gradients are accumulated.
    """
    ends = []
    for every in (None, 1, 3):
        model = network()
        probes = [] if every is None else [lab.Probe(model, every)]
        one = trainer(model, callbacks=probes, **options)
        history = one.fit(loader(), valid=loader(), epochs=3)
        del history["seconds"]
        states = [model.state_dict()] + ([one.averaged.state_dict()] if "ema" in options else [])
        ends.append((digest(*states), history, float(md.rand(1).item())))
    assert ends[0] == ends[1] == ends[2]


@pytest.mark.parametrize("kind, power", [(optim.SGD, 2), (optim.Adam, 1)])
def test_effective_rates_are_those_of_the_optimizer(kind, power):
    model = network()
    length = np.linalg.norm(model[0].weight.data)
    found = columns(fitted(model=model, optimizer=kind(model.parameters(), lr=0.01)))
    assert found["0", "effective_rate"][0] == pytest.approx(0.01 / length**power, rel=1e-5)


def test_no_gradients_within_no_grad():
    batch = pairs(16)[:]
    probe = lab.Probe(network(), batch=batch)
    with md.no_grad(), refuses(ValueError, "Probe", "no_grad", "gradients", "shift"):
        probe.look()
    assert probe.history["step"] == []
    probe = lab.Probe(network(), batch=batch, measures=("activations", "drift"))
    with md.no_grad():
        probe.look()
    assert probe.history["step"] == [0]


def test_an_optimizer_of_another_model():
    with refuses(ValueError, "Probe", "optimizer"):
        lab.Probe(network(), optimizer=optim.SGD(network().parameters(), lr=0.1))


@pytest.mark.parametrize("kind", [optim.SGD, optim.Adam])
def test_a_probe_in_a_loop_by_hand_has_the_figures_of_a_trainer(kind):
    """The figures are those of a trainer, and gradients, modes and random numbers do not change."""
    ends, probes = [], []
    for probed in (False, True):
        model = network()
        optimizer = kind(model.parameters(), lr=0.01)
        probe = lab.Probe(model, every=2, optimizer=optimizer)
        for images, labels in loader():
            optimizer.zero_grad()
            md.cross_entropy(model(images), labels).backward()
            optimizer.step()
            if probed:
                gradients = [p.grad.copy() for p in model.parameters()]
                probe.step((images, labels))
                assert all(
                    np.array_equal(p.grad, g)
                    for p, g in zip(model.parameters(), gradients, strict=True)
                )
        ends.append((digest(model.state_dict()), float(md.rand(1).item()), model.training))
        probes.append(probe)
    assert ends[0] == ends[1]
    model = network()
    callback = lab.Probe(model, every=2)
    trainer(model, kind(model.parameters(), lr=0.01), callbacks=[callback]).fit(loader(), epochs=1)
    assert probes[1].history["step"] == [2, 4]
    assert callback.history["step"] == [0, 2, 4]
    for name, column in columns(probes[1]).items():
        if "drift" not in name[1]:  # in a loop by hand, the first measurement has none before it
            np.testing.assert_array_equal(column, columns(callback)[name][1:])


def passes(measures, layers=3):
    """Return the number of forward passes of a measurement that follows a step."""

    class Counting(nn.Sequential):
        def forward(self, x):
            counts.append(1)
            return super().forward(x)

    counts = []
    model = Counting(*(layer for _ in range(layers) for layer in (nn.Dense(6, 6), nn.Tanh())))
    probe = lab.Probe(model, every=1, measures=measures, batch=pairs(8)[:])
    probe.look()
    counts.clear()
    probe.step()
    return len(counts)


@pytest.mark.parametrize(
    "measures, cost",
    [
        (("activations",), 1),
        (("activations", "drift", "gradients", "rates"), 1),
        (("gradients", "shift"), 1 + 3),
        (("gradients", "landscape"), 1 + 4),
        (MEASURES, 1 + 3 + 3),
    ],
)
def test_a_measurement_costs_what_the_docstring_says(measures, cost):
    """As the docstring says, all measures cost a pass, one for each layer, and three."""
    assert passes(measures) == cost


def test_measures_by_name():
    probe = fitted(measures="gradients")
    assert {figure for _, figure in columns(probe)} == {"gradient"}
    assert set(probe.history) == {"step", "loss", "layers"}
    probe = fitted(measures=("drift", "rates"))
    assert {figure for _, figure in columns(probe)} == {"drift_mean", "drift_std", "effective_rate"}


def test_a_sum_over_the_batch_has_the_figures_of_a_mean():
    found = []
    for reduction, loss in (
        ("mean", md.cross_entropy),
        ("sum", lambda y, t: md.cross_entropy(y, t, reduction="sum")),
    ):
        model = network(dropout=0)
        probe = lab.Probe(model)
        trainer(model, loss=loss, reduction=reduction, callbacks=[probe]).fit(loader(), epochs=0)
        found.append((probe.history["loss"][0], columns(probe)["0", "gradient"][0]))
    assert found[0] == pytest.approx(found[1], rel=1e-5)


@pytest.mark.parametrize("batches", [3, 4, 7, 10])
@pytest.mark.parametrize("options", [{}, {"accumulate": 2}], ids=str)
def test_a_resumed_training_has_the_same_history(tmp_path, batches, options):
    def probed(callbacks=(), seed=0):
        model = network(seed=seed)
        probe = lab.Probe(model, every=3)
        return probe, trainer(model, callbacks=[probe, *callbacks], **options)

    whole, one = probed()
    one.fit(loader(), epochs=3)
    _, one = probed([train.Checkpoint(tmp_path, every=1), StopAt(batches)])
    with pytest.raises(Stop):
        one.fit(loader(), epochs=3)
    resumed, one = probed([train.Checkpoint(tmp_path)], seed=5)
    one.fit(loader(seed=9), epochs=3, resume="auto")
    assert repr(whole.history) == repr(resumed.history)
    assert resumed.steps == whole.steps


def test_a_state_by_hand():
    model = network()
    first = lab.Probe(model)
    first.look(pairs(16)[:])
    second = lab.Probe(model)
    second.load_state_dict(first.state_dict())
    first.look()
    second.look()
    assert repr(first.history) == repr(second.history)
    assert second.history["layers"][0]["drift_mean"][1] == 0


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state.clear(),
        lambda state: state.pop("units"),
        lambda state: state.update(steps="many"),
        lambda state: state.update(values=np.zeros(3)),
        lambda state: state.update(units=[1]),
    ],
)
def test_what_is_no_state_is_refused(change):
    probe = lab.Probe(network(), batch=pairs(16)[:])
    probe.look()
    before, state = repr(probe.state_dict()), probe.state_dict()
    change(state)
    with refuses(ValueError, "load_state_dict of Probe", "not a state"):
        probe.load_state_dict(state)
    assert repr(probe.state_dict()) == before


def test_a_training_that_begins_anew_forgets():
    model = network()
    probe = lab.Probe(model, every=3)
    one = trainer(model, callbacks=[probe])
    one.fit(loader(), epochs=2)
    one.fit(loader(), epochs=1)
    assert probe.history["step"] == [0, 3]


def test_frozen_weights():
    model = network()
    model.children()[0].freeze()
    found = columns(fitted(model=model))
    assert all(map(math.isnan, found["0", "gradient"])) and found["4", "shift"][1] > 0
    model.freeze()
    probe = lab.Probe(model, every=1, batch=pairs(8)[:])
    probe.look()
    probe.step()
    assert math.isnan(probe.history["smoothness"][1])


def test_a_diverged_training_is_seen():
    model = network(norm=False)
    probe = lab.Probe(model, every=1)
    with pytest.raises(FloatingPointError):
        trainer(model, optim.SGD(model.parameters(), lr=1e30), callbacks=[probe]).fit(loader())
    assert not np.isfinite(probe.history["loss"][-1])


@pytest.mark.parametrize(
    "figures, name",
    [
        (None, "probe.png"),
        ("shift", "probe"),
        (["std", "loss along the step", "loss"], "probe.svg"),
    ],
)
def test_a_plot(tmp_path, figures, name):
    pytest.importorskip("matplotlib")
    fitted().plot(tmp_path / name, figures)
    content = (tmp_path / name).read_bytes()
    assert content.startswith(b"<?xml" if name.endswith("svg") else b"\x89PNG")


def test_what_cannot_be_plotted(tmp_path):
    pytest.importorskip("matplotlib")
    path = tmp_path / "probe.png"
    with refuses(ValueError, "Probe.plot", "the history is empty"):
        lab.Probe(network()).plot(path)
    with refuses(ValueError, "Probe.plot", "figures", "smoothness"):
        fitted().plot(path, "steepness")
    with refuses(ValueError, "Probe.plot", "saturated"):
        fitted().plot(path, "saturated")
    with refuses(TypeError, "Probe.plot", "figures"):
        fitted().plot(path, 3)
    assert not path.exists()


@pytest.mark.parametrize(
    "error, word, arguments",
    [
        (TypeError, "model", {"model": lambda x: x}),
        (TypeError, "every", {"every": 2.5}),
        (ValueError, "every", {"every": 0}),
        (ValueError, "measures", {"measures": "sharpness"}),
        (ValueError, "measures", {"measures": ()}),
        (TypeError, "measures", {"measures": 3}),
        (TypeError, "batch", {"batch": "mnist"}),
        (TypeError, "batch", {"batch": 3}),
        (TypeError, "optimizer", {"optimizer": 0.1}),
        (TypeError, "loss", {"loss": "mse"}),
    ],
)
def test_bad_arguments_are_refused(error, word, arguments):
    with refuses(error, "Probe", word):
        lab.Probe(**{"model": network(), **arguments})


def test_a_probe_of_another_model_and_without_a_batch():
    with refuses(ValueError, "Probe", "model"):
        trainer(callbacks=[lab.Probe(network())]).fit(loader())
    probe = lab.Probe(network())
    for call in (probe.step, probe.look):
        with refuses(ValueError, "Probe", "batch"):
            call()
