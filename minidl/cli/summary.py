"""`minidl summary`: the layers of a model."""

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
    help="The shape of a picture. [default: that of the model]",
)
def summary(model: str, shape: int | list[int] | None) -> None:
    """Show the layers of a model, the shapes between them, and their parameters.

    MODEL is a name, as resnet20, a run's folder, or a model's file.

    \b
    minidl summary resnet20
    minidl summary vgg8 --input 64,64,3
    minidl summary runs/photos
    """
    from ..models import create, names

    known = model in names() and not os.path.exists(model)
    if not known and not os.path.exists(model):
        raise click.UsageError(
            f"there is no run or file {model!r}, and it is none of {', '.join(names())}"
        )
    asked = None if shape is None else (shape,) if isinstance(shape, int) else tuple(shape)
    if known and asked is not None and len(asked) != 3:
        raise click.UsageError(f"--input: {model} takes pictures: H,W,C, as 32,32,3")
    if known:
        built = create(model, **({} if asked is None else {"input_shape": asked}))
    else:
        built = load_model(model).model  # type: ignore[assignment]
    print(built.summary(asked or getattr(built, "input_shape", None)))
