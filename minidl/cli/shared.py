"""Helpers that several subcommands share: loading models and runs by path, and option types."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ..models import Saved


class Numbers(click.ParamType):
    """An option type: positive whole numbers, separated by commas, such as 32, or 24,32,3.

    counts: the allowed numbers of values; without any, every number is allowed

    A single number is converted to an int, several to a list.
    """

    def __init__(self, name: str, *counts: int) -> None:
        self.name, self.counts = name, counts

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            numbers = [int(part) for part in value.replace("x", ",").split(",")]
        except ValueError:
            numbers = []
        if min(numbers, default=0) < 1 or (self.counts and len(numbers) not in self.counts):
            counts = " or ".join(map(str, self.counts)) or "one or several"
            self.fail(
                f"expected {counts} positive whole number{'s' if counts != '1' else ''}, separated "
                f"by commas, got {value!r}",
                param,
                ctx,
            )
        return numbers[0] if len(numbers) == 1 else numbers


def model_path(given: str) -> str:
    """Return the file of a model: the path itself, or the best model in a run's folder. UsageError
    for a path that is neither."""
    from ..train.files import BEST

    if not os.path.isdir(given):
        if not os.path.exists(given):
            from ..models import names

            hint = (
                f": {given} is the name of a model without trained weights; give a run's folder, "
                f"which minidl train ... --model {given} --out FOLDER writes, or a model's file"
            )
            raise click.UsageError(
                f"there is no run or model {given!r}{hint if given in names() else ''}"
            )
        return given
    path = os.path.join(given, BEST)
    if not os.path.exists(path):
        from ..train.run import CONFIG

        known = os.path.exists(os.path.join(given, CONFIG))
        raise click.UsageError(
            f"the run {given!r} has no {BEST} yet: it has not finished and evaluated an epoch; to "
            f"resume it: minidl train ... --out {given} --resume"
            if known
            else f"the folder {given!r} is not a run: it has no {BEST}"
        )
    return path


def is_within(path: str, folder: str) -> bool:
    """Return whether a path is the folder or lies in it, with symbolic links resolved."""
    place, root = (os.path.join(os.path.realpath(name), "") for name in (path, folder))
    return place.startswith(root)


def load_model(given: str) -> Saved:
    """Load the model of a file or a run's folder."""
    from ..models import load

    return load(model_path(given))


def set_threads(threads: int | None) -> None:
    """Set the largest number of threads, if it is given."""
    if threads is not None:
        from ..settings import set_num_threads

        # More threads than CPUs would only wait for each other.
        set_num_threads(min(threads, os.cpu_count() or 1))


def accuracy_line(part: str, accuracy: float) -> None:
    """Print the accuracy as the last line of stdout, where scripts can find it."""
    print(f"{part} accuracy {accuracy:.4f}")
    sys.stdout.flush()


threads_option = click.option(
    "--threads",
    type=click.IntRange(1, 1024),
    metavar="N",
    help="Largest number of threads. [default: the CPUs this process may use]",
)
