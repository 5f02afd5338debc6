"""`minidl export`: write a model as ONNX for other runtimes."""

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
    help="Order of the axes of the file's input. NCHW, channels first, is usual in other "
    "frameworks.",
)
def export(run_or_model: str, out: str, layout: str) -> None:
    """Write a model as an ONNX file for other runtimes.

    RUN_OR_MODEL is a run's folder, whose best model is used, or a model's file. The ONNX model
    takes a batch of any number of pictures, of the size that the model was trained on, and returns
    the model's outputs; its metadata has the names of the classes and the preprocessing. An
    existing OUT.onnx is replaced.

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
    """Return the shape of one input of a model: of a prepared picture, or of a row."""
    shape: tuple[int, ...] | None = getattr(saved.model, "input_shape", None)
    if shape is None:
        raise ValueError(
            "the model does not say the shape of its input: write it by "
            "md.onnx.export(model, path, example)"
        )
    if len(shape) != 3:
        return shape
    size, channels = saved.picture_size()
    return (*((size, size) if isinstance(size, int) else size), channels)


def _sizes(shape: tuple[int, ...], layout: str) -> str:
    """Format a shape in the layout of the file: (N, 32, 32, 3), or (N, 3, 32, 32)."""
    sizes = list(map(str, shape[1:]))
    if layout == "NCHW" and len(sizes) == 3:
        sizes = [sizes[2], *sizes[:2]]
    return f"({', '.join(['N', *sizes])})"
