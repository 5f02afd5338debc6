"""These tests check that imports lead downwards: there are no circles, even where a function
imports, and each module knows only what is below it.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# The floors of the house, from the ground up. A module may import what is on its own floor, without
# a circle, and on the floors below. A name stands for the module and for everything inside it.
HOUSE = (
    ("minidl_ext",),
    (
        "minidl.version",
        "minidl.foreign_names",
        "minidl.hints",
        "minidl.locks",
        "minidl.arrays",
        "minidl.atomic",
        "minidl.checks",
        "minidl.dlpack",
        "minidl.grad_mode",
        "minidl.mode",
        "minidl.random",
        "minidl.svg",
        "minidl.tracers",
    ),
    ("minidl.kernels",),
    ("minidl.cpus", "minidl.diagnosis", "minidl.machine", "minidl.settings"),
    ("minidl.storage", "minidl.changes", "minidl.lazy", "minidl.tensor"),
    ("minidl.graph", "minidl.backward", "minidl.central_differences"),
    ("minidl.ops",),
    ("minidl.traced", "minidl.tracing", "minidl.batch_traces"),
    ("minidl.files", "minidl.data"),
    ("minidl.nn",),
    ("minidl.optim",),
    ("minidl.profiler",),
    ("minidl.compiled", "minidl.models", "minidl.onnx", "minidl.torch"),
    ("minidl.train",),
    ("minidl.sklearn",),
    ("minidl",),
    ("minidl.lab",),  # its experiments use minidl as users do
    ("minidl.cli", "minidl.__main__"),
)

FLOORS = {name: height for height, floor in enumerate(HOUSE) for name in floor}

Graph = dict[str, list[str]]


def modules_of(root: Path, *packages: str) -> dict[str, Path]:
    """Return the file of each module of some packages, by the module's name."""
    files = [file for package in packages for file in sorted((root / package).rglob("*.py"))]
    return {
        ".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): file
        for file in files
    }


def imported(node: ast.AST, package: str) -> Iterator[str]:
    """Return what the code inside a node imports, lazily or not: names of modules, or of what is in
    them. What only type checkers import is left out.
    """
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        above = package.split(".")[: package.count(".") + 2 - node.level] if node.level else []
        home = ".".join([*above, *([node.module] if node.module else [])])
        yield from (f"{home}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        for child in node.orelse:
            yield from imported(child, package)
    else:
        for child in ast.iter_child_nodes(node):
            yield from imported(child, package)


def graph_of(modules: dict[str, Path]) -> Graph:
    """Return the modules that each module imports, and the packages around these, which Python runs
    first unless the importing module is inside of them, too.
    """
    graph: Graph = {}
    for importer, file in modules.items():
        package = importer if file.name == "__init__.py" else importer.rpartition(".")[0]
        found = set()
        for name in imported(ast.parse(file.read_text(encoding="utf-8")), package):
            while name and name not in modules:
                name = name.rpartition(".")[0]
            if name:
                found.add(name)
            while name := name.rpartition(".")[0]:
                if not f"{importer}.".startswith(f"{name}."):
                    found.add(name)
        graph[importer] = sorted(found - {importer})
    return graph


def circles(graph: Graph) -> list[str]:
    """Return a circle as text for each import that leads back to its own module, each time the
    shortest one.
    """
    found = {}
    for start in graph:
        paths = [[start]]
        seen = {start}
        while paths:
            path = paths.pop(0)
            if start in graph[path[-1]]:
                if frozenset(path) not in found:
                    found[frozenset(path)] = " -> ".join([*path, start])
                break
            new = [name for name in graph[path[-1]] if name not in seen]
            seen.update(new)
            paths += [[*path, name] for name in new]
    return list(found.values())


def floor_of(name: str) -> int:
    """Return the floor of a module, or of the innermost package around it that has one."""
    while name not in FLOORS:
        name = name.rpartition(".")[0]
    return FLOORS[name]


def upwards(graph: Graph) -> list[str]:
    """Return the imports of what is on a higher floor, as text."""
    return [
        f"{importer} -> {name}"
        for importer, names in graph.items()
        for name in names
        if floor_of(name) > floor_of(importer)
    ]


GRAPH = graph_of(modules_of(ROOT, "minidl", "minidl_ext"))


def test_no_circles():
    assert circles(GRAPH) == []


def test_imports_go_downwards():
    assert upwards(GRAPH) == []


def test_every_module_has_its_floor():
    """The top floor is for `minidl/__init__.py` alone, so that a new module in minidl/ needs a
    place.
    """
    assert [name for name in GRAPH if floor_of(name) == FLOORS["minidl"]] == ["minidl"]
    assert set(FLOORS) <= set(GRAPH)


# ------------------------------------------------------------------ what these tests would see

PACKAGE = {
    "__init__.py": "from . import nn, ops, tensor\n",
    "tensor.py": "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    from . import ops\n",
    "ops/__init__.py": "from .math import add\n",
    "ops/math.py": "from ..tensor import Tensor\n",
    "ops/norm.py": "import numpy as np\nfrom minidl.ops import math\n",
    "nn/__init__.py": "from .layer import Layer\n",
    "nn/layer.py": "from .. import ops\nfrom ..tensor import Tensor\n",
}
LAZY = "def f():\n    if True:\n        {}\n"


def written(folder: Path, changes: dict[str, str]) -> Graph:
    """Return the imports of the package above, with other text in some files."""
    for name, text in {**PACKAGE, **changes}.items():
        file = folder / "minidl" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return graph_of(modules_of(folder, "minidl"))


def test_imports_are_read(tmp_path):
    graph = written(tmp_path, {})
    assert graph == {
        "minidl": ["minidl.nn", "minidl.ops", "minidl.tensor"],
        "minidl.nn": ["minidl.nn.layer"],
        "minidl.nn.layer": ["minidl.ops", "minidl.tensor"],
        "minidl.ops": ["minidl.ops.math"],
        "minidl.ops.math": ["minidl.tensor"],
        "minidl.ops.norm": ["minidl.ops.math"],
        "minidl.tensor": [],
    }
    assert circles(graph) == upwards(graph) == []


@pytest.mark.parametrize(
    ("name", "text", "circle"),
    [
        (
            "tensor.py",
            "from . import ops",
            "minidl.ops -> minidl.ops.math -> minidl.tensor -> minidl.ops",
        ),
        (
            "tensor.py",
            "from .ops.norm import x",
            "minidl.ops.norm -> minidl.ops.math -> minidl.tensor -> minidl.ops.norm",
        ),
        (
            "tensor.py",
            LAZY.format("import minidl.nn.layer"),
            "minidl.nn.layer -> minidl.tensor -> minidl.nn.layer",
        ),
        (
            "ops/math.py",
            LAZY.format("from .norm import batch_norm"),
            "minidl.ops.math -> minidl.ops.norm -> minidl.ops.math",
        ),
        (
            "ops/math.py",
            LAZY.format("from minidl import __version__"),
            "minidl -> minidl.ops -> minidl.ops.math -> minidl",
        ),
        (
            "ops/math.py",
            "try:\n    from . import add\nexcept ImportError:\n    pass",
            "minidl.ops -> minidl.ops.math -> minidl.ops",
        ),
    ],
)
def test_a_circle_is_named(tmp_path, name, text, circle):
    assert circle in circles(written(tmp_path, {name: text}))


@pytest.mark.parametrize(
    ("name", "text", "import_"),
    [
        ("tensor.py", "from .nn import Layer", "minidl.tensor -> minidl.nn"),
        (
            "ops/norm.py",
            LAZY.format("from ..nn.layer import x"),
            "minidl.ops.norm -> minidl.nn.layer",
        ),
    ],
)
def test_an_import_of_what_stands_higher_is_named(tmp_path, name, text, import_):
    assert import_ in upwards(written(tmp_path, {name: text}))
