"""These tests check that a training which is killed at any instant and resumed ends with the same
bits.
"""

import os
import random
import signal
import subprocess
import sys
import time

import pytest

import minidl as md
from minidl import data, optim, train
from minidl.nn.state import StateError
from minidl.train import files
from tests.support import killed_training
from tests.support.killed_training import Ends, damaged, ended
from tests.support.processes import ROOT
from tests.support.trainings import loader, network, pairs, same_bits, trainer


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return the result of the training of `killed_training` that nothing interrupts."""
    return killed_training.result(killed_training.training(tmp_path_factory.mktemp("whole")))


def started(folder, threads):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, "-m", "tests.support.killed_training", str(folder)]
    return subprocess.Popen(command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE)


def changes(path, count, process):
    """Wait until a file has been replaced several times, or the process has ended."""
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
    killed_training.training(tmp_path, epochs=epochs)
    assert killed_training.result(killed_training.training(tmp_path)) == whole


# An epoch has 17 batches, and 9 steps of two batches.
@pytest.mark.parametrize("batches", [1, 2, 16, 17, 18, 37])
def test_an_interrupted_training_ends_with_the_same_bits(tmp_path, whole, capsys, batches):
    """This includes the middle of an accumulation, where the position that is saved is that before
    it.
    """
    ended(tmp_path, batches)
    assert 'resume="auto"' in capsys.readouterr().err
    assert killed_training.result(killed_training.training(tmp_path)) == whole


def test_an_interrupt_in_a_loss_takes_the_step_back(tmp_path, whole):
    calls = []

    def loss(outputs, labels):
        calls.append(1)
        if len(calls) == 24:
            raise KeyboardInterrupt
        return md.cross_entropy(outputs, labels)

    with pytest.raises(KeyboardInterrupt):
        killed_training.training(tmp_path, loss=loss)
    again = killed_training.training(tmp_path, loss=loss)
    assert killed_training.result(again) == whole


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_signal_waits_for_the_end_of_the_step(tmp_path, whole):
    class Signals:
        def on_batch_end(self, trainer):
            if trainer.batch == 6 and trainer.epoch == 0 and not trainer.resumed:
                os.kill(os.getpid(), signal.SIGINT)
                for _ in range(1000):  # the signal has come, and is handled later
                    pass
                seen.append(trainer.batch)

    seen = []
    # Without this, tests that run in the background of a shell would ignore it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            killed_training.training(tmp_path, callbacks=[Signals(), train.Checkpoint(tmp_path)])
        assert seen == [6] and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert killed_training.result(killed_training.training(tmp_path)) == whole


def test_interrupted_while_validating(tmp_path, whole):
    class Late:
        """A data set whose second validation is interrupted."""

        left = 1

        def __iter__(self):
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
            return iter([(images[400:500], labels[400:500])])

    digits = data.MNIST(split="test")
    images, labels = digits.images, digits.labels
    with pytest.raises(KeyboardInterrupt):
        killed_training.training(tmp_path, valid=Late())
    assert files.newest(str(tmp_path))[1]["epoch"] == 1
    assert killed_training.result(killed_training.training(tmp_path)) == whole


def test_a_rate_that_a_callback_set_is_no_other_configuration(tmp_path):
    class Halves:
        def on_epoch_end(self, trainer):
            trainer.optimizer.lr /= 2

    t = trainer(callbacks=[Halves(), train.Checkpoint(tmp_path)])
    t.fit(loader(), epochs=2)
    assert t.fit(loader(), epochs=3, resume="auto")["lr"] == [0.1, 0.05, 0.025]
    t.optimizer.lr = 1.0  # what the user sets is kept
    with pytest.raises(StateError, match=r"lr: 0\.1 in the checkpoint, 1\.0 here"):
        t.fit(loader(), epochs=4, resume="auto")


@pytest.mark.parametrize("every", ["epoch", 3])
def test_adam_and_a_plateau_go_on(tmp_path, every):
    def fit(epochs, *callbacks, resume=None):
        model = network()
        optimizer = optim.AdamW(model.parameters(), lr=0.05)
        t = trainer(
            model,
            optimizer,
            callbacks=callbacks,
            schedule=optim.ReduceOnPlateau(optimizer, factor=0.5, patience=0, threshold=0.1),
        )
        t.fit(loader(), valid=pairs(8, seed=4), epochs=epochs, resume=resume)
        return t

    expected = fit(6)
    assert len(set(expected.history["lr"])) > 1
    with pytest.raises(ZeroDivisionError):
        fit(6, Ends(18, ZeroDivisionError), train.Checkpoint(tmp_path, every=every))
    again = fit(6, train.Checkpoint(tmp_path, every=every), resume="auto")
    assert same_bits(again.model, expected.model)
    assert again.history["lr"] == expected.history["lr"]


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
    before = written(tmp_path / "last.safetensors")
    t = trainer(callbacks=[train.Checkpoint(tmp_path)])
    assert len(t.fit(loader(), epochs=2, resume="auto")["loss"]) == 2
    assert t.step == 10 and written(tmp_path / "last.safetensors") == before


def written(path):
    """Return values that change if a file is written again, but not if it is read."""
    found = path.stat()
    return found.st_ino, found.st_mtime_ns, found.st_size


def test_a_loader_without_a_state_is_continued_by_counting(tmp_path):
    batches = list(loader())
    expected = trainer()
    expected.fit(batches, epochs=3)
    with pytest.raises(ZeroDivisionError):
        trainer(callbacks=[Ends(8, ZeroDivisionError), train.Checkpoint(tmp_path, every=1)]).fit(
            batches, epochs=3
        )
    t = trainer()
    t.fit(batches, epochs=3, resume=tmp_path)
    assert same_bits(t.model, expected.model)


@pytest.mark.parametrize("how", ["cut", "empty", "one bit", "nonsense"])
def test_a_damaged_file_is_named_and_the_one_before_it_used(tmp_path, whole, how):
    ended(tmp_path, 30, ZeroDivisionError, every=1)
    damaged(tmp_path / "last.safetensors", how)
    with pytest.warns(UserWarning, match=r"last\.safetensors.*damaged.*last-1\.safetensors"):
        again = killed_training.training(
            tmp_path, callbacks=[train.EarlyStopping(patience=50), train.Checkpoint(tmp_path)]
        )
    assert killed_training.result(again) == whole


def test_an_error_at_the_start_leaves_the_training_before_it(tmp_path):
    t = trainer()
    history = t.fit(loader(), epochs=2)
    with pytest.raises(FileNotFoundError):
        t.fit(loader(), epochs=5, resume=tmp_path / "none")
    assert (t.epoch, t.step, t.epochs) == (2, 10, 2) and t.history is history
