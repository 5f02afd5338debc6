"""These tests check the build: what an sdist contains, and what a change makes the build do again.

Builds of kernels are tried in a small project of their own, with the real `setup.py` and
`minidl_ext/__init__.py` but only one toy kernel, so that they take seconds.
"""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
from email.parser import Parser
from pathlib import Path

import pytest

import minidl_ext
from minidl.version import __version__

ROOT = Path(__file__).resolve().parents[1]
KNOBS = ("MINIDL_ISA", "MINIDL_BUILD_ISA", "MINIDL_DEBUG", "CC")

TOY = """
cimport minidl_ext.runtime.threads
cdef extern from "toy.h":
    double twice(double)
def double_it(double x): return twice(x)
def item(list x, Py_ssize_t i): return x[i]
"""
TOY_HEADER = '#include "inner.h"\nstatic double twice(double x) { return INNER * x; }\n'
THREADS = "cdef int _threads = 1\n"


def run(*command, cwd, **env):
    """Run a Python command with exactly the build settings in `env`."""
    clean = {name: value for name, value in os.environ.items() if name not in KNOBS}
    command = [sys.executable, *command]
    done = subprocess.run(
        command, cwd=cwd, env={**clean, **env}, capture_output=True, text=True, timeout=300
    )
    return done


def build(project, **env):
    """Build in place, and return the modules that were compiled, and all that was printed."""
    done = run("setup.py", "-q", "build_ext", "--inplace", cwd=project, **env)
    assert done.returncode == 0, done.stdout + done.stderr
    return set(re.findall(r"compiling minidl_ext\.(\S+)", done.stdout)), done.stdout


def ask(project, expression, **env):
    """Return the value of an expression about the built package, as text."""
    done = run("-c", f"import minidl_ext; print({expression})", cwd=project, **env)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Return the toy project, built for the level "base" alone."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "minidl").mkdir()
    (folder / "minidl_ext" / "runtime").mkdir(parents=True)
    for name in (
        "setup.py",
        "build_steps.py",
        "pyproject.toml",
        "MANIFEST.in",
        "LICENSE",
        "minidl/version.py",
        "minidl_ext/__init__.py",
        *(f"minidl_ext/runtime/{n}" for n in ("__init__.py", "affinity.py", "cpu.pyx")),
    ):
        shutil.copy(ROOT / name, folder / name)
    (folder / "README.md").write_text("A toy.\n")
    for name, text in (
        ("toy.pyx", TOY),
        ("toy.h", TOY_HEADER),
        ("inner.h", "#define INNER 2\n"),
        ("runtime/threads.pyx", THREADS),
        ("runtime/threads.pxd", "cdef int _threads\n"),
    ):
        (folder / "minidl_ext" / name).write_text(text)
    compiled, printed = build(folder, MINIDL_BUILD_ISA="base")
    assert compiled == {"runtime.cpu", "runtime.threads", "base.toy"}
    progress = re.findall(r"(\w+)ing minidl_ext\S+ (.*)", printed)
    assert sorted(progress) == sorted(
        [
            *(("cythoniz", f"({number} of 3)") for number in (1, 2, 3)),
            # The module cpu, which knows the levels.
            *((step, "(1 of 1)") for step in ("compil", "link")),
            *((step, f"({number} of 2)") for step in ("compil", "link") for number in (1, 2)),
        ]
    )
    return folder


def test_nothing_changed_nothing_done(project):
    assert build(project, MINIDL_BUILD_ISA="base")[0] == set()
    assert ask(project, "minidl_ext.ISA, minidl_ext.toy.double_it(4.0)") == "base 8.0"


def test_a_changed_header_compiles_only_what_includes_it(project):
    (project / "minidl_ext" / "inner.h").write_text("#define INNER 3\n")
    compiled, printed = build(project, MINIDL_BUILD_ISA="base")
    assert compiled == {"base.toy"}
    assert "cythonizing" not in printed
    assert ask(project, "minidl_ext.toy.double_it(4.0)") == "12.0"


def test_a_changed_pxd_compiles_what_cimports_it(project):
    (project / "minidl_ext" / "runtime" / "threads.pxd").write_text("cdef int _threads  # new\n")
    compiled, _ = build(project, MINIDL_BUILD_ISA="base")
    assert compiled == {"runtime.threads", "base.toy"}


def test_a_change_of_levels_keeps_what_is_made(project):
    names = ask(project, "','.join(minidl_ext.SUPPORTED)").split(",")
    if len(names) == 1:
        return  # an architecture without levels
    compiled, _ = build(project, MINIDL_BUILD_ISA=f"base,{names[-1]}")
    assert compiled == {f"{names[-1]}.toy"}
    assert ask(project, "minidl_ext.AVAILABLE") == str(("base", names[-1]))
    described = ask(project, "minidl_ext.ISA, minidl_ext.toy.__name__")
    assert described == f"{names[-1]} minidl_ext.toy"
    assert ask(project, "minidl_ext.ISA", MINIDL_ISA="base") == "base"
    assert build(project, MINIDL_BUILD_ISA="base")[0] == set()
    # A level that may be outdated is not used.
    assert ask(project, "minidl_ext.AVAILABLE") == "('base',)"


def test_by_default_the_best_level_of_this_cpu_is_built(project):
    _, printed = build(project)
    assert ask(project, "minidl_ext.AVAILABLE") in (
        str((name,)) for name in ("base", *minidl_ext.SUPPORTED)
    )
    best = ask(project, "minidl_ext.ISA")
    assert f"kernels are ready: {best}" in printed
    build(project, MINIDL_BUILD_ISA="all")
    levels = ask(project, "','.join(minidl_ext.AVAILABLE)").split(",")
    assert levels in (["base"], ["v2", "v3", "v4"]) or "too old" in printed
    assert ask(project, "minidl_ext.ISA") == best
    build(project, MINIDL_BUILD_ISA="base")


def test_a_debug_build_checks_bounds_and_is_kept_separately(project):
    compiled, _ = build(project, MINIDL_BUILD_ISA="base", MINIDL_DEBUG="1")
    assert compiled == {"runtime.cpu", "runtime.threads", "base.toy"}
    done = run("-c", "import minidl_ext; minidl_ext.toy.item([1, 2], 2)", cwd=project)
    assert "IndexError" in done.stderr
    assert ask(project, "minidl_ext.DEBUG") == "True"
    assert build(project, MINIDL_BUILD_ISA="base")[0] == set()
    assert ask(project, "minidl_ext.DEBUG") == "False"


def compiler(folder, first):
    """Return the compiler of this machine, wrapped in a shell script that does something
    `first`.
    """
    stand_in = folder / "cc"
    real = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    stand_in.write_text(f'#!/bin/sh\n{first}\nexec {real} "$@"\n')
    stand_in.chmod(0o755)
    return str(stand_in)


@pytest.mark.skipif(os.name != "posix", reason="the compiler stand-in is a shell script")
def test_a_compiler_without_openmp_builds_single_threaded(project, tmp_path):
    copy = shutil.copytree(project, tmp_path / "project")
    stand_in = compiler(tmp_path, 'case "$*" in *openmp*) exit 1;; esac')
    _, printed = build(copy, MINIDL_BUILD_ISA="base", CC=stand_in)
    assert "no OpenMP" in printed and "single thread" in printed
    assert ask(copy, "minidl_ext.OPENMP, minidl_ext.toy.double_it(1.0)").startswith("False")


@pytest.mark.skipif(os.name != "posix", reason="the compiler stand-in is a shell script")
def test_a_flag_that_the_compiler_warns_of_is_left_out(project, tmp_path):
    copy = shutil.copytree(project, tmp_path / "project")
    warns = """case "$*" in *-falign-jumps*) echo "warning: not supported" >&2
    case "$*" in *-Werror*) exit 1;; esac;; esac"""
    command = ("setup.py", "-q", "build_ext", "--inplace")
    done = run(*command, cwd=copy, MINIDL_BUILD_ISA="base", CC=compiler(tmp_path, warns))
    assert done.returncode == 0 and "compiling minidl_ext.base.toy" in done.stdout
    assert "not supported" not in done.stdout + done.stderr


@pytest.mark.skipif(os.name != "posix", reason="the compiler stand-in is a shell script")
def test_a_compiler_that_warns_of_everything_still_optimizes(project, tmp_path):
    """It may warn of the flags that Python was built with, which Python passes on for all
    extensions; Debian's Python passes -Werror=format-security.
    """
    copy = shutil.copytree(project, tmp_path / "project")
    warns = f'case " $* " in *" -Werror "*) exit 1;; esac\necho "$*" >> {tmp_path}/calls'
    build(copy, MINIDL_BUILD_ISA="base", CC=compiler(tmp_path, warns))
    (call,) = [line for line in (tmp_path / "calls").read_text().splitlines() if "toy.cpp" in line]
    assert "-O2" in call and "-fno-math-errno" in call


def test_no_compiler_is_a_clear_error(project):
    done = run("setup.py", "-q", "build_ext", "--inplace", cwd=project, CC="no-such-compiler")
    assert done.returncode == 1
    assert "no working C++ compiler" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_level_is_a_clear_error(project):
    command = ("setup.py", "-q", "build_ext", "--inplace")
    done = run(*command, cwd=project, MINIDL_BUILD_ISA="v2,nonsense")
    assert done.returncode == 1
    assert "nonsense" in done.stderr and "native" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_kernel_that_is_no_cython_is_a_clear_error(project):
    bad = project / "minidl_ext" / "bad.pyx"
    bad.write_text("def f(: pass\n")
    try:
        done = run("setup.py", "-q", "build_ext", "--inplace", cwd=project)
    finally:
        bad.unlink()
    assert done.returncode == 1
    assert "bad.pyx" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_removed_kernel_is_gone(project):
    extra = project / "minidl_ext" / "extra.pyx"
    extra.write_text("x = 1\n")
    assert build(project, MINIDL_BUILD_ISA="base")[0] == {"base.extra"}
    assert ask(project, "minidl_ext.extra.x") == "1"
    extra.unlink()
    build(project, MINIDL_BUILD_ISA="base")
    assert ask(project, "hasattr(minidl_ext, 'extra')") == "False"


def test_a_package_from_an_sdist_installs_and_leaves_nothing_behind(project, tmp_path):
    """This is what `pip install` does, from a folder whose name has special characters, without
    git.
    """
    # Importing pip would disable distutils.
    if run("-m", "pip", "--version", cwd=project).returncode:
        pytest.skip("needs pip")
    folder = shutil.copytree(project, tmp_path / "ein größerer Ordner", ignore=all_but_sources)
    venv.create(tmp_path / "environment")
    python = tmp_path / "environment" / "bin" / "python"
    site = next((tmp_path / "environment").glob("lib/python*/site-packages"))
    before = set(site.rglob("*"))

    def pip(command, *arguments, options=(), **env):
        done = run(
            "-m",
            "pip",
            "--disable-pip-version-check",
            *options,
            command,
            *arguments,
            cwd=folder,
            **env,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    def install(levels):
        """Return what pip -v prints, and the levels that are then installed, if their kernels
        work.
        """
        offline = ("--no-index", "--no-deps", "--no-cache-dir")
        printed = pip(
            "wheel",
            "-v",
            "--no-build-isolation",
            *offline,
            str(sdist),
            "--wheel-dir",
            levels,
            MINIDL_BUILD_ISA=levels,
        )
        (wheel,) = folder.glob(f"{levels}/*.whl")
        pip("install", *offline, "--force-reinstall", str(wheel), options=("--python", str(python)))
        code = "import minidl_ext as m; m.toy.double_it(1.0); print(*m.AVAILABLE)"
        done = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True)
        return printed, done.stdout.split(), done.stderr

    assert run("setup.py", "-q", "sdist", cwd=folder).returncode == 0
    (sdist,) = folder.glob("dist/*.tar.gz")
    best = minidl_ext.SUPPORTED[-1]
    printed, levels, errors = install(f"base,{best}" if best != "base" else "base")
    assert levels == list(dict.fromkeys(("base", best))), errors
    assert f"compiling minidl_ext.base.toy (1 of {1 + len(levels)})" in printed
    assert install("base")[1] == ["base"]  # the other level is gone
    files = {path.suffix for path in site.joinpath("minidl_ext").rglob("*") if path.is_file()}
    assert files == {".py", ".pyc", ".so"}
    pip("uninstall", "--yes", "minidl", options=("--python", str(python)))
    assert set(site.rglob("*")) == before


def all_but_sources(folder, names):
    return {name for name in names if name == "build" or name.endswith((".so", ".egg-info"))}


def test_nothing_is_written_beside_the_sources(project):
    assert not list((project / "minidl_ext").rglob("*.cpp"))
    assert not list((project / "minidl_ext").rglob("*.o"))


@pytest.fixture(scope="module")
def sdist(tmp_path_factory):
    """Return the sdist's text files by name, but large data by name alone."""
    folder = tmp_path_factory.mktemp("sdist")
    command = ("egg_info", "--egg-base", str(folder), "sdist", "--dist-dir", str(folder))
    done = run("setup.py", "-q", *command, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    with tarfile.open(next(folder.glob("*.tar.gz"))) as archive:
        return {
            member.name.partition("/")[2]: archive.extractfile(member).read()
            for member in archive
            if member.isfile()
        }


def test_the_sdist_holds_all_sources_and_nothing_made(sdist):
    needed = {
        "setup.py",
        "build_steps.py",
        "pyproject.toml",
        "LICENSE",
        "README.md",
        "Makefile",
        "CONTRIBUTING.md",
        ".ci/run",
        ".github/workflows/ci.yml",
    }
    folders = ("minidl", "minidl_ext", "tests", "fuzz", "examples", "benchmarks", "docs", "tools")
    kinds = {".py", ".pyx", ".pxd", ".pxi", ".h", ".md", ".gz", ".typed", ".pyi"}
    for folder in folders:
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in kinds and "__pycache__" not in path.parts:
                needed.add(path.relative_to(ROOT).as_posix())
    assert needed - set(sdist) == set()
    made = [name for name in sdist if name.endswith((".c", ".so", ".o", ".pyc"))]
    assert sorted(made) == ["benchmarks/fma.c", "benchmarks/int8.c"]  # these are sources
    assert [name for name in sdist if name.startswith(("build/", "../", ".venv"))] == []


def test_every_folder_of_the_package_is_a_package():
    """A folder without `__init__.py` works in place but would be missing from a wheel."""
    folders = {path.parent for path in (ROOT / "minidl").rglob("*.py")}
    assert [str(folder) for folder in folders if not (folder / "__init__.py").exists()] == []


def test_the_metadata(sdist):
    metadata = Parser().parsestr(sdist["PKG-INFO"].decode())
    assert metadata["Name"] == "minidl"
    assert metadata["Version"] == __version__
    assert metadata["License-Expression"] == "BSD-3-Clause"
    assert metadata["Requires-Python"] == ">=3.11"
    assert set(metadata.get_all("Provides-Extra")) == {
        "all",
        "images",
        "lab",
        "lint",
        "onnx",
        "parity",
        "plot",
        "report",
        "runtimes",
        "site",
        "sklearn",
        "tensorboard",
        "test",
        "wheel",
    }
    assert "batch normalization" in metadata["Summary"]
