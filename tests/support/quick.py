"""This module selects the tests that `pytest --quick` runs after every change.

It runs a sample of each test function that is not slow: of the cases whose ids begin with the same
word (the name of an operation, a kernel or a layer) it takes one, which is always the same, and one
of the native kernels where there is a choice. slow.txt lists the slow test functions, whose samples
take over 0.05 seconds a case. `pytest --quick --find-slow` measures them.
"""

import os
import re
import time
import zlib
from collections import defaultdict
from pathlib import Path
from statistics import fmean

import pytest

SECONDS = 0.05
LIST = Path(__file__).with_name("slow.txt")


def function_of(nodeid):
    """Return the id of a test without that of its case: file::function, or
    file::class::function.
    """
    return nodeid.partition("[")[0]


def file_of(nodeid):
    return nodeid.partition("::")[0]


def read():
    """Return (test function, its seconds as text) for each line of the list."""
    return [line.split()[::-1] for line in LIST.read_text(encoding="utf-8").splitlines()]


def slow_functions():
    return {function for function, _ in read()}


def sample(nodeids, slow=()):
    """Return the ids of a quick run: of cases that are alike, the one with the smallest
    checksum.
    """
    alike = defaultdict(list)
    for nodeid in nodeids:
        function, _, case = nodeid.partition("[")
        if function not in slow:
            alike[function, re.match(r"\w*", case)[0]].append(nodeid)
    return {
        min(cases, key=lambda one: ("numpy" in one, zlib.crc32(one.encode())))
        for cases in alike.values()
    }


def seconds():
    """Return (the CPU time of this process and of its children that have ended, the time that has
    passed).
    """
    return sum(os.times()[:4]), time.monotonic()


class Clock:
    """Adds up what the cases of each test function take. This is CPU time, so that it hardly
    matters what else the machine does, or a quarter of the time that passes if that is more. The
    time of a fixture is divided among all cases of its file.
    """

    def __init__(self):
        self.functions, self.files = defaultdict(list), defaultdict(list)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self, item):
        return (yield from self.measured(self.files[file_of(item.nodeid)]))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item):
        return (yield from self.measured(self.functions[function_of(item.nodeid)]))

    def measured(self, times):
        cpu, now = seconds()
        try:
            return (yield)
        finally:
            cpu_after, after = seconds()
            times.append(max(cpu_after - cpu, (after - now) / 4))

    def pytest_sessionfinish(self):
        """Write down what was found. Lines of files that were not run are kept."""
        lines = {function: mean for function, mean in read() if file_of(function) not in self.files}
        for function, times in self.functions.items():
            mean = fmean(times) + fmean(self.files[file_of(function)])
            if mean > SECONDS:
                lines[function] = f"{mean:.2f}"
        LIST.write_text(
            "".join(f"{lines[function]} {function}\n" for function in sorted(lines)),
            encoding="utf-8",
        )
