"""This program kills trainings and saves, and checks what is left and whether the training ends the
same.

    python -m benchmarks.kill                   some minutes; writes benchmarks/results/kill.json
    python -m benchmarks.kill --kills 3 --saves 5 --epochs 2 --images 1280      a short version

*Trainings*: a convolutional network with BatchNorm learns MNIST in a process of its own, with every
part in use that has a state (see `kill_worker.training`). The process is killed with SIGKILL at
random moments, some of them before it has begun to train. It is then started again with
resume="auto", on one thread and on two in turn, until the training is complete. The SHA-256 over
weights, averaged weights, the optimizers' state and the history must be that of a run that nobody
killed, on either number of threads.

*Saves*: a process that only writes large checkpoints, one after the other, is killed at a random
instant within a save. Each time `files.newest` must find a good file. It must be bit for bit one of
those that were written, and not older than the last save that was complete.
"""

from __future__ import annotations

import argparse
import os
import random
import select
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

from minidl.train import files

from . import arguments, kill_worker, machine, report

# What is recorded of each life: its threads, the step from which it resumed (None if it did not get
# that far), the number of batches that it trained on, and the files that it left.
LIFE = ("threads", "resumed_at_step", "batches", "left")

LEAST = (
    2 * kill_worker.EVERY * kill_worker.ACCUMULATE
)  # the fewest batches that the longest life must have


class Victim:
    """A process of `kill_worker`, and the lines that it has printed."""

    def __init__(self, *job: Any, threads: int) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.kill_worker", *map(str, job)],
            env=environment,
            stdout=subprocess.PIPE,
        )
        self._rest = b""

    def line(self, seconds: float | None = None) -> list[str] | None:
        """Return the words of the next line; [] at the end of the output; None if no line has come
        for so long.
        """
        assert self.process.stdout
        until = None if seconds is None else time.monotonic() + seconds
        while b"\n" not in self._rest:
            wait = None if until is None else max(0.0, until - time.monotonic())
            if not select.select([self.process.stdout], [], [], wait)[0]:
                return None
            more = os.read(self.process.stdout.fileno(), 1 << 16)
            if not more:
                return []
            self._rest += more
        text, _, self._rest = self._rest.partition(b"\n")
        return text.decode().split()

    def kill(self) -> list[list[str]]:
        """Kill the process, and return the lines that it had printed until then."""
        self.process.send_signal(signal.SIGKILL)
        lines = []
        while words := self.line():
            lines.append(words)
        self.process.wait()
        assert self.process.stdout
        self.process.stdout.close()
        return lines


# ------------------------------------------------------------------------------------- trainings


def uninterrupted(job: list[Any], threads: int) -> tuple[str, int]:
    """Return the hash of a training that nobody kills, and its number of batches."""
    with tempfile.TemporaryDirectory(prefix="minidl-kill-") as folder:
        lines = Victim("train", folder, *job, threads=threads)
        batches, found = 0, ""
        while words := lines.line():
            batches += words[0] == "batch"
            found = words[1] if words[0] == "end" else found
        if lines.process.wait():
            raise SystemExit("the training failed")
        return found, batches


def killed(
    folder: str, job: list[Any], kills: int, batches: int, rng: random.Random
) -> dict[str, Any]:
    """Kill a training again and again until it is complete, and return its hash and where it was
    killed.

    A life ends after a random number of batches and some more milliseconds, so that some lives end
    inside a save. One life in six ends at any moment from the start of Python on. No life is longer
    than a share of the training, or there would be too few kills.
    """
    longest = batches // kills
    if longest < LEAST:
        raise SystemExit(
            f"{batches} batches are too few for {kills} kills: a life must reach the "
            f"next checkpoint, so it needs {LEAST}; take more --images or --epochs"
        )
    lives: list[dict[str, Any]] = []
    start = 0.5  # seconds until the first line of the previous life
    while True:
        threads = 1 + len(lives) % 2
        began = time.monotonic()
        victim = Victim("train", folder, *job, threads=threads)
        life = dict.fromkeys(LIFE) | {"threads": threads, "batches": 0}
        at_once = rng.random() < 1 / 6
        target = 0 if at_once else rng.randint(1, longest)
        words = victim.line(rng.random() * start if at_once else None)
        while words:
            if words[0] == "resumed":
                start = time.monotonic() - began
                life["resumed_at_step"] = int(words[1])
            elif words[0] == "end":
                victim.process.wait()
                return {"hash": words[1], "lives": lives}
            life["batches"] += words[0] == "batch"
            if life["batches"] >= target:
                break
            words = victim.line()
        if words == []:
            raise SystemExit(f"the training failed after {len(lives)} kills")
        time.sleep(rng.random() * 0.02)
        for words in victim.kill():
            if words[0] == "end":  # the training was complete, and the kill came too late
                return {"hash": words[1], "lives": lives}
            life["batches"] += words[0] == "batch"
        life["left"] = left_behind(folder)
        lives.append(life)


def left_behind(folder: str) -> str:
    """Return what a killed process was doing, as the files that it left show."""
    names = os.listdir(folder) if os.path.isdir(folder) else []
    if any(name.startswith(".minidl-") for name in names):
        return "a half-written file"
    if "new.safetensors" in names:
        return "a complete file without its name"
    if any(name.endswith(".link") for name in names):
        return "a second name of a file"
    return "whole files alone" if names else "nothing"


def trainings(args: argparse.Namespace) -> dict[str, Any]:
    job = [args.epochs, args.images]
    expected, batches = uninterrupted(job, threads=2)
    other, _ = uninterrupted(job, threads=1)
    print(
        f"uninterrupted: {batches} batches, {expected[:16]} on 2 threads, {other[:16]} on 1",
        flush=True,
    )
    with tempfile.TemporaryDirectory(prefix="minidl-kill-") as folder:
        found = killed(folder, job, args.kills, batches, random.Random(args.seed))
    lives = found.pop("lives")
    result = {
        "kills": len(lives),
        "batches": batches,
        "uninterrupted": expected,
        "uninterrupted_on_1_thread": other,
        "killed": found["hash"],
        "same": expected == other == found["hash"],
        "kills_before_training": sum(life["resumed_at_step"] is None for life in lives),
        "found_after_kill": dict(Counter(life["left"] for life in lives)),
        "lives": {name: [life[name] for life in lives] for name in LIFE},
    }
    print(
        f"killed {len(lives)} times: {found['hash'][:16]}, "
        f"{'the same' if result['same'] else 'ANOTHER RESULT'}",
        flush=True,
    )
    return result


# ----------------------------------------------------------------------------------------- saves


def saves(args: argparse.Namespace) -> dict[str, Any]:
    rng = random.Random(args.seed)
    found: Counter[str] = Counter()
    inside = outside = 0
    faults: list[str] = []
    complete = -1  # the number of the newest save that was reported as complete
    length = 0.1  # seconds that a save takes
    with tempfile.TemporaryDirectory(prefix="minidl-kill-") as folder:
        while inside < args.saves:
            victim = Victim("save", folder, args.megabytes, threads=1)
            begun, since = complete, 0.0
            left = rng.randrange(3)  # complete saves before the one that is killed
            while left >= 0:
                if not (words := victim.line()):
                    raise SystemExit("the process that saves has failed")
                begun = int(words[1])
                if words[0] == "begin":
                    since, left = time.monotonic(), left - 1
                else:
                    complete, length = begun, (length + time.monotonic() - since) / 2
            time.sleep(rng.random() * length)
            for kind, number in victim.kill():
                begun, complete = int(number), int(number) if kind == "end" else complete
            inside += begun > complete
            outside += begun == complete
            found[left_behind(folder)] += 1
            faults += fault_of(folder, complete, begun, args.megabytes)
    result = {
        "kills_inside_a_save": inside,
        "kills_between_saves": outside,
        "saves": begun + 1,
        "megabytes": args.megabytes,
        "found_after_kill": dict(found),
        "faults": faults,
    }
    print(
        f"killed {inside} times inside a save of {args.megabytes} MB: "
        f"{len(faults)} times without a good file; found {dict(found)}",
        flush=True,
    )
    return result


def fault_of(folder: str, complete: int, begun: int, megabytes: int) -> list[str]:
    """Return one line on what is wrong with a folder after a kill, or "" if nothing is."""
    with warnings.catch_warnings(record=True) as damaged:
        warnings.simplefilter("always")
        try:
            good = files.newest(folder)
        except ValueError as error:
            return [str(error)]
    if damaged:
        return [str(damaged[0].message)]
    if good is None:
        return [] if complete < 0 else ["there is no file"]
    number = good[1]["number"]
    if not complete <= number <= begun:
        return [f"{good[0]} holds save {number}; {complete} was complete, {begun} begun"]
    expected = kill_worker.content(number, megabytes)
    same = kill_worker.digest(good[1]) == kill_worker.digest(expected)
    return [] if same else [f"{good[0]} holds not what save {number} has written"]


def main() -> int:
    parser = arguments.parser("benchmarks.kill", __doc__)
    count = arguments.at_least_one
    parser.add_argument("--kills", type=count, default=30, help="of a training, at least (30)")
    parser.add_argument("--saves", type=count, default=100, help="kills inside a save (100)")
    parser.add_argument("--epochs", type=count, default=4, help="of the training (4)")
    parser.add_argument("--images", type=count, default=12800, help="in an epoch (12800)")
    parser.add_argument("--megabytes", type=count, default=64, help="of a checkpoint (64)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (0)")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    args = parser.parse_args()
    result = {
        "machine": machine.describe(),
        "seed": args.seed,
        "training": trainings(args),
        "saving": saves(args),
    }
    report.save(args.out, "kill", result)
    good = (
        result["training"]["same"]
        and result["training"]["kills"] >= args.kills
        and not result["saving"]["faults"]
    )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
