"""These tests check that the benchmarks compare sides as they say, on the work that they say. They
assert no times.
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import minidl as md
from benchmarks import (
    arguments,
    augment,
    augment_cases,
    busy,
    cases,
    compare,
    machine,
    minidl_cases,
    pictures,
    report,
    training_file,
    versus_torch,
    workloads,
)
from benchmarks import profile as profile_benchmark
from benchmarks.cases import Case
from benchmarks.serve import measure, peak_bytes, warm_up
from tests.support.kernel_calls import kernels_run

FIRST_OF_KIND = {case.kind: case for case in reversed(cases.network_cases())}


class FakeSide:
    """Answers with times from a list, and records when it was asked."""

    def __init__(self, name, times, asked):
        self.name, self.times, self.asked = name, iter(times), asked

    def measure(self, seconds):
        self.asked.append(self.name)
        return next(self.times), 1000 * len(self.name)


def test_some_cases_do_not_replace_the_results_of_all(tmp_path):
    assert arguments.may_replace([""], arguments.RESULTS)
    assert arguments.may_replace(["silu"], tmp_path)
    assert not arguments.may_replace(["silu"], arguments.RESULTS)
    assert not arguments.may_replace(["silu"], Path.cwd() / arguments.RESULTS)


def test_sides_alternate_and_ratios_are_between_neighbours():
    asked = []
    ours = FakeSide("ours", [1, 2, 4, 1], asked)
    others = {"slow": FakeSide("slow", [3, 8], asked), "fast": FakeSide("fast", [2, 3], asked)}
    row = compare.alternate(ours, others, rounds=2, seconds=0)
    assert asked == ["ours", "slow", "ours", "fast"] * 2
    assert row["ours"]["rounds"] == [1.5, 2.5]
    assert row["others"]["slow"]["ratio"]["rounds"] == [3, 2]
    assert row["others"]["fast"]["ratio"] == {
        "median": 2,
        "min": 1,
        "max": 3,
        "spread": 0.5,
        "rounds": [1, 3],
    }
    assert row["peak_bytes"] == {"ours": 4000, "slow": 4000, "fast": 4000}
    assert compare.fastest(row["others"]) == "fast"


@pytest.mark.parametrize(
    ("ours", "channels_last", "agrees"),
    [
        (2.0, 2.0, True),
        (2.003, 2.001, True),
        (2.00001, 2.0, True),
        (2.01, 2.001, False),
        (2.0001, 2.0, False),
    ],
)
def test_losses_agree_where_they_differ_by_rounding(ours, channels_last, agrees):
    losses = {
        "ours": [1.0, ours],
        "channels_last": [1.0, channels_last],
        "NCHW": [1.0, 2.0],
        "float64": [1.0, 2.0],
    }
    found = versus_torch.agreement(losses)
    assert found["agrees"] is agrees
    assert found["from_nchw"]["ours"] == pytest.approx(abs(ours - 2) / 2)
    assert found["as_exact"] is (ours <= 2.00001)  # NCHW is exact here


def a_row():
    other = {**compare.figures([0.2, 0.3, 0.4]), "ratio": compare.figures([2.0, 3.0, 4.0])}
    return {
        "case": "train step x",
        "ours": compare.figures([0.1]),
        "others": {"eager": other},
        "failed": {"compile": "no compiler"},
        "peer": "eager",
        "work": 5e9,
        "unit": "GB/s",
        "peak_bytes": {"ours": 2**20, "eager": 3 * 2**20},
    }


def test_tables():
    row = a_row()
    assert report.table(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"
    assert report.torch_cells(row) == [
        "train step x",
        "100.00 ms (100.00 ms - 100.00 ms)",
        "300.00 ms (200.00 ms - 400.00 ms)",
        "eager",
        "**3.00x**",
        "2.00-4.00",
        "1 MiB",
        "3 MiB",
        "0.33",
    ]
    assert report.modes_cells(row, ["eager", "compile"]) == [
        "train step x",
        "300.00 ms, 3 MiB",
        "fails",
    ]
    report.rates(row, {"copy GB/s": 100.0})
    assert (row["rate"], row["share"]) == (50, 0.5)
    assert report.kernel_cells(row)[2:] == ["50 GB/s", "50%", "", "", "", ""]
    assert len(report.norm_cells(row)) == len(report.NORM_HEAD)
    assert len(report.torch_cells(row)) == len(report.TORCH_HEAD)
    assert len(report.kernel_cells(row)) == len(report.KERNEL_HEAD)


def test_the_file_of_a_workload_gives_the_same_weights_and_batches(tmp_path):
    assert workloads.write(["mlp-bn"], tmp_path) == {"mlp-bn": "MNIST's test images"}
    path = str(tmp_path / "mlp-bn.npz")
    (weights, feed), (_, again) = training_file.read(path), training_file.read(path)
    md.manual_seed(0)
    for name, value in md.models.MLP().state_dict().items():
        np.testing.assert_array_equal(weights[name], value)
    first = feed()
    assert first[0].shape == (128, 28, 28, 1) and first[0].dtype == np.float32
    assert 0 <= first[0].min() < first[0].max() == 1
    for ours, theirs in zip(first, again(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert (feed()[0] != first[0]).any()
    for _ in range(training_file.BATCHES - 2):
        feed()
    np.testing.assert_array_equal(feed()[0], first[0])  # from the start again


def test_without_cifar_images_are_random_and_said_to_be(monkeypatch):
    monkeypatch.setattr(workloads, "have_cifar", lambda: False)
    images, labels, source = workloads.images_of("CIFAR-10")
    assert images.shape == (2560, 32, 32, 3) and labels.shape == (2560,)
    assert "random" in source


def test_a_train_step_trains(tmp_path):
    workloads.write(["mlp-bn"], tmp_path)
    feed, run = minidl_cases.train_step("mlp-bn", str(tmp_path / "mlp-bn.npz"))
    losses = [run(*feed()) for _ in range(training_file.BATCHES)]
    assert losses[-1] < 0.3 * losses[0]


@pytest.mark.parametrize("name", minidl_cases.NORM_OPTIONS)
def test_options_of_batch_norm(name, monkeypatch):
    calls = kernels_run(monkeypatch, "masked_norm_apply", "batch_norm_apply")
    minidl_cases.norm_option(name, 64, 4, 4, 16)()
    expected = {
        "ghost_batch=32": ["batch_norm_apply"] * 2,
        "ghost_batch=4": ["batch_norm_apply"] * 16,
    }
    assert calls == expected.get(
        name, ["masked_norm_apply" if "mask" in name else "batch_norm_apply"]
    )


@pytest.mark.parametrize("kind", FIRST_OF_KIND)
def test_every_kind_of_case_runs(kind):
    getattr(minidl_cases, kind)(*FIRST_OF_KIND[kind].arguments)()


@pytest.mark.parametrize("model", busy.MODELS)
def test_steps_beside_a_busy_process_are_measured(model):
    """Two trainings run at once, each in its own process, beside a third process that only
    computes.
    """
    assert busy.step(model, "2", (1, 2, {}, ""), seconds=0.01) > 0


def test_names_are_unique_and_parameters_counted():
    for made in (cases.network_cases(), cases.sample_cases()):
        assert len({case.name for case in made}) == len(made)
    for name, count in cases.PARAMETERS.items():
        assert sum(p.size for p in workloads.WORKLOADS[name][0]().parameters()) == count


def test_time_does_not_include_what_is_fed():
    log = []
    times, _ = measure(lambda: (log.append("feed"),), lambda _: log.append("run"), 0)
    assert len(times) == 3 and log == ["feed", "run"] * 3


def test_a_turn_is_warmed_up_until_all_threads_are_there():
    team, runs = iter([1, 1, 2]), []
    warm_up(tuple, lambda: runs.append(1), 0, lambda: next(team) == 2)
    assert len(runs) == 3


def test_the_fewest_threads_of_a_turn_are_reported():
    team = iter([2, 2, 1, 2, 2, 2])
    assert measure(tuple, lambda: None, 0, lambda: next(team))[1] == 1


def test_a_turn_on_fewer_threads_is_taken_again():
    with compare.native(2) as side:
        side.prepare(FIRST_OF_KIND["softmax"])
        answers = [
            {"threads": 1, "times": [1], "peak_bytes": 1},
            {"threads": 2, "times": [2], "peak_bytes": 1},
        ]
        side._ask = lambda **request: answers.pop(0)
        assert side.measure(0) == (2, 1)
        answers += [{"threads": 1, "times": [1], "peak_bytes": 1}] * compare.TURNS
        with pytest.warns(UserWarning, match="1 of 2 threads"):
            side.measure(0)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
def test_a_side_that_waits_stands_still():
    with compare.native(2) as side:
        for _ in range(3):
            side.prepare(FIRST_OF_KIND["softmax"])
            for task in Path(f"/proc/{side.process.pid}/task").iterdir():
                assert (task / "stat").read_text().rpartition(")")[2].split()[0] == "T"


def test_a_worker_answers_and_survives_an_error():
    with compare.native(1) as side:
        assert side.about == {"minidl": md.__version__, "threads": 1}
        assert side.prepare(FIRST_OF_KIND["softmax"]) == []
        seconds, memory = side.measure(0)
        assert 0 < seconds < 1
        assert 10 * 2**20 < memory < 2**30
        with pytest.raises(RuntimeError, match="no_such_kind"):
            side.prepare(Case("", "no_such_kind", ()))
        side.prepare(FIRST_OF_KIND["softmax"])
        assert side.measure(0)[0] > 0
    assert side.process.returncode is not None


def test_our_workers_memory_is_ours_alone():
    subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, benchmarks.worker\nassert not {'torch', 'matplotlib'} & set(sys.modules)",
        ],
        check=True,
    )
    subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys\n"
            "import benchmarks.cases, benchmarks.serve, benchmarks.training_file\n"
            "assert 'minidl' not in sys.modules",
        ],
        check=True,
    )
    # It is not what the process that started it held.
    held = np.ones(2**27, np.uint8)
    code = "from benchmarks.serve import peak_bytes; print(peak_bytes())"
    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    assert int(printed.stdout) < len(held) < peak_bytes()


def test_the_peak_of_the_cpu_is_plausible():
    peak = machine.fma_peak(1)["FMA GFLOP/s"]
    assert 1 < peak < 1000


@pytest.mark.parametrize("kind", ["conv", "conv_input_grad", "conv_weight_grad"])
@pytest.mark.parametrize("shape", [(2, 8, 32, 32, 3, 1, 1), (2, 8, 3, 8, 3, 2, 1)])
def test_a_convolution_is_computed_when_it_is_measured(kind, shape):
    """Its operation may put off the work until the values are asked for."""
    made = getattr(minidl_cases, kind)(*shape)()
    arrays = made if isinstance(made, tuple) else (made,)
    assert any(type(x) is np.ndarray for x in arrays)
    assert all(x is None or type(x) is np.ndarray for x in arrays)


@pytest.mark.parametrize(
    "options, words",
    [
        (["--rounds", "0"], "--rounds: must be at least 1, got 0"),
        (["--threads", "-1"], "--threads: must be at least 1, got -1"),
        (["--seconds", "0"], "--seconds: must be above 0, got 0"),
        (["--seconds", "nan"], "--seconds: must be above 0, got nan"),
        (["--rounds", "many"], "--rounds: invalid"),
        (["--out", __file__], "--out: must be a folder, got the file"),
    ],
)
def test_arguments_are_checked(options, words, capsys):
    parser = argparse.ArgumentParser()
    arguments.add(parser, "threads", "rounds", "seconds", "out", seconds=1.0)
    with pytest.raises(SystemExit):
        parser.parse_args(options)
    assert words in capsys.readouterr().err
    assert parser.parse_args([]).threads == 2


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc and RLIMIT_DATA")
@pytest.mark.parametrize("job", ["decode", "iterate"])
def test_a_folder_of_pictures_takes_less_memory_than_its_pictures(tmp_path, job):
    pictures.write_pictures(tmp_path, 800, 256)
    found = pictures.measured(job, tmp_path, megabytes=400)
    assert found["pictures"] == 800 and found["seen"] == (800 if job == "iterate" else 0)
    assert 20 < found["own_megabytes"] < found["decoded_megabytes"] == pytest.approx(157.3, 0.01)


def test_the_pipelines_of_both_sides_are_the_same():
    torch_side = (Path(augment.__file__).parent / "torch_augment.py").read_text()
    names = re.findall(r'^    "(.*?)": \(', torch_side, flags=re.M)
    assert names == list(augment_cases.PIPELINES)
    for name, (shape, _) in augment_cases.PIPELINES.items():
        found = augment_cases.augment(name)()
        assert found.dtype == np.float32 and len(found) == shape[0], name


def test_a_step_with_a_loader_is_that_with_ready_batches():
    losses = [[run() for _ in range(2)] for run in map(seeded_step, ("ready", "loader"))]
    assert losses[0] == losses[1]
    images, labels = augment_cases.loader_batch()()
    assert images.shape == (128, 32, 32, 3) and labels.shape == (128,)


def seeded_step(source):
    md.manual_seed(0)
    return augment_cases.loader_step(source)


def test_tables_of_augmentation():
    other = {**compare.figures([0.2, 0.4]), "ratio": compare.figures([2.0, 4.0])}
    row = {
        "case": "flip",
        "images": 128,
        "ours": compare.figures([0.1]),
        "others": {"NumPy": other},
    }
    step = {**compare.figures([0.101, 0.103]), "ratio": compare.figures([1.01, 1.03])}
    batch = {**compare.figures([0.002]), "ratio": compare.figures([0.02])}
    share = {
        "threads": 2,
        "ours": compare.figures([0.1]),
        "others": {"loader": step, "batch": batch},
    }
    found = augment.tables({"pipelines": [row], "share": share})
    assert "| flip | 1,280 | 427 | **3.0x** (2.0-4.0) |  |  |  |  |" in found["augmentation"]
    assert "**2.0%** (1.0 - 3.0)" in found["loader's share"]
    assert "| 2.0% |" in found["loader's share"]
    assert list(augment.tables({"pipelines": [row], "share": None})) == ["augmentation"]


def test_a_profile_is_compared_with_the_time_around_its_steps(monkeypatch, tmp_path):
    ran = []

    def train_step(name, path):
        x = md.ones((4, 4))
        return lambda: (x, x), lambda a, b: ran.append(md.matmul(a, b).data)

    monkeypatch.setattr(minidl_cases, "train_step", train_step)
    monkeypatch.setattr(profile_benchmark, "TURN", 0.0)
    row = profile_benchmark.measure("mlp-bn", tmp_path, 0.0)
    assert row["turns"] == 3 and len(ran) == (1 + 2 * 3) * profile_benchmark.LEAST
    assert row["overhead"] > -1 and row["step"] > 0
    assert 0 < row["named"] < row["sum"]
    assert "MatMul" in row["tables"]["operation"] and "outside" in row["tables"]["layer"]
