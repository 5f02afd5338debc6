"""`minidl predict`: classify pictures."""

from __future__ import annotations

import json
import os

import click

from .shared import load_model, set_threads, threads_option


@click.command(no_args_is_help=True)
@click.argument("run_or_model")
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@click.option(
    "--top",
    type=click.IntRange(1),
    default=3,
    show_default=True,
    metavar="N",
    help="Number of classes to show for each picture.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list instead of text.")
@threads_option
def predict(
    run_or_model: str, images: tuple[str, ...], top: int, as_json: bool, threads: int | None
) -> None:
    """Classify pictures: print the likeliest classes of each and their probabilities.

    RUN_OR_MODEL is a run's folder, whose best model is used, or a model's file.

    \b
    minidl predict runs/photos new/*.jpg
    minidl predict runs/photos new/1.jpg --top 1 --json
    """
    set_threads(threads)
    for path in images:
        if os.path.isdir(path):
            raise click.UsageError(
                f"IMAGE must be a picture, got the folder {path!r}: give its pictures, such as "
                f"{os.path.join(path, '*.jpg')}"
            )
        if not os.path.exists(path):
            raise click.UsageError(f"IMAGE: there is no file {path!r}")
    found = load_model(run_or_model).predict(list(images), top)
    if as_json:
        listed = []
        for path, classes in zip(images, found, strict=True):
            likely = [{"class": name, "probability": share} for name, share in classes]
            listed.append({"file": path, "predictions": likely})
        print(json.dumps(listed, indent=1))
        return
    for path, classes in zip(images, found, strict=True):
        print(f"{path}  {', '.join(f'{name} {share:.3f}' for name, share in classes)}")
