# Its functions have the signatures of their twins, which a test compares.
from minidl.kernels.reference.elementwise.random import *  # noqa: F403
