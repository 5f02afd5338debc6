"""`minidl import`: turn an ONNX file into a model's file, which the other commands take."""

from __future__ import annotations

import json
import os
from typing import Any

import click


@click.command("import", no_args_is_help=True)
@click.argument("file", metavar="FILE.onnx")
@click.argument("out", metavar="OUT.safetensors")
def import_(file: str, out: str) -> None:
    """Turn an ONNX file into a model's file, which predict, eval, bench and export take.

    Images are (N, H, W, C) for the model, whatever the file has. The names of the classes and the
    preprocessing are those in the file's metadata, where minidl export writes them. An existing
    OUT.safetensors is replaced.

    \b
    minidl import network.onnx network.safetensors
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
    classes = _told(model.metadata, "classes", list) or []
    models.save(out, model, classes, _told(model.metadata, "preprocess", dict))
    parameters = sum(parameter.size for parameter in model.parameters())
    print(
        f"{out}: {parameters:,} parameters, {len(classes) or 'no names of'} classes, "
        f"{os.path.getsize(out):,} bytes"
    )


def _told(metadata: dict[str, str], name: str, kind: type) -> Any:
    """Return a value of the metadata; None if it is none that minidl has written."""
    try:
        value = json.loads(metadata.get(name, "null"))
    except ValueError:
        return None
    return value if isinstance(value, kind) else None
