"""Builds the kernels: one Cython source for each family, compiled once for each instruction set.

Everything that can be declared stands in pyproject.toml; this file has what must be computed. The
source of a kernel family (`minidl_ext/norm/layer_norm.pyx`, say) is translated to C++ once. That
C++ is compiled to an object for each level, and all objects of a level are linked into one library,
`minidl_ext/v3/kernels.so`, so that what families share (Cython's own functions) is in it once.
`minidl_ext/__init__.py` takes the best library at import, and finds the families in it. The modules
in `minidl_ext/runtime/` are compiled once, for any CPU, and are libraries of their own.

C++ is used for its templates and overloads, by which one loop in a header serves float and double.
Nothing of its run-time library is used or linked, so one driver, CC, compiles and links everything.

Environment variables:
    MINIDL_BUILD_ISA  levels to build: "native" (the best that this CPU runs; the default),
                      "all" (for wheels that others install; `make wheel` sets it), or names
                      as in "v2,v3".
    MINIDL_DEBUG=1    bounds checks and C assertions on, little optimization.
    CC, CFLAGS        as everywhere.

Generated C++, objects and libraries are kept under build/, in a folder for debug builds and one for
normal builds. Each file has a stamp of what made it, so a build repeats only what has changed.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build import build as _build
from setuptools.command.build_ext import build_ext as _build_ext
from setuptools.errors import CompileError, SetupError

sys.path.insert(0, str(Path(__file__).resolve().parent))  # build tools do not all do it
from build_steps import PACKAGE, Step, copy_if_changed, perform, say

BASELINE = PACKAGE / "runtime"

# The features a level may use. `minidl_ext/runtime/cpu.pyx` tests at import for exactly these; a
# test compares the two lists. They are flags by name, since -march=x86-64-v3 would allow more than
# is tested for.
FEATURES = {"base": ()}
FEATURES["v2"] = ("sse3", "ssse3", "sse4.1", "sse4.2", "popcnt")
FEATURES["v3"] = (*FEATURES["v2"], "avx", "avx2", "fma", "bmi", "bmi2")
FEATURES["v4"] = (*FEATURES["v3"], "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl")
TUNING = {"v4": ["-mprefer-vector-width=512"]}

MACHINE = sysconfig.get_platform().rpartition("-")[2]  # the architecture of the kernels
X86_64 = MACHINE.lower() in ("x86_64", "amd64") and sys.maxsize > 2**32
ALL_LEVELS = ("v2", "v3", "v4") if X86_64 else ("base",)

# Whether the compiler may compute a * b + c with one rounding where the source does not ask for it.
# In general it may not: backward passes recompute expressions of the forward pass, and must get the
# same bits. In these folders it may, since nearly every product is added to something. What they
# recompute, normalizations and masks, they compute by functions of headers that forbid it
# (UNFUSED_BEGIN in simd/vectors.h).
FUSED = ("gemm", "conv", "inference")
# Clang does not heed headers with "fast". The first of these that it knows is used instead; "on"
# fuses within an expression alone. GCC fuses with "fast" alone.
CLANG_FUSED = ["-ffp-contract=fast-honor-pragmas", "-ffp-contract=on"]

DEBUG = os.environ.get("MINIDL_DEBUG", "0") not in ("", "0")
# -O3 makes libraries half again as large, and no kernel faster than -O2 with this cost model but
# the gates of recurrent layers. (Clang knows no cost model, and vectorizes as much with -O2.)
OPTIMIZE = ["-O1", "-g", "-UNDEBUG", "-DMINIDL_DEBUG=1"]
if not DEBUG:
    OPTIMIZE = ["-O2", "-fvect-cost-model=dynamic", "-ffunction-sections", "-g0", "-DNDEBUG"]
    # These make libraries smaller, and kernels were measured to be as fast: no tables for unwinding
    # (nothing throws), no padding in front of branch targets, no block of code duplicated to save a
    # jump, instructions in the order in which registers were allotted (which compresses better, and
    # CPUs reorder them anyway), and what a vectorized loop leaves over is done value by value.
    OPTIMIZE += ["-fno-asynchronous-unwind-tables", "-falign-jumps=1", "-falign-labels=1"]
    OPTIMIZE += ["-freorder-blocks-algorithm=simple", "--param=vect-epilogues-nomask=0"]
    OPTIMIZE += ["-fno-schedule-insns2"]
    # A function begins with a cache line, so that a change of one file does not move the loops of
    # others, whose speed was seen to change with their place by up to a tenth.
    OPTIMIZE += ["-falign-functions=64"]
# In these folders rows may be shorter than a vector, so that what is left over is all there is.
SHORT_ROWS = ["--param=vect-epilogues-nomask=1"]
OPTIMIZE_MORE = {"reduce": SHORT_ROWS, "sequence": ["-O3", *SHORT_ROWS]}
if DEBUG:
    OPTIMIZE_MORE = {}
# Where Cython would reach into CPython's structures to save a few nanoseconds of a call, it uses
# the functions of CPython, which makes libraries smaller by a sixteenth. (A fifth of that is the
# vectorcall protocol, without which a call of a kernel takes 60 nanoseconds more, of 340.)
SHORTCUTS = ("USE_DICT_VERSIONS", "USE_PYLONG_INTERNALS", "USE_UNICODE_INTERNALS")
SHORTCUTS += ("UNPACK_METHODS", "FAST_THREAD_STATE", "VECTORCALL")
MACROS = [("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION")]
MACROS += [(f"CYTHON_{name}", "0") for name in SHORTCUTS]
# Never -ffast-math: it would set flush-to-zero for the entire process, and break NaN.
MATH = ["-fno-math-errno", "-fno-trapping-math"]
# GNU C++17 has the vectors, designated initializers and `__restrict` that kernels use. Exceptions
# and run-time types would need the C++ library.
LANGUAGE = ["-std=gnu++17", "-fno-exceptions", "-fno-rtti", "-fno-threadsafe-statics"]
# Generated C++ is full of these: a variable that is private to threads seems to be read before it
# is set.
QUIET = ["-Wno-sign-compare", "-Wno-unused-function"]
QUIET += ["-Wno-uninitialized", "-Wno-maybe-uninitialized"]
OPENMP = [  # (compiler flags, linker flags), the first that works
    (["-fopenmp"], ["-fopenmp"]),
    (["-Xpreprocessor", "-fopenmp"], ["-lomp"]),  # Apple's clang
]
# For families of kernels, where the linker knows --wrap; `single_thread.h` says why. The modules in
# runtime/ are linked without it.
SINGLE_THREAD = (["-include", f"{PACKAGE}/runtime/single_thread.h"], ["-Wl,--wrap=GOMP_parallel"])
OPENMP_PROGRAM = "#include <omp.h>\nint main(void) { return omp_get_max_threads() < 1; }\n"

# Linkers that merge functions of identical code, such as those of a header that several families
# include; the first that is installed is used. Debug builds do without, since a sanitizer would
# name the wrong line.
LINKERS = () if DEBUG else ("-fuse-ld=gold", "-fuse-ld=lld")
FOLDING = ["-Wl,--icf=all", "-Wl,--gc-sections"]

# The module that each library of families contains. Its docstring lists their names.
CONTENTS = """
#include <Python.h>
static PyModuleDef kernels = {PyModuleDef_HEAD_INIT, "kernels", "FAMILIES", 0};
PyMODINIT_FUNC PyInit_kernels(void) { return PyModuleDef_Init(&kernels); }
"""

# Kernels are built-in functions (no binding), whose docstrings begin with the signature, as those
# of CPython do.
DIRECTIVES = {"language_level": 3, "cdivision": True, "binding": False}
DIRECTIVES |= {"embedsignature": True, "embedsignature.format": "clinic"}
CHECKS = ("boundscheck", "wraparound", "initializedcheck", "nonecheck")
DIRECTIVES |= dict.fromkeys(CHECKS, DEBUG)


def dotted(source):
    """Return the name, inside the package, of the module that a source becomes:
    "norm.layer_norm".
    """
    return ".".join(Path(source).relative_to(PACKAGE).with_suffix("").parts)


class Library(Extension):
    """Has all families for one level, or is one baseline module, whose `level` is None."""

    def __init__(self, name, sources, level):
        self.stem, self.level = name.rpartition(".")[2], level
        super().__init__(f"{PACKAGE}.{name}", sorted(map(str, sources)))


def libraries():
    """Return all libraries that there can be. `build_ext` builds those of the levels that are asked
    for.
    """
    families, found = [], []
    for source in sorted(PACKAGE.rglob("*.pyx")):
        if source.parent == BASELINE:
            found.append(Library(dotted(source), [source], None))
        else:
            families.append(source)
    return found + [Library(f"{level}.kernels", families, level) for level in FEATURES if families]


class Toolchain:
    """The C++ compiler: its version, and which of our flags it accepts when they are tried."""

    def __init__(self, compiler):
        if compiler.compiler_type not in ("unix", "mingw32"):
            raise SetupError(
                "kernels are written with the vector extensions of GCC and Clang, which this "
                "compiler lacks: on Windows install LLVM for MinGW, set "
                "CC=x86_64-w64-mingw32-clang, and build with --compiler=mingw32; or use WSL"
            )
        self.command = list(compiler.compiler_so)
        compiler.compiler_so_cxx = compiler.compiler_so  # where setuptools would take CXX
        self.includes = [f"-I{folder}" for folder in compiler.include_dirs]
        if not self.accepts([], "int main(void) { return 0; }\n"):
            raise SetupError(
                f"no working C++ compiler: '{self.command[0]}' could not compile a small program. "
                "Install g++ or clang (on Debian: apt-get install g++), or set CC"
            )
        if not self.accepts([], "#include <Python.h>\n"):
            raise SetupError("Python.h is missing (on Debian: apt-get install python3-dev)")
        answer = subprocess.run([self.command[0], "--version"], capture_output=True, text=True)
        self.version = answer.stdout.partition("\n")[0]
        if compiler.compiler_type == "mingw32" and "clang" not in self.version:
            raise SetupError(
                "on Windows GCC puts vectors where AVX cannot read them (its bug 54412): set "
                "CC=x86_64-w64-mingw32-clang, of LLVM for MinGW"
            )
        # Clang warns of many flags that it does not know, and would do so for every file.
        self.strict = ["-Werror"] if self.accepts(["-Werror"]) else []
        self.common = [*LANGUAGE, *self.known(MATH), *self.known(QUIET), *self.known(OPTIMIZE)]
        self.more = {folder: self.known(flags) for folder, flags in OPTIMIZE_MORE.items()}
        clang = self.accepts([], "#ifndef __clang__\n#error\n#endif\n")
        self.fused = self.known(CLANG_FUSED if clang else ["-ffp-contract=fast"])[:1]
        self.unfused = self.known(["-ffp-contract=off"])
        self.levels = {None: []}
        for level in ("base", *ALL_LEVELS):
            features = [f"-m{feature}" for feature in FEATURES[level]]
            if self.accepts(features):
                self.levels[level] = [*features, *self.known(TUNING.get(level, []))]
            else:
                say(f"NOTICE: this compiler is too old for the level {level}")
        works = (pair for pair in OPENMP if self.accepts(pair[0], OPENMP_PROGRAM, pair[1]))
        self.openmp = next(works, ([], []))
        folding = ([linker, *FOLDING] for linker in LINKERS)
        links = (flags for flags in folding if self.accepts(["-fPIC"], link=["-shared", *flags]))
        self.folding = next(links, [])
        self.kernels = self.openmp
        with_one = tuple(a + b for a, b in zip(self.openmp, SINGLE_THREAD, strict=True))
        if any(self.openmp) and self.accepts(with_one[0], OPENMP_PROGRAM, with_one[1]):
            self.kernels = with_one
        if not any(self.openmp):
            say("NOTICE: this compiler has no OpenMP; the kernels will use a single thread")

    def accepts(self, flags, program="int minidl;\n", link=None):
        """Return whether a small program compiles with `flags` (and links, if `link` is given)."""
        with tempfile.TemporaryDirectory() as folder:
            action = ["-c"] if link is None else []
            command = [*self.command, *self.includes, *flags, *action, "-x", "c++", *LANGUAGE, "-"]
            command += [*(link or []), "-o", os.path.join(folder, "probe")]
            try:
                done = subprocess.run(command, input=program.encode(), capture_output=True)
            except OSError:
                return False
            return done.returncode == 0

    def known(self, flags):
        """Return those of `flags` that the compiler accepts without a warning."""
        if self.accepts([*flags, *self.strict]):
            return flags
        return [flag for flag in flags if self.accepts([flag, *self.strict])]


class build_ext(_build_ext):
    """Compiles what has changed, under build/, and copies the libraries to where they belong."""

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
        sources = {source: None for ext in self.extensions for source in ext.sources}
        perform([self.translation(Path(source)) for source in sources])
        cpu = next(ext for ext in self.extensions if ext.stem == "cpu")
        self.make([cpu])  # first, since it knows which level is "native"
        self.levels = self.choose_levels(self.library(cpu))
        self.extensions = [ext for ext in self.extensions if ext.level in (None, *self.levels)]
        self.make(self.extensions)
        say(f"kernels are ready: {', '.join(self.levels)}{' (debug)' if DEBUG else ''}")
        if not self.in_place:
            for ext in self.extensions:
                copy_if_changed(self.library(ext), Path(self.build_lib, self.in_tree(ext)))

    def choose_levels(self, cpu):
        """Return the levels to build, as MINIDL_BUILD_ISA asks."""
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

    def translated(self, source):
        """Return where the C++ of a module is kept."""
        return self.cache / "c++" / f"{dotted(source)}.cpp"

    def translation(self, source):
        """Return the step that translates one module to C++, which is the same for all levels."""
        target = self.translated(source)
        options = ["--cplus", *[f"-X{name}={value}" for name, value in DIRECTIVES.items()]]
        command = [sys.executable, "-m", "cython", "--depfile", "--module-name"]
        command += [f"{PACKAGE}.{dotted(source)}", *options, str(source), "-o", str(target)]

        def action():
            if subprocess.run(command).returncode:
                raise CompileError(f"Cython refused {source}")

        return Step(
            f"cythonizing {source}",
            target,
            [source],
            (".pyx", ".pxd", ".pxi"),
            f"{self.versions[:2]}\n{options}",
            action,
            seconds=1,
        )

    def make(self, extensions):
        """Compile and link what has changed of these libraries."""
        perform([self.compilation(ext, source) for ext in extensions for source in ext.sources])
        perform([self.linking(ext) for ext in extensions])

    def library(self, ext):
        """Return where a library is kept between builds."""
        return self.cache / (ext.level or "baseline") / f"{ext.stem}{self.suffix}"

    def object(self, ext, source):
        """Return where a source's object code for this library is kept."""
        return self.cache / (ext.level or "baseline") / f"{dotted(source)}.o"

    def in_tree(self, ext):
        """Return where a library belongs in the package."""
        return Path(*ext.name.split(".")[:-1], f"{ext.stem}{self.suffix}")

    def compilation(self, ext, source):
        """Return the step that compiles one module for one level."""
        translated, target = self.translated(source), self.object(ext, source)
        folder = Path(source).parent.name
        openmp = (self.tools.kernels if ext.level else self.tools.openmp)[0]
        contract = self.tools.fused if folder in FUSED else self.tools.unfused
        flags = [*self.tools.common, *self.tools.more.get(folder, []), *contract]
        flags += [*self.tools.levels[ext.level], *openmp]

        def action():
            self.compile(target, translated, [*flags, "-MMD", "-MF", f"{target}.dep"])

        name = ".".join(filter(None, (str(PACKAGE), ext.level, dotted(source))))
        made_by = f"{self.versions}\n{self.tools.command}\n{flags}\n{MACROS}"
        return Step(f"compiling {name}", target, [translated], (".h",), made_by, action, seconds=4)

    def compile(self, target, source, flags):
        """Compile one source to one object."""
        (made,) = self.compiler.compile(
            [str(source)], output_dir=str(target.parent), macros=MACROS, extra_postargs=flags
        )
        os.replace(made, target)
        return target

    def linking(self, ext):
        """Return the step that links one library. Of the modules in runtime/, only `threads` links
        OpenMP, which reads its settings when it is loaded, after the package has made them.
        """
        library, objects = self.library(ext), [self.object(ext, x) for x in ext.sources]
        flags = [*self.tools.kernels[1], *self.tools.folding]
        if not ext.level:
            flags = self.tools.openmp[1] if ext.stem == "threads" else []
        contents = CONTENTS.replace("FAMILIES", " ".join(map(dotted, ext.sources)))

        def action():
            linked = [*objects]
            if ext.level:
                source = library.with_name("contents.cpp")
                source.write_text(contents)
                linked.append(self.compile(source.with_suffix(".o"), source, LANGUAGE))
            self.compiler.link_shared_object(
                [str(path) for path in linked],
                str(library),
                libraries=["m", *self.get_libraries(ext)],
                extra_postargs=flags,
            )

        made_by = f"{self.versions}\n{self.tools.command}\n{flags}\n{contents}"
        return Step(f"linking {ext.name}", library, objects, (), made_by, action, seconds=0)

    def copy_extensions_to_source(self):
        """Copy the libraries into the tree, and remove those of older builds."""
        wanted = {self.in_tree(ext): self.library(ext) for ext in self.extensions}
        for old in PACKAGE.rglob(f"*{self.suffix}"):
            if old not in wanted:
                old.unlink()
        for path, library in wanted.items():
            copy_if_changed(library, path)


class build(_build):
    """Builds in an empty folder, since a wheel would contain what an older build left there."""

    def run(self):
        if Path(self.build_lib).parts[0] == "build":
            shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()


if __name__ == "__main__":
    setup(ext_modules=libraries(), cmdclass={"build": build, "build_ext": build_ext})
