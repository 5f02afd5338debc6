"""The command-line arguments that the benchmarks share are defined and checked here."""

from __future__ import annotations

import argparse
from pathlib import Path

RESULTS = Path("benchmarks/results")  # what docs/ has of figures is made from it


def at_least_one(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {value}")
    return value


def positive(text: str) -> float:
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"must be above 0, got {text}")
    return value


def folder(text: str) -> Path:
    """Convert an argument to a folder, which need not exist yet. A file is refused, before anything
    is measured.
    """
    path = Path(text)
    if path.exists() and not path.is_dir():
        raise argparse.ArgumentTypeError(f"must be a folder, got the file {text}")
    return path


def parser(module: str, description: str | None) -> argparse.ArgumentParser:
    """Return the parser of a program that `python -m module` runs, which `description` explains."""
    return argparse.ArgumentParser(
        prog=f"python -m {module}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_only(parser: argparse.ArgumentParser) -> None:
    """Add `only`, a list of parts of names; without any it holds the empty part of every name."""
    parser.add_argument(
        "--only",
        nargs="+",
        default=[""],
        metavar="NAME",
        help="parts of the names of the cases to run",
    )


def may_replace(only: list[str], out: Path) -> bool:
    """Whether a run may replace the results in a folder: one of some cases only, those whose names
    have a part in `only`, must not take the place of all in the folder of the project."""
    return only == [""] or out.resolve() != RESULTS.resolve()


def add(parser: argparse.ArgumentParser, *names: str, seconds: float, threads: int = 2) -> None:
    """Add those of the options threads, rounds, seconds and out that are named."""
    kinds = {
        "threads": {"type": at_least_one, "default": threads, "help": "of each side"},
        "rounds": {"type": at_least_one, "default": 5, "help": "in which the sides take turns"},
        "seconds": {"type": positive, "default": seconds, "help": "of each turn"},
        "out": {
            "type": folder,
            "default": RESULTS,
            "help": "folder for the results; what it has of them is replaced",
        },
    }
    for name in names:
        options = kinds[name]
        options["help"] = f"{options['help']} (default: %(default)s)"
        parser.add_argument(f"--{name}", **options)  # type: ignore[arg-type]
