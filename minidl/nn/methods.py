"""The methods of `Layer` that work on whole models: `predict` and `summary`.

They are built on layers, so `Layer` cannot import them: the end of this file puts them on the
class. To type checkers and editors, `Layer` inherits from the table here.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import predict
from .fold import FoldReport
from .layer import Layer
from .summary import summarize


class Methods:
    """Methods of `Layer`; each is set on `Layer` itself."""

    fold_report: FoldReport  # exists on copies that nn.fold made

    def predict(self: Any, x: Any, batch_size: int = 256) -> np.ndarray:
        """Compute the outputs for all of x, in evaluation mode and without a graph, batch by batch;
        return them as a NumPy array.

        x is an array or tensor whose first axis counts examples, or a tuple of such arrays for a
        model of several inputs; uint8 images are divided by 255, as a DataLoader does. Or it is a
        data set, a DataLoader or any iterable of batches; the model then gets the first entry of
        each batch, the images, and the outputs are in the order of the data set.

        The mode holds for the calling thread alone, so that several threads may use one model at
        once. ValueError for a loader that shuffles or leaves items out, or inputs of different
        lengths.
        """
        return predict.predict(self, x, batch_size)

    def summary(self: Any, input_shape: Any = None, example: Any = None) -> str:
        """A table of the layers with their output shapes and parameters, for one example.

        `input_shape` is the shape of one example, without the batch axis: (28, 28, 1); it is a
        tuple of such tuples for a model of several inputs. Zeros of that shape go through the
        model, as integers if it refuses floats. For models that need other values, `example` is a
        batch as the model takes it, an array or a tuple of several inputs, of any dtype. Without
        both, no output shapes are shown. If a layer has several outputs, the first is shown.

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
