"""These tests check that everything exists that CONTRIBUTING.md and the files beside it name, and
that the rules for files hold.
"""

import re
import subprocess

import pytest

import minidl as md
from tests.support import pages, quick
from tests.support.processes import ROOT

PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
WORKFLOW = (ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8")
TEMPLATE = (ROOT / ".github/pull_request_template.md").read_text(encoding="utf-8")
HOOKS = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
# These folders are generated, or are those of an environment.
ELSEWHERE = (".venv/", "build/", "dist/")


def paths(text):
    """Return the files and folders that a page names in its sentences and tables."""
    text = pages.BLOCK.sub("", text)
    for code in re.findall(r"`([^`\n]+)`", text):
        if re.fullmatch(r"\.?[\w][\w./-]*(/|\.\w+)", code) and ("/" in code or code[0].isupper()):
            yield code.rstrip("/")


def test_every_path_of_the_page_exists():
    named = {path for path in paths(PAGE) if not path.startswith(ELSEWHERE)}
    assert len(named) > 30
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("text", [WORKFLOW, TEMPLATE, HOOKS], ids=["workflow", "template", "hooks"])
def test_every_command_of_the_templates_exists(text):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"\bmake (\w+)", text):
        assert re.search(rf"^{target}:.*## ", makefile, re.M), target
    for path in re.findall(r"\bbash (\.\S+)", text):
        assert (ROOT / path).exists(), path


def test_the_programs_of_a_commit_are_those_of_make_lint():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    recipe = makefile.partition("\nlint:")[2].partition("\n\n")[0]
    for program in ("ruff check", "clang-format", "cython-lint", "mypy"):
        assert program in recipe and program in HOOKS, program


def test_the_version_stands_in_one_place():
    """It is `dynamic` in pyproject.toml, and the changelog begins with it."""
    assert 'dynamic = ["version"]' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert "\nversion:" not in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(r"^## (\S+)", changes, re.M)[1] == md.__version__


def test_a_sample_has_one_case_of_each_kind_and_nothing_slow():
    ids = [
        "a.py::f[add (2,)-numpy]",
        "a.py::f[add (2,)-native]",
        "a.py::f[add (3,)-numpy]",
        "a.py::f[exp-numpy]",
        "a.py::g",
        "a.py::h[1]",
        "a.py::h[2]",
    ]
    assert quick.sample(ids, {"a.py::h"}) == {
        "a.py::f[add (2,)-native]",
        "a.py::f[exp-numpy]",
        "a.py::g",
    }


def test_what_is_listed_as_slow_is_there():
    for function in quick.slow_functions():
        file, _, name = function.partition("::")
        assert re.search(rf"^def {name}\(", (ROOT / file).read_text(encoding="utf-8"), re.M) or (
            re.search(rf"\b{name}\b", (ROOT / file).read_text(encoding="utf-8"))
        ), function


def sources():
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listed.returncode:
        pytest.skip("needs a checkout of git")
    return [
        ROOT / name
        for name in listed.stdout.splitlines()
        if name.endswith((".py", ".pyi")) and (ROOT / name).exists()
    ]


def test_no_file_is_longer_than_400_lines():
    found = {
        path.relative_to(ROOT).as_posix(): len(path.read_text(encoding="utf-8").splitlines())
        for path in sources()
    }
    assert {name: count for name, count in found.items() if count > 400} == {}
