"""ONNX in both directions: `export` writes a model as a file that other runtimes run, and `load`
makes a layer that learns of a file from another framework. Both need the extra `onnx` (the packages
onnx and onnx-ir).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from .. import atomic, checks
from .layouts import LAYOUTS
from .model import Model

__all__ = ["Model", "export", "load"]


def export(
    model: Any,
    path: str | os.PathLike[str],
    example: Any,
    layout: str = "NHWC",
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Write a model, which may be a layer or any function of tensors, as an ONNX file.

    `example` is a batch that the model takes (or a tuple of its inputs): the model is traced, as
    `md.trace` does it, in evaluation mode, and what it does for the example is what the file says.
    The first axis is that of the batch: the file takes any number of entries, named "N". With
    `layout="NCHW"` inputs and outputs of four axes are (N, C, H, W), as other frameworks have
    them; convolutions and pools have the channels first in any case, with transposes at inputs and
    outputs, and where an operation between them needs the channels last. Parameters keep their
    names.

    `metadata` is a dict of what the file should say of itself, such as the names of its classes.
    Values that are no strings are written as JSON. ONNX Runtime gives the dict back as
    `session.get_modelmeta().custom_metadata_map`.

    The file is of opset 21 and IR version 10, and has passed `onnx.checker`. NotImplementedError
    for an operation that ONNX has no counterpart for (a loss, a `Function` of one's own), naming it
    and its layer, and where Python takes values out of tensors; TypeError for an example without an
    array, and for metadata that is no dict of strings and what JSON has; a warning if the model
    runs with the example's batch alone, which is then fixed. Needs the extra `onnx`.

    >>> import tempfile
    >>> model = nn.Sequential(nn.Conv(1, 4, 3), nn.ReLU(), nn.GlobalAvgPool(), nn.Dense(4, 10))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     md.onnx.export(model, folder + "/model.onnx", md.zeros(1, 8, 8, 1))
    ...     loaded = md.onnx.load(folder + "/model.onnx")
    >>> loaded(md.zeros(5, 8, 8, 1)).shape
    (5, 10)
    """
    checks.function(model, "md.onnx.export", "model", "a layer or a function of tensors")
    checks.choice(layout, "md.onnx.export", "layout", LAYOUTS)
    name = checks.path(path, "md.onnx.export")
    texts = _as_text(metadata)
    needed("export")
    from .writing import exported

    atomic.replace_file(name, exported(model, example, layout, texts))


def load(path_or_bytes: str | os.PathLike[str] | bytes, layout: str = "NHWC") -> Model:
    """The layer that an ONNX file, of opset 6 or later, describes. It is in evaluation mode, except
    for the layers of nodes that the file has in training mode (training_mode=1).

    It takes tensors or arrays in the order of the file's inputs, and gives a tensor, or a tuple of
    them where the file has several outputs. It learns as any layer: parameters have the names of
    the file, a BatchNormalization is a `BatchNorm`, a Dropout a `Dropout`. See `md.onnx.Model` for
    how to replace a part of it.

    `layout="NHWC"`: images are (N, H, W, C), as everywhere in minidl, whatever the file has: an
    input is one if it comes to a convolution, a pool or the like, an output if it comes from one.
    "NCHW" keeps the file's own interface; it only costs a transpose.

    Parameters are the arrays of floats in the file that have at least one axis and that nodes
    compute with. Weights of convolutions are (KH, KW, in / groups, out) and those of dense layers
    (in, out), as minidl has them; the others are as they are in the file.

    NotImplementedError for an operator, attribute or dtype that is not supported (float16, string),
    naming operator and node, before anything is computed; ValueError for what is no ONNX model;
    TypeError for what is neither a path nor bytes. Needs the extra `onnx`.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     md.onnx.export(nn.Sequential(nn.Dense(4, 3)), folder + "/model.onnx", md.zeros(1, 4))
    ...     model = md.onnx.load(folder + "/model.onnx")
    >>> [name for name, parameter in model.named_parameters()]
    ['0.weight', '0.bias']
    """
    checks.choice(layout, "md.onnx.load", "layout", LAYOUTS)
    needed("load")
    from .kept import build
    from .reading import read

    return build(read(path_or_bytes), layout)


def _as_text(metadata: Any) -> dict[str, str]:
    """Metadata as a dict of strings, which is all that a file holds."""
    if metadata is None:
        return {}
    expected = "a dict of strings, and of what JSON has"
    checks.instance(metadata, "md.onnx.export", "metadata", Mapping, expected)
    try:
        texts = {
            name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            for name, value in metadata.items()
        }
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(f"md.onnx.export: metadata must be {expected}: {error}") from None
    wrong = next((name for name in texts if not isinstance(name, str)), "")
    checks.instance(wrong, "md.onnx.export", "a name in metadata", str, "a string")
    return texts


def needed(function: str) -> None:
    """Raise an ImportError that says what to install, unless the packages are there."""
    try:
        import onnx  # noqa: F401
        import onnx_ir  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"md.onnx.{function} needs the packages onnx and onnx-ir: pip install 'minidl[onnx]'"
        ) from error
