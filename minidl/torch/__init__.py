"""Weights from PyTorch, and back: state dicts of PyTorch's modules for models of minidl.

PyTorch itself is imported only where its tensors are to be made. Whole models come through ONNX.
"""

from .matching import Loaded
from .state import load_state, state_dict

__all__ = ["Loaded", "load_state", "state_dict"]
