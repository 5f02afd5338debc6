"""Network: what the models here have in common, so that a file can say how to make one again."""

from __future__ import annotations

from typing import Any

from .. import checks, nn
from .norms import Norm


class Network(nn.Layer):
    """The base of the models: checks their common options, and gives them back in `config()`.

    `classes`, `input_shape` and `norm_position` stand in attributes of these names, and so does
    `norm` if it is a name: a function need not be one that can be pickled.
    """

    smallest = 4  # height and width of the smallest images that the layers leave a pixel of

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
            expected = (
                f"(H, W, C) with H and W of at least {least}, for its layers to leave a pixel"
            )
            raise ValueError(checks.message(where, "input_shape", expected, given))
        return shape

    def config(self) -> dict[str, Any]:
        """The options that make this model again, but for its weights: `type(model)(**options)`.
        TypeError if `norm` was given as a function, which no file can hold.
        """
        if self.norm is None:
            raise TypeError(
                f"{type(self).__name__}: norm was given as a function, which cannot "
                f"be saved: write a class whose __init__ makes this model, with a "
                f"config() of its own"
            )
        return {
            "classes": self.classes,
            "input_shape": self.input_shape,
            "norm": self.norm,
            "norm_position": self.norm_position,
        }
