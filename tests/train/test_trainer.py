"""These tests check Trainer.fit: the bits of a loop written by hand, accumulation, tasks, history,
errors.
"""

import functools
import sys
import time

import numpy as np
import pytest

import minidl as md
from minidl import data, nn, optim, train
from tests.support.trainings import loader, network, pairs, same_bits, trainer


@pytest.mark.parametrize("clip", [None, 0.5])
def test_the_same_bits_as_a_loop_written_by_hand(clip):
    model, expected = network(), network()
    md.manual_seed(1)
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    schedule = optim.OneCycleLR(optimizer, max_lr=0.3, steps=15)
    history = trainer(model, optimizer, schedule=schedule, clip=clip).fit(loader(), epochs=3)

    md.manual_seed(1)
    optimizer = optim.SGD(expected.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    schedule = optim.OneCycleLR(optimizer, max_lr=0.3, steps=15)
    batches, losses, rates, accuracies = loader(), [], [], []
    for _ in range(3):
        total, hits = 0.0, 0.0
        for x, y in batches:
            outputs = expected(x)
            loss = md.cross_entropy(outputs, y)
            expected.zero_grad()
            loss.backward()
            if clip is not None:
                optim.clip_grad_norm(expected, clip)
            optimizer.step()
            rate = optimizer.lr
            schedule.step()
            total += loss.item() * len(y)
            hits += md.accuracy(outputs, y) * len(y)
        losses.append(total / 40)
        accuracies.append(hits / 40)
        rates.append(rate)
    assert same_bits(model, expected)
    assert history["loss"] == losses and history["lr"] == rates
    np.testing.assert_allclose(history["accuracy"], accuracies)
    assert len(history["seconds"]) == 3 and set(history) == {"loss", "accuracy", "lr", "seconds"}


def test_validation_is_evaluate_in_evaluation_mode():
    model = network()
    t = trainer(model)
    history = t.fit(loader(), valid=data.DataLoader(pairs(13, seed=5), 4), epochs=2)
    outputs = md.tensor(model.predict(pairs(13, seed=5).images))
    labels = pairs(13, seed=5).labels
    expected = md.cross_entropy(outputs, labels).item()
    found = t.evaluate(data.DataLoader(pairs(13, seed=5), 4))
    assert found == {
        "loss": pytest.approx(expected, rel=1e-6),
        "accuracy": pytest.approx(md.accuracy(outputs, labels)),
    }
    assert history["valid_loss"][-1] == found["loss"]
    assert history["valid_accuracy"][-1] == found["accuracy"]
    assert model.training


@pytest.mark.parametrize(
    "valid",
    [pairs(13, seed=5), (pairs(13, seed=5).images, pairs(13, seed=5).labels)],
    ids=["a data set", "a tuple of arrays"],
)
def test_what_can_be_evaluated(valid):
    t = trainer()
    expected = t.evaluate(data.DataLoader(pairs(13, seed=5), 13))
    assert t.evaluate(valid) == expected


def test_evaluation_and_validation_leave_the_epochs_of_a_loader_alone():
    batches = loader()
    t = trainer()
    t.evaluate(batches)
    t.fit(batches, valid=batches, epochs=2)
    assert batches.state_dict() == {"seed": 3, "epoch": 2, "position": 0}


# ------------------------------------------------------------------------------- accumulation


@pytest.mark.parametrize(
    ("count", "small", "large", "times"), [(40, 4, 8, 2), (38, 4, 12, 3), (13, 5, 10, 2)]
)
def test_accumulated_gradients_are_those_of_the_large_batch(count, small, large, times):
    found, expected = (network(norm=False, dropout=0.0).astype(np.float64) for _ in range(2))
    t = trainer(found, accumulate=times, precision="float64")
    t.fit(loader(count, small), epochs=2)
    other = trainer(expected, precision="float64")
    other.fit(loader(count, large), epochs=2)
    assert t.step == other.step == 2 * -(-count // large)
    for a, b in zip(found.parameters(), expected.parameters(), strict=True):
        np.testing.assert_allclose(a.data, b.data, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(t.history["loss"], other.history["loss"], rtol=1e-12)


def test_accumulated_sums():
    losses = functools.partial(md.cross_entropy, reduction="sum")
    found, expected = (network(norm=False, dropout=0.0).astype(np.float64) for _ in range(2))
    for model, size, times in ((found, 5, 2), (expected, 10, 1)):
        optimizer = optim.SGD(model.parameters(), lr=0.01)
        history = trainer(
            model, optimizer, loss=losses, reduction="sum", accumulate=times, precision="float64"
        ).fit(loader(13, size))
        assert history["loss"][0] < 3  # the loss of an item, not of a batch
    for a, b in zip(found.parameters(), expected.parameters(), strict=True):
        np.testing.assert_allclose(a.data, b.data, rtol=1e-12, atol=1e-14)


# -------------------------------------------------------------------------------------- tasks


def fitted(labels, outputs, **options):
    x = pairs(40).images
    md.manual_seed(0)
    model = nn.Dense(6, outputs)
    optimizer = optim.Adam(model.parameters(), lr=0.03)
    batches = data.DataLoader(data.ArrayDataset(x, labels), 8)
    return trainer(model, optimizer, **options).fit(batches, epochs=40)


def test_several_labels():
    x = pairs(40).images
    history = fitted((x[:, :4] > 0).astype(np.float32), 4, loss=md.binary_cross_entropy_with_logits)
    assert history["accuracy"][-1] > 0.95 > history["accuracy"][0]


@pytest.mark.parametrize(
    "loss", [md.cross_entropy, lambda a, b: md.cross_entropy(a, b)], ids=["known", "of one's own"]
)
def test_distributions_as_labels(loss):
    labels = np.eye(3, dtype=np.float32)[pairs().labels] * 0.9 + 1 / 30
    history = fitted(labels, 3, loss=loss)
    assert history["accuracy"][-1] > 0.8


def test_a_user_defined_loss_for_numbers_has_no_accuracy():
    history = fitted(pairs().images[:, :2] * 2, 2, loss=lambda a, b: md.mse_loss(a, b))
    assert set(history) == {"loss", "lr", "seconds"}


def test_numbers_have_errors_and_no_accuracy():
    x = pairs(40).images
    history = fitted(
        (x[:, :1] * 2 + 1).astype(np.float64),
        1,
        loss=md.mse_loss,
        metrics=("accuracy", "mae", "mse"),
    )
    assert set(history) == {"loss", "mae", "mse", "lr", "seconds"}
    assert history["mse"] == pytest.approx(history["loss"], rel=1e-5)
    assert history["mae"][-1] < history["mae"][0] / 4


def test_labels_of_pixels_some_of_them_ignored():
    images = np.random.default_rng(0).random((12, 5, 4, 1), dtype=np.float32)
    labels = (images[..., 0] > 0.5).astype(int)
    labels[:, 0] = 255
    md.manual_seed(0)
    model = nn.Conv(1, 2, 1)
    history = trainer(
        model,
        optim.Adam(model.parameters(), lr=0.1),
        loss=functools.partial(md.cross_entropy, ignore_index=255),
    ).fit(data.DataLoader(data.ArrayDataset(images, labels), 4), epochs=60)
    assert history["accuracy"][-1] > 0.9


def test_metrics_that_are_functions():
    def largest(outputs, labels):
        assert isinstance(outputs, np.ndarray) and isinstance(labels, np.ndarray)
        return outputs.max(axis=1)  # for each item

    t = trainer(metrics=(largest, "top2"))
    found = t.evaluate(data.DataLoader(pairs(13), 4))
    scores = t.model.predict(pairs(13).images)
    assert found["largest"] == pytest.approx(scores.max(axis=1).mean(), rel=1e-6)
    best = np.argsort(scores, axis=1)[:, -2:]
    assert found["top2"] == np.mean(
        [y in row for y, row in zip(pairs(13).labels, best, strict=True)]
    )


def test_precision_converts_the_model():
    model = network()
    trainer(model, precision="float64").fit(loader())
    assert {p.dtype for p in model.parameters()} == {np.dtype(np.float64)}


# ------------------------------------------------------------------------------------ schedules


def test_plateau_is_stepped_with_the_validation_loss():
    model = network()
    optimizer = optim.SGD(model.parameters(), lr=1.0)
    schedule = optim.ReduceOnPlateau(optimizer, factor=0.5, patience=0, threshold=1e6, min_lr=0.2)
    history = trainer(model, optimizer, schedule=schedule).fit(loader(), valid=pairs(8), epochs=4)
    assert history["lr"] == [1.0, 1.0, 0.5, 0.25]


def test_a_plateau_needs_a_validation():
    model = network()
    optimizer = optim.SGD(model.parameters(), lr=1.0)
    with pytest.raises(ValueError, match="needs valid="):
        trainer(model, optimizer, schedule=optim.ReduceOnPlateau(optimizer)).fit(loader())


# ------------------------------------------------------------------------------------- progress


def test_a_line_an_epoch_where_stderr_is_no_terminal(capsys):
    trainer(progress=True).fit(loader(), valid=pairs(8), epochs=2)
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == "" and len(lines) == 2
    assert lines[0].startswith("epoch 1/2  loss ") and "valid_accuracy" in lines[1]


def test_a_bar_on_a_terminal(capsys, monkeypatch):
    class Slow:
        """Takes so long that the bar is drawn again."""

        def on_batch_end(self, trainer):
            time.sleep(0.11)

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    trainer(progress=True, callbacks=[Slow()]).fit(loader(), epochs=1)
    shown = capsys.readouterr().err
    assert "epoch 1/1:" in shown and "/5 [" in shown and ", loss " in shown
    assert shown.splitlines()[-1].strip().startswith("epoch 1/1  loss")


# --------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"loss": 3}, TypeError, "loss must be a function"),
        ({"clip": 0}, ValueError, "clip must be"),
        ({"accumulate": 0}, ValueError, "accumulate must be"),
        ({"ema": 1.0}, ValueError, "ema must be"),
        ({"precision": "float16"}, ValueError, "precision must be"),
        ({"metrics": ("recall",)}, ValueError, "metrics must be"),
        ({"metrics": ("accuracy", "accuracy")}, ValueError, "twice"),
        ({"callbacks": [object()]}, TypeError, "on_epoch_end"),
        ({"callbacks": [train.CSVLogger]}, TypeError, "callbacks must be"),
        ({"schedule": 0.1}, TypeError, "schedule must be"),
        ({"reduction": "none"}, ValueError, "reduction must be"),
    ],
)
def test_wrong_arguments_are_refused(options, error, text):
    with pytest.raises(error, match=f"^Trainer: .*{text}"):
        trainer(**options)


def test_an_optimizer_of_another_model():
    model, other = network(), network()
    with pytest.raises(ValueError, match="has none of them: it was made for another model"):
        trainer(model, optim.SGD(other.parameters(), lr=1.0))
    some = [*other.parameters(), next(iter(model.parameters()))]  # a loss may have parameters
    trainer(model, optim.SGD(some, lr=1.0))


def test_a_schedule_of_another_optimizer():
    model = network()
    a, b = (optim.SGD(model.parameters(), lr=1.0) for _ in range(2))
    with pytest.raises(ValueError, match="another"):
        trainer(model, a, schedule=optim.StepLR(b, 1))


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        (pairs(), TypeError, r"data\.DataLoader\(loader"),
        ((1, 2), TypeError, r"data\.DataLoader\(loader"),
        (iter([1]), TypeError, "only once"),
        (3, TypeError, "iterable of batches"),
        ([], ValueError, "has no batch"),
    ],
)
def test_loaders_that_are_none(given, error, text):
    with pytest.raises(error, match=text):
        trainer().fit(given)


@pytest.mark.parametrize(
    ("loss", "error", "text"),
    [
        (lambda outputs, labels: 1.0, TypeError, "must return a tensor"),
        (lambda outputs, labels: outputs, ValueError, "one number"),
    ],
)
def test_losses_that_are_none(loss, error, text):
    with pytest.raises(error, match=text):
        trainer(loss=loss).fit(loader())
