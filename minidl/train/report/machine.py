"""The machine that a report was made on, and the versions."""

from __future__ import annotations

import os
import platform
import re
import sys

import numpy as np

from ... import kernels
from ...cpus import available_cpus
from ...version import __version__


def machine() -> dict[str, str]:
    """What decides how fast a training is: processor, cores, kernels, memory, system."""
    found = {
        "processor": _processor(),
        "cores": f"{available_cpus()} of {os.cpu_count() or 1} for this process",
        "threads": str(kernels.get_num_threads()),
        "kernels": f"{kernels.isa}, backend {kernels.backend()}"
                   + ("" if kernels.openmp else ", without OpenMP"),
        "memory": _memory(),
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
    }
    return {name: value for name, value in found.items() if value}


def versions() -> dict[str, str]:
    """Those of minidl, Python and NumPy."""
    return {"minidl": __version__, "python": sys.version.split()[0], "numpy": np.__version__}


def _processor() -> str:
    """The name of the processor, as far as the system tells."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            names = re.findall(r"^(?:model name|Model)\s*:\s*(.+)$", file.read(), re.M)
    except OSError:
        names = []
    return names[0].strip() if names else platform.processor() or platform.machine()


def _memory() -> str:
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return ""
    return f"{total / 2**30:.1f} GiB"
