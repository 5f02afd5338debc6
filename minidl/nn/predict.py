"""The work of `Layer.predict`: it makes batches of what it is given, and gathers the outputs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .. import checks
from ..arrays import plain_array
from ..data.batch import image_place
from ..data.dataset import arrays_of
from ..data.loader import DataLoader
from ..mode import evaluation
from ..tensor import Tensor
from ..tracing import model_input
from .layer import Layer


def predict(model: Layer, x: Any, batch_size: int) -> np.ndarray:
    """The outputs for all of x, as `Layer.predict` describes."""
    batch_size = checks.size(batch_size, "predict", "batch_size")
    outputs: list[np.ndarray] = []
    # Batches are made outside of the evaluation block: their maker may train another model.
    for batch in _batches(x, batch_size):
        with evaluation():
            output = model(*[model_input(part, model._dtype_of_bytes()) for part in batch])
            if not isinstance(output, Tensor):
                raise TypeError(
                    f"predict: {type(model).__name__} returns a "
                    f"{type(output).__name__}, not a tensor"
                )
            # Outputs are copied: a model may return a parameter, or its input, which the next batch
            # may overwrite.
            outputs.append(np.array(output.data))
    if not outputs:
        raise ValueError(f"predict: x, a {type(x).__name__}, has no batch")
    return np.concatenate(outputs) if len(outputs) > 1 else outputs[0]


def first_of(batch: Any) -> Any:
    """The model's input in a loader's batch: the first entry of (images, labels, ...), or the
    images of a dict."""
    if isinstance(batch, (tuple, list, dict)):
        if not batch:
            raise ValueError("a loader's batch is an empty list or tuple")
        return batch[list(batch)[image_place(list(batch))]] if isinstance(batch, dict) else batch[0]
    return batch


def _batches(x: Any, size: int) -> Iterator[tuple[Any, ...]]:
    """The model's inputs, batch by batch."""
    if isinstance(x, DataLoader):
        yield from ((first_of(batch),) for batch in _in_order(x))
    elif isinstance(x, tuple):
        yield from _slices(tuple([_array(part, f"x[{i}]") for i, part in enumerate(x)]), size)
    elif (
        isinstance(x, (Tensor, np.ndarray))
        or hasattr(x, "__array__")
        or (isinstance(x, list) and not _are_items(x))
    ):
        yield from _slices((_array(x, "x"),), size)
    elif arrays := arrays_of(x):
        yield from _slices(arrays[:1], size)
    elif hasattr(x, "__len__") and hasattr(x, "__getitem__") and not isinstance(x, (str, dict)):
        whole_set = DataLoader(x, size, seed=0, prefetch=0)
        yield from ((first_of(batch),) for batch in whole_set)
    elif hasattr(x, "__iter__") and not isinstance(x, (str, dict)):
        yield from ((first_of(batch),) for batch in x)
    else:
        yield from _slices((_array(x, "x"),), size)


def _are_items(x: list[Any]) -> bool:
    """Whether a list is a data set of (image, label) or dicts, rather than rows of numbers."""
    return bool(x) and (
        isinstance(x[0], dict)
        or (isinstance(x[0], tuple) and bool(x[0]) and hasattr(x[0][0], "__array__"))
    )


def _in_order(loader: Any) -> Iterator[Any]:
    """A pass over all items of a loader, in order, which does not advance its epochs."""
    rest = len(loader.dataset) % loader.batch_size
    if loader.shuffle:
        raise ValueError(
            "predict: the loader shuffles, and nobody could tell which output belongs "
            "to which item; give the data set itself, or a loader with shuffle=False"
        )
    if loader.drop_last and rest:
        raise ValueError(
            f"predict: the loader leaves out the last {rest} items (drop_last=True); "
            f"give the data set itself, or a loader with drop_last=False"
        )
    return loader.once()


def _array(x: Any, name: str) -> np.ndarray:
    values = x.data if isinstance(x, Tensor) else plain_array(x)
    if values.ndim == 0:
        if values.dtype.kind not in "biuf":
            raise TypeError(checks.message("predict", name, "an array, a data set or a loader", x))
        raise ValueError(f"predict: {name} needs a batch axis, got a number")
    return values


def _slices(arrays: tuple[np.ndarray, ...], size: int) -> Iterator[tuple[np.ndarray, ...]]:
    """Batches of rows from several arrays of one length."""
    if not arrays:
        raise ValueError("predict: x is an empty tuple; a tuple holds the inputs of a model")
    count = len(arrays[0])
    if any(len(array) != count for array in arrays):
        raise ValueError(
            f"predict: the inputs in x must have one length, got "
            f"{', '.join(str(len(array)) for array in arrays)}"
        )
    for start in range(0, max(count, 1), size):
        yield tuple([array[start : start + size] for array in arrays])
