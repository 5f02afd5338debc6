"""This is the command line of the fuzzers; the package's docstring describes it."""

import argparse
import importlib
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fuzz

from . import corpus, state
from .draw import Draw
from .process import Worker
from .session import Session

FUZZERS = ("kernels", "calls", "files", "networks", "onnx")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m fuzz",
        description=fuzz.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", help="fuzzers (none: all), or corpus and paths")
    parser.add_argument("--minutes", type=float, default=1.0, help="for each fuzzer (1)")
    parser.add_argument("--seed", type=int, help="the next that was not used yet")
    parser.add_argument("--case", type=int, help="run this one case only")
    parser.add_argument(
        "--jobs",
        type=int,
        default=min(2, os.cpu_count() or 1),
        help="fuzzers that run at a time (2, or the CPUs if there are fewer)",
    )
    args = parser.parse_args()
    if args.names[:1] == ["corpus"]:
        return int(corpus.replay([Path(name) for name in args.names[1:]]) > 0)
    if unknown := [name for name in args.names if name not in FUZZERS]:
        parser.error(f"there are the fuzzers {', '.join(FUZZERS)}, not {', '.join(unknown)}")
    names = args.names or FUZZERS
    if args.case is not None:
        return int(any(again(name, args.seed or 0, args.case) for name in names))

    def run(name: str) -> Session:
        seed = state.take_seed(name) if args.seed is None else args.seed
        print(f"{name}: {args.minutes:g} minutes, seed {seed}", flush=True)
        return Session(name, seed).run(args.minutes)

    for name in names:  # imported here, since threads that import one package at a time may fail
        importlib.import_module(f"fuzz.{name}")
    with ThreadPoolExecutor(args.jobs) as pool:
        sessions = list(pool.map(run, names))
    print()
    for session in sessions:
        told = ", ".join(f"{count} {word}" for word, count in session.outcomes.most_common())
        print(f"{session.fuzzer:9} seed {session.seed}: {told}")
        for name, count in session.found.items():
            print(f"    {count} times {name}")
    print(state.table())
    return int(any(session.found for session in sessions))


def again(name: str, seed: int, number: int) -> bool:
    """Run one case, print the case and its outcome, and return whether it is a fault."""
    module = importlib.import_module(f"fuzz.{name}")
    key = [name, seed, number]
    print(module.describe(module.make(Draw(*key))))
    with Worker(name) as worker:
        answer = worker.run({"key": key})
    print(answer.get("outcome") or f"{answer['fault']} {answer['where']}\n{answer['text']}")
    return "fault" in answer


if __name__ == "__main__":
    sys.exit(main())
