"""These tests check that the fuzzers find faults that are planted, and that what they found before
stays fixed.
"""

import importlib
import inspect

import numpy as np
import pytest

import minidl as md
from fuzz import calls, compare, corpus, files, kernels, mutate, networks, onnx, state, watch
from fuzz.call_cases import CALLS
from fuzz.draw import Draw
from fuzz.kernel_cases import MAKERS, Kernel
from fuzz.kernel_rules import Rule
from fuzz.onnx_nodes import FORMS
from fuzz.process import Worker
from fuzz.session import Session
from fuzz.shrink import smaller
from fuzz.values import values_of
from fuzz.watch import Fault
from minidl import nn, optim
from minidl.kernels import FAMILIES
from minidl.onnx.operators import OPERATORS

X = {"array": [40, 7], "dtype": "float32", "values": "normal", "seed": 1}
RELU = {"kernel": "relu", "args": {"x": X}, "valid": True, "out": None}
NETWORK = {
    "input": [3, 6, 6, 4],
    "seed": 1,
    "optimizer": "SGD",
    "loss": "weighted",
    "values": "normal",
    "threads": 1,
    "layers": [{"op": "conv", "kernel": 3, "out": 8}, {"op": "relu"}, {"op": "scale"}],
}
MODEL = {
    "opset": 21,
    "nodes": [{"op": "Relu", "in": ["x"], "out": ["y"], "options": {}}],
    "inputs": {"x": X},
    "arrays": {},
    "outputs": {"y": "float32"},
    "valid": True,
    "layout": "NCHW",
    "mutations": [],
}


def answer(fuzzer, case, plant="", limit=10.0):
    """Return a worker's answer to a case, with a fault planted."""
    with Worker(fuzzer, limit, plant and f"tests.support.planted_faults:{plant}") as worker:
        return worker.run({"case": case})


@pytest.mark.parametrize(
    ("plant", "fault"),
    [
        ("wrong_bits", "difference"),
        ("other_bits_on_threads", "threads"),
        ("hangs", "hang"),
        ("ends", "crash"),
        ("aborts", "crash"),
        ("eats", "memory"),
        ("changes_its_input", "changed input"),
        ("fails_inside", "internal error"),
        ("refuses", "refused"),
    ],
)
def test_a_fault_of_a_kernel_is_found(plant, fault):
    found = answer("kernels", RELU, plant, limit=1.0 if plant == "hangs" else 10.0)
    assert found.get("fault") == fault, found


def test_a_kernel_in_order_agrees():
    assert answer("kernels", RELU) == {"outcome": "agrees"}


def test_a_worker_goes_on_after_a_crash():
    with Worker("kernels", 10.0, "tests.support.planted_faults:ends") as worker:
        assert worker.run({"case": RELU})["fault"] == "crash"
        assert worker.run({"case": {**RELU, "kernel": "exp"}}) == {"outcome": "agrees"}


def test_random_cases_find_a_fault_and_make_it_small():
    session = Session("kernels", 0).run(
        1, keep=False, cases=300, setup="tests.support.planted_faults:wrong_bits"
    )
    assert session.found.get("relu difference", 0) > 0
    with Worker("kernels", 10.0, "tests.support.planted_faults:wrong_bits") as worker:
        found = worker.run({"case": RELU})
        small, last = session._small(worker, RELU, found, "relu difference")
    assert last["fault"] == "difference"
    assert len(small["args"]["x"]["array"]) == 1 and small["args"]["x"]["array"][0] <= 40


def test_a_wrong_gradient_of_a_network_is_found():
    assert answer("networks", NETWORK, "wrong_gradient")["fault"] == "difference"
    assert answer("networks", NETWORK) == {"outcome": "agrees"}


def test_an_internal_error_of_a_call_is_found():
    case = {"call": "md.exp", "args": {"0": "text"}, "valid": False}
    assert answer("calls", case, "careless_call")["fault"] == "internal error"
    assert answer("calls", case) == {"outcome": "TypeError"}


def test_an_undocumented_error_of_a_file_is_found():
    case = {"format": "idx", "base": {"seed": 1, "count": 2, "compress": ""}, "mutations": []}
    assert answer("files", case, "reads_anything")["fault"] == "internal error"
    assert answer("files", case) == {"outcome": "read"}
    cut = {**case, "mutations": [["cut", 0.5, 0]]}
    assert answer("files", cut) == {"outcome": "DataFileError"}


@pytest.mark.parametrize(
    "plant, fault",
    [
        ("careless_operator", "internal error"),
        ("wrong_operator", "difference"),
        ("refused_operator", "refused"),
    ],
)
def test_a_fault_of_an_onnx_operator_is_found(plant, fault):
    assert answer("onnx", MODEL, plant)["fault"] == fault


def test_files_of_onnx_run_or_are_refused():
    assert answer("onnx", MODEL) == {"outcome": "ran"}
    cut = {**MODEL, "valid": False, "mutations": [["cut", 0.5, 0]]}
    assert answer("onnx", cut) == {"outcome": "load ValueError"}
    cycle = {**MODEL, "valid": False, "nodes": [{**MODEL["nodes"][0], "in": ["y"]}]}
    assert answer("onnx", cycle) == {"outcome": "load ValueError"}
    later = {**MODEL, "valid": False, "opset": 2**31}
    assert answer("onnx", later) == {"outcome": "load NotImplementedError"}


# --------------------------------------------------------------------------------- the machinery


@pytest.mark.parametrize(
    "module", [kernels, calls, files, networks, onnx], ids=lambda module: module.__name__
)
def test_a_case_follows_from_its_key(module):
    cases = [[module.make(Draw("x", seed, number)) for number in range(20)] for seed in (1, 1, 2)]
    assert cases[0] == cases[1] != cases[2]
    assert all(module.title(case) is not None and module.describe(case) for case in cases[0])


def test_a_wrong_number_of_a_network_is_reported_too():
    right, bounds = {"loss": np.array(1.0)}, {"loss": np.float64(0.1)}
    networks.compare("float32", {"loss": np.array(1.05)}, right, bounds)
    with pytest.raises(Fault, match=r"difference.*loss: 1 of 1; at \(\)"):
        networks.compare("float32", {"loss": np.array(1.2)}, right, bounds)


@pytest.mark.parametrize("finite", [True, False])
def test_what_meets_the_zeros_of_a_padding_stays_finite(finite):
    """Zero times infinity is NaN, or is never computed. Neither is a fault."""
    value = {"array": [3], "dtype": "float32", "values": "normal", "finite": finite}
    wrong = [mutate.mutated(Draw("values", number), value, Draw.absurd) for number in range(3000)]
    values = {w["values"] for w in wrong if isinstance(w, dict) and "array" in w}
    assert "huge" in values and ("special" in values) != finite


def test_the_factors_of_a_convolution_that_meet_zeros_are_finite():
    for name, factors in (
        ("conv", {"w"}),
        ("conv_input_grad", {"dy", "w"}),
        ("conv_weight_grad", {"x", "dy"}),
    ):
        args = MAKERS[name](Kernel(Draw("factors"), name))
        assert {
            key for key, value in args.items() if isinstance(value, dict) and value.get("finite")
        } == factors


def test_every_kernel_and_every_operation_has_cases():
    assert set(MAKERS) == {name for names in FAMILIES.values() for name in names}
    called = {name.partition(".")[2] for name in CALLS if name.startswith("md.")}
    assert not set(md.ops.__all__) - called - {"compare", "bitwise"}  # these take a ufunc
    layers = {
        name
        for name in nn.__all__
        if isinstance(getattr(nn, name), type) and issubclass(getattr(nn, name), nn.Layer)
    }
    called = {name.partition(".")[2] for name in CALLS if name.startswith(("nn.", "optim."))}
    without = {name for name in layers if not inspect.signature(getattr(nn, name)).parameters}
    assert layers - called - without == {"Lambda"}
    assert set(optim.__all__) - called == {
        "Combined",
        "EMA",
        "Optimizer",
        "Schedule",
        "SequenceLR",
        "groups",
    }


def test_every_operator_of_onnx_has_models():
    assert {form.op for form in FORMS} == set(OPERATORS)


@pytest.mark.parametrize(
    "file, place",
    [
        ("minidl/nn/norm.py", "nn/norm.py in careless"),
        ("fuzz/calls.py", ""),
        ("minidl_ext/norm.pyx", "minidl_ext/norm.pyx in careless"),
    ],
)
def test_the_place_of_an_error_is_in_the_library(file, place, monkeypatch, tmp_path):
    """It is nowhere else in the project, which may be in a folder of the library's name."""
    monkeypatch.setattr(watch, "ROOT", tmp_path / "minidl")
    space = {}
    exec(compile("def careless(): 1 / 0", str(tmp_path / "minidl" / file), "exec"), space)
    with pytest.raises(ZeroDivisionError) as info:
        space["careless"]()
    assert watch.place_of(info.value) == place


def test_a_fault_of_the_fuzzer_of_calls_is_no_error_of_the_call(monkeypatch, tmp_path):
    # Afterwards this is undone: the fuzzer of calls changes to a folder of its own.
    monkeypatch.chdir(tmp_path)

    def used(result, inputs):
        raise ValueError("not of the library")

    monkeypatch.setattr(calls, "_used", used)
    with pytest.raises(Fault, match=r"unexpected.*not of the library"):
        calls.run({"call": "md.exp", "args": {"0": X}, "valid": False}, watch.Watch(print))


def test_a_wrong_number_without_axes_is_reported():
    got = np.array(1.0)
    fault = compare.report("y", got, got + 1, np.array(True))
    assert fault.kind == "difference" and "1 of 1 values; at ()" in fault.text


@pytest.mark.parametrize("name, option", [("layer_norm", {}), ("group_norm", {"groups": 1})])
def test_nan_is_right_beside_an_infinite_value_and_nowhere_else(name, option):
    """An infinite value makes the root mean square of its own example infinite."""
    args = {
        "x": {
            "array": [8, 2] if name == "layer_norm" else [8, 2, 1],
            "dtype": "float32",
            "values": "special",
            "seed": 1,
        },
        "gamma": None,
        "beta": None,
        "eps": 0.001,
        "centre": False,
        **option,
    }
    twins = importlib.import_module(f"minidl.kernels.reference.norm.{name}")
    rule = Rule(name, getattr(twins, name), {"args": args})
    x, y = values_of(args)["x"], rule.reference()[0][0]
    lost = ~np.isfinite(x).reshape(8, -1).all(axis=1)
    assert 0 < lost.sum() < 8 and not np.isnan(y[~lost]).any()
    wrong = np.where(lost.reshape(8, *(1,) * (x.ndim - 1)), np.float32(np.nan), y)
    rule.check(wrong, y)
    with pytest.raises(Fault, match="difference"):
        rule.check(np.full_like(y, np.nan), y)


def test_roundings_of_equal_terms_may_all_go_one_way():
    args = {"x": {"array": [1, 400, 1], "dtype": "float32", "values": "equal"}}
    twin = importlib.import_module("minidl.kernels.reference.reduce.reduce").sum
    expected, eps = np.full((1, 1), 40, np.float32), np.float32(2**-23)
    off = expected * (1 + 100 * eps)
    Rule("sum", twin, {"args": args}).check(off, expected)
    args["x"]["values"] = "positive"
    x = values_of(args)["x"]
    expected = twin(x)
    with pytest.raises(Fault, match="difference"):
        Rule("sum", twin, {"args": args}).check(expected * (1 + 100 * eps), expected)


def test_smaller_cases_differ_in_one_thing():
    cases = list(smaller(RELU))
    assert {**RELU, "args": {}} in cases
    assert {**RELU, "args": {"x": {**X, "array": [20, 7]}}} in cases
    assert all(case != RELU for case in cases)


def test_hours_add_up(tmp_path, monkeypatch):
    monkeypatch.setattr(state, "PATH", tmp_path / "state.json")
    assert [state.take_seed("kernels") for _ in range(3)] == [0, 1, 2]
    state.add("kernels", 5.0, 100, 2)
    state.add("kernels", 5.0, 150, 2)  # the same run, later
    state.add("kernels", 2.0, 10, 1)
    assert state.read()["kernels"] == {"seconds": 12.0, "cases": 160, "seed": 3}
    assert "160" in state.table()


def test_a_finding_leaves_the_open_ones_when_it_is_fixed(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(corpus, "FOLDER", tmp_path)
    monkeypatch.setattr(corpus, "OPEN", tmp_path / "open")
    monkeypatch.setattr(corpus, "ROOT", tmp_path)
    path = tmp_path / corpus.keep("kernels", "relu difference", RELU, "1.0, right 2.0")
    assert path.parent.name == "open"
    assert corpus.replay([]) == 0
    assert not path.exists() and (tmp_path / "kernels" / path.name).exists()
    assert "relu difference" in capsys.readouterr().out


# ------------------------------------------------------------------------- what was found before

KEPT = [
    (path, entry)
    for path, entry in corpus.entries(corpus.FOLDER)
    if corpus.OPEN not in path.parents
]


@pytest.fixture(scope="module")
def workers():
    started = {}
    yield lambda fuzzer: started.setdefault(fuzzer, Worker(fuzzer))
    for worker in started.values():
        worker.stop()


@pytest.mark.parametrize("entry", [entry for _, entry in KEPT], ids=[path.stem for path, _ in KEPT])
def test_what_was_found_stays_fixed(entry, workers):
    found = workers(entry["fuzzer"]).run({"case": entry["case"]})
    assert "fault" not in found, found
