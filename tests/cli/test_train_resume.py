"""These tests check `minidl train --resume` after Ctrl-C, after kill -9, without a run, after a
finished run, and with other options.
"""

import json
import os
import re
import shlex
import shutil
import signal
import sys
import time

import pytest

from minidl.train import files
from tests.support.picture_files import coloured

EPOCHS = 30
OPTIONS = ("--epochs", EPOCHS, "--batch-size", 4, "--set", "ema=0.9")

signals = pytest.mark.skipif(sys.platform == "win32", reason="signals")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return coloured(
        tmp_path_factory.mktemp("pictures") / "photos", {"blue": 8, "green": 8, "red": 8}
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory, photos):
    """Return the folder of a run that nothing interrupted."""
    from minidl.cli import main

    folder = tmp_path_factory.mktemp("whole")
    assert main(["train", str(photos), "--out", str(folder), *map(str, OPTIONS)]) == 0
    return folder


def best(folder):
    return (folder / "best.safetensors").read_bytes()


def history(folder):
    """Return the table without its last column, which has the seconds."""
    lines = (folder / "log.csv").read_text().splitlines()
    return [line.rpartition(",")[0] for line in lines]


def wait_for(epochs, folder, process):
    """Wait until the table has so many epochs."""
    end = time.monotonic() + 300
    while time.monotonic() < end and process.poll() is None:
        if (folder / "log.csv").exists() and len(history(folder)) > epochs:
            return
        time.sleep(0.01)
    raise AssertionError(f"ended or slow: {process.communicate()}")


@signals
def test_a_run_continues_after_ctrl_c(process, minidl, photos, whole, tmp_path):
    run = tmp_path / "a run"
    started = process("train", photos, *OPTIONS, "--out", run)
    wait_for(2, run, started)
    started.send_signal(signal.SIGINT)
    out, err = started.communicate(timeout=300)
    assert started.returncode == 130 and out == "" and "Traceback" not in err
    assert "last.safetensors" in err
    [command] = re.findall(r"to resume: (minidl .*)", err)
    assert 2 <= len(history(run)) - 1 < EPOCHS
    said = minidl(*shlex.split(command)[1:])
    assert said.code == 0 and best(run) == best(whole) and history(run) == history(whole)


@signals
def test_a_run_continues_after_kill_9(process, minidl, photos, whole, tmp_path):
    run = tmp_path / "run"
    for epochs, threads in ((0, 1), (4, 2), (11, 1)):
        started = process("train", photos, *OPTIONS, "--threads", threads, "--out", run, "--resume")
        if epochs:
            wait_for(epochs, run, started)
        else:  # in the first epoch, or before it
            while not (run / "config.json").exists() and started.poll() is None:
                time.sleep(0.01)
        started.kill()
        started.communicate()
        assert started.returncode == -signal.SIGKILL
    said = minidl("train", photos, *OPTIONS, "--out", run, "--resume")
    assert said.code == 0 and best(run) == best(whole) and history(run) == history(whole)
    assert {path.name for path in run.iterdir()} == {path.name for path in whole.iterdir()}


@signals
def test_ctrl_c_before_the_first_epoch(minidl, photos, monkeypatch):
    """A run that is interrupted while it decodes pictures also says how to continue."""
    from minidl.train import run

    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "load_task", interrupt)
    said = minidl("train", photos, "--epochs", 3, "--out", "run")
    assert said.code == 130 and said.out == ""
    assert f"minidl train --resume {photos} --epochs 3 --out run" in said.err
    assert not os.path.exists("run")


def test_without_a_run_it_begins(minidl, photos, tmp_path):
    for out in (("--out", "old"), ("--out", "new", "--resume")):
        assert minidl("train", photos, "--epochs", 2, *out).code == 0
    assert best(tmp_path / "new") == best(tmp_path / "old")


def test_in_a_folder_with_other_files_it_begins(minidl, photos, tmp_path):
    """The folder has, for example, the output of the shell, or of a run that was killed before it
    began.
    """
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "log.txt").write_text("")
    said = minidl("train", photos, "--model", "mlp", "--epochs", 1, "--out", "mine", "--resume")
    assert said.code == 0 and (tmp_path / "mine" / "best.safetensors").exists()


def test_a_run_without_a_checkpoint_begins_again(minidl, shared, tmp_path):
    """The run was killed in its first epoch. The options with which it began need not be given
    again.
    """
    run = tmp_path / "run"
    run.mkdir()
    shutil.copy(shared / "runs" / "photos" / "config.json", run)
    assert minidl("train", shared / "photos", "--out", run, "--resume").code == 0
    assert best(run) == best(shared / "runs" / "photos")


def test_a_finished_run_prints_the_same(minidl, shared, tmp_path):
    first = minidl("eval", shared / "runs" / "photos")
    run = tmp_path / "run"
    shutil.copytree(shared / "runs" / "photos", run)
    before = {
        name: (run / name).read_bytes()
        for name in ("best.safetensors", "last.safetensors", "log.csv", "config.json")
    }
    for options in ((), ("--epochs", 4), ("--seed", 0)):
        said = minidl("train", shared / "photos", "--out", run, "--resume", *options)
        assert said.code == 0 and said.last == first.last
        assert all((run / name).read_bytes() == content for name, content in before.items())
    assert "epoch 1/4" not in said.err


def test_options_need_not_be_given_again(minidl, photos, whole, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    assert minidl("train", photos, "--out", run, "--resume").code == 0
    assert minidl("train", photos, *OPTIONS, "--out", run, "--resume").code == 0


@pytest.mark.parametrize(
    "options, words",
    [
        (("--epochs", "5"), ["epochs", "4 then", "5 now"]),
        (("--seed", "1"), ["seed", "0 then", "1 now"]),
        (("--lr", "0.5"), ["lr", "0.5 now"]),
        (("--batch-size", "8"), ["batch_size", "8 now"]),
        (("--model", "vgg8"), ["model", "'resnet20' then", "'vgg8' now"]),
        (("--recipe", "mnist"), ["recipe", "'default' then", "'mnist' now"]),
        (("--size", "16"), ["size", "None then", "16 now"]),
        (("--set", "crop=3"), ["crop", "1 then", "3 now"]),
        (("--set", "nix=3"), ["nix"]),
        (("--epochs", "5", "--seed", "1"), ["epochs", "seed"]),
        (("--init", "other"), ["init", "None then", "now"]),
    ],
)
def test_another_configuration_is_refused(refused, shared, tmp_path, options, words):
    run = tmp_path / "run"
    shutil.copytree(shared / "runs" / "photos", run)
    shutil.copytree(shared / "runs" / "photos", tmp_path / "other")
    before = sorted((path.name, path.read_bytes()) for path in run.iterdir())
    refused(
        "train",
        shared / "photos",
        "--out",
        run,
        "--resume",
        *options,
        words=["run", "--init", *words],
    )
    assert sorted((path.name, path.read_bytes()) for path in run.iterdir()) == before


def test_other_data_are_refused(refused, shared, photos, tmp_path):
    refused(
        "train",
        photos,
        "--out",
        shared / "runs" / "photos",
        "--resume",
        words=["another configuration", "contents"],
    )


def test_pictures_that_have_changed_meanwhile(minidl, photos, tmp_path):
    shutil.copytree(photos, tmp_path / "photos")
    run = tmp_path / "run"
    assert minidl("train", "photos", "--epochs", 1, "--out", run, "--model", "mlp").code == 0
    coloured(tmp_path / "photos", {"red": 12}, seed=5)
    said = minidl("train", "photos", "--out", run, "--resume")
    assert said.code == 2 and "another configuration" in said.err
    assert "train: 22 there, 25 here" in said.err


def test_pictures_that_have_been_moved(minidl, photos, tmp_path):
    shutil.copytree(photos, tmp_path / "photos")
    run = tmp_path / "run"
    first = minidl("train", "photos", "--epochs", 1, "--out", run, "--model", "mlp")
    (tmp_path / "photos").rename(tmp_path / "elsewhere")
    again = minidl("train", "elsewhere", "--out", run, "--resume")
    assert (again.code, again.out) == (0, first.out)


def test_without_resume_a_run_is_a_wrong_call(refused, shared, monkeypatch):
    monkeypatch.chdir(shared)
    refused("train", "photos", words=["'runs/photos'", "--resume", "--out"])


@pytest.mark.parametrize(
    "content, words",
    [
        ("{", ["config.json", "damaged"]),
        ("[]", ["config.json", "not the configuration"]),
        ('{"format": 99, "minidl": "9.0"}', ["format 99", "minidl 9.0"]),
        ('{"format": 1}', ["has no 'source'"]),
    ],
)
def test_a_configuration_that_cannot_be_read(refused, photos, tmp_path, content, words):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text(content)
    refused("train", photos, "--out", "run", "--resume", code=1, words=words)


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(minidl, photos, whole, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    (run / "last.safetensors").write_bytes(b"nonsense")
    said = minidl("train", photos, "--out", run, "--resume")
    assert said.code == 0 and best(run) == best(whole) and history(run) == history(whole)
    assert "minidl: warning: " in said.err and "last-1.safetensors" in said.err


def test_a_lost_best_model_is_reported(minidl, shared, tmp_path):
    """Nobody can make it again, and the error says so."""
    run = tmp_path / "run"
    shutil.copytree(shared / "runs" / "photos", run)
    (run / "best.safetensors").unlink()
    said = minidl("train", shared / "photos", "--out", run, "--resume")
    assert said.code == 1 and "best.safetensors" in said.err and "Traceback" not in said.err


def test_the_configuration_is_readable(whole):
    found = json.loads((whole / "config.json").read_text())
    assert files.read(str(whole / "last.safetensors"))["epoch"] == EPOCHS
    assert found["settings"]["epochs"] == EPOCHS and found["preprocess"]["channels"] == 3
