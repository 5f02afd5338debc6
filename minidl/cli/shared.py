"""What several subcommands need: models and runs by path, and types of options."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ..models import Saved


class Numbers(click.ParamType):
    """One whole number or several, with commas: 32, or 24,32 or 32,32,3. `counts` says how many
    there may be; without any, as many as one likes."""

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
                f"{value!r} is not {counts} whole number{'s' if counts != '1' else ''} from "
                f"1 on, with commas between them",
                param,
                ctx,
            )
        return numbers[0] if len(numbers) == 1 else numbers


def model_path(given: str) -> str:
    """The file of a model: the path itself, or the best model of a run's folder. A wrong call for
    what is neither."""
    from ..train.files import BEST

    if not os.path.isdir(given):
        if not os.path.exists(given):
            from ..models import names

            hint = (
                f": {given} is the name of a model, which has no trained weights; give the folder "
                f"of a run, such as one of minidl train ... --model {given} --out FOLDER, or the "
                f"file of a model"
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
            f"the run {given!r} has no {BEST} yet: it has not finished an epoch that could be "
            f"measured; to go on with it: minidl train ... --out {given} --resume"
            if known
            else f"the folder {given!r} is no run: there is no {BEST} in it"
        )
    return path


def is_within(path: str, folder: str) -> bool:
    """Whether a path is a folder or lies in it, links followed."""
    place, root = (os.path.join(os.path.realpath(name), "") for name in (path, folder))
    return place.startswith(root)


def load_model(given: str) -> Saved:
    """The model of a path or a run."""
    from ..models import load

    return load(model_path(given))


def set_threads(threads: int | None) -> None:
    """Use so many threads at most."""
    if threads is not None:
        from ..settings import set_num_threads

        set_num_threads(min(threads, os.cpu_count() or 1))  # more would wait for each other


def accuracy_line(part: str, accuracy: float) -> None:
    """The last line of stdout."""
    print(f"{part} accuracy {accuracy:.4f}")
    sys.stdout.flush()


threads_option = click.option(
    "--threads",
    type=click.IntRange(1, 1024),
    metavar="N",
    help="Threads at most. [default: the CPUs this process may use]",
)
