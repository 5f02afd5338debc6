"""`minidl train`: train a classifier on pictures and write a run's folder."""

from __future__ import annotations

import json
import os
import shlex
import sys
from dataclasses import replace
from typing import Any

import click

from .shared import Numbers, accuracy_line, is_within, model_path, set_threads, threads_option

# Settings of a recipe that have their own option besides --set.
OPTION_SETTINGS = ("model", "epochs", "batch_size", "lr", "valid")

LARGE = 128 * 128  # pixels; for larger pictures a hint suggests --size


@click.command(no_args_is_help=True)
@click.argument("data")
@click.option(
    "--model",
    metavar="NAME",
    help="Name of a model, such as resnet20, vgg8 or mobile. [default: depends on the pictures]",
)
@click.option(
    "--recipe",
    metavar="NAME",
    help="Name of a recipe: mnist, cifar10-resnet20 or cifar10-fast. "
    "[default: a recipe for pictures of any kind]",
)
@click.option(
    "--init",
    metavar="MODEL",
    help="Fine-tune: start from the weights of a run or of a model's file.",
)
@click.option(
    "--freeze",
    is_flag=True,
    help="With --init: train only the last layer, which is fast and needs few pictures.",
)
@click.option("--epochs", type=click.IntRange(1), metavar="N", help="Number of epochs.")
@click.option("--batch-size", type=click.IntRange(1), metavar="N", help="Batch size.")
@click.option("--lr", type=float, metavar="X", help="Largest learning rate.")
@click.option(
    "--valid",
    type=float,
    metavar="SHARE",
    help="Share of the training pictures that is held out for validation. [default: 0.1]",
)
@click.option(
    "--size",
    type=Numbers("size", 1, 2),
    metavar="N",
    help="Scale the shorter side to N and crop the centre, or scale to H,W. [default: no scaling]",
)
@click.option(
    "--skip-broken", is_flag=True, help="Leave out pictures that cannot be decoded, and name them."
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**64 - 1),
    metavar="N",
    help="Seed of all random numbers. [default: 0]",
)
@threads_option
@click.option(
    "--out", metavar="FOLDER", help="Folder of the run. [default: runs/ and the name of DATA]"
)
@click.option(
    "--resume",
    is_flag=True,
    help="Resume the run in --out that was interrupted or killed; the result is the same.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Any setting of the recipe, such as --set label_smoothing=0.1; may be repeated. An "
    "unknown key prints a list of all.",
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

    DATA is mnist, fashion-mnist, cifar10, or a folder. The folder has a subfolder of pictures for
    each class, or subfolders train/, valid/ and test/ that have one for each class (valid/ and
    test/ may be missing). Settings that are not given are chosen for the data, and printed.

    \b
    minidl train photos
    minidl train photos --size 64 --epochs 40 --out runs/large
    minidl train photos --out runs/large --resume
    minidl train mine --init runs/large --freeze
    minidl train cifar10 --recipe cifar10-fast

    The run's folder holds the best model (best.safetensors), the curves, a report for the browser
    (report.html), the history (log.csv) and the checkpoints. The last line on stdout is the
    accuracy on the test pictures, or on the validation pictures if there are no test pictures.
    """
    from ..train.run import REPORT, OtherRun, Run

    set_threads(threads)
    # An option that was not given is None, a flag False; 0, as in --valid 0, was given.
    given = {
        name: value for name, value in options.items() if value is not None and value is not False
    }
    plan, folder = _plan(data, given, _settings(settings, given), out, resume)
    try:
        run = Run(folder, plan, shlex.join(["minidl", *arguments]))
        _print_plan(run)
        result = run.train(resume)
    except KeyboardInterrupt:
        again = arguments if resume else ["train", "--resume", *arguments[1:]]
        print(f"interrupted; to resume: {shlex.join(['minidl', *again])}", file=sys.stderr)
        return 130
    except OtherRun as error:
        raise click.UsageError(str(error)) from None
    written = os.path.join(folder, REPORT)
    if os.path.exists(written):
        print(f"report: {written}", file=sys.stderr)
    accuracy_line(result.part, result.accuracy)
    return 0


def _settings(pairs: tuple[str, ...], given: dict[str, Any]) -> dict[str, Any]:
    """Return the settings given by --set, and those given by their own options."""
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
    return found | {name: given[name] for name in OPTION_SETTINGS if name in given}


def _plan(
    data: str, given: dict[str, Any], settings: dict[str, Any], out: str | None, resume: bool
) -> tuple[Any, str]:
    """Return the plan and the run's folder. A resumed run keeps its saved plan, so that its options
    need not be repeated."""
    from ..train.run import CONFIG, Plan, plan_of, read_config
    from ..train.task import KNOWN

    source = data if data in KNOWN else os.path.abspath(data)
    if data not in KNOWN and not os.path.isdir(data):
        what = "is not a folder" if os.path.exists(data) else "does not exist"
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
        saved = plan_of(read_config(folder))
        _check_same(saved, plan, given, folder)
        return replace(saved, source=source), folder  # pictures may have been moved
    _check_folder(folder, source, resume)
    _check_plan(plan, given)
    return plan, folder


def _init(given: dict[str, Any]) -> str | None:
    """Return the file of the initial model; None without --init."""
    if "init" in given:
        return os.path.abspath(model_path(given["init"]))
    return None


def _check_same(saved: Any, plan: Any, given: dict[str, Any], folder: str) -> None:
    """Raise a UsageError if a run is resumed with options that differ from its saved plan."""
    pairs = [
        (name, getattr(saved, name), getattr(plan, name))
        for name in ("recipe", "size", "seed", "init", "freeze", "skip_broken")
        if name in given
    ]
    pairs += [(name, saved.settings.get(name), value) for name, value in plan.settings.items()]
    lines = [f"{name} {old!r} then, {new!r} now" for name, old, new in pairs if old != new]
    if lines:
        raise click.UsageError(
            f"{folder!r} is a run of another configuration: {'; '.join(lines)}. To start a new run "
            f"from its weights: --init {shlex.quote(folder)} --out FOLDER"
        )


def _check_folder(folder: str, source: str, resume: bool) -> None:
    """Raise a UsageError if a run cannot be written to a folder."""
    from ..train.run import CONFIG
    from ..train.task import class_folders

    for pictures in class_folders(source):
        if is_within(folder, pictures):
            raise click.UsageError(
                f"--out must not be inside the folder of the pictures, {pictures!r}, got "
                f"{folder!r}: choose another folder"
            )
    if os.path.exists(folder) and not os.path.isdir(folder):
        raise click.UsageError(f"--out must be a folder, got the file {folder!r}")
    if not resume and os.path.exists(folder) and os.listdir(folder):
        is_run = os.path.exists(os.path.join(folder, CONFIG))
        hint = "add --resume to resume that run, or " if is_run else ""
        raise click.UsageError(
            f"--out: {folder!r} exists already: {hint}choose another folder by --out"
        )


def _check_plan(plan: Any, given: dict[str, Any]) -> None:
    """Raise a UsageError for a plan that is wrong whatever the data are, before they are loaded."""
    from ..train import recipes
    from ..train.task import KNOWN, has_part

    if plan.source in KNOWN and plan.size is not None:
        raise click.UsageError(
            f"--size is for folders of pictures: those of {plan.source} are not scaled"
        )
    if plan.settings.get("valid") == 0 and not has_part(plan.source, "test"):
        raise click.UsageError(
            f"--valid must be above 0, got 0: {plan.source!r} has no test part either, so the "
            f"accuracy could not be measured"
        )
    if "valid" in plan.settings and has_part(plan.source, "valid"):
        raise click.UsageError(f"--valid: {plan.source!r} already has a validation part")
    if plan.freeze and plan.init is None:
        raise click.UsageError("--freeze needs --init, a trained model")
    if plan.init is not None and not {"model", "model_options"}.isdisjoint(plan.settings):
        raise click.UsageError("--model: with --init, the model and its options are given by that")
    if plan.recipe not in recipes.names():
        raise click.UsageError(
            f"--recipe: there is no recipe {plan.recipe!r}; the names are "
            f"{', '.join(recipes.names())}"
        )
    try:
        recipes.create(plan.recipe, **plan.settings)
    except (TypeError, ValueError) as error:
        raise click.UsageError(str(error)) from None


def _print_plan(run: Any) -> None:
    """Print the data, the recipe and the model on stderr."""
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
            f"an epoch with pictures of {height} x {width} takes {height * width / 64**2:,.0f} "
            f"times as long as with 64 x 64: --size 64 scales them",
            file=sys.stderr,
        )
    print(
        f"recipe {run.plan.recipe}: "
        f"{', '.join(f'{name} {value}' for name, value in shown.items())}",
        file=sys.stderr,
    )
    print(f"{model}, {count:,} parameters; folder {run.folder}", file=sys.stderr)
