"""What a layer can do that is more than a layer's affair: `predict`, `summary`.

They are built on layers, so `Layer` itself imports nothing of them: the end of this file puts them
on the class. To type checkers and editors, `Layer` inherits from the table.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import predict
from .fold import FoldReport
from .layer import Layer
from .summary import summarize


class Methods:
    """Methods of `Layer`, which has each of them as its own."""

    fold_report: FoldReport     # of a copy that nn.fold made

    def predict(self: Any, x: Any, batch_size: int = 256) -> np.ndarray:
        """Outputs for all of x, in eval mode, without a graph, batch by batch: a NumPy array.

        x is an array or tensor whose first axis counts examples, or a tuple of several inputs of a
        model; uint8 images are divided by 255, as a DataLoader does. Or it is a data set, a
        DataLoader or any iterable of batches, of which the first entry, the images, goes in; the
        outputs are in the order of the data set.

        The mode holds for the calling thread alone: several threads may use one model at once.
        ValueError for a loader that shuffles or leaves items out, or inputs of several lengths.
        """
        return predict.predict(self, x, batch_size)

    def summary(self: Any, input_shape: Any = None, example: Any = None) -> str:
        """A table of the layers with their output shapes and parameters, for one example.

        `input_shape` is that of one example, without the batch axis: (28, 28, 1); a tuple of such
        tuples for a model of several inputs. Zeros of that shape go through the model, integers
        where it refuses floats. `example` is a batch as the model takes it, an array or a tuple of
        several inputs, of any dtype, for other models. Without both no output shapes are shown.
        Of several outputs the first is shown.

        >>> print(nn.Sequential(nn.Embedding(10, 4), nn.Flatten()).summary((7,)))
        layer  kind       output  parameters
        ------------------------------------
        0      Embedding  (7, 4)          40
        1      Flatten    (28,)            0
        ------------------------------------
        40 parameters, 40 of them trained
        """
        return summarize(self, input_shape, example)


for method in (Methods.predict, Methods.summary):
    setattr(Layer, method.__name__, method)
