"""Checkpoints: killed at any instant and resumed, a training ends with the same bits."""

import errno
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import minidl as md
from minidl import data, nn, optim, train
from minidl.nn.state import StateError
from minidl.train import files
from tests.harness import ROOT
from tests.train import killed
from tests.train.samples import loader, network, pairs, same_bits, trainer


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The result of the training of `killed` that nothing interrupts."""
    return killed.result(killed.training(tmp_path_factory.mktemp("whole")))


def started(folder, threads):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(threads)}
    return subprocess.Popen([sys.executable, "-m", "tests.train.killed", str(folder)], cwd=ROOT,
                            env=environment, text=True, stdout=subprocess.PIPE)


def changes(path, count, process):
    """Wait until a file has been replaced some times, or the process has ended."""
    seen, before = 0, None
    while seen < count and process.poll() is None:
        try:
            now = path.stat().st_ino, path.stat().st_mtime_ns
        except FileNotFoundError:
            now = None
        seen, before = seen + (now != before), now
        time.sleep(0.0005)


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_killed_at_random_moments(tmp_path, whole):
    rng = random.Random(0)
    for i in range(6):
        with started(tmp_path, threads=1 + i % 2) as process:
            changes(tmp_path / "last.safetensors", rng.randint(1, 5), process)
            time.sleep(rng.random() * 0.01)
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
        assert files.newest(str(tmp_path)) is not None
    with started(tmp_path, threads=1) as process:
        assert process.communicate()[0].strip() == whole


@pytest.mark.parametrize("epochs", [1, 2])
def test_continued_after_a_complete_epoch(tmp_path, whole, epochs):
    killed.training(tmp_path, epochs=epochs)
    assert killed.result(killed.training(tmp_path)) == whole


class Ends:
    """Raises an error after some batches."""

    def __init__(self, batches, error=KeyboardInterrupt):
        self.left, self.error = batches, error

    def on_batch_end(self, trainer):
        self.left -= 1
        if self.left == 0:
            raise self.error


def ended(folder, batches, error=KeyboardInterrupt, every="epoch"):
    """A training whose callback raises an error after some batches."""
    with pytest.raises(error):
        killed.training(folder, callbacks=[
            train.EarlyStopping(patience=50), Ends(batches, error),
            train.Checkpoint(folder, every=every)])


# An epoch has 17 batches, and 9 steps of two of them.
@pytest.mark.parametrize("batches", [1, 2, 16, 17, 18, 37])
def test_interrupted(tmp_path, whole, capsys, batches):
    """In the middle of an accumulation, too: the place saved is that before it."""
    ended(tmp_path, batches)
    assert 'resume="auto"' in capsys.readouterr().err
    assert killed.result(killed.training(tmp_path)) == whole


def test_an_interrupt_in_a_loss_takes_the_step_back(tmp_path, whole):
    calls = []

    def loss(outputs, labels):
        calls.append(1)
        if len(calls) == 24:
            raise KeyboardInterrupt
        return md.cross_entropy(outputs, labels)

    with pytest.raises(KeyboardInterrupt):
        killed.training(tmp_path, loss=loss)
    again = killed.training(tmp_path, loss=loss)
    assert killed.result(again) == whole


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_signal_waits_for_the_end_of_the_step(tmp_path, whole):
    class Signals:
        def on_batch_end(self, trainer):
            if trainer.batch == 6 and trainer.epoch == 0 and not trainer.resumed:
                os.kill(os.getpid(), signal.SIGINT)
                for _ in range(1000):       # the signal has come, and waits
                    pass
                seen.append(trainer.batch)

    seen = []
    with pytest.raises(KeyboardInterrupt):
        killed.training(tmp_path, callbacks=[Signals(), train.Checkpoint(tmp_path)])
    assert seen == [6] and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert killed.result(killed.training(tmp_path)) == whole


def test_interrupted_while_validating(tmp_path, whole):
    class Late:
        """A data set whose second epoch of validation is interrupted."""

        left = 1

        def __iter__(self):
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
            return iter([(images[400:500], labels[400:500])])

    digits = data.MNIST(split="test")
    images, labels = digits.images, digits.labels
    with pytest.raises(KeyboardInterrupt):
        killed.training(tmp_path, valid=Late())
    assert files.newest(str(tmp_path))[1]["epoch"] == 1
    assert killed.result(killed.training(tmp_path)) == whole


def test_a_rate_that_a_callback_set_is_no_other_configuration(tmp_path):
    class Halves:
        def on_epoch_end(self, trainer):
            trainer.optimizer.lr /= 2

    t = trainer(callbacks=[Halves(), train.Checkpoint(tmp_path)])
    t.fit(loader(), epochs=2)
    assert t.fit(loader(), epochs=3, resume="auto")["lr"] == [0.1, 0.05, 0.025]
    t.optimizer.lr = 1.0        # but what the user sets is
    with pytest.raises(StateError, match=r"lr: 0\.1 in the checkpoint, 1\.0 here"):
        t.fit(loader(), epochs=4, resume="auto")


def test_every_so_many_steps(tmp_path):
    ended(tmp_path, 12, ZeroDivisionError, every=2)
    state = files.read(str(tmp_path / "last.safetensors"))
    assert (state["step"], state["place"]["batch"]) == (4, 8)


def test_how_many_are_kept(tmp_path):
    for keep, names in ((1, ["last"]), (2, ["last", "last-1"]), (4, ["last", "last-1", "last-2",
                                                                     "last-3"])):
        trainer(callbacks=[train.Checkpoint(tmp_path, every=1, keep=keep)]).fit(loader(), epochs=2)
        assert sorted(path.stem for path in tmp_path.iterdir()) == names
        steps = [files.read(str(tmp_path / f"{name}.safetensors"))["step"] for name in names]
        assert steps[0] == 10 and steps == sorted(steps, reverse=True)


def test_a_new_training_replaces_the_files_of_another(tmp_path):
    trainer(callbacks=[train.Checkpoint(tmp_path)]).fit(loader(), epochs=5)
    trainer(callbacks=[train.Checkpoint(tmp_path)]).fit(loader(), epochs=1)
    assert [path.name for path in tmp_path.iterdir()] == ["last.safetensors"]


def test_the_best_model_is_kept(tmp_path):
    model = network()
    values = iter([3.0, 1.0, 1.0, 2.0])
    best = []

    class Watch:
        def on_epoch_end(self, trainer):
            best.append(trainer.model.state_dict())

    t = trainer(model, metrics=[], callbacks=[
        Watch(), train.Checkpoint(tmp_path, monitor="valid_loss")])
    t.evaluate = lambda loader: {"loss": next(values)}
    t.fit(loader(), valid=pairs(8), epochs=4)
    found = md.load(tmp_path / "best.safetensors")
    assert all(np.array_equal(found[name], best[1][name]) for name in best[1])


# ------------------------------------------------------------------------------------- resume

def test_auto_begins_where_there_is_nothing(tmp_path):
    t = trainer(callbacks=[train.Checkpoint(tmp_path / "new")])
    assert len(t.fit(loader(), epochs=1, resume="auto")["loss"]) == 1 and not t.resumed


def test_auto_needs_a_checkpoint():
    with pytest.raises(ValueError, match="Checkpoint"):
        trainer().fit(loader(), resume="auto")


@pytest.mark.parametrize("name", ["", "last.safetensors"])
def test_a_path_resumes(tmp_path, name):
    expected = trainer()
    expected.fit(loader(), epochs=4)
    trainer(callbacks=[train.Checkpoint(tmp_path)]).fit(loader(), epochs=2)
    t = trainer()
    history = t.fit(loader(), epochs=4, resume=tmp_path / name)
    assert t.resumed and len(history["loss"]) == 4
    assert same_bits(t.model, expected.model)


@pytest.mark.parametrize("name", ["none.safetensors", "."])
def test_a_path_without_a_checkpoint(tmp_path, name):
    with pytest.raises(FileNotFoundError, match=r"none\.safetensors|no checkpoint in"):
        trainer().fit(loader(), resume=tmp_path / name)


def test_a_finished_training_does_nothing_more(tmp_path):
    trainer(callbacks=[train.Checkpoint(tmp_path)]).fit(loader(), epochs=2)
    before = (tmp_path / "last.safetensors").stat()
    t = trainer(callbacks=[train.Checkpoint(tmp_path)])
    assert len(t.fit(loader(), epochs=2, resume="auto")["loss"]) == 2
    assert t.step == 10 and (tmp_path / "last.safetensors").stat() == before


def test_a_loader_without_a_state_is_continued_by_counting(tmp_path):
    batches = list(loader())
    expected = trainer()
    expected.fit(batches, epochs=3)
    with pytest.raises(ZeroDivisionError):
        trainer(callbacks=[Ends(8, ZeroDivisionError), train.Checkpoint(tmp_path, every=1)]).fit(
            batches, epochs=3)
    t = trainer()
    t.fit(batches, epochs=3, resume=tmp_path)
    assert same_bits(t.model, expected.model)


# ------------------------------------------------------------------------------------- damage

def damaged(path, how):
    content = bytearray(path.read_bytes())
    if how == "cut":
        content = content[:len(content) // 2]
    elif how == "empty":
        content = b""
    elif how == "one bit":
        content[-100] ^= 4
    else:
        content = b"nonsense" * 100
    path.write_bytes(content)


@pytest.mark.parametrize("how", ["cut", "empty", "one bit", "nonsense"])
def test_a_damaged_file_is_named_and_the_one_before_it_used(tmp_path, whole, how):
    ended(tmp_path, 30, ZeroDivisionError, every=1)
    damaged(tmp_path / "last.safetensors", how)
    with pytest.warns(UserWarning, match=r"last\.safetensors.*damaged.*last-1\.safetensors"):
        again = killed.training(tmp_path, callbacks=[train.EarlyStopping(patience=50),
                                                     train.Checkpoint(tmp_path)])
    assert killed.result(again) == whole


def test_all_files_damaged(tmp_path):
    trainer(callbacks=[train.Checkpoint(tmp_path)]).fit(loader(), epochs=2)
    for path in tmp_path.iterdir():
        damaged(path, "cut")
    with pytest.raises(ValueError, match=r"every checkpoint in .* is damaged"):
        trainer(callbacks=[train.Checkpoint(tmp_path)]).fit(loader(), resume="auto")


def test_a_file_of_another_kind_and_of_a_newer_format(tmp_path):
    path = tmp_path / "model.safetensors"
    md.save(path, network().state_dict())
    with pytest.raises(ValueError, match="is no checkpoint"):
        trainer().fit(loader(), resume=path)
    md.save(path, {"format": 99, "minidl": "9.0", "sum": "", "state": {}})
    with pytest.raises(ValueError, match=r"format 99 .*minidl 9\.0"):
        trainer().fit(loader(), resume=path)


# ------------------------------------------------------------------------- another configuration

def other(change):
    """A trainer and a loader that differ from those of the checkpoint in one thing."""
    model, batches, options = network(), loader(), {}
    rate, kind = 0.1, optim.SGD
    if change == "model":
        model = nn.Sequential(nn.Dense(6, 8), nn.BatchNorm(8), nn.ReLU(), nn.Dropout(0.2),
                              nn.Dense(8, 3))
    elif change == "option":
        model = network(dropout=0.5)
    elif change == "rate":
        rate = 0.2
    elif change == "optimizer":
        kind = optim.LARS
    elif change == "batch_size":
        batches = loader(batch_size=4)
    elif change == "items":
        batches = loader(48)
    else:
        options = {"loss": md.mse_loss} if change == "loss" else {"accumulate": 2}
    return trainer(model, kind(model.parameters(), lr=rate, momentum=0.9), **options), batches


@pytest.mark.parametrize(("change", "text"), [
    ("model", r"parameters 0\.weight: float32 \(6, 16\) in the checkpoint, float32 \(6, 8\) here"),
    ("option", r"model 3: Dropout\(p=0\.2\) in the checkpoint, Dropout\(p=0\.5\) here"),
    ("rate", r"optimizer group 0 lr: 0\.1 in the checkpoint, 0\.2 here"),
    ("optimizer", "optimizer class: SGD in the checkpoint, LARS here"),
    ("batch_size", "loader batch_size: 8 in the checkpoint, 4 here"),
    ("items", "loader items: 40 in the checkpoint, 48 here"),
    ("loss", "loss: cross_entropy in the checkpoint, mse_loss here"),
    ("accumulate", "trainer accumulate: 1 in the checkpoint, 2 here"),
])
def test_a_checkpoint_of_another_configuration_is_refused(tmp_path, change, text):
    trainer(callbacks=[train.Checkpoint(tmp_path)]).fit(loader())
    t, batches = other(change)
    before = t.model.state_dict()
    with pytest.raises(StateError, match=text):
        t.fit(batches, epochs=2, resume=tmp_path)
    after = t.model.state_dict()
    assert all(np.array_equal(before[name], after[name]) for name in before) and t.step == 0


def test_an_error_at_the_start_leaves_the_training_before_it(tmp_path):
    t = trainer()
    history = t.fit(loader(), epochs=2)
    with pytest.raises(FileNotFoundError):
        t.fit(loader(), epochs=5, resume=tmp_path / "none")
    assert (t.epoch, t.step, t.epochs) == (2, 10, 2) and t.history is history


def test_a_state_that_fails_halfway_changes_nothing(tmp_path):
    t = trainer(callbacks=[train.Checkpoint(tmp_path)])
    t.fit(loader())
    state = t.state_dict()
    t.fit(loader(), epochs=1)
    before, random_state = t.model.state_dict(), md.random.generator().bit_generator.state
    state["optimizer"] = {"groups": [], "state": {}}
    with pytest.raises(StateError):
        t.load_state_dict(state)
    after = t.model.state_dict()
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert str(md.random.generator().bit_generator.state) == str(random_state)


# --------------------------------------------------------------------------------- a full disk

def test_a_full_disk_is_named_and_the_previous_checkpoint_kept(tmp_path, monkeypatch):
    def full(path, state):
        if trainer_.step > 10:
            Path(path).write_bytes(b"half of it")
            raise OSError(errno.ENOSPC, "No space left on device", path)
        return save(path, state)

    save = files.save
    monkeypatch.setattr(files, "save", full)
    trainer_ = trainer(callbacks=[train.Checkpoint(tmp_path)])
    with pytest.raises(OSError, match=r"the disk of .* is full .* kept") as caught:
        trainer_.fit(loader(), epochs=4)
    assert caught.value.errno == errno.ENOSPC and str(tmp_path) in str(caught.value)
    monkeypatch.undo()
    assert files.newest(str(tmp_path))[1]["step"] == 10
    assert not (tmp_path / "new.safetensors").exists()
    expected, again = trainer(), trainer(callbacks=[train.Checkpoint(tmp_path)])
    expected.fit(loader(), epochs=4)
    again.fit(loader(), epochs=4, resume="auto")
    assert same_bits(again.model, expected.model)


def test_without_hard_links(tmp_path, monkeypatch):
    def refused(*paths):
        raise OSError(errno.EPERM, "no hard links here")

    monkeypatch.setattr(os, "link", refused)
    trainer(callbacks=[train.Checkpoint(tmp_path)]).fit(loader(), epochs=3)
    assert sorted(path.stem for path in tmp_path.iterdir()) == ["last", "last-1", "last-2"]


# ------------------------------------------------------------------------------------ arguments

@pytest.mark.parametrize(("options", "error", "text"), [
    ({"every": "step"}, ValueError, "every must be"),
    ({"every": 0}, ValueError, "every must be"),
    ({"keep": 0}, ValueError, "keep must be"),
    ({"monitor": 3}, TypeError, "monitor must be"),
    ({"mode": "least"}, ValueError, "mode must be"),
])
def test_wrong_arguments(tmp_path, options, error, text):
    with pytest.raises(error, match=f"^Checkpoint: {text}"):
        train.Checkpoint(tmp_path, **options)


def test_the_monitor_must_be_in_the_history(tmp_path):
    with pytest.raises(ValueError, match="monitor must be one of loss"):
        trainer(callbacks=[train.Checkpoint(tmp_path, monitor="recall")]).fit(loader())


def test_saving_by_hand(tmp_path):
    t = trainer()
    t.fit(loader(), epochs=1)
    md.save(tmp_path / "state.safetensors", t.state_dict())
    again = trainer()
    again.load_state_dict(md.load(tmp_path / "state.safetensors"))
    assert same_bits(t.model, again.model) and again.history == t.history


