"""Two sides measured side by side: each in its own process, in turn, the waiting one stopped."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
from typing import Any


class Side:
    """A worker process. It is stopped while it waits, so that its threads do not spin."""

    def __init__(self, backend: str, threads: int) -> None:
        count = str(threads)
        environment = {**os.environ, "OMP_NUM_THREADS": count, "OPENBLAS_NUM_THREADS": count,
                       "MKL_NUM_THREADS": count}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", backend, count], env=environment,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, case: str, seconds: float) -> dict[str, Any]:
        """Run a case for about that long."""
        assert self.process.stdin and self.process.stdout
        self.process.send_signal(signal.SIGCONT)
        self.process.stdin.write(json.dumps({"case": case, "seconds": seconds}) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the worker died on {case!r}")
        self.process.send_signal(signal.SIGSTOP)
        return json.loads(answer)

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()


def spread(medians: list[float]) -> float:
    """Half the range of the rounds' medians, relative to their median."""
    return (max(medians) - min(medians)) / 2 / statistics.median(medians)


def compare(names: list[str], threads: int, rounds: int, seconds: float,
            report: Any = None) -> list[dict[str, Any]]:
    """Every case on both backends, rounds alternating A B A B; a row of figures per case."""
    sides = {"native": Side("native", threads), "numpy": Side("numpy", threads)}
    rows = []
    try:
        for name in names:
            medians: dict[str, list[float]] = {side: [] for side in sides}
            losses: dict[str, list[float]] = {side: [] for side in sides}
            for _ in range(rounds):
                for side, worker in sides.items():
                    answer = worker.ask(name, seconds)
                    medians[side].append(statistics.median(answer["times"]))
                    losses[side] += answer["losses"]
            ratios = [b / a for a, b in zip(medians["native"], medians["numpy"], strict=True)]
            row = {"case": name, "ratio": statistics.median(ratios),
                   "ratio_min": min(ratios), "ratio_max": max(ratios), "losses": losses,
                   **{side: {"median": statistics.median(m), "spread": spread(m), "rounds": m}
                      for side, m in medians.items()}}
            rows.append(row)
            if report:
                report(row)
    finally:
        for worker in sides.values():
            worker.close()
    return rows
