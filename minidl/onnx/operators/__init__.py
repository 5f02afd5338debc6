"""The operators that can be imported, one file a family. Each is an `Operator` (see `..steps`),
a function of the node and of the values that it takes, with what is supported of it."""

from .arithmetic import ARITHMETIC
from .convolution import CONVOLUTION
from .elementwise import ELEMENTWISE
from .matrix import MATRIX
from .normalization import NORMALIZATION
from .pools import POOLS
from .quantization import QUANTIZATION
from .recurrent import RECURRENT
from .reduction import REDUCTION
from .resize import RESIZE
from .selection import SELECTION
from .shapes import SHAPES

OPERATORS = {
    **ARITHMETIC,
    **CONVOLUTION,
    **ELEMENTWISE,
    **MATRIX,
    **NORMALIZATION,
    **POOLS,
    **QUANTIZATION,
    **RECURRENT,
    **REDUCTION,
    **RESIZE,
    **SELECTION,
    **SHAPES,
}
