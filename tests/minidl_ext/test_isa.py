"""These tests check the choice of an instruction-set level at import. Each case runs in a process
of its own.
"""

import platform
import runpy
import sys
from itertools import pairwise
from pathlib import Path

import pytest

import minidl_ext
from minidl_ext.runtime import cpu
from tests.support.processes import ROOT, python

LEVELS = tuple(cpu.FEATURES)


def import_error(isa, code="import minidl_ext"):
    """Return the message of the ImportError that `code` must raise. A crash is not an
    ImportError.
    """
    done = python(code, MINIDL_ISA=isa)
    assert done.returncode == 1, done
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: "), done.stderr
    return last


def with_cpu(**answers):
    """Return code that imports minidl_ext where the CPU gives `answers` and there is a level v5."""
    return f"""
import sys, types
answers = {answers!r}
cpu = types.ModuleType("minidl_ext.runtime.cpu")
cpu.FEATURES = dict.fromkeys({(*LEVELS, "v5")!r}, ())
cpu.supported_levels = lambda: answers["supported"]
cpu.missing_features = lambda level: answers["missing"]
cpu.openmp = cpu.debug = lambda: False
sys.modules["minidl_ext.runtime.cpu"] = cpu
import minidl_ext
"""


def test_levels_are_ordered_and_nested():
    assert LEVELS == ("base", "v2", "v3", "v4")
    sets = [set(cpu.FEATURES[level]) for level in LEVELS]
    assert all(small < large for small, large in pairwise(sets))


def test_the_cpu_is_asked_for_exactly_what_the_compiler_may_use():
    setup = runpy.run_path(str(ROOT / "setup.py"), run_name="setup")
    assert setup["FEATURES"] == cpu.FEATURES


def test_supported_levels_are_those_with_nothing_missing():
    assert cpu.supported_levels() == tuple(x for x in LEVELS if not cpu.missing_features(x))
    assert "base" in cpu.supported_levels()
    for level in LEVELS:
        assert set(cpu.missing_features(level)) <= set(cpu.FEATURES[level])


@pytest.mark.skipif(
    not Path("/proc/cpuinfo").exists() or platform.machine() != "x86_64",
    reason="Linux tells the flags; an emulator, those of another CPU",
)
def test_the_cpu_and_the_system_agree():
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    flags = next((line.split(":")[1].split() for line in lines if line.startswith("flags")), [])
    names = {"sse3": "pni", "sse4.1": "sse4_1", "sse4.2": "sse4_2", "bmi": "bmi1"}
    wanted = cpu.FEATURES["v4"]
    assert set(cpu.missing_features("v4")) == {x for x in wanted if names.get(x, x) not in flags}


def test_what_is_exposed():
    assert minidl_ext.ISA in minidl_ext.AVAILABLE
    assert minidl_ext.ISA in minidl_ext.SUPPORTED
    assert cpu.supported_levels() == minidl_ext.SUPPORTED
    assert minidl_ext.OPENMP is cpu.openmp()
    assert minidl_ext.DEBUG is cpu.debug()


def test_the_best_level_is_taken():
    done = python("import minidl_ext as m; print(m.ISA)", MINIDL_ISA=None)
    usable = [x for x in minidl_ext.AVAILABLE if x in minidl_ext.SUPPORTED]
    assert done.stdout.strip() == usable[-1], done.stderr


def test_every_level_that_can_run_here_imports_all_its_kernels():
    folder = ROOT / "minidl_ext"
    sources = {
        ".".join(path.relative_to(folder).with_suffix("").parts) for path in folder.rglob("*.pyx")
    }
    code = f"""
import importlib, operator, os, sys
import minidl_ext
print(minidl_ext.ISA)
for name in {sorted(sources)!r}:
    module = importlib.import_module("minidl_ext." + name)
    assert operator.attrgetter(name)(minidl_ext) is module is sys.modules["minidl_ext." + name]
    print(name, module.__name__, os.path.basename(os.path.dirname(module.__file__)))
"""
    for level in set(minidl_ext.AVAILABLE) & set(minidl_ext.SUPPORTED):
        done = python(code, MINIDL_ISA=level)
        assert done.returncode == 0, done.stderr
        isa, *modules = done.stdout.splitlines()
        assert isa == level
        for line in modules:
            stem, name, folder = line.split()
            assert name == f"minidl_ext.{stem}"
            assert folder == ("runtime" if stem.startswith("runtime.") else level)


BUILT = ", ".join(minidl_ext.AVAILABLE)


def test_an_unknown_level():
    message = import_error("nonsense")
    assert "no level MINIDL_ISA=nonsense" in message
    assert all(level in message for level in LEVELS)
    assert "unset MINIDL_ISA" in message


def test_an_empty_setting_is_no_setting():
    assert python("import minidl_ext", MINIDL_ISA="").returncode == 0


def test_a_level_that_is_not_built():
    message = import_error("v5", with_cpu(supported=("base", "v5"), missing=()))
    assert "v5: that level is not built" in message
    assert f"Built are {BUILT}; this CPU runs base, v5" in message
    assert f"MINIDL_BUILD_ISA={','.join((*minidl_ext.AVAILABLE, 'v5'))} pip" in message
    assert "unset MINIDL_ISA" in message


@pytest.mark.parametrize("forced", ["v4", "v5"])
def test_a_level_that_the_cpu_cannot_run(forced):
    code = with_cpu(supported=("base", "v2"), missing=("avx512f", "avx512bw"))
    message = import_error(forced, code)
    assert f"MINIDL_ISA={forced}: this CPU lacks avx512f, avx512bw" in message
    assert f"Built are {BUILT}; this CPU runs base, v2" in message
    assert "unset MINIDL_ISA" in message


@pytest.mark.parametrize("supported, runs", [((), "none"), (("base",), "base")])
def test_no_built_level_runs_on_this_cpu(supported, runs):
    """This happens if a wheel that was built for one machine's level gets to an older machine."""
    code = with_cpu(supported=supported, missing=("avx512f",))
    if set(supported) & set(minidl_ext.AVAILABLE):
        return  # an architecture without levels
    message = import_error(None, code)
    assert "none of minidl's kernels runs on this CPU" in message
    assert f"Built are {BUILT}; this CPU runs {runs}" in message
    assert "pip install --force-reinstall" in message
    assert "make wheel" in message


def test_nothing_is_built(tmp_path):
    (tmp_path / "minidl_ext").mkdir()
    init = Path(minidl_ext.__file__).read_text()
    (tmp_path / "minidl_ext" / "__init__.py").write_text(init)
    message = import_error(
        None, f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import minidl_ext"
    )
    assert f"not built for this Python, {sys.implementation.cache_tag}" in message
    assert "pip install -e ." in message
