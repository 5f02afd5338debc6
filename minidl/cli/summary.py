"""`minidl summary`: show the layers of a model."""

from __future__ import annotations

import os

import click

from .shared import Numbers, load_model


@click.command(no_args_is_help=True)
@click.argument("model")
@click.option(
    "--input",
    "shape",
    type=Numbers("shape", 1, 2, 3),
    metavar="H,W,C",
    help="Shape of a picture. [default: the model's]",
)
def summary(model: str, shape: int | list[int] | None) -> None:
    """Show the layers of a model, their output shapes, and their numbers of parameters.

    MODEL is a model's name such as resnet20, a run's folder, or a model's file.

    \b
    minidl summary resnet20
    minidl summary vgg8 --input 64,64,3
    minidl summary runs/photos
    """
    from ..models import create, names

    known = model in names() and not os.path.exists(model)
    if not known and not os.path.exists(model):
        raise click.UsageError(
            f"MODEL: there is no run or file {model!r}, and it is none of {', '.join(names())}"
        )
    chosen = None if shape is None else (shape,) if isinstance(shape, int) else tuple(shape)
    if known and chosen is not None and len(chosen) != 3:
        raise click.UsageError(
            f"--input must be H,W,C, such as 32,32,3, for {model}, got {','.join(map(str, chosen))}"
        )
    if known:
        built = create(model, **({} if chosen is None else {"input_shape": chosen}))
    else:
        built = load_model(model).model  # type: ignore[assignment]
    print(built.summary(chosen or getattr(built, "input_shape", None)))
