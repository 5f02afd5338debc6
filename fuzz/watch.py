"""This module reports on a running case: its faults, and how much memory the library takes for
it.
"""

import contextlib
import os
import traceback
from collections.abc import Iterator
from typing import Any

from .process import ROOT

GIB = 1 << 30
MOST = 1 * GIB  # the memory that a case may use besides its results


class Fault(Exception):
    """A case has shown something wrong, of this kind and at this place."""

    def __init__(self, kind: str, text: str, where: str = "") -> None:
        super().__init__(kind, text, where)
        self.kind, self.text, self.where = kind, text, where


def internal_error(error: Exception) -> Fault:
    """Return the fault of a case in which an error was raised that no user should get."""
    name = type(error).__name__
    return Fault("internal error", f"{name}: {error}", f"{name} {place_of(error)}")


class Watch:
    """What a case reports of itself while it runs."""

    def __init__(self, say: Any) -> None:
        self.say = say
        self.allowed = 0  # the bytes of the results, which the case has asked for

    def start(self) -> None:
        """Start to measure."""
        self.allowed = 0
        self.peak = 0
        self._reset()
        self.base = memory("VmRSS:")

    @contextlib.contextmanager
    def reference(self) -> Iterator[None]:
        """Run the reference within the `with` block, whose time and memory do not count as the
        library's.
        """
        self.peak = max(self.peak, memory("VmHWM:"))
        self.say({"phase": "reference"})
        try:
            yield
        finally:
            self._reset()
            self.say({"phase": "library"})

    def check(self) -> None:
        """Raise Fault if the library has used too much memory since `start`."""
        used = max(self.peak, memory("VmHWM:")) - self.base - 3 * self.allowed
        if used > MOST:
            raise Fault("memory", f"{used / GIB:.1f} GiB at the peak")

    def _reset(self) -> None:
        with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as file:
            file.write("5")  # resets the peak to what is in use now


def memory(name: str) -> int:
    """Return a figure of /proc/self/status in bytes; 0 where there is no such file."""
    with contextlib.suppress(OSError), open("/proc/self/status") as file:
        for line in file:
            if line.startswith(name):
                return int(line.split()[1]) * 1024
    return 0


def place_of(error: BaseException) -> str:
    """Return the innermost place in the library that an exception passed through; "" if it passed
    through none.

    Files of kernels are named from the folder of the project on, others in full. The folders that
    the project itself is in do not count, even if one of them is called minidl.
    """
    found = ""
    for frame in traceback.extract_tb(error.__traceback__):
        path = frame.filename.replace(os.sep, "/").removeprefix(f"{ROOT.as_posix()}/")
        if path.startswith(("minidl/", "minidl_ext/")):
            found = f"{path.removeprefix('minidl/')} in {frame.name}"
    return found
