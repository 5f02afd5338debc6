"""`minidl train`: data and a few wishes in, a run's folder out."""

from __future__ import annotations

import json
import os
import shlex
import sys
from dataclasses import replace
from typing import Any

import click

from .shared import Numbers, accuracy_line, is_within, model_path, set_threads, threads_option

# Settings of a recipe that have an option of their own.
SHORT = ("model", "epochs", "batch_size", "lr", "valid")

LARGE = 128 * 128  # pixels of pictures about which something is said


@click.command(no_args_is_help=True)
@click.argument("data")
@click.option(
    "--model",
    metavar="NAME",
    help="A model by name, as resnet20, vgg8 or mobile. [default: by the pictures]",
)
@click.option(
    "--recipe",
    metavar="NAME",
    help="A known training: mnist, cifar10-resnet20 or cifar10-fast. "
    "[default: one for any pictures]",
)
@click.option(
    "--init",
    metavar="MODEL",
    help="Fine-tune: begin with the weights of a run or of a model's file.",
)
@click.option(
    "--freeze",
    is_flag=True,
    help="With --init: only the last layer learns: quick, and few pictures will do.",
)
@click.option("--epochs", type=click.IntRange(1), metavar="N", help="Passes over the pictures.")
@click.option("--batch-size", type=click.IntRange(1), metavar="N", help="Pictures a step.")
@click.option("--lr", type=float, metavar="X", help="The largest learning rate.")
@click.option(
    "--valid",
    type=float,
    metavar="SHARE",
    help="Share of the training pictures that is kept to validate. [default: 0.1]",
)
@click.option(
    "--size",
    type=Numbers("size", 1, 2),
    metavar="N",
    help="Scale the shorter side to N and cut the middle out, or scale to H,W. "
    "[default: as they are]",
)
@click.option(
    "--skip-broken", is_flag=True, help="Leave out pictures that cannot be decoded, and name them."
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**64 - 1),
    metavar="N",
    help="Of all that is drawn by chance. [default: 0]",
)
@threads_option
@click.option(
    "--out", metavar="FOLDER", help="The run's folder. [default: runs/ and the data's name]"
)
@click.option(
    "--resume",
    is_flag=True,
    help="Go on where --out was interrupted or killed, to the same result.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Any setting of the recipe, as --set label_smoothing=0.1; may be repeated. A "
    "wrong key lists them all.",
)
@click.pass_obj
def train(
    arguments: list[str],
    data: str,
    resume: bool,
    out: str | None,
    threads: int | None,
    settings: tuple[str, ...],
    **options: Any,
) -> int:
    """Train a classifier of pictures.

    DATA is mnist, fashion-mnist, cifar10, or a folder: with a folder of pictures for each class, or
    with folders train/, valid/ and test/ of such (valid and test may be missing). What is not given
    is chosen to fit, and printed.

    \b
    minidl train photos
    minidl train photos --size 64 --epochs 40 --out runs/large
    minidl train photos --out runs/large --resume
    minidl train mine --init runs/large --freeze
    minidl train cifar10 --recipe cifar10-fast

    The run's folder gets the best model (best.safetensors), the curves, a report to open in a
    browser (report.html), the history (log.csv) and the checkpoint. The last line on stdout is the
    accuracy on the test pictures, or on the valid ones where there are none.
    """
    from ..train.run import REPORT, OtherRun, Run

    set_threads(threads)
    # An option that was not given is None, a flag False; 0, as in --valid 0, was given.
    given = {
        name: value for name, value in options.items() if value is not None and value is not False
    }
    wanted = _settings(settings, given)
    plan, folder = _plan(data, given, wanted, out, resume)
    try:
        run = Run(folder, plan, shlex.join(["minidl", *arguments]))
        _tell(run)
        result = run.train(resume)
    except KeyboardInterrupt:
        again = arguments if resume else ["train", "--resume", *arguments[1:]]
        print(f"interrupted; to go on: {shlex.join(['minidl', *again])}", file=sys.stderr)
        return 130
    except OtherRun as error:
        raise click.UsageError(str(error)) from None
    written = os.path.join(folder, REPORT)
    if os.path.exists(written):
        print(f"report: {written}", file=sys.stderr)
    accuracy_line(result.part, result.accuracy)
    return 0


def _settings(pairs: tuple[str, ...], given: dict[str, Any]) -> dict[str, Any]:
    """The settings of --set, and of the options that are settings too."""
    found = {}
    for pair in pairs:
        name, separator, text = pair.partition("=")
        if not separator:
            raise click.UsageError(f"--set takes key=value, got {pair!r}")
        name = name.replace("-", "_")
        if name in found or name in given:
            raise click.UsageError(f"the setting {name} is given twice")
        try:
            found[name] = json.loads(text)
        except ValueError:
            found[name] = {"True": True, "False": False, "None": None}.get(text, text)
    return found | {name: given[name] for name in SHORT if name in given}


def _plan(
    data: str, given: dict[str, Any], settings: dict[str, Any], out: str | None, resume: bool
) -> tuple[Any, str]:
    """What is to be done, and where. What a resumed run was begun with need not be said again."""
    from ..train.run import CONFIG, Plan, plan_of, read_config
    from ..train.task import KNOWN

    source = data if data in KNOWN else os.path.abspath(data)
    if data not in KNOWN and not os.path.isdir(data):
        what = "is no folder" if os.path.exists(data) else "does not exist"
        raise click.UsageError(f"DATA: {data!r} {what}, and is none of {', '.join(KNOWN)}")
    folder = out or os.path.join("runs", os.path.basename(os.path.abspath(data)))
    init = _init(given)
    plan = Plan(
        source,
        given.get("recipe", "default"),
        settings,
        given.get("size"),
        given.get("seed", 0),
        init,
        given.get("freeze", False),
        given.get("skip_broken", False),
    )
    if resume and os.path.exists(os.path.join(folder, CONFIG)):
        begun = plan_of(read_config(folder))
        _check_same(begun, plan, given, folder)
        return replace(begun, source=source), folder  # pictures may have been moved
    _check_place(folder, source, resume)
    _check_plan(plan, given)
    return plan, folder


def _init(given: dict[str, Any]) -> str | None:
    """The file of the model to begin with."""
    if "init" in given:
        return os.path.abspath(model_path(given["init"]))
    return None


def _check_same(begun: Any, plan: Any, given: dict[str, Any], folder: str) -> None:
    """A wrong call where a run is resumed with other wishes than it was begun with."""
    pairs = [
        (name, getattr(begun, name), getattr(plan, name))
        for name in ("recipe", "size", "seed", "init", "freeze", "skip_broken")
        if name in given
    ]
    pairs += [(name, begun.settings.get(name), value) for name, value in plan.settings.items()]
    lines = [f"{name} {then!r} then, {now!r} now" for name, then, now in pairs if then != now]
    if lines:
        raise click.UsageError(
            f"{folder!r} is a run of another configuration: {'; '.join(lines)}. To begin another "
            f"one with what it has learned: --init {shlex.quote(folder)} --out FOLDER"
        )


def _check_place(folder: str, source: str, resume: bool) -> None:
    """A wrong call for a folder that a run cannot be kept in."""
    from ..train.run import CONFIG
    from ..train.task import class_folders

    for pictures in class_folders(source):
        if is_within(folder, pictures):
            raise click.UsageError(
                f"the run's folder {folder!r} would lie among the pictures of "
                f"{pictures!r}: choose another by --out"
            )
    if os.path.exists(folder) and not os.path.isdir(folder):
        raise click.UsageError(f"{folder!r} is a file: choose another folder by --out")
    if not resume and os.path.exists(folder) and os.listdir(folder):
        begun = os.path.exists(os.path.join(folder, CONFIG))
        hint = "add --resume to go on with it, or " if begun else ""
        raise click.UsageError(f"{folder!r} exists already: {hint}choose another folder by --out")


def _check_plan(plan: Any, given: dict[str, Any]) -> None:
    """A wrong call for what no data could make right."""
    from ..train import recipes
    from ..train.task import KNOWN, has_part

    if plan.source in KNOWN and plan.size is not None:
        raise click.UsageError(
            f"--size: the pictures of {plan.source} are used as they are; it is for folders"
        )
    if plan.settings.get("valid") == 0 and not has_part(plan.source, "test"):
        raise click.UsageError(
            f"--valid 0: {plan.source!r} has no test part either: nothing would "
            f"tell how good the model is"
        )
    if "valid" in plan.settings and has_part(plan.source, "valid"):
        raise click.UsageError(f"--valid: {plan.source!r} has a valid part of its own")
    if plan.freeze and plan.init is None:
        raise click.UsageError("--freeze needs --init, a model that has learned something")
    if plan.init is not None and not {"model", "model_options"}.isdisjoint(plan.settings):
        raise click.UsageError("--model: the model and its options are those of --init")
    if plan.recipe not in recipes.names():
        raise click.UsageError(
            f"--recipe: there is no recipe {plan.recipe!r}; the names are "
            f"{', '.join(recipes.names())}"
        )
    try:
        recipes.create(plan.recipe, **plan.settings)
    except (TypeError, ValueError) as error:
        raise click.UsageError(str(error)) from None


def _tell(run: Any) -> None:
    """What will be done, on stderr."""
    shown = {
        name: value
        for name, value in run.config["settings"].items()
        if value not in (None, {}) and name != "valid"
    }
    model, count = type(run.model).__name__, sum(p.size for p in run.model.parameters())
    print(run.task, file=sys.stderr)
    height, width, _ = run.task.shape
    if height * width > LARGE:
        print(
            f"an epoch of pictures of {height} x {width} takes {height * width / 64**2:,.0f} "
            f"times as long as one of 64 x 64: --size 64 scales them",
            file=sys.stderr,
        )
    print(
        f"recipe {run.plan.recipe}: "
        f"{', '.join(f'{name} {value}' for name, value in shown.items())}",
        file=sys.stderr,
    )
    print(f"{model}, {count:,} parameters; folder {run.folder}", file=sys.stderr)
