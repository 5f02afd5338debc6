"""Facts about the machine that this process runs on: the CPU, its cores and memory, the kernels
chosen for it, and versions."""

from __future__ import annotations

import os
import platform
import re

import numpy as np

from . import kernels
from .cpus import available_cpus
from .version import __version__

CPUINFO = "/proc/cpuinfo"


def cpu() -> str:
    """The name of the processor, or its architecture where the system does not tell the name."""
    try:
        with open(CPUINFO, encoding="utf-8", errors="replace") as file:
            found = re.search(r"^(?:model name|Model)\s*:[ \t]*(\S.*)$", file.read(), re.M)
    except OSError:
        found = None
    return found[1].strip() if found else platform.processor() or platform.machine()


def memory() -> str:
    """The size of the installed memory; "" where the system does not tell."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return ""
    return f"{total / 2**30:.1f} GiB"


def versions() -> dict[str, str]:
    """The versions of minidl, Python and NumPy."""
    return {"minidl": __version__, "python": platform.python_version(), "numpy": np.__version__}


def facts() -> dict[str, str]:
    """The versions and everything that decides how fast training is, by names of at most 7 letters
    so that they print as a column."""
    found = {
        **versions(),
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "cpu": cpu(),
        "cores": f"{available_cpus()} of {os.cpu_count() or 1} for this process",
        "memory": memory(),
        "kernels": f"{kernels.isa}, backend {kernels.backend()}",
        "openmp": "yes" if kernels.openmp else "no: kernels run on one thread",
        "threads": str(kernels.get_num_threads()),
    }
    return {name: value for name, value in found.items() if value}
