"""Sides measured side by side: each in its own process, in turn, the waiting ones stopped."""

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
TURNS = 3  # in which a side may find all of its threads


class Side:
    """A worker process. It is stopped while it waits, so that its threads do not spin."""

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
        self.about = self._answer()  # it has started, and is no burden to the others

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the worker died: {self.process.args}")
        self.process.send_signal(signal.SIGSTOP)
        if hasattr(os, "waitid"):  # until it stands still: its threads may spin
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
        """Make the case and run it `steps` times; the losses of a train step.

        RuntimeError says why that failed.
        """
        return self._ask(prepare=[case.kind, case.arguments], steps=steps)["losses"]

    def measure(self, seconds: float) -> tuple[float, int]:
        """Median time of a run over about that long, and the process's peak memory in bytes.

        A turn in which a run went on fewer threads than the side was given is taken again, some
        times; if that does not help, other processes use the CPUs, and a warning says so.
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
    """Median of the rounds, their range, and half of it relative to the median."""
    median, low, high = statistics.median(rounds), min(rounds), max(rounds)
    return {
        "median": median,
        "min": low,
        "max": high,
        "spread": (high - low) / 2 / median,
        "rounds": rounds,
    }


def alternate(ours: Side, others: dict[str, Side], rounds: int, seconds: float) -> dict[str, Any]:
    """The prepared work of one side against that of each other one, A B A B.

    Figures of `ours`; for each other side its times, and the ratio to our time just before.
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
    """The prepared work of all sides, each once a round, every second round in reverse order, so
    that none gains by a machine that gets faster or slower.

    Figures of `ours`; for each other side its times, and the ratio to our time in the same round.
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
    """The name with the least median time."""
    return min(others, key=lambda name: others[name]["median"])


def distance(losses: list[float], right: list[float]) -> float:
    """The largest relative distance of two runs' losses."""
    return max(abs(a - b) / abs(b) for a, b in zip(losses, right, strict=True))
