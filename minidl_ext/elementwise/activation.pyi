# Its functions have the signatures of their twins, which a test compares.
from minidl.kernels.reference.elementwise.activation import *  # noqa: F403
