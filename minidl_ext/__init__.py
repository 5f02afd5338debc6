"""The compiled kernels, in the best version that this CPU can run.

Each kernel module was compiled once per instruction-set level, into the folders `v2`, `v3`
and `v4` beside this file (`base` where there are no levels). At import one folder is
chosen and put in front of this package's search path, so `minidl_ext.norm` *is* that
folder's `norm`, under this one name: imports, pickles and `cimport`s between kernels know
nothing of levels. The environment variable MINIDL_ISA forces a level.

    ISA        the level in use
    AVAILABLE  the levels built into this installation
    SUPPORTED  the levels that this CPU runs
    OPENMP     whether the kernels can use more than one thread
    DEBUG      whether this is a debug build, with bounds checks
"""

import os
from importlib import import_module
from importlib.machinery import EXTENSION_SUFFIXES

_HERE = os.path.dirname(os.path.abspath(__file__))


def _compiled_modules(folder):
    """Names of the modules in `folder` that were compiled for this Python."""
    if not os.path.isdir(folder):
        return []
    split = (name.partition(".") for name in os.listdir(folder))
    return sorted(stem for stem, dot, end in split if dot + end in EXTENSION_SUFFIXES)


if "cpu" not in _compiled_modules(_HERE):
    raise ImportError(
        f"minidl's kernels are not built for this Python (nothing compiled in {_HERE}): "
        "run `pip install -e .` or `make` in the project's folder"
    )

from . import affinity, cpu  # noqa: E402  (the check above says more than cpu's failure would)

# GNU OpenMP's threads wait for each other in a loop before they sleep: by default so long that,
# where other processes have the cores, a step can take twenty times as long. It reads this when it
# is loaded, with the first module that uses it; programs that are started later do not get it.
_UNSET = not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys()
if _UNSET:
    os.environ["GOMP_SPINCOUNT"] = "10000"
with affinity.unbound():
    import_module("minidl_ext.runtime")
if _UNSET:
    del os.environ["GOMP_SPINCOUNT"]

SUPPORTED = cpu.supported_levels()
AVAILABLE = tuple(level for level in cpu.FEATURES if _compiled_modules(os.path.join(_HERE, level)))
OPENMP = cpu.openmp()
DEBUG = cpu.debug()


def _names(levels):
    return ", ".join(levels) or "none"


def _choose_level(forced):
    """The level to use: `forced` if it can run, else the best; or why there is none."""
    if not forced:
        usable = [level for level in AVAILABLE if level in SUPPORTED]
        if not usable:
            raise ImportError(
                f"minidl has no kernels for this CPU: built are {_names(AVAILABLE)}, and the "
                f"CPU runs {_names(SUPPORTED)}. Rebuild with `pip install .` or `make`, or "
                "with MINIDL_BUILD_ISA=base"
            )
        return usable[-1]
    if forced not in cpu.FEATURES:
        raise ImportError(
            f"MINIDL_ISA={forced}: there is no such level; there are {_names(cpu.FEATURES)}"
        )
    if forced not in SUPPORTED:
        raise ImportError(
            f"MINIDL_ISA={forced}: this CPU lacks {_names(cpu.missing_features(forced))}; "
            f"it runs {_names(SUPPORTED)}"
        )
    if forced not in AVAILABLE:
        raise ImportError(
            f"MINIDL_ISA={forced}: not built into this installation, which has "
            f"{_names(AVAILABLE)}. To build it: MINIDL_BUILD_ISA="
            f"{','.join((*AVAILABLE, forced))} pip install . (or `make`)"
        )
    return forced


ISA = _choose_level(os.environ.get("MINIDL_ISA"))

__path__.insert(0, os.path.join(_HERE, ISA))
for _folder in reversed(__path__[:2]):
    for _name in _compiled_modules(_folder):
        import_module(f"{__name__}.{_name}")
