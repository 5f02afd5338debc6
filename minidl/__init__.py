"""minidl: train and run small CNNs on a CPU, fast; batch normalization done right.

>>> import minidl as md
>>> from minidl import nn, optim, data
"""

from typing import TYPE_CHECKING

from .tensor import Tensor  # isort: skip  (before ops, whose function `tensor` takes the name)
from . import data, nn, ops, optim
from .backward import grad
from .central_differences import gradcheck
from .files import load, save
from .grad_mode import no_grad
from .graph import Function
from .kernels import use_backend
from .ops import *  # noqa: F403
from .ops import methods  # noqa: F401  (puts them on Tensor)
from .random import manual_seed
from .settings import empty_cache, get_num_threads, set_num_threads, set_precision, show_versions
from .traced import Graph, Node, Value
from .tracing import trace
from .version import __version__ as __version__

if TYPE_CHECKING:
    from . import lab, models, onnx, train

    # These two are not in __all__: `from minidl import *` hides neither PyTorch nor scikit-learn.
    from . import sklearn as sklearn
    from . import torch as torch
    from .compiled import Compiled, compile
    from .profiler import Profile, profile
else:  # to a type checker a module with __getattr__ has every name
    from . import foreign_names, hints

    _not_here = hints.attributes_of(__name__, foreign_names.FUNCTIONS)

    def __getattr__(name):
        """Load a module or a name when it is first used, so that `import minidl` stays quick."""
        import importlib

        if name in ("lab", "models", "onnx", "sklearn", "torch", "train"):
            return importlib.import_module(f"minidl.{name}")
        for module, names in (
            ("compiled", ("Compiled", "compile")),
            ("profiler", ("Profile", "profile")),
        ):
            if name in names:
                globals()[name] = getattr(importlib.import_module(f"minidl.{module}"), name)
                return globals()[name]
        return _not_here(name)


__all__ = [
    "Compiled",
    "Function",
    "Graph",
    "Node",
    "Profile",
    "Tensor",
    "Value",
    "compile",
    "data",
    "empty_cache",
    "get_num_threads",
    "grad",
    "gradcheck",
    "lab",
    "load",
    "manual_seed",
    "models",
    "nn",
    "no_grad",
    "onnx",
    "ops",
    "optim",
    "profile",
    "save",
    "set_num_threads",
    "set_precision",
    "show_versions",
    "trace",
    "train",
    "use_backend",
    *ops.__all__,
]
