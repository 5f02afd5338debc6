"""How each of minidl's operations is written, a file a family: by the name of its Function, what
makes nodes of it and returns the values that they give."""

from .elementwise import ELEMENTWISE
from .images import IMAGES
from .ordering import ORDERING
from .products import PRODUCTS
from .recurrent import RECURRENT
from .shapes import SHAPES

FUNCTIONS = {**ELEMENTWISE, **IMAGES, **ORDERING, **PRODUCTS, **RECURRENT, **SHAPES}
