"""These tests check LayerStatistics: what it measures, that the training does not change, and that
it survives a resumption.
"""

import json
import math

import numpy as np
import pytest

import minidl as md
from minidl import data, nn, optim, train
from minidl.grad_mode import no_grad
from minidl.tracers import following
from minidl.train.watch import Watch
from tests.support.errors import refuses
from tests.support.marks import small_batches
from tests.support.reports import pictures, small_network, trained
from tests.support.trainings import Stop, StopAt, digest, loader, network, trainer


def columns(layers):
    """Return {(layer, figure): values} of a history."""
    return {
        (layer["name"], name): column
        for layer in layers.history["layers"]
        for name, column in layer.items()
        if isinstance(column, list)
    }


def same(a, b):
    """Return whether two histories are equal, where NaN equals NaN."""
    return repr(a.history) == repr(b.history)


def test_the_layers_in_their_order():
    layers = train.LayerStatistics()
    trained([layers])
    assert [(row["name"], row["kind"]) for row in layers.history["layers"]] == [
        ("0", "Conv"),
        ("1", "BatchNorm"),
        ("2", "ReLU"),
        ("4", "Dense"),
    ]
    assert layers.history["epoch"] == [0, 1, 2]
    assert all(len(column) == 3 for column in columns(layers).values())
    json.dumps(layers.history)  # it has plain lists and numbers


def test_activations_functions_and_repeated_calls_have_names():
    class Twice(nn.Layer):
        def __init__(self):
            super().__init__()
            self.dense = nn.Dense(6, 6)
            self.out = nn.Dense(6, 3)

        def forward(self, x):
            return self.out(md.gelu(md.relu(self.dense(md.relu(self.dense(x))))))

    layers = train.LayerStatistics()
    trainer(Twice(), callbacks=[layers]).fit(loader(), epochs=1)
    assert [row["name"] for row in layers.history["layers"]] == [
        "dense",
        "relu",
        "relu 2",
        "gelu",
        "out",
    ]


def test_the_figures_are_those_of_the_batch():
    """Each figure is computed again, from the model as it was before the first step."""
    model = small_network()
    images, labels = data.DataLoader(pictures(), 60).once().__next__()
    layers = train.LayerStatistics((images, labels))
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    train.Trainer(model, optimizer, progress=False, callbacks=[layers]).fit(
        data.DataLoader(pictures(), 60), epochs=1
    )
    model = small_network()
    conv, norm, relu, _, dense = model.children()
    seen = [conv(images)]
    seen += [norm(seen[0])]
    seen += [relu(seen[1])]
    loss = md.cross_entropy(model(images), labels)
    loss.backward()
    found = columns(layers)
    for name, x in zip("012", seen, strict=True):
        assert found[name, "mean"][0] == pytest.approx(x.data.mean(), abs=1e-6)
        assert found[name, "std"][0] == pytest.approx(x.data.std(), rel=1e-5)
    assert found["1", "std_before"] == found["0", "std"]
    assert found["1", "mean_before"] == found["0", "mean"]
    assert found["1", "std"][0] == pytest.approx(1, abs=1e-3)  # as BatchNorm does
    for name, layer in (("0", conv), ("4", dense)):
        gradient = layer.weight.grad
        norm_of_weight = np.linalg.norm(layer.weight.data)
        assert found[name, "gradient"][0] == pytest.approx(np.linalg.norm(gradient), rel=1e-5)
        assert math.isnan(found[name, "update"][0])
        # The only step of the epoch had this gradient.
        assert found[name, "update"][1] == pytest.approx(
            0.1 * np.linalg.norm(gradient) / norm_of_weight, rel=1e-4
        )


def test_dead_units():
    model = nn.Sequential(nn.Dense(6, 8), nn.ReLU(), nn.Dense(8, 3))
    model.children()[0].bias.data[:6] = -100
    layers = train.LayerStatistics()
    trainer(model, optim.SGD(model.parameters(), lr=1e-4), callbacks=[layers]).fit(loader())
    assert columns(layers)["1", "dead"] == [0.75, 0.75]


def test_a_sum_over_the_batch_has_the_gradient_of_a_mean():
    found = []
    for reduction, loss in (
        ("mean", md.cross_entropy),
        ("sum", lambda y, t: md.cross_entropy(y, t, reduction="sum")),
    ):
        layers = train.LayerStatistics()
        trainer(network(dropout=0), loss=loss, reduction=reduction, callbacks=[layers]).fit(
            loader()
        )
        found.append(columns(layers)["0", "gradient"][0])
    assert found[0] == pytest.approx(found[1], rel=1e-5)


@pytest.mark.parametrize("options", [{}, {"accumulate": 2, "clip": 1.0}, {"ema": 0.9}], ids=str)
def test_the_training_has_the_same_bits_with_statistics(options):
    """The bits are the same with and without, although dropout draws, statistics move and gradients
    are accumulated.
    """
    ends = []
    for callbacks in ([], [train.LayerStatistics()], [train.LayerStatistics(loader(8))]):
        model = network()
        one = trainer(model, callbacks=callbacks, **options)
        history = one.fit(loader(), valid=loader(), epochs=3)
        del history["seconds"]
        ends.append(
            (
                digest(
                    model.state_dict(), *([one.averaged.state_dict()] if options.get("ema") else [])
                ),
                history,
                float(md.rand(1).item()),
            )
        )
    assert ends[0] == ends[1] == ends[2]


def test_gradients_and_modes_are_left_alone():
    model = network()
    layers = train.LayerStatistics()
    one = trainer(model, callbacks=[layers])
    one.fit(loader(), epochs=1)
    before = [p.grad.copy() for p in model.parameters()]
    layers.on_epoch_end(one)
    for p, gradient in zip(model.parameters(), before, strict=True):
        np.testing.assert_array_equal(p.grad, gradient)
    assert model.training


def test_the_size_of_a_step_is_that_of_the_last_one():
    """The epoch ends with a step of fewer batches, and is also measured without a length."""

    class Batches:
        def __iter__(self):
            return iter(list(loader(24).once()))

    for batches, accumulate in ((loader(24), 1), (loader(24), 2), (Batches(), 1), (Batches(), 2)):
        before = {}

        class Keep:
            def on_batch_end(self, one, before=before):
                if one.batch == 2:
                    before[one.epoch] = one.model.children()[0].weight.data.copy()

        layers = train.LayerStatistics()
        one = trainer(network(), callbacks=[layers, Keep()], accumulate=accumulate)
        one.fit(batches, epochs=1)
        weight = one.model.children()[0].weight.data
        assert columns(layers)["0", "update"][1] == pytest.approx(
            np.linalg.norm(weight - before[0]) / np.linalg.norm(before[0]), rel=1e-5
        )


@pytest.mark.parametrize("batches", [3, 5, 6, 9, 10, 13])
@pytest.mark.parametrize("options", [{}, {"accumulate": 2}], ids=str)
def test_a_resumed_training_has_the_same_history(tmp_path, batches, options):
    whole = train.LayerStatistics()
    trainer(network(), callbacks=[whole], **options).fit(loader(), epochs=3)
    checkpoint = train.Checkpoint(tmp_path, every=1)
    with pytest.raises(Stop):
        trainer(
            network(), callbacks=[train.LayerStatistics(), checkpoint, StopAt(batches)], **options
        ).fit(loader(), epochs=3)
    resumed = train.LayerStatistics()
    trainer(network(seed=5), callbacks=[resumed, train.Checkpoint(tmp_path)], **options).fit(
        loader(seed=9), epochs=3, resume="auto"
    )
    assert same(whole, resumed)


def test_a_loader_that_cannot_go_back_is_asked_once(tmp_path):
    """Its first batch is part of the checkpoint."""

    class Drawing:
        def __init__(self, seed):
            self.rng = np.random.default_rng(seed)

        def __iter__(self):
            for _ in range(2):
                yield (
                    self.rng.standard_normal((8, 6)).astype(np.float32),
                    self.rng.integers(0, 3, 8),
                )

    first = train.LayerStatistics()
    trainer(network(), callbacks=[first, train.Checkpoint(tmp_path)]).fit(Drawing(0), epochs=1)
    second = train.LayerStatistics()
    one = trainer(network(), callbacks=[second, train.Checkpoint(tmp_path)])
    one.fit(Drawing(1), epochs=1, resume="auto")
    assert same(first, second)
    np.testing.assert_array_equal(
        second._batch[0], np.random.default_rng(0).standard_normal((8, 6)).astype("f4")
    )


def test_a_training_that_begins_anew_forgets():
    layers = train.LayerStatistics()
    one = trainer(callbacks=[layers])
    one.fit(loader(), epochs=2)
    one.fit(loader(), epochs=1)
    assert layers.history["epoch"] == [0, 1]


@pytest.mark.parametrize(
    "given",
    [
        lambda: loader(),
        lambda: pictures(),
        lambda: list(data.DataLoader(pictures(), 60).once()),
        lambda: next(data.DataLoader(pictures(), 60).once()),
    ],
    ids=["loader", "set", "list", "batch"],
)
def test_what_the_batch_may_come_from(given):
    layers = train.LayerStatistics(given())
    model = network() if isinstance(layers._source.given, data.DataLoader) else small_network()
    batches = (
        loader()
        if isinstance(layers._source.given, data.DataLoader)
        else data.DataLoader(pictures(), 20)
    )
    trainer(model, callbacks=[layers]).fit(batches, epochs=1)
    assert layers.history["epoch"] == [0, 1]


def test_frozen_weights_have_no_gradient():
    model = network()
    model.children()[0].freeze()
    layers = train.LayerStatistics()
    trainer(model, callbacks=[layers]).fit(loader(), epochs=1)
    found = columns(layers)
    assert all(map(math.isnan, found["0", "gradient"])) and found["0", "update"][1] == 0
    assert found["4", "gradient"][1] > 0


@small_batches
def test_layers_that_are_not_always_called():
    class Growing(nn.Layer):
        def __init__(self):
            super().__init__()
            self.first, self.extra, self.out = nn.Dense(6, 6), nn.Dense(6, 6), nn.Dense(6, 3)
            self.calls = 0

        def forward(self, x):
            self.calls += 1
            x = self.first(x)
            return self.out(self.extra(x) if self.calls > 3 else x)

    layers = train.LayerStatistics()
    trainer(Growing(), callbacks=[layers]).fit(loader(), epochs=2)
    extra = columns(layers)["extra", "std"]
    assert math.isnan(extra[0]) and extra[1] > 0 and len(extra) == 3


@pytest.mark.parametrize("given", ["batch", lambda: 3])
def test_bad_arguments_are_refused(given):
    with refuses(TypeError, "LayerStatistics", "batch_or_loader"):
        train.LayerStatistics(given)


def test_a_loader_without_batches():
    with refuses(ValueError, "LayerStatistics", "no batch"):
        trainer(callbacks=[train.LayerStatistics([])]).fit(loader())


def test_a_watch_needs_no_graph():
    model = small_network()
    watch = Watch(model)
    with no_grad(), following(watch):
        model(np.zeros((4, 12, 12, 1), np.float32))
    assert list(watch.rows) == ["0", "1", "2", "4"]
