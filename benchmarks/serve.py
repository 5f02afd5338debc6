"""The workers of every side share this loop: a process that times what it is told to.

It first describes itself, then reads lines of JSON and answers each with a line:

    {"prepare": [kind, arguments], "steps": n}   makes that piece of work and runs it n times;
                                                 the losses, where it returns any
    {"measure": seconds}                         runs it for about that long; the times of the
                                                 single runs, the fewest threads that one was on,
                                                 and the process's peak memory

Nothing is imported here that only one side needs: what a worker imports is part of its memory.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# A function that makes a piece of work. It returns what to time, or (feed, what to time), where
# feed() makes the arguments of the next run, which is not timed.
Make = Callable[[str, list[Any]], Any]


WARM_UP = 0.2  # seconds of runs that are not timed, after the process has been stopped
LONGEST_WARM_UP = 4.0  # for missing threads: minidl tries to get them back once a second at most


def warm_up(
    feed: Callable[[], tuple], run: Callable[..., Any], seconds: float, full: Callable[[], bool]
) -> None:
    """Run at least once, for `seconds`, and then until all threads take part.

    A process that continues after a stop wakes its threads one after the other, perhaps on one CPU,
    while the other side is still being stopped. Caches are cold, and minidl's threads may give way
    because the machine looks busy. None of that belongs to the work itself.
    """
    start = time.perf_counter()
    while True:
        run(*feed())
        passed = time.perf_counter() - start
        if passed >= seconds and (full() or passed >= LONGEST_WARM_UP):
            return


def measure(
    feed: Callable[[], tuple],
    run: Callable[..., Any],
    seconds: float,
    team: Callable[[], int] = lambda: 1,
) -> tuple[list[float], int]:
    """Return the times of single runs over about `seconds`, of at least 3 runs, and the smallest
    number of threads that `team` reported after one of them.
    """
    times: list[float] = []
    least = team()
    end = time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        arguments = feed()
        start = time.perf_counter()
        run(*arguments)
        times.append(time.perf_counter() - start)
        least = min(least, team())
    return times, least


def peak_bytes() -> int:
    """Return the largest amount of memory that this process has held.

    On Linux this is not ru_maxrss, because the system carries that over from the parent process.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def die_with_parent() -> None:
    """End this process with its parent on Linux. A worker whose parent is killed while the worker
    is stopped would otherwise stay for ever.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def serve(make: Make, about: dict[str, Any], team: Callable[[], int] | None = None) -> None:
    """Answer requests until there are no more. `about` gives the number of `threads` that there
    should be, and `team()` the number that the next run gets; without it, all are expected.
    """
    wanted = about["threads"]
    team = team or (lambda: wanted)
    die_with_parent()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not get among the answers

    def answer(value: dict[str, Any]) -> None:
        answers.write(json.dumps(value) + "\n")
        answers.flush()

    answer(about)
    feed: Callable[[], tuple] = tuple
    run: Callable[..., Any] = tuple
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if "prepare" in request:
                feed = run = tuple  # frees the previous work, which is not part of this one
                made = make(*request["prepare"])
                feed, run = made if isinstance(made, tuple) else (tuple, made)
                values = [run(*feed()) for _ in range(request["steps"])]
                answer({"losses": [v for v in values if isinstance(v, float)]})
            else:
                warm_up(feed, run, WARM_UP, lambda: team() >= wanted)
                times, least = measure(feed, run, request["measure"], team)
                answer({"times": times, "threads": least, "peak_bytes": peak_bytes()})
        except Exception as error:  # whatever the error is, the other side can continue
            text = str(error).strip().splitlines()
            answer({"error": f"{type(error).__name__}: {text[0] if text else ''}"})
