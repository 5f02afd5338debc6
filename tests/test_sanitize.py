"""These tests check that every family of kernels is among the tests that `make sanitize` finds."""

import re

from minidl import kernels
from tests.support.processes import ROOT
from tools import sanitize


def test_each_family_has_tests_that_sanitizers_run():
    files = [path for folder in sanitize.TESTED for path in (ROOT / folder).rglob("test_*.py")]
    tested = {word for path in files for word in re.findall(r"\w+", path.read_text())}
    built = {path.stem for path in (ROOT / "minidl_ext").rglob("*.pyx")}
    kernels_of = {family.rpartition(".")[2]: names for family, names in kernels.FAMILIES.items()}
    assert set(kernels_of) <= built
    untested = [
        name for name in sorted(built) if not tested & {name, *kernels_of.get(name, ())}
    ]  # by its name alone or with its folder
    assert untested == []


def test_the_copy_has_all_that_the_build_reads():
    needed = set(re.findall(r"^from (\w+) import", (ROOT / "setup.py").read_text(), re.M))
    ours = {f"{name}.py" for name in needed if (ROOT / f"{name}.py").exists()}
    assert ours and ours <= set(sanitize.COPIED)
