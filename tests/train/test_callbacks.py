"""These tests check callbacks: when they are called, EarlyStopping, their states."""

import pytest

from minidl import train
from tests.support.trainings import loader, pairs, trainer


class Names:
    """Records which methods were called, and at which point of the training."""

    def __init__(self):
        self.seen = []

    def __getattr__(self, name):
        if not name.startswith("on_") or name == "on_interrupt":
            raise AttributeError(name)
        return lambda t: self.seen.append((name[3:], t.epoch, t.batch, t.step))


def test_when_they_are_called():
    names = Names()
    trainer(callbacks=[names], accumulate=2).fit(loader(16), epochs=2)
    assert names.seen == [
        ("fit_begin", 0, 0, 0),
        ("epoch_begin", 0, 0, 0),
        ("batch_end", 0, 1, 0),
        ("batch_end", 0, 2, 1),
        ("epoch_end", 1, 0, 1),
        ("epoch_begin", 1, 0, 1),
        ("batch_end", 1, 1, 1),
        ("batch_end", 1, 2, 2),
        ("epoch_end", 2, 0, 2),
        ("fit_end", 2, 0, 2),
    ]


def test_a_callback_ends_the_training():
    class Stop:
        def on_epoch_end(self, trainer):
            trainer.stop = trainer.epoch == 2

    t = trainer(callbacks=[Stop()])
    assert len(t.fit(loader(), epochs=9)["loss"]) == 2
    assert len(t.fit(loader(), epochs=1)["loss"]) == 1  # a new training is not stopped


def losses(stopping, values, resume=None, **options):
    """Return the number of epochs of a training with these validation losses."""
    t = trainer(callbacks=[stopping, *options.pop("callbacks", ())], metrics=())
    t.evaluate = lambda loader: {"loss": values[t.epoch], "score": values[t.epoch]}
    return len(t.fit(loader(8), valid=pairs(8), epochs=len(values), resume=resume)["loss"])


@pytest.mark.parametrize(
    ("options", "values", "epochs"),
    [
        ({}, [3, 2, 2, 2, 2, 2, 2, 1], 7),
        ({"patience": 1}, [3, 2, 1, 1, 0], 4),
        ({"patience": 2}, [3, 2, 2, 1, 1, 1, 0], 6),
        ({"patience": 2, "min_delta": 1.5}, [5, 4, 3, 2, 1], 5),
        ({"patience": 2, "min_delta": 1.5}, [5, 4, 4, 2, 1], 3),
        ({"patience": 1, "monitor": "valid_score"}, [1, 2, 3, 2, 9], 4),
        ({"patience": 1, "monitor": "valid_score", "mode": "min"}, [3, 2, 1, 1, 0], 4),
        ({"patience": 2}, [float("nan"), float("nan"), 1], 2),
    ],
)
def test_early_stopping(options, values, epochs):
    assert losses(train.EarlyStopping(**options), values) == epochs


def test_early_stopping_begins_anew_with_every_training():
    stopping = train.EarlyStopping(patience=2)
    assert [losses(stopping, [3, 3, 3, 3]) for _ in range(2)] == [3, 3]
    assert (stopping.best, stopping.waited) == (3, 2)


def test_early_stopping_goes_on_with_a_checkpoint(tmp_path):
    """This works if it comes after Checkpoint in the list, and if it has already stopped the
    training.
    """
    checkpoint = train.Checkpoint(tmp_path)
    assert losses(train.EarlyStopping(patience=3), [3, 2, 2], callbacks=[checkpoint]) == 3
    for _ in range(2):
        t = trainer(
            callbacks=[train.Checkpoint(tmp_path), train.EarlyStopping(patience=3)], metrics=()
        )
        t.evaluate = lambda loader: {"loss": 2.0, "score": 2.0}
        assert len(t.fit(loader(8), valid=pairs(8), epochs=9, resume="auto")["loss"]) == 5


@pytest.mark.parametrize(
    ("monitor", "text"),
    [
        ("valid_loss", "monitor is 'valid_loss', but fit has no valid="),
        ("recall", "monitor must be one of loss, accuracy, lr"),
    ],
)
def test_early_stopping_without_its_column(monitor, text):
    with pytest.raises(ValueError, match=f"^EarlyStopping: {text}"):
        trainer(callbacks=[train.EarlyStopping(monitor)]).fit(loader())


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"patience": 0}, ValueError, "patience must be"),
        ({"patience": 1.5}, TypeError, "patience must be"),
        ({"min_delta": -1}, ValueError, "min_delta must be"),
        ({"mode": "most"}, ValueError, "mode must be"),
        ({"monitor": None}, TypeError, "monitor must be"),
    ],
)
def test_wrong_arguments_are_refused(options, error, text):
    with pytest.raises(error, match=f"^EarlyStopping: {text}"):
        train.EarlyStopping(**options)


class Counts:
    """A user's callback with a state."""

    def __init__(self):
        self.epochs = 0

    def on_epoch_end(self, trainer):
        self.epochs += 1

    def state_dict(self):
        return {"epochs": self.epochs}

    def load_state_dict(self, state):
        self.epochs = state["epochs"]


def test_states_of_user_defined_callbacks_are_part_of_a_checkpoint(tmp_path):
    trainer(callbacks=[Counts(), Counts(), train.Checkpoint(tmp_path)]).fit(loader(), epochs=2)
    first, second, third = Counts(), Counts(), Counts()
    trainer(callbacks=[train.Checkpoint(tmp_path), first, second, third]).fit(
        loader(), epochs=3, resume="auto"
    )
    assert [first.epochs, second.epochs, third.epochs] == [3, 3, 1]
