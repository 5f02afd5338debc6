"""Weights from PyTorch and back: `load_state` gives a model the state dict of a PyTorch module, and
`state_dict` makes one.

PyTorch itself is imported only where its tensors are to be made. Models with their code come
through ONNX.
"""

from .matching import Loaded
from .state import load_state, state_dict

__all__ = ["Loaded", "load_state", "state_dict"]
