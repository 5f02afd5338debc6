"""`minidl eval`: how good a model is."""

from __future__ import annotations

import os
from typing import Any

import click

from .shared import accuracy_line, load_model, set_threads, threads_option


@click.command("eval", no_args_is_help=True)
@click.argument("run_or_model")
@click.argument("data", required=False)
@click.option("--skip-broken", is_flag=True,
              help="Leave out pictures of DATA that cannot be decoded, and name them.")
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
    part, pictures = _of_run(run_or_model) if data is None else _of_data(data, saved, skip_broken)
    found = report(saved, pictures, valid_name=part)
    print(found)
    accuracy_line(part, found.accuracy)


def _of_run(folder: str) -> tuple[str, Any]:
    """What a run was measured on."""
    from ..train.run import plan_of, read_config
    from ..train.task import KNOWN, load_task

    if not os.path.isdir(folder):
        raise click.UsageError(f"{folder!r} is a file of a model: say DATA, what to measure it on")
    config = read_config(folder)
    plan = plan_of(config)
    channels = None if plan.source in KNOWN else config["data"]["shape"][2]
    return load_task(plan.source, plan.size, config["settings"]["valid"], plan.seed,
                     channels, plan.skip_broken).measured


def _of_data(data: str, saved: Any, skip_broken: bool) -> tuple[str, Any]:
    """The test part of a data set, or the pictures of a folder, as the model takes them."""
    from ..data.image_folder import ImageFolder
    from ..train.task import KNOWN, matched, part_folders

    classes = [str(name) for name in saved.classes]
    if data in KNOWN:
        found = KNOWN[data](split="test")
        return "test", matched(found, classes or found.classes, data)
    if not os.path.isdir(data):
        raise click.UsageError(f"DATA: there is no folder {data!r}, and it is none of "
                               f"{', '.join(KNOWN)}")
    parts = part_folders(data)
    part = next((name for name in ("test", "valid") if name in parts), "test")
    size, channels = saved.picture_size()
    pictures = ImageFolder(parts.get(part, data), size, channels, skip_broken=skip_broken)
    return part, matched(pictures, classes or pictures.classes or (), data)
