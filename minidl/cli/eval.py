"""`minidl eval`: measure the accuracy of a model."""

from __future__ import annotations

import os
from typing import Any

import click

from .shared import accuracy_line, load_model, set_threads, threads_option


@click.command("eval", no_args_is_help=True)
@click.argument("run_or_model")
@click.argument("data", required=False)
@click.option(
    "--skip-broken",
    is_flag=True,
    help="Leave out pictures of DATA that cannot be decoded, and name them.",
)
@threads_option
def evaluate(run_or_model: str, data: str | None, skip_broken: bool, threads: int | None) -> None:
    """Evaluate a model on labelled pictures: a table of classes, and the accuracy in the last line.

    RUN_OR_MODEL is a run's folder, whose best model is used, or a model's file. DATA is mnist,
    fashion-mnist or cifar10 (their test part), a folder with a subfolder test/ (or else valid/), or
    a folder with a subfolder of pictures for each class; classes are matched by name. The default
    of DATA is the part that the run was evaluated on.

    \b
    minidl eval runs/photos
    minidl eval runs/photos other-photos
    minidl eval best.safetensors mnist
    """
    from ..train.report import report

    set_threads(threads)
    saved = load_model(run_or_model)
    if data is None and skip_broken:
        raise click.UsageError(
            "--skip-broken needs DATA: without DATA, the run's own setting is used"
        )
    part, pictures = _of_run(run_or_model) if data is None else _of_data(data, saved, skip_broken)
    found = report(saved, pictures, valid_name=part)
    print(found)
    accuracy_line(part, found.accuracy)


def _of_run(folder: str) -> tuple[str, Any]:
    """Return the name and the pictures of the part that a run was evaluated on."""
    from ..train.run import differing, plan_of, read_config
    from ..train.task import KNOWN, load_task

    if not os.path.isdir(folder):
        raise click.UsageError(f"DATA is needed: {folder!r} is a model's file and not a run")
    config = read_config(folder)
    plan = plan_of(config)
    channels = None if plan.source in KNOWN else config["data"]["shape"][2]
    task = load_task(
        plan.source, plan.size, config["settings"]["valid"], plan.seed, channels, plan.skip_broken
    )
    different = differing(config["data"], task.description())
    if different:
        raise ValueError(
            f"{plan.source!r} has changed since the run was trained on it: "
            f"{'; '.join(different)}. Give DATA, the pictures to evaluate on"
        )
    return task.measured


def _of_data(data: str, saved: Any, skip_broken: bool) -> tuple[str, Any]:
    """Return the name of the part and the pictures: the test part of a known data set, or those of
    a folder, scaled for the model."""
    from ..data.image_folder import ImageFolder
    from ..train.task import KNOWN, part_folders

    if data in KNOWN:
        return "test", KNOWN[data](split="test")
    if not os.path.isdir(data):
        raise click.UsageError(
            f"DATA: there is no folder {data!r}, and it is none of {', '.join(KNOWN)}"
        )
    parts = part_folders(data)
    part = next((name for name in ("test", "valid") if name in parts), None)
    if parts and part is None:
        raise click.UsageError(
            f"DATA: {data!r} must have a part test/ or valid/, and has only train/: to evaluate on "
            f"that, give {os.path.join(data, 'train')!r}"
        )
    size, channels = saved.picture_size()
    pictures = ImageFolder(
        data if part is None else parts[part], size, channels, skip_broken=skip_broken
    )
    return part or "test", pictures
