"""This tool writes docs/coverage.md, which says what kinds of tests each operation and each layer
has.

    python tools/coverage_table.py

It reads the tables of the tests themselves: the cases of tests/ops and tests/nn, and the names in
tests/parity (which it does not import, because those tests need PyTorch). A cell without a test
must have a reason in REASONS. A test checks that the page is up to date and that no cell is empty.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from pathlib import Path
from types import CodeType

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from minidl import kernels, nn, ops  # noqa: E402
from tests.support import cases, layer_table  # noqa: E402

PAGE = ROOT / "docs" / "coverage.md"
CHECKS = ("values", "gradient", "PyTorch", "twin", "threads", "bad input")

CONSTANT = "makes a constant"
NUMPY = "NumPy's own"
OF_PARTS = "its operations' are"

REASONS: dict[str, dict[str, str]] = {}
# Tests that are not rows of a table: names, checks, and the file that has them.
ELSEWHERE = (
    (
        "zeros ones full eye arange zeros_like ones_like full_like tensor rand randn rand_like "
        "randn_like",
        "values",
        "tests/ops/test_create.py",
    ),
    (
        "zeros ones full eye arange zeros_like ones_like full_like rand randn rand_like randn_like",
        "bad input",
        "tests/ops/test_create.py",
    ),
    ("from_dlpack", "values bad_input", "tests/test_dlpack.py"),
    ("from_dlpack", "PyTorch", "tests/parity/test_dlpack.py"),
    ("dropout", "values gradient twin threads", "tests/ops/test_random.py"),
    ("accuracy", "values", "tests/ops/test_loss.py"),
    ("one_hot", "values", "tests/ops/test_embedding.py"),
    ("Embedding", "values gradient bad_input", "tests/nn/test_layer_starts.py"),
    ("RNN GRU LSTM", "values gradient twin threads", "tests/nn/test_recurrent.py"),
    ("StepNorm", "values gradient twin", "tests/nn/test_recurrent_norms.py"),
    ("RNN GRU LSTM StepNorm", "bad_input", "tests/nn/test_recurrent_errors.py"),
)


def why(names: str, **reasons: str) -> None:
    for name in names.split():
        REASONS.setdefault(name, {}).update(
            {check.replace("_", " "): reason for check, reason in reasons.items()}
        )


why(
    "tensor zeros ones full eye arange zeros_like ones_like full_like rand randn rand_like "
    "randn_like",
    gradient=CONSTANT,
    twin=NUMPY,
    threads=NUMPY,
    PyTorch=CONSTANT,
)
why("from_dlpack", gradient=CONSTANT, twin=NUMPY, threads=NUMPY)
why("dropout", PyTorch="draws other numbers")
why(
    "argmax argmin argsort one_hot accuracy compare any all bitwise floor_divide",
    gradient="none",
    threads=NUMPY,
    twin=NUMPY,
    PyTorch=NUMPY,
)
why(
    "reshape transpose expand_dims squeeze broadcast_to flatten concatenate stack split flip pad "
    "getitem astype where nll_loss sin cos sort topk cumsum",
    threads=NUMPY,
    twin=NUMPY,
)
why("astype", PyTorch=NUMPY)


def names_in(code: CodeType) -> set[str]:
    """Return all names that a function, or one inside it, looks up."""
    found = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found |= names_in(constant)
    return found


def operations_of(function: object) -> set[str]:
    """Return the operations that a function of a table is or calls."""
    for name in ops.__all__:
        if function is getattr(ops, name):
            return {name}
    if not inspect.isfunction(function):
        return set()
    found = names_in(function.__code__)
    for value in [c.cell_contents for c in function.__closure__ or ()] + list(
        function.__defaults__ or ()
    ):
        found |= operations_of(value)
    return found & set(ops.__all__)


def tests_of_operations() -> dict[str, set[str]]:
    for path in sorted((ROOT / "tests" / "ops").glob("test_*.py")):
        importlib.import_module(f"tests.ops.{path.stem}")
    have: dict[str, set[str]] = {name: set() for name in ops.__all__}
    for case in cases.TABLES:
        for name in operations_of(case.ours):
            have[name] |= (
                {"values", "twin"}
                | ({"gradient"} if case.grad else set())
                | ({"threads"} if case.large is not None else set())
            )
    for call in cases.ERRORS:
        for name in operations_of(call):
            have[name].add("bad input")
    for name in parity_words(r"\bmd\.(\w+)"):
        if name in have:
            have[name].add("PyTorch")
    add_elsewhere(have)
    for name, operators in (
        ("getitem", ("values", "gradient", "PyTorch", "bad input")),
        ("compare", ("values", "bad input")),
    ):  # these are spelled as operators
        have[name] |= set(operators)
    return have


def add_elsewhere(have: dict[str, set[str]]) -> None:
    for names, checks, file in ELSEWHERE:
        text = (ROOT / file).read_text(encoding="utf-8")
        for name in names.split():
            if name in have and re.search(rf"\b{name}\b", text):
                have[name] |= {
                    check.replace("_", " ")
                    for check in ([checks] if checks == "bad input" else checks.split())
                }


def tests_of_layers() -> dict[str, set[str]]:
    have = {
        name: set()
        for name in nn.__all__
        if isinstance(getattr(nn, name), type)
        and issubclass(getattr(nn, name), nn.Layer)
        and name not in ("Layer", "LayerList", "Normalization")
    }
    for line in layer_table.LAYERS:
        have[line[0].split(",")[0]] |= {"values", "gradient", "twin"}
    for name in parity_words(r"\bnn\.(\w+)"):
        if name in have:
            have[name].add("PyTorch")
    errors = importlib.import_module("tests.nn.test_layer_errors")
    for call, _ in errors.ERRORS:
        for name in names_in(call.__code__) & set(have):
            have[name].add("bad input")
    for make in errors.INTEGERS:
        have[make.__name__].add("bad input")
    add_elsewhere(have)
    return have


def parity_words(pattern: str) -> set[str]:
    return {
        name
        for path in (ROOT / "tests" / "parity").glob("test_*.py")
        for name in re.findall(pattern, path.read_text(encoding="utf-8"))
    }


def rows(have: dict[str, set[str]]) -> list[str]:
    lines = [f"| | {' | '.join(CHECKS)} |", "|" + "---|" * (len(CHECKS) + 1)]
    for name in sorted(have, key=str.lower):
        cells = [
            "yes" if check in have[name] else REASONS.get(name, {}).get(check, "")
            for check in CHECKS
        ]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return lines


def page() -> str:
    layers = tests_of_layers()
    why(" ".join(layers), threads=OF_PARTS, twin=OF_PARTS)
    why("Identity Flatten Sequential", bad_input=OF_PARTS)
    native = sum(len(names) for names in kernels.FAMILIES.values())
    return "\n".join(
        [
            "# What is tested how",
            "",
            "Written by `python tools/coverage_table.py` from the tables of the tests; a test "
            "keeps it up to date.",
            "",
            "*values*: against NumPy, float32 and float64. *gradient*: against central differences "
            "in float64, and float32 against float64. *PyTorch*: values and gradients against "
            "PyTorch's. *twin*: the same on the NumPy backend. *threads*: the same bits on 1, 2 "
            "and 3 threads. *bad input*: errors that name the argument. "
            f"Below the operations, each of the {native} native kernels is tested against its twin "
            "over shapes, dtypes and thread counts, and refuses bad arrays "
            "(`tests/minidl_ext`).",
            "",
            "## Operations",
            "",
            *rows(tests_of_operations()),
            "",
            "## Layers",
            "",
            *rows(layers),
            "",
        ]
    )


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
