"""These tests check that the trace has what viewers of Chrome's trace event format need."""

import json

import numpy as np
import pytest

import minidl as md
from minidl import nn, optim
from tests.support.errors import refuses

PHASES = {"X": {"dur", "args"}, "M": {"args"}, "C": {"args"}, "s": {"id"}, "f": {"id", "bp"}}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    path = tmp_path_factory.mktemp("trace") / "trace.json"
    net = nn.Sequential(
        nn.Conv(8, 8, 3, bias=False),
        nn.BatchNorm(8),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dense(4 * 4 * 8, 2),
    )
    optimizer = optim.SGD(net.parameters(), lr=0.1)
    x = md.randn(16, 6, 6, 8)
    with md.profile() as p:
        md.cross_entropy(net(x), np.zeros(16, int)).backward()
        optimizer.step()
    p.trace(path)
    return json.loads(path.read_text()), p


def spans(made):
    return [event for event in made[0]["traceEvents"] if event["ph"] == "X"]


def test_fields(made):
    content, _ = made
    assert content["displayTimeUnit"] == "ms"
    assert content["otherData"]["threads"] == md.get_num_threads()
    assert {event["ph"] for event in content["traceEvents"]} == set(PHASES)
    for event in content["traceEvents"]:
        assert PHASES[event["ph"]] | {"name", "ph", "ts", "pid", "tid"} <= set(event)
        assert isinstance(event["name"], str) and event["name"]
        assert isinstance(event["pid"], int) and isinstance(event["tid"], int)
        assert event["ts"] >= 0
        if event["ph"] == "X":
            assert event["dur"] >= 0 and event["cat"]
    names = {
        event["name"]: event["args"]["name"]
        for event in content["traceEvents"]
        if event["ph"] == "M"
    }
    assert names == {"process_name": "minidl", "thread_name": "the profiled thread"}


def test_spans_lie_inside_each_other(made):
    """Two spans are separate, or one is inside the other; otherwise viewers draw nonsense. They are
    compared in nanoseconds, all digits of which are in the microseconds of the file.
    """
    found = [
        (round(event["ts"] * 1000), round((event["ts"] + event["dur"]) * 1000), event["cat"])
        for event in spans(made)
    ]
    open_ones = []
    inside = set()
    for begin, end, kind in found:
        while open_ones and open_ones[-1][0] <= begin:
            open_ones.pop()
        if open_ones:
            assert end <= open_ones[-1][0]
            inside.add((kind, open_ones[-1][1]))
        open_ones.append((end, kind))
    assert {
        ("layer", "layer"),
        ("operation", "layer"),
        ("kernel", "operation"),
        ("kernel", "compute"),
        ("gradient", "walk"),
        ("kernel", "gradient"),
        ("kernel", "part"),
    } <= inside
    last = max(end for _, end, _ in found)
    assert last <= round(made[1].summary.seconds * 1e9)


def test_names_and_arguments(made):
    by_kind = {}
    for event in spans(made):
        by_kind.setdefault(event["cat"], []).append(event)
    assert {event["name"] for event in by_kind["layer"]} == {
        "Sequential",
        "0 (Conv)",
        "1 (BatchNorm)",
        "2 (ReLU)",
        "3 (Flatten)",
        "4 (Dense)",
    }
    fused = [event["args"] for event in by_kind["gradient"] if event["name"] == "BatchNorm+ReLU"]
    assert fused == [{"phase": "backward", "layer": "1"}]
    conv = next(event["args"] for event in by_kind["kernel"] if event["name"] == "conv")
    assert conv["shapes"] == [[16, 6, 6, 8], [3, 3, 8, 8]]
    assert conv["operation"] == "Conv" and conv["layer"] == "0" and conv["GFLOP/s"] > 0
    assert [event["name"] for event in by_kind["part"]] == ["SGD.step"]


def test_arrows_lead_from_an_operation_to_its_gradient(made):
    events = made[0]["traceEvents"]
    begins = {event["id"]: event["ts"] for event in events if event["ph"] == "s"}
    ends = {event["id"]: event["ts"] for event in events if event["ph"] == "f"}
    gradients = [event for event in spans(made) if event["cat"] == "gradient"]
    assert set(begins) == set(ends) and len(begins) == len(gradients)
    places = {
        event["ts"]: event for event in spans(made) if event["cat"] in ("operation", "gradient")
    }
    for number, begin in begins.items():
        assert places[begin]["name"] == places[ends[number]]["name"]
        assert (places[begin]["cat"], places[ends[number]]["cat"]) == ("operation", "gradient")


def test_the_counter_is_the_memory_held(made):
    held = [event["args"]["bytes"] for event in made[0]["traceEvents"] if event["ph"] == "C"]
    assert max(held) == made[1].summary.held > 0
    assert min(held) >= 0


def test_wrong_paths(made):
    with refuses(TypeError, "path must be"):
        made[1].trace(3)
    with pytest.raises(FileNotFoundError):
        made[1].trace("/nowhere/at/all/trace.json")
