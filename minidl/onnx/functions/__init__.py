"""How each of minidl's operations is written, a file for each family. FUNCTIONS has, by the name of
the operation's Function, what writes its nodes and returns the values that they make."""

from .elementwise import ELEMENTWISE
from .images import IMAGES
from .imported import IMPORTED
from .ordering import ORDERING
from .products import PRODUCTS
from .recurrent import RECURRENT
from .shapes import SHAPES

FUNCTIONS = {**ELEMENTWISE, **IMAGES, **IMPORTED, **ORDERING, **PRODUCTS, **RECURRENT, **SHAPES}
