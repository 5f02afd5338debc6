"""`minidl eval`: how good a model is."""

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
    """Measure a model: per class, and the accuracy in the last line.

    RUN_OR_MODEL is a run's folder, of which the best model is taken, or a model's file. DATA is
    mnist, fashion-mnist or cifar10 (their test part), a folder with a part test/ (or else valid/),
    or a folder with a folder of pictures for each class, matched by name. Without DATA it is what
    the run was measured on.

    \b
    minidl eval runs/photos
    minidl eval runs/photos other-photos
    minidl eval best.safetensors mnist
    """
    from ..train.report import report

    set_threads(threads)
    saved = load_model(run_or_model)
    if data is None and skip_broken:
        raise click.UsageError("--skip-broken is for DATA: without it, it is as in the run")
    part, pictures = _of_run(run_or_model) if data is None else _of_data(data, saved, skip_broken)
    found = report(saved, pictures, valid_name=part)
    print(found)
    accuracy_line(part, found.accuracy)


def _of_run(folder: str) -> tuple[str, Any]:
    """What a run was measured on."""
    from ..train.run import differing, plan_of, read_config
    from ..train.task import KNOWN, load_task

    if not os.path.isdir(folder):
        raise click.UsageError(f"{folder!r} is a file of a model: say DATA, what to measure it on")
    config = read_config(folder)
    plan = plan_of(config)
    channels = None if plan.source in KNOWN else config["data"]["shape"][2]
    task = load_task(
        plan.source, plan.size, config["settings"]["valid"], plan.seed, channels, plan.skip_broken
    )
    different = differing(config["data"], task.description())
    if different:
        raise ValueError(
            f"{plan.source!r} is not what the run was trained on any more: "
            f"{'; '.join(different)}. Say DATA, what to measure it on"
        )
    return task.measured


def _of_data(data: str, saved: Any, skip_broken: bool) -> tuple[str, Any]:
    """The test part of a data set, or the pictures of a folder, as the model takes them."""
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
            f"DATA: {data!r} has a part train/ and none to measure on: give "
            f"{os.path.join(data, 'train')!r} itself, if that is meant"
        )
    size, channels = saved.picture_size()
    pictures = ImageFolder(
        data if part is None else parts[part], size, channels, skip_broken=skip_broken
    )
    return part or "test", pictures
