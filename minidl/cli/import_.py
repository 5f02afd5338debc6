"""`minidl import`: turn an ONNX file into a model's file, which the other commands take."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import click

from .shared import Numbers


class Reals(click.ParamType):
    """An option type: a number, or one for each channel, separated by commas."""

    name = "numbers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            numbers = [float(part) for part in value.split(",")]
        except ValueError:
            self.fail(f"expected numbers, separated by commas, got {value!r}", param, ctx)
        return numbers[0] if len(numbers) == 1 else numbers


@click.command("import", no_args_is_help=True)
@click.argument("file", metavar="FILE.onnx")
@click.argument("out", metavar="OUT.safetensors")
@click.option(
    "--classes",
    metavar="NAMES",
    help="Names of the classes in the order of the outputs, separated by commas, or a text file "
    "with a name in each line.",
)
@click.option(
    "--size",
    type=Numbers("size", 1, 2),
    metavar="N or H,W",
    help="Size to which pictures are scaled. [default: that of the file's input]",
)
@click.option(
    "--mean",
    type=Reals(),
    metavar="R,G,B",
    help="Numbers that are subtracted from the values of a picture, which are from 0 to 1.",
)
@click.option(
    "--std", type=Reals(), metavar="R,G,B", help="Numbers by which the values are then divided."
)
def import_(file: str, out: str, classes: str | None, **options: Any) -> None:
    """Turn an ONNX file into a model's file, which predict, eval, bench and export take.

    Images are (N, H, W, C) for the model, whatever the file has. The names of the classes and the
    preprocessing are those in the file's metadata, where minidl export writes them. For a file of
    another program, options give them. An existing OUT.safetensors is replaced.

    \b
    minidl import network.onnx network.safetensors --classes cat,dog --mean 0.5 --std 0.25
    minidl predict network.safetensors cat.jpg
    """
    from .. import models, onnx

    if not os.path.exists(file):
        raise click.UsageError(f"FILE.onnx: there is no file {file!r}")
    if os.path.isdir(file):
        raise click.UsageError(f"FILE.onnx must be a file, got the folder {file!r}")
    if os.path.isdir(out) or not out.lower().endswith(".safetensors"):
        raise click.UsageError(
            f"OUT.safetensors: expected the name of a file that ends with .safetensors, got {out!r}"
        )
    model = onnx.load(file)
    names = _names(classes) if classes else _told(model.metadata, "classes", list) or []
    outputs = _outputs(file)
    if names and outputs not in (None, len(names)):
        raise click.UsageError(
            f"--classes: expected {outputs} names, one for each output, got {len(names)}"
            if classes
            else f"FILE.onnx: its metadata has {len(names)} classes, and it has {outputs} outputs: "
            f"give --classes"
        )
    given = {name: value for name, value in options.items() if value is not None}
    preprocess = {**(_told(model.metadata, "preprocess", dict) or {}), **given}
    models.save(out, model, names, preprocess or None)
    parameters = sum(parameter.size for parameter in model.parameters())
    print(
        f"{out}: {parameters:,} parameters, {len(names) or 'no names of'} classes, "
        f"{os.path.getsize(out):,} bytes"
    )
    if not {"mean", "std"} & set(preprocess):
        print(
            "The file does not say how pictures are normalized: the model will get values from 0 "
            "to 1. If it was trained on others, give --mean and --std.",
            file=sys.stderr,
        )


def _outputs(file: str) -> int | None:
    """Return the size of the last axis of a file's first output; None if it is left open."""
    from onnx import load_model

    first = load_model(file, load_external_data=False).graph.output[0].type.tensor_type
    return first.shape.dim[-1].dim_value or None if first.shape.dim else None


def _names(given: str) -> list[str]:
    """Return the names of a text file, or those in a string with commas."""
    if not os.path.isfile(given):
        return [name.strip() for name in given.split(",")]
    with open(given, encoding="utf-8") as lines:
        return [line.strip() for line in lines if line.strip()]


def _told(metadata: dict[str, str], name: str, kind: type) -> Any:
    """Return a value of the metadata; None if it is none that minidl has written."""
    try:
        value = json.loads(metadata.get(name, "null"))
    except ValueError:
        return None
    return value if isinstance(value, kind) else None
