"""These tests check Checkpoint: its files, damage, other configurations, a full disk."""

import errno
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import minidl as md
from minidl import nn, optim, train
from minidl.nn.state import StateError
from minidl.train import files
from tests.support.killed_training import damaged, ended
from tests.support.trainings import loader, network, pairs, same_bits, trainer


def checkpoints(folder):
    return sorted(path.stem for path in folder.iterdir() if path.stem != "best")


def test_every_so_many_steps(tmp_path):
    ended(tmp_path, 12, ZeroDivisionError, every=2)
    state = files.read(str(tmp_path / "last.safetensors"))
    assert (state["step"], state["place"]["batch"]) == (4, 8)


def test_how_many_are_kept(tmp_path):
    for keep, names in (
        (1, ["last"]),
        (2, ["last", "last-1"]),
        (4, ["last", "last-1", "last-2", "last-3"]),
    ):
        trainer(callbacks=[train.Checkpoint(tmp_path, every=1, keep=keep)]).fit(loader(), epochs=2)
        assert checkpoints(tmp_path) == names
        steps = [files.read(str(tmp_path / f"{name}.safetensors"))["step"] for name in names]
        assert steps[0] == 10 and steps == sorted(steps, reverse=True)


def test_a_new_training_replaces_the_files_of_another(tmp_path):
    trainer(callbacks=[train.Checkpoint(tmp_path)]).fit(loader(), epochs=5)
    trainer(callbacks=[train.Checkpoint(tmp_path)]).fit(loader(), epochs=1)
    assert checkpoints(tmp_path) == ["last"]


def test_the_best_of_averaged_weights_has_its_own_statistics(tmp_path):
    """If there is no validation, nothing has computed them before the model is saved."""
    t = trainer(ema=0.9, callbacks=[train.Checkpoint(tmp_path, monitor="loss")])
    t.fit(loader(), epochs=1)
    found, state = md.load(tmp_path / "best.safetensors"), t.averaged.state_dict()
    assert np.abs(found["1.running_mean"]).max() > 0
    assert all(np.array_equal(found[name], state[name]) for name in state)


def test_without_a_validation_the_best_is_the_last(tmp_path):
    class Stop:
        def on_epoch_end(self, trainer):
            if trainer.epoch == 2:
                raise ZeroDivisionError

    t = trainer(callbacks=[train.Checkpoint(tmp_path)])
    t.fit(loader(), epochs=2)
    found = md.load(tmp_path / "best.safetensors")
    assert all(np.array_equal(value, found[name]) for name, value in t.model.state_dict().items())
    with pytest.raises(ZeroDivisionError):  # the checkpoint of another training, before its end
        trainer(callbacks=[train.Checkpoint(tmp_path), Stop()]).fit(loader(), epochs=3)
    assert not (tmp_path / "best.safetensors").exists()


def test_one_that_comes_from_elsewhere_replaces_them_too(tmp_path):
    trainer(callbacks=[train.Checkpoint(tmp_path / "a")]).fit(loader(), epochs=2)
    trainer(callbacks=[train.Checkpoint(tmp_path / "b")]).fit(loader(), epochs=5)
    t = trainer(callbacks=[train.Checkpoint(tmp_path / "b")])
    t.fit(loader(), epochs=3, resume=tmp_path / "a")
    assert checkpoints(tmp_path / "b") == ["last"]
    assert files.read(str(tmp_path / "b" / "last.safetensors"))["step"] == 15


def test_a_kill_before_the_new_file_has_its_name(tmp_path, monkeypatch):
    """If the last file is damaged and only two are kept, the new file is the only good one."""
    trainer(callbacks=[train.Checkpoint(tmp_path, keep=2)]).fit(loader(), epochs=2)
    damaged(tmp_path / "last.safetensors", "cut")

    def killed(path, other):
        if path.endswith("new.safetensors"):
            raise SystemExit
        replace(path, other)

    replace = os.replace
    monkeypatch.setattr(os, "replace", killed)
    for _ in range(2):
        with pytest.warns(UserWarning, match="damaged"), pytest.raises(SystemExit):
            trainer(callbacks=[train.Checkpoint(tmp_path, keep=2)]).fit(
                loader(), epochs=3, resume="auto"
            )
    monkeypatch.undo()
    with pytest.warns(UserWarning, match="damaged"):
        path, state = files.newest(str(tmp_path))
    assert path == str(tmp_path / "new.safetensors") and state["epoch"] == 3


def test_the_best_model_is_kept(tmp_path):
    model = network()
    values = iter([3.0, 1.0, 1.0, 2.0])
    best = []

    class Watch:
        def on_epoch_end(self, trainer):
            best.append(trainer.model.state_dict())

    t = trainer(
        model, metrics=[], callbacks=[Watch(), train.Checkpoint(tmp_path, monitor="valid_loss")]
    )
    t.evaluate = lambda loader: {"loss": next(values)}
    t.fit(loader(), valid=pairs(8), epochs=4)
    found = md.load(tmp_path / "best.safetensors")
    assert all(np.array_equal(found[name], best[1][name]) for name in best[1])


def test_all_files_damaged(tmp_path):
    trainer(callbacks=[train.Checkpoint(tmp_path)]).fit(loader(), epochs=2)
    for path in tmp_path.iterdir():
        damaged(path, "cut")
    with pytest.raises(ValueError, match=r"every checkpoint in .* is damaged"):
        trainer(callbacks=[train.Checkpoint(tmp_path)]).fit(loader(), resume="auto")


def test_a_file_of_another_kind_and_of_a_newer_format(tmp_path):
    path = tmp_path / "model.safetensors"
    md.save(path, network().state_dict())
    with pytest.raises(ValueError, match="is not a checkpoint"):
        trainer().fit(loader(), resume=path)
    md.save(path, {"format": 99, "minidl": "9.0", "sum": "", "state": {}})
    with pytest.raises(ValueError, match=r"format 99 .*minidl 9\.0"):
        trainer().fit(loader(), resume=path)


# ------------------------------------------------------------------------- another configuration


def other(change):
    """Return a trainer and a loader that differ from those of the checkpoint in one thing."""
    model, batches, options = network(), loader(), {}
    rate, kind = 0.1, optim.SGD
    if change == "model":
        model = nn.Sequential(
            nn.Dense(6, 8), nn.BatchNorm(8), nn.ReLU(), nn.Dropout(0.2), nn.Dense(8, 3)
        )
    elif change == "option":
        model = network(dropout=0.5)
    elif change == "rate":
        rate = 0.2
    elif change == "optimizer":
        kind = optim.LARS
    elif change == "batch_size":
        batches = loader(batch_size=4)
    elif change == "transform":
        batches = loader(transform=np.negative)
    elif change == "items":
        batches = loader(48)
    else:
        options = {"loss": md.mse_loss} if change == "loss" else {"accumulate": 2}
    return trainer(model, kind(model.parameters(), lr=rate, momentum=0.9), **options), batches


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            "model",
            r"parameters 0\.weight: float32 \(6, 16\) in the checkpoint, float32 \(6, 8\) here",
        ),
        ("option", r"model 3: Dropout\(p=0\.2\) in the checkpoint, Dropout\(p=0\.5\) here"),
        ("rate", r"optimizer group 0 lr: 0\.1 in the checkpoint, 0\.2 here"),
        ("optimizer", "optimizer class: SGD in the checkpoint, LARS here"),
        ("batch_size", "loader batch_size: 8 in the checkpoint, 4 here"),
        ("transform", "loader transform: nothing in the checkpoint, negative here"),
        ("items", "loader items: 40 in the checkpoint, 48 here"),
        ("loss", "loss: cross_entropy in the checkpoint, mse_loss here"),
        ("accumulate", "trainer accumulate: 1 in the checkpoint, 2 here"),
    ],
)
def test_a_checkpoint_of_another_configuration_is_refused(tmp_path, change, text):
    trainer(callbacks=[train.Checkpoint(tmp_path)]).fit(loader())
    t, batches = other(change)
    before = t.model.state_dict()
    with pytest.raises(StateError, match=text):
        t.fit(batches, epochs=2, resume=tmp_path)
    after = t.model.state_dict()
    assert all(np.array_equal(before[name], after[name]) for name in before) and t.step == 0


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


@pytest.fixture
def small_disk(tmp_path):
    """Provide a file system of 600 kB, if this process may make one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    if (
        not mount
        or subprocess.run(
            [mount, "-t", "tmpfs", "-o", "size=600k", "tmpfs", folder], capture_output=True
        ).returncode
    ):
        pytest.skip("needs the right to mount a file system")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("best", [False, True])
def test_a_disk_that_is_really_full(small_disk, best):
    """A checkpoint of 130 kB fits. Then the disk is filled except for 40 kB."""

    class Fills:
        def on_epoch_end(self, trainer):
            if trainer.epoch == 2:
                free = shutil.disk_usage(small_disk).free
                (small_disk / "other").write_bytes(bytes(free - 40_000))

    def training(*callbacks):
        model = nn.Sequential(nn.Dense(6, 2000), nn.ReLU(), nn.Dense(2000, 3))
        return trainer(
            model,
            callbacks=[
                *callbacks,
                train.Checkpoint(small_disk, monitor="loss" if best else "valid_loss"),
            ],
        )

    with pytest.raises(OSError, match=r"the disk of .*disk is full .* kept") as caught:
        training(Fills()).fit(loader(), epochs=4)
    assert caught.value.errno == errno.ENOSPC
    _, state = files.newest(str(small_disk))
    assert state["epoch"] == 1
    assert not [path for path in small_disk.iterdir() if path.name.startswith((".minidl", "new"))]
    if best:
        assert md.load(small_disk / "best.safetensors").keys() == state["model"].keys()
    (small_disk / "other").unlink()
    assert len(training().fit(loader(), epochs=3, resume="auto")["loss"]) == 3


def test_without_hard_links(tmp_path, monkeypatch):
    def refused(*paths):
        raise OSError(errno.EPERM, "no hard links here")

    monkeypatch.setattr(os, "link", refused)
    trainer(callbacks=[train.Checkpoint(tmp_path)]).fit(loader(), epochs=3)
    assert checkpoints(tmp_path) == ["last", "last-1", "last-2"]


# ------------------------------------------------------------------------------------ arguments


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"every": "step"}, ValueError, 'every must be "epoch" or a number of steps'),
        ({"every": 0}, ValueError, 'every must be "epoch" or a number of steps'),
        ({"every": 1.5}, TypeError, 'every must be "epoch" or a number of steps'),
        ({"every": True}, TypeError, "every must be"),
        ({"keep": 0}, ValueError, "keep must be"),
        ({"monitor": 3}, TypeError, "monitor must be"),
        ({"mode": "least"}, ValueError, "mode must be"),
    ],
)
def test_wrong_arguments_are_refused(tmp_path, options, error, text):
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
