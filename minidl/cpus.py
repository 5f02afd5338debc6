"""How many threads kernels use by default: `OMP_NUM_THREADS`, or the CPUs of this process.

A process has the CPUs of its affinity (which `taskset` and cpusets set), but at most as many as the
quotas of its control group and of the groups around that one allow (`docker run --cpus`, systemd's
CPUQuota).
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator

from . import kernels

MAX_THREADS = 1024

threads_were_set = False  # whether `set_num_threads` has replaced the default


def default_threads() -> int:
    """`OMP_NUM_THREADS` (the first number of a list) if it is 1 to 1024, else the number of CPUs of
    this process.

    Warns (RuntimeWarning) if the variable is set to something else.
    """
    if wanted := threads_from_environment():
        return wanted
    threads = min(available_cpus(), MAX_THREADS)
    if given := os.environ.get("OMP_NUM_THREADS", "").strip():
        warnings.warn(
            f"OMP_NUM_THREADS is {given[:40]!r}, which is no number of threads from 1 to "
            f"{MAX_THREADS}; minidl uses {threads}, its default here",
            RuntimeWarning,
            stacklevel=2,
        )
    return threads


def threads_from_environment() -> int:
    """The number in `OMP_NUM_THREADS` (the first one of a list), or 0 if it is no number of
    threads."""
    try:
        wanted = int(os.environ.get("OMP_NUM_THREADS", "").split(",")[0])
    except ValueError:  # int() also refuses thousands of digits
        return 0
    return wanted if 1 <= wanted <= MAX_THREADS else 0


def available_cpus() -> int:
    """The number of CPUs that this process can keep busy, at least 1."""
    cpus = kernels.affinity()
    number = len(cpus) if cpus else os.cpu_count() or 1
    return min([number, *_quotas()])


def _quotas() -> Iterator[int]:
    """The quotas of CPU time, in CPUs, of this process's control group and of all groups above."""
    for mount_point, below in _control_groups():
        while True:
            group = mount_point + below
            # Version 2 of control groups keeps quota and period in one file ("max" means no
            # quota), version 1 in two files (-1 means no quota).
            numbers = _read(f"{group}/cpu.max") or _read(f"{group}/cpu.cfs_quota_us") + _read(
                f"{group}/cpu.cfs_period_us"
            )
            match numbers.split():
                case quota, period if quota.isdigit() and period.isdigit() and int(period):
                    yield max(1, -(-int(quota) // int(period)))  # rounded up
            if not below:
                break
            below = below.rpartition("/")[0]


def _control_groups() -> Iterator[tuple[str, str]]:
    """(mount point, path below it) of each group that may limit this process's time on CPUs.

    There are two such groups where version 2 is mounted beside version 1. A container may see the
    hierarchy from a group downwards: paths are then relative to that group, the root of the mount.
    """
    paths = {}  # by controller; version 2 uses the empty name
    for controllers, path in re.findall(r"^\d+:([^:]*):(/.*)$", _read("/proc/self/cgroup"), re.M):
        paths.update(dict.fromkeys(controllers.split(","), path.rstrip("/") + "/"))
    mounts = re.findall(
        r"^\S+ \S+ \S+ (/\S*) (/\S*) .* - (cgroup2?) \S+ (\S+)$",
        _read("/proc/self/mountinfo"),
        re.M,
    )
    for root, mount_point, version, options in mounts:
        if version == "cgroup" and "cpu" not in options.split(","):
            continue
        path = paths.get("cpu" if version == "cgroup" else "", "/")
        root = root.rstrip("/") + "/"
        yield mount_point, ("/" + path.removeprefix(root) if path.startswith(root) else "/")[:-1]


def _read(path: str) -> str:
    """The text of a small file; empty if it cannot be read."""
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""
