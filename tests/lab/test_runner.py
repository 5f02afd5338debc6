"""Running experiments: seeds in processes, resumed, crashes reported, ended by Ctrl-C."""

import json
import os
import sys
import time

import pytest

from minidl.lab import problems, runner, store
from minidl.lab.registry import chosen
from minidl.lab.verdict import Verdict

E18, = chosen(["E18"])


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
    now[0] = 2 * e13            # it took twice the time that is stated
    bar.finished(first, "")
    left = 2 * (e13 + 2 * e12) - now[0]         # the other one has been running for as long
    assert bar.seconds() == pytest.approx(left / 2 + 2 * 2 * e31)
    bar.finished(other, "it crashed")
    assert bar.seconds() == pytest.approx(2 * e12 + 2 * 2 * e31)    # no seed is run by two


def test_a_quick_seed_takes_seconds():
    assert runner.Job(chosen(["E30b"])[0], 0).seconds(quick=True) == 12
    assert runner.Job(chosen(["E01"])[0], 0).seconds(quick=True) < 12


def test_finished_seeds_are_not_run_again(tmp_path, monkeypatch):
    runner.run([E18], tmp_path, quick=True, seeds=1, progress=False)
    begun = []
    run = runner._Processes.run
    monkeypatch.setattr(runner._Processes, "run",
                        lambda self, job, *rest: begun.append(job.seed) or run(self, job, *rest))
    runner.run([E18], tmp_path, quick=True, seeds=2, progress=False)
    assert begun == [1]
    assert results(tmp_path)["E18"]["seeds"] == 2


def test_a_crash_is_reported_and_ends_nothing_else(tmp_path, capsys):
    # A folder where a seed's file should be: that seed cannot be written.
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
    monkeypatch.setattr(runner.subprocess, "Popen",
                        lambda *a, **k: processes.append(popen(*a, **k)) or processes[-1])

    def interrupted(futures):
        while not processes:
            time.sleep(0.01)
        raise KeyboardInterrupt

    monkeypatch.setattr(runner.concurrent.futures, "as_completed", interrupted)
    with pytest.raises(KeyboardInterrupt):
        runner.run([E18], tmp_path, quick=True, seeds=3, jobs=1, progress=False)
    assert [process.wait(30) != 0 for process in processes] == [True]


@pytest.mark.parametrize("given", [{"seeds": 0}, {"jobs": 0}])
def test_less_than_one_is_refused(tmp_path, given):
    with pytest.raises(ValueError, match="must be at least 1, got 0"):
        runner.run([E18], tmp_path, **given)


def test_a_missing_extra_is_told_before_anything_runs(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(ImportError, match=r"needs scipy: pip install 'minidl\[lab\]'"):
        runner.run([E18], tmp_path / "new", quick=True)
    assert not (tmp_path / "new").exists()


def test_judged_by_all_seeds_that_are_finished(tmp_path):
    runner.run([E18], tmp_path, quick=True, seeds=2, progress=False)
    assert len(runner.run([E18], tmp_path, quick=True, seeds=1, progress=False)["E18"].seeds) == 2
    assert results(tmp_path)["E18"]["seeds"] == 2


def test_errors_of_all_seeds_are_told(tmp_path):
    for seed in (0, 1):
        os.makedirs(tmp_path / "seeds" / f"E18-{seed}.json" / "x")
    found = runner.run([E18], tmp_path, quick=True, seeds=2, progress=False)["E18"]
    assert found.verdict is Verdict.INCONCLUSIVE and found.judgement.why == "It crashed."
    assert "seed 0: " in found.error and "seed 1: " in found.error
