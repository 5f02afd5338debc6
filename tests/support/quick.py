"""The tests for every save: which of all tests `pytest --quick` runs.

Of each test function that is not slow it runs a sample: of the cases whose ids begin with the same
word (the name of an operation, of a kernel, of a layer) two, always the same ones. What is slow
was measured, by `pytest --quick --find-slow`, and stands in slow.txt: test functions whose samples
take over 0.05 seconds of CPU time a case.
"""

import os
import re
import zlib
from collections import Counter, defaultdict
from pathlib import Path

import pytest

CASES, SECONDS = 2, 0.05
LIST = Path(__file__).with_name("slow.txt")


def function_of(nodeid):
    """The id of a test without that of its case: file::function, or file::class::function."""
    return nodeid.partition("[")[0]


def file_of(nodeid):
    return nodeid.partition("::")[0]


def slow_functions():
    return {line.split()[1] for line in LIST.read_text(encoding="utf-8").splitlines()}


def sample(nodeids, slow=()):
    """The ids of a quick run: those of smallest checksum among cases that are alike."""
    alike = defaultdict(list)
    for nodeid in nodeids:
        function, _, case = nodeid.partition("[")
        if function not in slow:
            alike[function, re.match(r"\w*", case)[0]].append(nodeid)
    return {nodeid for cases in alike.values()
            for nodeid in sorted(cases, key=lambda one: zlib.crc32(one.encode()))[:CASES]}


def cpu_seconds():
    """What this process has taken so far, and its children that have ended."""
    return sum(os.times()[:4])


class Clock:
    """Adds up the CPU time that the cases of each test function take, so that it does not matter
    what else the machine does. What a fixture takes is shared out to all cases of its file."""

    def __init__(self):
        self.calls, self.setups, self.cases = Counter(), Counter(), Counter()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self, item):
        begun = cpu_seconds()
        try:
            return (yield)
        finally:
            file = file_of(item.nodeid)
            self.setups[file] += cpu_seconds() - begun
            self.cases[file] += 1

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item):
        begun = cpu_seconds()
        try:
            return (yield)
        finally:
            function = function_of(item.nodeid)
            self.calls[function] += cpu_seconds() - begun
            self.cases[function] += 1

    def pytest_sessionfinish(self):
        means = {}
        for function, seconds in sorted(self.calls.items()):
            file = file_of(function)
            means[function] = seconds / self.cases[function] + self.setups[file] / self.cases[file]
        LIST.write_text("".join(f"{mean:.2f} {function}\n" for function, mean in means.items()
                                if mean > SECONDS), encoding="utf-8")
