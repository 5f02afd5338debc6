"""`minidl export`: a model for other runtimes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from .shared import load_model

if TYPE_CHECKING:
    from ..models import Saved


@click.command(no_args_is_help=True)
@click.argument("run_or_model")
@click.argument("out", metavar="OUT.onnx")
@click.option(
    "--layout",
    type=click.Choice(["NHWC", "NCHW"]),
    default="NHWC",
    show_default=True,
    help="The axes of pictures as the file takes them. NCHW has the channels first, as "
    "other frameworks have them.",
)
def export(run_or_model: str, out: str, layout: str) -> None:
    """Write a model as an ONNX file, which other runtimes run.

    RUN_OR_MODEL is a run's folder, of which the best model is taken, or a model's file. OUT.onnx
    takes any number of pictures, of the size that the model was trained for, and gives what the
    model puts out; its metadata says which classes there are and how pictures are prepared. A file
    of this name is replaced.

    \b
    minidl export runs/photos photos.onnx
    minidl export best.safetensors best.onnx --layout NCHW
    """
    import numpy as np

    from .. import onnx

    if os.path.isdir(out) or not out.lower().endswith(".onnx"):
        raise click.UsageError(
            f"OUT.onnx: expected the name of a file that ends with .onnx, got {out!r}"
        )
    saved = load_model(run_or_model)
    example = np.zeros((1, *_input_shape(saved)), saved.model._dtype())
    metadata = {"classes": saved.classes, "preprocess": saved.preprocess}
    onnx.export(
        saved.model,
        out,
        example,
        layout,
        {name: value for name, value in metadata.items() if value},
    )
    made = saved.model.predict(example)
    print(
        f"{out}: {_sizes(example.shape, layout)} to {_sizes(made.shape, layout)}, "
        f"{os.path.getsize(out):,} bytes"
    )


def _input_shape(saved: Saved) -> tuple[int, ...]:
    """What a model takes, without the axis of the batch: pictures as they are prepared for it, or
    rows."""
    shape: tuple[int, ...] = saved.model.input_shape  # type: ignore[attr-defined]
    if len(shape) != 3:
        return shape
    size, channels = saved.picture_size()
    return (*((size, size) if isinstance(size, int) else size), channels)


def _sizes(shape: tuple[int, ...], layout: str) -> str:
    """A shape as the file has it: (N, 32, 32, 3), or (N, 3, 32, 32)."""
    sizes = list(map(str, shape[1:]))
    if layout == "NCHW" and len(sizes) == 3:
        sizes = [sizes[2], *sizes[:2]]
    return f"({', '.join(['N', *sizes])})"
