"""The compiled kernels, in the best version that this CPU can run.

The families of kernels were compiled once for each instruction-set level. All families of a level
are one library: `v2/kernels`, `v3/kernels` and `v4/kernels` beside this file, or `base/kernels` on
architectures without levels. One library is chosen at import, and `minidl_ext.gemm.matmul` is the
`matmul` of that library under this one name, so that imports, pickles and `cimport`s between
kernels know nothing of levels. The environment variable MINIDL_ISA forces a level. README.md says
what is in which folder.

    ISA        the level in use
    ASKED      the level that MINIDL_ISA asked for, "" if it did not
    AVAILABLE  the levels built into this installation
    SUPPORTED  the levels that this CPU runs
    OPENMP     whether the kernels can use more than one thread
    DEBUG      whether this is a debug build, with bounds checks
"""

import os
import sys
from importlib import import_module
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader
from importlib.util import spec_from_file_location

_HERE = os.path.dirname(os.path.abspath(__file__))


def _compiled_modules(folder):
    """Names of the modules in `folder` that were compiled for this Python."""
    if not os.path.isdir(folder):
        return []
    split = (name.partition(".") for name in os.listdir(folder))
    return sorted(stem for stem, dot, end in split if dot + end in EXTENSION_SUFFIXES)


_BASELINE = _compiled_modules(os.path.join(_HERE, "runtime"))
if "cpu" not in _BASELINE:
    raise ImportError(
        f"minidl's kernels are not built for this Python, {sys.implementation.cache_tag} (nothing "
        f"compiled for it in {_HERE}): run `pip install -e .` or `make` in the project's folder"
    )

# Imported here, since the check above says more than the failure of this import would.
from .runtime import affinity, cpu  # noqa: E402

# GNU OpenMP's threads wait for one another in a loop before they sleep. By default they loop so
# long that a step can take twenty times as long where other processes have the CPUs. GNU OpenMP
# reads this setting when it is loaded, which is when the first module is imported that uses it. The
# setting is deleted afterwards, so that programs which this process starts do not inherit it.
_UNSET = not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys()
if _UNSET:
    os.environ["GOMP_SPINCOUNT"] = "10000"
with affinity.unbound():
    import_module("minidl_ext.runtime.threads")
if _UNSET:
    del os.environ["GOMP_SPINCOUNT"]

SUPPORTED = cpu.supported_levels()
AVAILABLE = tuple(level for level in cpu.FEATURES if _compiled_modules(os.path.join(_HERE, level)))
OPENMP = cpu.openmp()
DEBUG = cpu.debug()


def _names(levels):
    return ", ".join(levels) or "none"


def _choose_level(forced):
    """The level to use: `forced` if that is set, else the best. ImportError if it cannot run."""
    usable = [level for level in AVAILABLE if level in SUPPORTED]
    if forced in usable or (usable and not forced):
        return forced or usable[-1]
    todo = "unset MINIDL_ISA, or set it to a level that is both"
    if not forced:
        why = "none of minidl's kernels runs on this CPU"
        todo = (
            "install minidl anew on this machine, in the project's folder: `pip install "
            "--force-reinstall --no-cache-dir .` (or `make`); for wheels that serve several "
            "kinds of CPU there is `make wheel`"
        )
    elif forced not in cpu.FEATURES:
        why = f"there is no level MINIDL_ISA={forced}, but {_names(cpu.FEATURES)}"
    elif forced not in SUPPORTED:
        why = f"MINIDL_ISA={forced}: this CPU lacks {_names(cpu.missing_features(forced))}"
    else:
        why = f"MINIDL_ISA={forced}: that level is not built"
        todo += f"; or build it: MINIDL_BUILD_ISA={','.join((*AVAILABLE, forced))} pip install ."
    raise ImportError(
        f"{why}. Built are {_names(AVAILABLE)}; this CPU runs {_names(SUPPORTED)}. What to do: "
        f"{todo}"
    )


ASKED = os.environ.get("MINIDL_ISA", "")
ISA = _choose_level(ASKED)

# A library has an entry point for each family. The docstring of its own module lists their names.
_LIBRARY = import_module(f"{__name__}.{ISA}.kernels")
_FAMILIES = {f"{__name__}.{family}" for family in _LIBRARY.__doc__.split()}


class _Finder:
    """Finds the families in the library, for `import`."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name not in _FAMILIES:
            return None
        loader = ExtensionFileLoader(name, _LIBRARY.__file__)
        return spec_from_file_location(name, _LIBRARY.__file__, loader=loader)


sys.meta_path.append(_Finder)
for _name in [f"{__name__}.runtime.{_stem}" for _stem in _BASELINE] + sorted(_FAMILIES):
    import_module(_name)
