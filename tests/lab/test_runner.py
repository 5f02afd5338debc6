"""These tests run experiments: seeds in processes, resumed runs, reported crashes, and runs that
are ended by Ctrl-C, SIGTERM and SIGKILL.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from minidl.lab import problems, runner, store
from minidl.lab.registry import chosen
from minidl.lab.verdict import Verdict
from tests.support.errors import refuses
from tests.support.processes import ROOT

(E18,) = chosen(["E18"])
PATIENCE = 100  # in seconds; a busy machine is slow
posix = pytest.mark.skipif(os.name != "posix", reason="needs signals, and pipes with other numbers")


def results(folder):
    return json.loads((folder / "results.json").read_text())


def test_run_writes_seeds_and_results(tmp_path, capsys):
    found = runner.run([E18], tmp_path, quick=True, seeds=2)
    assert found["E18"].verdict is Verdict.REFUTED
    assert found["E18"].provisional
    assert store.seeds_of(str(tmp_path), "E18") == [0, 1]
    entry = results(tmp_path)["E18"]
    assert list(results(tmp_path)) == ["E18"]
    assert (entry["verdict"], entry["provisional"], entry["seeds"]) == ("REFUTED", True, 2)
    assert entry["figures"]["growth a layer, batch, width 128, batch 32"]["count"] == 2
    shown = capsys.readouterr().err
    assert "E18 seed 0 done" in shown and "0 of 2 left" in shown


def test_the_time_left_is_the_stated_one_scaled_by_what_was_measured():
    experiments = chosen(["E13", "E12", "E31"])
    now = [0.0]
    jobs = [runner.Job(e, seed) for e in experiments for seed in (0, 1)]
    first, _, other, *_ = jobs
    bar = runner._Bar(jobs, False, 2, False, clock=lambda: now[0])
    e13, e12, e31 = (60 * e.minutes for e in experiments)
    assert bar.seconds() == pytest.approx((2 * e13 + 2 * e12) / 2 + 2 * e31)
    for job in (first, other):
        bar.timed(lambda job: "", job)
    now[0] = 2 * e13  # it took twice as long as it states
    bar.finished(first, "")
    left = 2 * (e13 + 2 * e12) - now[0]  # the other one has been running for the same time
    assert bar.seconds() == pytest.approx(left / 2 + 2 * 2 * e31)
    bar.finished(other, "it crashed")
    assert bar.seconds() == pytest.approx(2 * e12 + 2 * 2 * e31)  # each seed is run by one process


def test_a_quick_seed_takes_seconds():
    assert runner.Job(chosen(["E30b"])[0], 0).seconds(quick=True) == 12
    assert runner.Job(chosen(["E01"])[0], 0).seconds(quick=True) < 12


def test_finished_seeds_are_not_run_again(tmp_path, monkeypatch):
    runner.run([E18], tmp_path, quick=True, seeds=1, progress=False)
    begun = []
    run = runner._Processes.run
    monkeypatch.setattr(
        runner._Processes,
        "run",
        lambda self, job, *rest: begun.append(job.seed) or run(self, job, *rest),
    )
    runner.run([E18], tmp_path, quick=True, seeds=2, progress=False)
    assert begun == [1]
    assert results(tmp_path)["E18"]["seeds"] == 2


def test_a_crash_is_reported_and_ends_nothing_else(tmp_path, capsys):
    # If there is a folder in the place of a seed's file, that seed cannot be written.
    os.makedirs(tmp_path / "seeds" / "E18-0.json" / "x")
    found = runner.run([E18], tmp_path, quick=True, seeds=2, jobs=1)["E18"]
    assert "seed 0" in found.error and "E18-0.json" in found.error
    assert len(found.seeds) == 1
    assert "E18 seed 0 FAILED" in capsys.readouterr().err
    assert "E18-0.json" in results(tmp_path)["E18"]["error"]


def test_a_missing_data_set_is_named(tmp_path, monkeypatch):
    def missing(name):
        raise problems.MissingData(name)

    monkeypatch.setattr(runner, "require", missing)
    monkeypatch.setattr(E18, "needs", ("cifar10",))
    found = runner.run([E18], tmp_path, quick=True, progress=False)["E18"]
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "cifar10 is missing" in found.judgement.why
    assert found.error == ""


def test_ctrl_c_ends_the_workers(tmp_path, monkeypatch):
    processes = []
    popen = runner.subprocess.Popen
    monkeypatch.setattr(
        runner.subprocess,
        "Popen",
        lambda *a, **k: processes.append(popen(*a, **k)) or processes[-1],
    )

    def interrupted(futures):
        while not processes:
            time.sleep(0.01)
        raise KeyboardInterrupt

    monkeypatch.setattr(runner.concurrent.futures, "as_completed", interrupted)
    with pytest.raises(KeyboardInterrupt):
        runner.run([E18], tmp_path, quick=True, seeds=3, jobs=1, progress=False)
    assert [process.wait(30) != 0 for process in processes] == [True]


@contextlib.contextmanager
def running(id, folder, *options):
    """Start a run in a process of its own, which holds a pipe open, as do its workers. Yield
    (process, the reading end of the pipe) once there is a worker.
    """
    end, held = os.pipe()
    code = f"""
    import sys
    from minidl import cli
    from minidl.lab import runner

    popen = runner.subprocess.Popen

    def begun(*arguments, **options):
        process = popen(*arguments, pass_fds=({held},), **options)
        print("begun", flush=True)
        return process

    runner.subprocess.Popen = begun
    sys.exit(cli.main(["lab", "run", *sys.argv[1:]]))
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), id, "--out", str(folder), *options],
        pass_fds=(held,),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as process:
        os.close(held)
        try:
            assert process.stdout.readline() == "begun\n", process.stderr.read()
            yield process, end
        finally:
            process.kill()
            os.close(end)


def ended(end):
    """Return whether all processes have closed their end of a pipe."""
    return bool(select.select([end], [], [], PATIENCE)[0]) and os.read(end, 1) == b""


@posix
@pytest.mark.parametrize(
    "number, code", [(signal.SIGTERM, 143), (signal.SIGKILL, -9)], ids=["SIGTERM", "SIGKILL"]
)
def test_workers_end_with_the_runner(tmp_path, number, code):
    """The seeds of this experiment take minutes, so a worker that does not end would stay for
    long.
    """
    with running("E30b", tmp_path, "--jobs", "2") as (process, end):
        process.stdout.readline()  # the second line
        process.send_signal(number)
        assert ended(end)
        said = process.communicate(timeout=PATIENCE)[1]
    assert process.returncode == code and "Traceback" not in said
    assert ("the same command continues the run" in said) == (number == signal.SIGTERM)
    assert store.seeds_of(str(tmp_path), "E30b") == []


@posix
def test_after_sigterm_the_same_command_goes_on(tmp_path):
    with running("E18", tmp_path, "--quick", "--seeds", "40", "--jobs", "1") as (process, end):
        assert "E18 seed 0 done" in process.stderr.readline()
        process.terminate()
        assert ended(end)
        assert process.wait(PATIENCE) == 143
    kept = len(store.seeds_of(str(tmp_path), "E18"))
    assert 1 <= kept < 40
    found = runner.run([E18], tmp_path, quick=True, seeds=kept + 1, progress=False)["E18"]
    assert len(found.seeds) == kept + 1 and found.error == ""


@posix
def test_a_handler_of_the_program_stays(tmp_path):
    def handler(number, frame):
        raise AssertionError

    before = signal.signal(signal.SIGTERM, handler)
    try:
        runner.run([], tmp_path / "a", progress=False)
        assert signal.getsignal(signal.SIGTERM) is handler
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        runner.run([], tmp_path / "b", progress=False)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_worker_ends_while_it_computes():
    code = """
    from minidl.lab import worker

    worker.end_with_stdin()
    print("begun", flush=True)
    while True:
        pass
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as process:
        try:
            assert process.stdout.readline() == "begun\n"
            assert process.poll() is None
            process.stdin.close()
            assert process.wait(PATIENCE) == 1
        finally:
            process.kill()


def test_files_of_the_current_folder_are_no_modules(tmp_path, monkeypatch):
    (tmp_path / "numpy.py").write_text("raise SystemExit('not this one')")
    monkeypatch.chdir(tmp_path)
    found = runner.run([E18], tmp_path / "lab", quick=True, seeds=1, progress=False)["E18"]
    assert found.error == "" and len(found.seeds) == 1


def test_signals_without_a_name():
    assert runner._signal_name(9) == "SIGKILL" and runner._signal_name(200) == "signal 200"


@pytest.mark.parametrize(
    "error, given, words",
    [
        (ValueError, {"seeds": 0}, ("seeds", "an int >= 1", "got 0")),
        (ValueError, {"jobs": 0}, ("jobs", "got 0")),
        (TypeError, {"seeds": 2.5}, ("seeds", "2.5")),
        (TypeError, {"jobs": "2"}, ("jobs", "'2'")),
    ],
)
def test_numbers_that_are_refused(tmp_path, error, given, words):
    with refuses(error, "lab", *words):
        runner.run([E18], tmp_path, **given)


def test_a_missing_extra_is_reported_before_anything_runs(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(ImportError, match=r"needs scipy: pip install 'minidl\[lab\]'"):
        runner.run([E18], tmp_path / "new", quick=True)
    assert not (tmp_path / "new").exists()


def test_judged_by_all_seeds_that_are_finished(tmp_path):
    runner.run([E18], tmp_path, quick=True, seeds=2, progress=False)
    assert len(runner.run([E18], tmp_path, quick=True, seeds=1, progress=False)["E18"].seeds) == 2
    assert results(tmp_path)["E18"]["seeds"] == 2


def test_errors_of_all_seeds_are_reported(tmp_path):
    for seed in (0, 1):
        os.makedirs(tmp_path / "seeds" / f"E18-{seed}.json" / "x")
    found = runner.run([E18], tmp_path, quick=True, seeds=2, progress=False)["E18"]
    assert found.verdict is Verdict.INCONCLUSIVE and found.judgement.why == "It crashed."
    assert "seed 0: " in found.error and "seed 1: " in found.error
