"""Builds the kernels: one Cython source each, compiled once per instruction set.

Everything that can be declared stands in pyproject.toml; here is only what must be
computed. A kernel family (`minidl_ext/norm.pyx`, say) becomes C once, and that C becomes
`minidl_ext/v2/norm.so`, `minidl_ext/v3/norm.so` and so on; `minidl_ext/__init__.py` takes
the best of them at import. The modules in BASELINE are compiled once, for any CPU.

Environment variables:
    MINIDL_BUILD_ISA  levels to make: "native" (the best that this CPU runs; the default),
                      "all" (for wheels that others get; as `make wheel` does), or names as
                      in "v2,v3".
    MINIDL_DEBUG=1    bounds checks and C assertions on, little optimization.
    CC, CFLAGS        as everywhere.

Generated C, objects and libraries are kept under build/, apart for debug and normal
builds, each with a stamp of what made it, so a build does again only what changed.
"""

import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from setuptools import Extension, setup
from setuptools.command.build import build as _build
from setuptools.command.build_ext import build_ext as _build_ext
from setuptools.errors import CompileError, SetupError

PACKAGE = Path("minidl_ext")
BASELINE = ("arguments", "cpu", "runtime", "threads")

# The features a level may use. `minidl_ext/cpu.pyx` tests at import for exactly these; a
# test compares the two lists. Flags by name, not -march=x86-64-v3: that would allow more
# than is tested for.
FEATURES = {"base": ()}
FEATURES["v2"] = ("sse3", "ssse3", "sse4.1", "sse4.2", "popcnt")
FEATURES["v3"] = (*FEATURES["v2"], "avx", "avx2", "fma", "bmi", "bmi2")
FEATURES["v4"] = (*FEATURES["v3"], "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl")
TUNING = {"v4": ["-mprefer-vector-width=512"]}

X86_64 = platform.machine().lower() in ("x86_64", "amd64") and sys.maxsize > 2**32
ALL_LEVELS = ("v2", "v3", "v4") if X86_64 else ("base",)

# May the compiler fuse a * b + c into one rounding where the source does not say so? In
# general no: backward passes recompute expressions of the forward pass and must get the
# same bits. In these families nothing is recomputed and every multiply feeds an addition.
FUSED = dict.fromkeys(("matmul", "conv", "winograd", "depthwise", "pointwise", "plan"), "fast")

DEBUG = os.environ.get("MINIDL_DEBUG", "0") not in ("", "0")
OPTIMIZE = ["-O1", "-g", "-UNDEBUG", "-DMINIDL_DEBUG=1"] if DEBUG else ["-O3", "-g0", "-DNDEBUG"]
# Never -ffast-math: it would switch the whole process to flush-to-zero and break NaN.
MATH = ["-fno-math-errno", "-fno-trapping-math"]
# Generated C is full of these: a variable private to threads counts as read before it is set.
QUIET = ["-Wno-sign-compare", "-Wno-unused-function"]
QUIET += ["-Wno-uninitialized", "-Wno-maybe-uninitialized"]
OPENMP = [  # (compiler flags, linker flags), the first that works
    (["-fopenmp"], ["-fopenmp"]),
    (["-Xpreprocessor", "-fopenmp"], ["-lomp"]),  # Apple's clang
]
# For kernels, where it works: `team_of_one.h` says why. Baseline modules must not ask for OpenMP,
# which reads its settings when it is loaded: the package makes them first.
TEAM_OF_ONE = (["-include", f"{PACKAGE}/team_of_one.h"], ["-Wl,--wrap=GOMP_parallel"])
OPENMP_PROGRAM = "#include <omp.h>\nint main(void) { return omp_get_max_threads() < 1; }\n"

DIRECTIVES = {"language_level": 3, "cdivision": True, "embedsignature": False}
CHECKS = ("boundscheck", "wraparound", "initializedcheck", "nonecheck")
DIRECTIVES |= dict.fromkeys(CHECKS, DEBUG)


def say(text):
    """A line of progress; build tools show it or not, as they were asked to."""
    print(f"minidl: {text}\n", end="", flush=True)  # one write, so threads do not mix lines


class Kernel(Extension):
    """One module for one level; `level` is None for a baseline module."""

    def __init__(self, source, level):
        self.stem, self.level = source.stem, level
        where = f"{PACKAGE}.{level}" if level else str(PACKAGE)
        super().__init__(f"{where}.{source.stem}", [str(source)])


def kernels():
    """All modules for all levels; `build_ext` keeps those of the levels asked for."""
    sources = sorted(PACKAGE.glob("*.pyx"))
    found = [Kernel(source, None) for source in sources if source.stem in BASELINE]
    for level in FEATURES:
        found += [Kernel(source, level) for source in sources if source.stem not in BASELINE]
    return found


class Toolchain:
    """The C compiler: what it is, and which of our flags it knows (by trying them)."""

    def __init__(self, compiler):
        if compiler.compiler_type != "unix":
            raise SetupError("minidl needs GCC or Clang as the C compiler")
        self.command = list(compiler.compiler_so)
        self.includes = [f"-I{folder}" for folder in compiler.include_dirs]
        if not self.accepts([], "int main(void) { return 0; }\n"):
            raise SetupError(
                f"no working C compiler: '{self.command[0]}' could not compile a small program. "
                "Install gcc or clang (on Debian: apt-get install gcc), or set CC"
            )
        if not self.accepts([], "#include <Python.h>\n"):
            raise SetupError("Python.h is missing (on Debian: apt-get install python3-dev)")
        answer = subprocess.run([self.command[0], "--version"], capture_output=True, text=True)
        self.version = answer.stdout.partition("\n")[0]
        self.common = self.known(MATH) + self.known(QUIET, "-Werror")
        self.contract = {how: self.known([f"-ffp-contract={how}"]) for how in ("off", "fast")}
        self.levels = {None: []}
        for level in ("base", *ALL_LEVELS):
            features = [f"-m{feature}" for feature in FEATURES[level]]
            if self.accepts(features):
                self.levels[level] = [*features, *self.known(TUNING.get(level, []))]
            else:
                say(f"NOTICE: this compiler is too old for the level {level}")
        works = (pair for pair in OPENMP if self.accepts(pair[0], OPENMP_PROGRAM, pair[1]))
        self.openmp = next(works, ([], []))
        self.kernels = self.openmp
        with_one = tuple(a + b for a, b in zip(self.openmp, TEAM_OF_ONE, strict=True))
        if any(self.openmp) and self.accepts(with_one[0], OPENMP_PROGRAM, with_one[1]):
            self.kernels = with_one
        if not any(self.openmp):
            say("NOTICE: this compiler has no OpenMP; the kernels will use a single thread")

    def accepts(self, flags, program="int minidl;\n", link=None):
        """Whether a small program compiles with `flags` (and links, if `link` is given)."""
        with tempfile.TemporaryDirectory() as folder:
            action = ["-c"] if link is None else []
            command = [*self.command, *self.includes, *flags, *action, "-x", "c", "-"]
            command += [*(link or []), "-o", os.path.join(folder, "probe")]
            try:
                done = subprocess.run(command, input=program.encode(), capture_output=True)
            except OSError:
                return False
            return done.returncode == 0

    def known(self, flags, *strict):
        """Those of `flags` that the compiler accepts: nearly always all of them at once."""
        if self.accepts([*flags, *strict]):
            return flags
        return [flag for flag in flags if self.accepts([flag, *strict])]


class build_ext(_build_ext):
    """Compiles under build/ what changed, then copies the libraries where they belong."""

    suffix = sysconfig.get_config_var("EXT_SUFFIX")

    def run(self):
        self.in_place = bool(self.inplace)  # hidden by setuptools while it builds
        super().run()

    def build_extensions(self):
        import Cython
        import numpy

        self.tools = Toolchain(self.compiler)
        self.compiler.add_include_dir(str(PACKAGE))
        self.compiler.add_include_dir(numpy.get_include())
        self.versions = [Cython.__version__, numpy.__version__, self.tools.version]
        tag = f"{sys.implementation.cache_tag}-{sysconfig.get_platform()}"
        self.cache = Path("build", f"kernels-{tag}{'-debug' if DEBUG else ''}")
        if self.force:
            shutil.rmtree(self.cache, ignore_errors=True)
        perform([self.translation(stem) for stem in {ext.stem: None for ext in self.extensions}])
        cpu = next(ext for ext in self.extensions if ext.stem == "cpu")
        perform([self.compilation(cpu)])  # first, for it knows what "native" is
        self.levels = self.choose_levels(self.library(cpu))
        self.extensions = [ext for ext in self.extensions if ext.level in (None, *self.levels)]
        perform([self.compilation(ext) for ext in self.extensions])
        say(f"kernels are ready: {', '.join(self.levels)}{' (debug)' if DEBUG else ''}")
        if not self.in_place:
            for ext in self.extensions:
                copy_if_changed(self.library(ext), Path(self.build_lib, self.in_tree(ext)))

    def choose_levels(self, cpu):
        """The levels to build, as MINIDL_BUILD_ISA asks."""
        asked = os.environ.get("MINIDL_BUILD_ISA") or "native"
        if asked == "all":
            return [x for x in ALL_LEVELS if x in self.tools.levels] or ["base"]
        if asked == "native":
            spec = spec_from_file_location(f"{PACKAGE}.cpu", cpu)
            module = module_from_spec(spec)
            spec.loader.exec_module(module)
            return [x for x in module.supported_levels() if x in self.tools.levels][-1:]
        levels = [level.strip() for level in asked.split(",")]
        if unknown := [level for level in levels if level not in self.tools.levels]:
            raise SetupError(
                f"MINIDL_BUILD_ISA={asked}: this architecture and compiler have no level "
                f"{', '.join(unknown)}; there are {', '.join(filter(None, self.tools.levels))}, "
                "all, native"
            )
        return levels

    def translation(self, stem):
        """Cython's part: one module's source to C, whatever the levels."""
        source, target = PACKAGE / f"{stem}.pyx", self.cache / "c" / f"{stem}.c"
        options = [f"-X{name}={value}" for name, value in DIRECTIVES.items()]
        command = [sys.executable, "-m", "cython", "--depfile", "--module-name"]
        command += [f"{PACKAGE}.{stem}", *options, str(source), "-o", str(target)]

        def action():
            if subprocess.run(command).returncode:
                raise CompileError(f"Cython refused {source}")

        return Step(
            f"cythonizing {source}",
            target,
            source,
            (".pyx", ".pxd", ".pxi"),
            f"{self.versions[:2]}\n{options}",
            action,
            seconds=1,
        )

    def library(self, ext):
        """Where a module's library is kept between builds."""
        return self.cache / (ext.level or "baseline") / f"{ext.stem}{self.suffix}"

    def in_tree(self, ext):
        """Where a module's library belongs in the package."""
        return Path(*ext.name.split(".")[:-1], f"{ext.stem}{self.suffix}")

    def compilation(self, ext):
        """The C compiler's part: one module compiled and linked for one level."""
        library, source = self.library(ext), self.cache / "c" / f"{ext.stem}.c"
        openmp, link = self.tools.kernels if ext.level else self.tools.openmp
        contract = self.tools.contract[FUSED.get(ext.stem, "off")]
        flags = [*OPTIMIZE, *self.tools.common, *contract, *self.tools.levels[ext.level], *openmp]

        def action():
            objects = self.compiler.compile(
                [str(source)],
                output_dir=str(library.parent),
                macros=[("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION")],
                extra_postargs=[*flags, "-MMD", "-MF", f"{library}.dep"],
            )
            libraries = ["m", *self.get_libraries(ext)]
            self.compiler.link_shared_object(
                objects, str(library), libraries=libraries, extra_postargs=link
            )

        made_by = f"{self.versions}\n{self.tools.command}\n{flags}\n{link}"
        return Step(f"compiling {ext.name}", library, source, (".h",), made_by, action, seconds=4)

    def copy_extensions_to_source(self):
        """The end of a build in place: the tree then holds this build and nothing older."""
        wanted = {self.in_tree(ext): self.library(ext) for ext in self.extensions}
        for old in PACKAGE.rglob(f"*{self.suffix}"):
            if old not in wanted:
                old.unlink()
        for path, library in wanted.items():
            copy_if_changed(library, path)


@dataclass
class Step:
    """What makes one file of the build, `target`, out of `source` and of what that includes.

    The tool that `action` runs lists in `target`.dep what it read; of that, only our own files
    with one of the suffixes `kinds` count as inputs. `made_by` are the versions and options,
    `seconds` about what it takes one CPU.
    """

    text: str
    target: Path
    source: Path
    kinds: tuple[str, ...]
    made_by: str
    action: Any
    seconds: int

    @property
    def stamp(self):
        return self.target.with_name(f"{self.target.name}.stamp")

    def is_due(self):
        """Whether `target` is not yet made in this way from inputs as they are now."""
        stamp, listed = self.stamp, Path(f"{self.target}.dep")
        if not (self.target.exists() and stamp.exists() and stamp.read_text() == self.made_by):
            return True
        words = listed.read_text().replace("\\\n", " ").split() if listed.exists() else []
        ours = [Path(word) for word in words if word.startswith(f"{PACKAGE}/")]
        inputs = [self.source, *(path for path in ours if path.suffix in self.kinds)]
        date = stamp.stat().st_mtime
        return any(not path.exists() or path.stat().st_mtime > date for path in inputs)

    def run(self):
        started = time.time()
        self.stamp.unlink(missing_ok=True)
        self.target.parent.mkdir(parents=True, exist_ok=True)
        self.action()
        self.stamp.write_text(self.made_by)
        os.utime(self.stamp, (started, started))  # a source edited meanwhile is newer than this


def perform(steps):
    """Runs the steps that are due, a thread a CPU (each waits for a compiler); ends at an error.

    Large sources go first, so that no CPU is left with a long one at the end.
    """
    due = [step for step in steps if step.is_due()]
    due.sort(key=lambda step: step.source.stat().st_size, reverse=True)
    has_affinity = hasattr(os, "sched_getaffinity")
    cpus = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    if (seconds := sum(step.seconds for step in due) / cpus) > 20:
        say(f"the next {len(due)} files take about {max(1, round(seconds / 60))} min")

    def run(number):
        say(f"{due[number].text} ({number + 1} of {len(due)})")
        due[number].run()

    with ThreadPoolExecutor(cpus) as pool:
        jobs = [pool.submit(run, number) for number in range(len(due))]
        try:
            wait(jobs, return_when=FIRST_EXCEPTION)
        finally:
            pool.shutdown(cancel_futures=True)
    for job in jobs:
        if not job.cancelled():
            job.result()


def copy_if_changed(library, path):
    """Copies by renaming into place: a process that has the old library loaded lives on."""
    old, new = path.stat() if path.exists() else None, library.stat()
    if old and (old.st_size, old.st_mtime_ns) == (new.st_size, new.st_mtime_ns):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.new")
    shutil.copy2(library, temporary)
    os.replace(temporary, path)


class build(_build):
    """Starts from an empty folder: else a wheel would ship what an older build left there."""

    def run(self):
        if Path(self.build_lib).parts[0] == "build":
            shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()


if __name__ == "__main__":
    setup(ext_modules=kernels(), cmdclass={"build": build, "build_ext": build_ext})
