"""The table of kernels that operations call: native (`minidl_ext`) or NumPy (`reference`).

Kernels know nothing of tensors: they take contiguous arrays and return arrays. Each name in
`FAMILIES` is a function of this module, `kernels.conv(...)`. It is written twice, in the module of
its family: in Cython below `minidl_ext`, which runs by default, and in NumPy below `reference`,
which explains and checks it: "gemm.matmul" is `minidl_ext/gemm/matmul.pyx` and
`reference/gemm/matmul.py`. Nothing else in minidl imports `minidl_ext`.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Callable, Iterator
from types import BuiltinFunctionType
from typing import TYPE_CHECKING, Any

try:
    import minidl_ext
except ImportError as error:
    # This CPU does not run the kernels, or MINIDL_ISA asks for a level that is not built. The
    # command line imports this first; it prints the error in one line, as it prints other errors.
    _called = os.path.basename(sys.argv[0]).removesuffix(".exe") if sys.argv else ""
    if (_called == "minidl" or sys.orig_argv[1:3] == ["-m", "minidl"]) and not os.environ.get(
        "MINIDL_TRACEBACK"
    ):
        raise SystemExit(f"minidl: {error}") from None
    raise

from minidl_ext.inference.plan import (
    PLAN_ARRAYS,
    PLAN_FREQUENCIES,
    PLAN_GAP,
    PLAN_TAPS,
    PLAN_VECTOR,
    Plan,
)
from minidl_ext.runtime.affinity import cpus as affinity
from minidl_ext.runtime.affinity import library_at
from minidl_ext.runtime.affinity import loaded_libraries as openmp_libraries
from minidl_ext.runtime.memory import check_shape, empty, empty_cache, pool_bytes
from minidl_ext.runtime.threads import (
    after_fork_in_child,
    forked,
    get_num_threads,
    openmp_address,
    set_num_threads,
    thread_count,
)

from .. import checks

if TYPE_CHECKING:  # kernels are bound at run time; their NumPy twins have the same signatures
    from .reference.conv.depthwise_backward import *  # noqa: F403
    from .reference.conv.depthwise_forward import *  # noqa: F403
    from .reference.conv.depthwise_input_grad import *  # noqa: F403
    from .reference.conv.depthwise_weight_grad import *  # noqa: F403
    from .reference.conv.direct_forward import *  # noqa: F403
    from .reference.conv.direct_input_grad import *  # noqa: F403
    from .reference.conv.direct_weight_grad import *  # noqa: F403
    from .reference.conv.pointwise import *  # noqa: F403
    from .reference.conv.winograd_forward import *  # noqa: F403
    from .reference.conv.winograd_input_grad import *  # noqa: F403
    from .reference.conv.winograd_weight_grad import *  # noqa: F403
    from .reference.data.convert import *  # noqa: F403
    from .reference.data.picture import *  # noqa: F403
    from .reference.elementwise.activation import *  # noqa: F403
    from .reference.elementwise.arithmetic import *  # noqa: F403
    from .reference.elementwise.random import *  # noqa: F403
    from .reference.gemm.matmul import *  # noqa: F403
    from .reference.norm.batch_norm_activation import *  # noqa: F403
    from .reference.norm.batch_norm_backward import *  # noqa: F403
    from .reference.norm.batch_norm_forward import *  # noqa: F403
    from .reference.norm.batch_norm_pool import *  # noqa: F403
    from .reference.norm.batch_norm_stats import *  # noqa: F403
    from .reference.norm.group_norm import *  # noqa: F403
    from .reference.norm.layer_norm import *  # noqa: F403
    from .reference.pool.avg_pool import *  # noqa: F403
    from .reference.pool.max_pool import *  # noqa: F403
    from .reference.reduce.loss import *  # noqa: F403
    from .reference.reduce.reduce import *  # noqa: F403
    from .reference.sequence.embedding import *  # noqa: F403
    from .reference.sequence.recurrent import *  # noqa: F403


def _kernels_of(family: str) -> tuple[str, ...]:
    """The names of the functions of a native module."""
    module = importlib.import_module(f"minidl_ext.{family}")
    return tuple(
        name for name, value in vars(module).items() if isinstance(value, BuiltinFunctionType)
    )


# What is compiled of `minidl_ext` and has twins: every function of these modules is a kernel.
FAMILIES = {
    family: _kernels_of(family)
    for family in (
        "elementwise.arithmetic",
        "elementwise.activation",
        "reduce.reduce",
        "gemm.matmul",
        "conv.direct_forward",
        "conv.direct_input_grad",
        "conv.direct_weight_grad",
        "conv.depthwise_forward",
        "conv.depthwise_input_grad",
        "conv.depthwise_weight_grad",
        "conv.depthwise_backward",
        "conv.pointwise",
        "conv.winograd_forward",
        "conv.winograd_input_grad",
        "conv.winograd_weight_grad",
        "pool.max_pool",
        "pool.avg_pool",
        "norm.batch_norm_stats",
        "norm.batch_norm_forward",
        "norm.batch_norm_backward",
        "norm.batch_norm_activation",
        "norm.batch_norm_pool",
        "norm.layer_norm",
        "norm.group_norm",
        "sequence.recurrent",
        "sequence.embedding",
        "reduce.loss",
        "optim.updates",
        "elementwise.random",
        "data.convert",
        "data.picture",
    )
}

isa = minidl_ext.ISA
asked_isa = minidl_ext.ASKED
built = minidl_ext.AVAILABLE
supported = minidl_ext.SUPPORTED
openmp = minidl_ext.OPENMP
debug = minidl_ext.DEBUG

_PACKAGES = {"native": "minidl_ext", "numpy": f"{__name__}.reference"}
_backend = "native"
_around: Callable[[str, Any], Any] | None = None


def _bind(backend: str) -> None:
    """Put the kernels of a backend into the table, each wrapped by the function that `surround` was
    given."""
    for family, names in FAMILIES.items():
        module = importlib.import_module(f"{_PACKAGES[backend]}.{family}")
        for name in names:
            kernel = getattr(module, name)
            globals()[name] = kernel if _around is None else _around(name, kernel)


def surround(around: Callable[[str, Any], Any] | None) -> None:
    """Replace each kernel of the table by `around(name, kernel)`, or put the kernels themselves
    back for None."""
    global _around
    _around = around
    _bind(_backend)


def backend() -> str:
    """The backend in use: "native" or "numpy"."""
    return _backend


def use_backend(name: str) -> contextlib.AbstractContextManager[None]:
    """Run with the native kernels ("native") or with their NumPy twins ("numpy").

    This serves tests, teaching and the benchmark against NumPy. It holds for the whole process,
    until the end of the `with` block. ValueError for another name.

    >>> with md.use_backend("numpy"):
    ...     md.relu(md.tensor([-1., 2.]))
    tensor([0., 2.])
    """
    checks.choice(name, "use_backend", "name", ("native", "numpy"))
    return _using(name)


@contextlib.contextmanager
def _using(name: str) -> Iterator[None]:
    global _backend
    before = _backend
    _bind(name)
    _backend = name
    try:
        yield
    finally:
        _bind(before)
        _backend = before


def __getattr__(name: str) -> Any:
    raise AttributeError(f"module {__name__!r} has no kernel {name!r}")


_bind("native")

__all__ = [
    "FAMILIES",
    "PLAN_ARRAYS",
    "PLAN_FREQUENCIES",
    "PLAN_GAP",
    "PLAN_TAPS",
    "PLAN_VECTOR",
    "Plan",
    "affinity",
    "after_fork_in_child",
    "asked_isa",
    "backend",
    "built",
    "check_shape",
    "debug",
    "empty",
    "empty_cache",
    "forked",
    "get_num_threads",
    "isa",
    "library_at",
    "openmp",
    "openmp_address",
    "openmp_libraries",
    "pool_bytes",
    "set_num_threads",
    "supported",
    "surround",
    "thread_count",
    "use_backend",
]
