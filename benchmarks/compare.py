"""This module measures sides beside each other. Each runs in its own process; they take turns, and
those that wait are stopped.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import warnings
from typing import Any

from .cases import Case

WARM_UP = 3
TURNS = 3  # the turns that a side has to get all of its threads


class Side:
    """A side is a worker process. It is stopped while it waits, so that its threads do not spin."""

    def __init__(self, worker: str, *arguments: str, threads: int, **environment: str) -> None:
        count = str(threads)
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": count,
            "OPENBLAS_NUM_THREADS": count,
            "MKL_NUM_THREADS": count,
            **environment,
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", f"benchmarks.{worker}", *arguments],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.about = self._answer()  # now it has started, and no longer disturbs the others

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the worker died: {self.process.args}")
        self.process.send_signal(signal.SIGSTOP)
        if hasattr(os, "waitid"):  # wait until it has stopped: its threads may spin until then
            os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer

    def _ask(self, **request: Any) -> dict[str, Any]:
        assert self.process.stdin
        self.process.send_signal(signal.SIGCONT)
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def prepare(self, case: Case, steps: int = WARM_UP) -> list[float]:
        """Make the case and run it `steps` times, and return the losses if it is a train step.

        Raises RuntimeError, which says why, if that failed.
        """
        return self._ask(prepare=[case.kind, case.arguments], steps=steps)["losses"]

    def measure(self, seconds: float) -> tuple[float, int]:
        """Return the median time of a run, measured for about that many seconds, and the process's
        peak memory in bytes.

        A turn in which a run had fewer threads than the side was given is repeated, up to `TURNS`
        times. If that does not help, other processes use the CPUs, and a warning says so.
        """
        for _ in range(TURNS):
            answer = self._ask(measure=seconds)
            if answer["threads"] >= self.about["threads"]:
                break
        else:
            warnings.warn(
                f"a turn was measured on {answer['threads']} of {self.about['threads']} "
                f"threads: other processes use the CPUs",
                stacklevel=2,
            )
        return statistics.median(answer["times"]), answer["peak_bytes"]

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()

    def __enter__(self) -> Side:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def native(threads: int) -> Side:
    return Side("worker", "native", str(threads), threads=threads)


def numpy(threads: int) -> Side:
    return Side("worker", "numpy", str(threads), threads=threads)


def figures(rounds: list[float]) -> dict[str, Any]:
    """Return the median of the rounds, their range, and half of the range relative to the
    median.
    """
    median, low, high = statistics.median(rounds), min(rounds), max(rounds)
    return {
        "median": median,
        "min": low,
        "max": high,
        "spread": (high - low) / 2 / median,
        "rounds": rounds,
    }


def alternate(ours: Side, others: dict[str, Side], rounds: int, seconds: float) -> dict[str, Any]:
    """Measure the prepared work of one side in turn with that of each other side: A B A B.

    Return the figures of `ours`, and for each other side its times and the ratio to our time just
    before.
    """
    our_times: list[float] = []
    times: dict[str, list[float]] = {name: [] for name in others}
    ratios: dict[str, list[float]] = {name: [] for name in others}
    memory = {}
    for _ in range(rounds):
        turns = []
        for name, other in others.items():
            before, memory["ours"] = ours.measure(seconds)
            after, memory[name] = other.measure(seconds)
            turns.append(before)
            times[name].append(after)
            ratios[name].append(after / before)
        our_times.append(statistics.median(turns))
    return {
        "ours": figures(our_times),
        "peak_bytes": memory,
        "others": {
            name: {**figures(times[name]), "ratio": figures(ratios[name])} for name in others
        },
    }


def rotate(ours: Side, others: dict[str, Side], rounds: int, seconds: float) -> dict[str, Any]:
    """Measure the prepared work of all sides, each once a round. Every second round has the reverse
    order, so that no side gains if the machine gets faster or slower.

    Return the figures of `ours`, and for each other side its times and the ratio to our time in the
    same round.
    """
    sides = {"ours": ours, **others}
    times: dict[str, list[float]] = {name: [] for name in sides}
    memory = {}
    for k in range(rounds):
        for name in reversed(sides) if k % 2 else sides:
            seconds_of_run, memory[name] = sides[name].measure(seconds)
            times[name].append(seconds_of_run)
    return {
        "ours": figures(times["ours"]),
        "peak_bytes": memory,
        "others": {
            name: {
                **figures(times[name]),
                "ratio": figures(
                    [theirs / own for theirs, own in zip(times[name], times["ours"], strict=True)]
                ),
            }
            for name in others
        },
    }


def fastest(others: dict[str, dict[str, Any]]) -> str:
    """Return the name with the smallest median time."""
    return min(others, key=lambda name: others[name]["median"])


def distance(losses: list[float], right: list[float]) -> float:
    """Return the largest relative difference between the losses of two runs."""
    return max(abs(a - b) / abs(b) for a, b in zip(losses, right, strict=True))
