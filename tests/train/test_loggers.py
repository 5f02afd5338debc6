"""These tests check the files of loggers, also after a training was resumed."""

import csv
import json
import sys
from types import SimpleNamespace

import pytest

from minidl import train
from tests.support.trainings import loader, pairs, trainer


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_csv(tmp_path):
    history = trainer(callbacks=[train.CSVLogger(tmp_path / "new" / "log.csv")]).fit(
        loader(), valid=pairs(8), epochs=3
    )
    found = rows(tmp_path / "new" / "log.csv")
    assert [row.pop("epoch") for row in found] == ["1", "2", "3"]
    assert {name: [float(row[name]) for row in found] for name in found[0]} == history


def test_json(tmp_path):
    def broken(outputs, labels):
        return float("nan")

    history = trainer(
        metrics=["accuracy", broken], callbacks=[train.JSONLogger(tmp_path / "log.json")]
    ).fit(loader(), epochs=2)
    found = json.loads((tmp_path / "log.json").read_text())
    assert found == {**history, "broken": [None, None]}


@pytest.mark.parametrize("logger", [train.CSVLogger, train.JSONLogger])
def test_a_resumed_training_has_every_epoch_once(tmp_path, logger):
    path = tmp_path / "log"

    class Ends:
        def on_epoch_end(self, trainer):
            if trainer.epoch == 3:  # the line has been written, and the checkpoint has not
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        trainer(callbacks=[logger(path), Ends(), train.Checkpoint(tmp_path)]).fit(
            loader(), epochs=5
        )
    history = trainer(callbacks=[logger(path), train.Checkpoint(tmp_path)]).fit(
        loader(), epochs=5, resume="auto"
    )
    if logger is train.CSVLogger:
        assert [float(row["loss"]) for row in rows(path)] == history["loss"]
    else:
        assert json.loads(path.read_text()) == history


def test_a_column_that_began_later(tmp_path):
    path = tmp_path / "log.csv"
    trainer(callbacks=[train.Checkpoint(tmp_path)]).fit(loader(), epochs=2)
    history = trainer(callbacks=[train.Checkpoint(tmp_path), train.CSVLogger(path)]).fit(
        loader(), valid=pairs(8), epochs=3, resume="auto"
    )
    assert {len(column) for column in history.values()} == {3}
    assert [row["valid_loss"] == "nan" for row in rows(path)] == [True, True, False]


def test_a_path_that_is_none():
    with pytest.raises(TypeError, match=r"^CSVLogger: path must be"):
        train.CSVLogger(3)


# -------------------------------------------------------------------------------- TensorBoard


class Writer:
    """Has what TensorBoard's logger uses of tensorboardX, and records it."""

    made = []

    def __init__(self, folder, **options):
        self.folder, self.options, self.points, self.closed = folder, options, [], False
        self.made.append(self)

    def add_scalar(self, name, value, step):
        self.points.append((name, value, step))

    def flush(self):
        pass

    def close(self):
        self.closed = True


def test_tensorboard(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", SimpleNamespace(SummaryWriter=Writer))
    monkeypatch.setattr(Writer, "made", [])
    for epochs in (2, 3):
        history = trainer(
            callbacks=[train.TensorBoard(tmp_path / "board"), train.Checkpoint(tmp_path)]
        ).fit(loader(), valid=pairs(8), epochs=epochs, resume="auto")
    first, second = Writer.made
    assert first.options == {} and second.options == {"purge_step": 3}
    assert [step for name, _, step in first.points if name == "loss/train"] == [1, 2]
    assert ("loss/valid", history["valid_loss"][2], 3) in second.points
    assert first.closed and second.closed and first.folder == str(tmp_path / "board")


def test_tensorboard_for_real(tmp_path):
    pytest.importorskip("tensorboardX")
    trainer(callbacks=[train.TensorBoard(tmp_path)]).fit(loader(), epochs=1)
    assert [path.name.startswith("events") for path in tmp_path.iterdir()] == [True]


def test_tensorboard_says_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ImportError, match=r"minidl\[tensorboard\]"):
        trainer(callbacks=[train.TensorBoard(tmp_path)]).fit(loader())
