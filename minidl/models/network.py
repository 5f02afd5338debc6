"""Network: the base class of the models, which checks and stores their common options."""

from __future__ import annotations

from typing import Any

from .. import checks, nn
from .norms import Norm


class Network(nn.Layer):
    """The base class of the models: it checks their common options, and `config()` returns them.

    The attributes `classes`, `input_shape` and `norm_position` hold the options. `norm` is None if
    it was given as a function, so that the model can be pickled whatever that function is.
    """

    smallest = 4  # least height and width of images; smaller ones would be pooled to nothing

    def __init__(self, classes: int, input_shape: Any, norm: Norm, norm_position: str) -> None:
        super().__init__()
        where = type(self).__name__
        self.classes = checks.size(classes, where, "classes")
        self.input_shape = self._image_shape(input_shape)
        self.norm = norm if isinstance(norm, str) else None
        self.norm_position = norm_position

    def _image_shape(self, given: Any) -> tuple[int, ...]:
        where, least = type(self).__name__, self.smallest
        shape = checks.ints(given, where, "input_shape")
        if len(shape) != 3 or min(shape) < 1:
            raise ValueError(
                checks.message(where, "input_shape", "(H, W, C), each at least 1", given)
            )
        if min(shape[:2]) < least:
            expected = f"(H, W, C) with H and W of at least {least}, so that pooling leaves a pixel"
            raise ValueError(checks.message(where, "input_shape", expected, given))
        return shape

    def config(self) -> dict[str, Any]:
        """Return the options that build this model again, with new weights:
        `type(model)(**options)`. TypeError if `norm` was given as a function, which cannot be
        written to a file.
        """
        if self.norm is None:
            raise TypeError(
                f"{type(self).__name__}: norm must be a name for the model to be saved, got a "
                f"function: write a class that sets norm in its __init__, with its own config()"
            )
        return {
            "classes": self.classes,
            "input_shape": self.input_shape,
            "norm": self.norm,
            "norm_position": self.norm_position,
        }
