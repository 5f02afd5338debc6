"""What names of PyTorch and Keras are called here, as tables: by the name that was written, what to
write instead. `hints` puts them into errors, and docs/coming-from.md shows them.

Tensors and functions stand in `tensors`, layers in `layers`, data, optimizers, training and models
in `training`, and the arguments of all of them in `arguments`; `words` has what several say.
"""

from .arguments import ARGUMENTS
from .layers import LAYERS, OF_LAYERS
from .tensors import FUNCTIONS, TENSOR
from .training import DATA, MODELS, OF_OPTIMIZERS, OPTIMIZERS, TRAIN, TRANSFORMS

__all__ = [
    "ARGUMENTS",
    "DATA",
    "FUNCTIONS",
    "LAYERS",
    "MODELS",
    "OF_LAYERS",
    "OF_OPTIMIZERS",
    "OPTIMIZERS",
    "TENSOR",
    "TRAIN",
    "TRANSFORMS",
]
