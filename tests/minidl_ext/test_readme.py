"""These tests check that `minidl_ext/README.md` is true: its paths exist, and folders use only what
its table allows.
"""

import re

import pytest

from tests.support.processes import ROOT

PACKAGE = ROOT / "minidl_ext"
README = PACKAGE / "README.md"
SUFFIXES = (".h", ".md", ".pxd", ".py", ".pyi", ".pyx")
if not README.exists():
    pytest.skip("installed without sources", allow_module_level=True)
TEXT = README.read_text(encoding="utf-8")
FOLDERS = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))


def named_paths():
    """Return what is in backquotes and looks like a path; <folder> and <family> stand for any
    name.
    """
    for word in re.findall(r"`([^`\s]+)`", TEXT):
        if word in FOLDERS or word.startswith(".") or not re.fullmatch(r"[\w./<>-]+", word):
            continue
        if "/" in word or word.endswith(SUFFIXES):
            yield re.sub(r"<\w+>", "*", word)


@pytest.mark.parametrize("path", sorted(set(named_paths())))
def test_a_path_exists(path):
    """It is a path in the project or in this package; a file may be named without its folder."""
    in_package = PACKAGE.glob(path if "/" in path else f"**/{path}")
    assert any(ROOT.glob(path)) or any(in_package), path


def table():
    """Return the folders of the table, each with those that it may use."""
    first = TEXT[TEXT.index("## Folders") : TEXT.index("## How a kernel is called")]
    rows = re.findall(r"^\| `(\w+)` \|[^|]+\|([^|]*)\|$", first, re.MULTILINE)
    return {folder: set(re.findall(r"`(\w+)`", uses)) for folder, uses in rows}


def used_by(folder):
    """Return the other folders whose headers and .pxd files the files of a folder include."""
    found = set()
    for path in (PACKAGE / folder).iterdir():
        if path.suffix in (".h", ".pxd", ".pyx"):
            text = path.read_text(encoding="utf-8")
            found |= set(re.findall(r'(?:#include|cdef extern from) "(\w+)/', text))
            found |= set(re.findall(r"^from minidl_ext\.(\w+)[\w.]* cimport", text, re.MULTILINE))
    return found - {folder}


def test_the_table_has_every_folder():
    assert sorted(table()) == FOLDERS


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_includes_what_it_may(folder):
    assert used_by(folder) <= table()[folder]


def test_the_runtime_depends_on_nothing():
    assert used_by("runtime") == set()
    assert {"runtime", "simd"} <= used_by("inference"), "includes are found"
