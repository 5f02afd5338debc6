"""What a running case reports: its faults, and how much memory the library takes for it."""

import contextlib
import os
import traceback
from collections.abc import Iterator
from typing import Any

from .process import ROOT

GIB = 1 << 30
MOST = 1 * GIB  # of memory that a case may use, besides its results


class Fault(Exception):
    """A case has shown what should not be: of which kind, and where."""

    def __init__(self, kind: str, text: str, where: str = "") -> None:
        super().__init__(kind, text, where)
        self.kind, self.text, self.where = kind, text, where


def internal_error(error: Exception) -> Fault:
    """The fault of a case in which an error came up that no user should get."""
    name = type(error).__name__
    return Fault("internal error", f"{name}: {error}", f"{name} {place_of(error)}")


class Watch:
    """What a case tells of itself while it runs."""

    def __init__(self, say: Any) -> None:
        self.say = say
        self.allowed = 0  # bytes of the results, which are the case's own wish

    def start(self) -> None:
        """Measure from here."""
        self.allowed = 0
        self.peak = 0
        self._reset()
        self.base = memory("VmRSS:")

    @contextlib.contextmanager
    def reference(self) -> Iterator[None]:
        """What is done inside is not the library's work: its time and memory do not count."""
        self.peak = max(self.peak, memory("VmHWM:"))
        self.say({"phase": "reference"})
        try:
            yield
        finally:
            self._reset()
            self.say({"phase": "library"})

    def check(self) -> None:
        """Fault if the library has used too much memory since `start`."""
        used = max(self.peak, memory("VmHWM:")) - self.base - 3 * self.allowed
        if used > MOST:
            raise Fault("memory", f"{used / GIB:.1f} GiB at the peak")

    def _reset(self) -> None:
        with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as file:
            file.write("5")  # the peak becomes what is in use now


def memory(name: str) -> int:
    """A figure of /proc/self/status in bytes; 0 where there is none."""
    with contextlib.suppress(OSError), open("/proc/self/status") as file:
        for line in file:
            if line.startswith(name):
                return int(line.split()[1]) * 1024
    return 0


def place_of(error: BaseException) -> str:
    """The innermost place in the library that an exception went through; "" if it was in none.

    Files of kernels are named from the folder of the project on, others in full. What folders the
    project itself lies in says nothing, not even if one of them is called minidl.
    """
    found = ""
    for frame in traceback.extract_tb(error.__traceback__):
        path = frame.filename.replace(os.sep, "/").removeprefix(f"{ROOT.as_posix()}/")
        if path.startswith(("minidl/", "minidl_ext/")):
            found = f"{path.removeprefix('minidl/')} in {frame.name}"
    return found
