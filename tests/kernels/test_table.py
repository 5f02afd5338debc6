"""These tests check the table of kernels: it is complete, is the same in both packages, and is the
only way to minidl_ext.
"""

import ast
import importlib
import inspect
import re
from pathlib import Path

import pytest

import minidl
from minidl import kernels

PACKAGES = ("minidl_ext", "minidl.kernels.reference")
ENTRIES = [(family, name) for family, names in kernels.FAMILIES.items() for name in names]


def module(package, family):
    return importlib.import_module(f"{package}.{family}")


@pytest.mark.parametrize(("family", "name"), ENTRIES)
def test_native_and_twin_have_one_signature(family, name):
    native, twin = (getattr(module(package, family), name) for package in PACKAGES)

    def parameters(kernel):
        return [(p.name, p.default) for p in inspect.signature(kernel).parameters.values()]

    assert parameters(native) == parameters(twin)
    assert native.__name__ == twin.__name__ == name
    assert (native.__doc__ is None) == (twin.__doc__ is None)


@pytest.mark.parametrize(("family", "name"), ENTRIES)
def test_the_table_holds_the_native_kernels(family, name):
    assert getattr(kernels, name) is getattr(module("minidl_ext", family), name)


@pytest.mark.parametrize(("family", "name"), ENTRIES)
def test_a_kernel_has_tests_in_its_folder(family, name):
    """They name the kernel, or the one that it is the backward of."""
    folder = Path(__file__).parents[1] / "minidl_ext" / family.partition(".")[0]
    text = "".join(path.read_text(encoding="utf-8") for path in sorted(folder.glob("test_*.py")))
    assert re.search(rf"\b{name.removesuffix('_backward')}(_backward)?\b", text)


def test_names_are_unique():
    names = [name for _, name in ENTRIES]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("family", kernels.FAMILIES)
def test_every_twin_that_takes_threads_is_a_kernel(family):
    twin = module(PACKAGES[1], family)
    functions = {
        name
        for name, value in vars(twin).items()
        if inspect.isfunction(value)
        and value.__module__ == twin.__name__
        and "threads" in inspect.signature(value).parameters
    }
    assert functions <= set(kernels.FAMILIES[family]) and kernels.FAMILIES[family]


def test_every_family_is_in_the_table():
    sources = Path(minidl.__file__).parents[1] / "minidl_ext"
    families = {
        ".".join(path.relative_to(sources).with_suffix("").parts)
        for path in sources.rglob("*.pyx")
        if path.parent.name != "runtime"
    }
    families.discard(
        "inference.plan"
    )  # it is no function of arrays, and its reference is the model
    if not families:
        pytest.skip("installed without sources")
    assert families == set(kernels.FAMILIES)


def test_unknown_kernels():
    with pytest.raises(AttributeError, match="no kernel 'convolve'"):
        kernels.convolve  # noqa: B018


def test_nothing_else_imports_the_extension():
    package = Path(minidl.__file__).parent
    for path in package.rglob("*.py"):
        if path == package / "kernels" / "__init__.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = (
                [alias.name for alias in getattr(node, "names", [])]
                if isinstance(node, ast.Import)
                else []
            )
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(name.split(".")[0] == "minidl_ext" for name in names), path


@pytest.mark.parametrize("family", kernels.FAMILIES)
def test_stubs_take_the_twins_signatures(family):
    stub = Path(minidl.__file__).parents[1] / "minidl_ext" / f"{family.replace('.', '/')}.pyi"
    if not stub.exists():
        pytest.skip("stubs are not beside an installed package's source")
    imports = [
        node
        for node in ast.parse(stub.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ImportFrom)
    ]
    assert [node.module for node in imports] == [f"minidl.kernels.reference.{family}"]
    assert [alias.name for alias in imports[0].names] == ["*"]


def test_the_stub_of_plans_names_what_there_is():
    stub = Path(minidl.__file__).parents[1] / "minidl_ext" / "inference" / "plan.pyi"
    if not stub.exists():
        pytest.skip("stubs are not beside an installed package's source")
    named: dict[str, list[str]] = {}
    for node in ast.walk(ast.parse(stub.read_text(encoding="utf-8"))):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            named[node.target.id] = []
        elif isinstance(node, ast.FunctionDef):
            named[node.name] = [argument.arg for argument in node.args.args]
    plan = module("minidl_ext", "inference.plan")
    public = {name for name in vars(plan.Plan) if name[0] != "_"}
    constants = {name for name in vars(plan) if name.startswith("PLAN_")}
    assert set(named) == public | constants | {"__init__"}
    assert constants and all(type(getattr(plan, name)) is int for name in constants)
    made = plan.Plan(**dict(zip(named["__init__"][1:], ([], [], 0, 1, False, 1), strict=True)))
    assert made.run(**dict(zip(named["run"][1:], ([], 1, 0), strict=True))) is None
    assert {name: type(getattr(made, name)) for name in public - {"run"}} == {
        "count": int,
        "group": int,
        "arena": int,
        "work": float,
        "shared": bool,
    }
