"""These tests check the text of a profile: columns, orders, sums."""

import re
import threading

import numpy as np
import pytest

import minidl as md
from minidl import nn
from minidl.profiler import peaks
from minidl.profiler.rows import Row, Summary
from minidl.profiler.table import table
from tests.support.errors import refuses

PEAKS = peaks.Peaks(100.0, 20.0, 1)
ROWS = (
    Row("Conv", "forward", 4, 0.060, 3 * 10**9, 12 * 10**7, 5 * 10**6),
    Row("BatchNorm+Add+ReLU", "backward", 2, 0.030, 0, 3 * 10**8, 0),
    Row("Python and other", "", 0, 0.010, 0, 0, 0),
)
SUMMARY = Summary(0.1, 2, 1, 5 * 10**6, ROWS, ROWS, ROWS)


def written(**options):
    given = {"sort": "time", "limit": None, "what": "operation", **options}
    return table(SUMMARY, ROWS, given["what"], given["sort"], given["limit"], PEAKS).split("\n")


def test_a_row():
    lines = written()
    assert re.split(r" {2,}| (?=\d)", lines[5].strip()) == [
        "Conv",
        "forward",
        "4",
        "60.00",
        "60.0%",
        "50.0",
        "50%",
        "2.0",
        "10%",
        "5.0",
    ]
    assert re.split(r" {2,}| (?=\d)", lines[6].strip()) == [
        "BatchNorm+Add+ReLU",
        "backward",
        "2",
        "30.00",
        "30.0%",
        "10.0",
        "50%",
    ]
    assert lines[7].split() == ["Python", "and", "other", "10.00", "10.0%"]
    assert lines[9].split() == ["sum", "6", "100.00", "100.0%", "30.0", "30%", "4.2", "21%", "5.0"]


def test_the_head():
    lines = written()
    assert lines[0] == "100.0 ms: 2 steps of 50.0 ms; at most 5.0 MB held by results"
    assert lines[1].endswith("1 thread; peaks: product 100 GFLOP/s, stream 20.0 GB/s")
    assert lines[3].split() == [
        "operation",
        "phase",
        "calls",
        "ms",
        "share",
        "GFLOP/s",
        "peak",
        "GB/s",
        "peak",
        "MB",
    ]


@pytest.mark.parametrize(
    ("sort", "first"),
    [
        ("time", "Conv"),
        ("calls", "Conv"),
        ("flops", "Conv"),
        ("held", "Conv"),
        ("bytes", "BatchNorm"),
        ("name", "BatchNorm"),
    ],
)
def test_orders(sort, first):
    assert written(sort=sort)[5].startswith(first)


def test_rows_beyond_the_limit_are_one():
    lines = written(limit=1)
    assert lines[6].split() == ["2", "more", "2", "40.00", "40.0%", "7.5", "38%"]
    assert lines[8] == written()[9]


def test_long_names_fit():
    name = "stages.0.blocks.11.branch_with_a_long_name.normalized_conv"
    row = Row(name, "backward", 123456, 12.345678, 10**12, 10**11, 10**9)
    lines = table(
        Summary(12.345678, 1, 1, 0, (row,), (row,), (row,)), (row,), "layer", "time", 5, PEAKS
    ).split("\n")
    assert all(len(line) <= 100 for line in lines[3:])
    assert lines[5].startswith("stages.0.block...")
    assert "...rmalized_conv backward  123456  12345.68 100.0%" in lines[5]


@pytest.fixture(scope="module")
def p():
    net = nn.Sequential(nn.Sequential(nn.Dense(4, 8), nn.ReLU()), nn.Dense(8, 2))
    with md.profile() as p:
        net(md.randn(4, 4)).sum().backward()
    p.peaks = PEAKS
    return p


def test_views(p):
    assert "\nLinear " in p.table()
    assert "\n0.0 " in p.table(by="layer")
    assert "\nmatmul 4x4 4x8 " in p.table(by="kernel")


def test_layers_to_a_depth(p):
    lines = p.table(by="layer", depth=1).split("\n")
    names = {line.split("  ")[0].strip() for line in lines[5:-2]}
    assert names == {"0", "1", "Sequential", "outside of layers", "walk back", "Python and other"}
    assert lines[-1] == p.table(by="layer").split("\n")[-1]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"by": "module"}, ValueError, "by must be"),
        ({"by": 3}, TypeError, "by must be"),
        ({"sort": "size"}, ValueError, "sort must be"),
        ({"limit": 0}, ValueError, "limit must be"),
        ({"limit": 1.5}, TypeError, "limit must be"),
        ({"depth": 0}, ValueError, "depth must be"),
    ],
)
def test_wrong_arguments_are_refused(p, options, error, message):
    with refuses(error, message):
        p.table(**options)


def test_peaks_are_measured_once(monkeypatch):
    monkeypatch.setattr(peaks, "SECONDS", 0.0)
    monkeypatch.setattr(peaks, "_known", {})
    with md.profile() as p:
        found = peaks.peaks()  # while a profile is on, which does not record this
    assert found.gflops > 0 and found.gbytes > 0 and found.threads == md.get_num_threads()
    assert peaks.peaks() is found
    assert [row.name for row in p.summary.operations] == ["Python and other"]
    assert p.peaks is found


def test_each_backend_has_its_own_peaks(monkeypatch):
    monkeypatch.setattr(peaks, "SECONDS", 0.0)
    monkeypatch.setattr(peaks, "_known", {})
    with md.use_backend("numpy"):
        twins = peaks.peaks()
    assert peaks.peaks() is not twins
    with md.use_backend("numpy"):
        assert peaks.peaks() is twins


def test_threads_measure_one_after_the_other(monkeypatch):
    """The second thread uses what the first one has measured."""
    begun, ended, measured = threading.Event(), threading.Event(), []

    def product():
        begun.set()
        ended.wait(0.05)  # the other thread waits for this one, or measures meanwhile
        measured.append(1)
        return 1.0

    def second():
        begun.wait(10)
        peaks.peaks()
        ended.set()

    monkeypatch.setattr(peaks, "_known", {})
    monkeypatch.setattr(peaks, "_product", product)
    monkeypatch.setattr(peaks, "_stream", lambda: 1.0)
    thread = threading.Thread(target=second)
    thread.start()
    peaks.peaks()
    thread.join()
    assert len(measured) == 1


def test_a_profile_that_ends_while_another_thread_measures(monkeypatch):
    """The profile around the measurement still records what comes after it."""

    def product():
        thread = threading.Thread(target=short)
        thread.start()
        thread.join()
        return 1.0

    def short():
        with md.profile():
            pass

    monkeypatch.setattr(peaks, "_known", {})
    monkeypatch.setattr(peaks, "_product", product)
    monkeypatch.setattr(peaks, "_stream", lambda: 1.0)
    with md.profile() as p:
        peaks.peaks()
        md.exp(md.ones(3))
    assert "Exp" in {row.name for row in p.summary.operations}


def test_numbers_are_finite_for_a_row_without_time():
    row = Row("x", "forward", 1, 0.0, 10, 10, 0)
    assert row.gflops == row.gbytes == 0.0
    assert np.isfinite(row.gflops)
