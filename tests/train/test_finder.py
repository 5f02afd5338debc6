"""These tests check LearningRateFinder: its curve, and that it leaves everything as it was."""

import sys

import numpy as np
import pytest

import minidl as md
from minidl import optim, train
from tests.support.errors import refuses
from tests.support.trainings import digest, loader, network, pairs, same_bits, trainer


def test_everything_is_left_as_it_was():
    plain, looked = network(), network()
    md.manual_seed(1)
    trainer(plain).fit(loader(), epochs=2)
    md.manual_seed(1)
    batches, t = loader(), trainer(looked)
    finder = train.LearningRateFinder(steps=30)
    assert finder.find(t, batches) is finder
    t.fit(batches, epochs=2)
    assert same_bits(plain, looked)


def test_the_curve_is_that_of_steps_with_growing_rates():
    model, expected = (network(dropout=0.0) for _ in range(2))
    finder = train.LearningRateFinder(low=1e-3, high=1e-1, steps=5, smoothing=0.0)
    finder.find(trainer(model), loader())
    rates, losses = [10 ** (-3 + i / 2) for i in range(5)], []
    optimizer = optim.SGD(expected.parameters(), lr=1.0, momentum=0.9)
    for rate, (x, y) in zip(rates, loader().once(), strict=True):
        optimizer.lr = rate
        loss = md.cross_entropy(expected(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    np.testing.assert_allclose(finder.rates, rates, rtol=1e-12)
    np.testing.assert_allclose(finder.losses, losses, rtol=1e-6)


def test_the_suggestion_is_where_the_loss_falls_fastest():
    finder = train.LearningRateFinder(steps=7)
    finder.rates = [10.0**k for k in range(-6, 1)]
    finder.losses = [2.0, 2.0, 1.8, 1.0, 0.9, 3.0, 9.0]
    assert finder.suggestion == pytest.approx(10**-3.5)  # the loss falls from 1.8 to 1.0


def test_it_ends_where_the_loss_grows():
    finder = train.LearningRateFinder(low=1e-5, high=1e4, steps=90).find(
        trainer(network(norm=False)), loader()
    )
    assert len(finder.rates) < 90 and np.isfinite(finder.losses).all()
    assert 1e-3 < finder.suggestion < 100


def test_as_a_callback(tmp_path):
    model = network()
    optimizer = optim.SGD(
        [{"params": [model[0].weight], "lr": 0.5}, {"params": model[4].parameters()}], lr=1.0
    )
    finder = train.LearningRateFinder(low=1e-4, steps=60, apply=True)
    t = trainer(model, optimizer, callbacks=[finder])
    history = t.fit(loader(), epochs=1)
    assert history["lr"] == [finder.suggestion]


def test_not_in_a_training_that_is_resumed(tmp_path):
    trainer(callbacks=[train.Checkpoint(tmp_path), train.LearningRateFinder(steps=10)]).fit(
        loader(), epochs=1
    )
    finder = train.LearningRateFinder(steps=99)
    trainer(callbacks=[train.Checkpoint(tmp_path), finder]).fit(loader(), epochs=2, resume="auto")
    assert len(finder.rates) == 10  # the curve of the first call


def test_plot(tmp_path):
    pytest.importorskip("matplotlib")
    finder = train.LearningRateFinder(steps=30).find(trainer(), loader())
    finder.plot(tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes()[1:4] == b"PNG"


def test_plot_says_what_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"minidl\[plot\]"):
        train.LearningRateFinder().plot()


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"low": 0}, ValueError, "low must be"),
        ({"low": 1.0, "high": 0.5}, ValueError, "high must be"),
        ({"steps": 2}, ValueError, "steps must be"),
        ({"smoothing": 1.0}, ValueError, "smoothing must be"),
    ],
)
def test_wrong_arguments_are_refused(options, error, text):
    with pytest.raises(error, match=f"^LearningRateFinder: {text}"):
        train.LearningRateFinder(**options)


def test_no_suggestion():
    finder = train.LearningRateFinder()
    with pytest.raises(ValueError, match="has not been called"):
        finder.suggestion  # noqa: B018
    finder.rates, finder.losses = [1.0, 2.0, 3.0], [1.0, 1.0, 1.0]
    with pytest.raises(ValueError, match="has not fallen"):
        finder.suggestion  # noqa: B018
    model = network()
    optimizer = optim.SGD(model.parameters(), lr=1.0)
    t = trainer(
        model,
        optimizer,
        schedule=optim.StepLR(optimizer, 1),
        callbacks=[train.LearningRateFinder(apply=True)],
    )
    with pytest.raises(ValueError, match="without schedule"):
        t.fit(loader())
    with pytest.raises(ValueError, match="no batch"):
        train.LearningRateFinder().find(trainer(), [])


def test_an_error_leaves_the_model_as_it_was():
    model = network()
    before = digest(model.state_dict())
    batches = [*list(loader())[:2], (pairs().images[:8], np.arange(8))]
    with pytest.raises(ValueError, match="label"):
        train.LearningRateFinder().find(trainer(model), batches)
    assert digest(model.state_dict()) == before


def test_a_model_that_has_learned_already():
    """Its loss varies equally at all rates before it grows, so that what falls is noise."""
    noise = 0.1 + 0.01 * np.sin(np.arange(30.0) ** 2)
    finder = train.LearningRateFinder(steps=36)
    finder.rates = (1e-6 * 1.5 ** np.arange(36)).tolist()
    finder.losses = [*noise, 0.12, 0.15, 0.2, 0.3, 0.4, 0.41]
    with refuses(ValueError, "no suggestion", "learned already"):
        _ = finder.suggestion
    pytest.importorskip("matplotlib")
    assert len(finder.plot().axes[0].lines) == 1
    finder.losses = [*(1 + noise), 1.0, 0.8, 0.5, 0.3, 0.4, 0.5]  # the loss falls at the end
    assert finder.rates[30] < finder.suggestion < finder.rates[33]
