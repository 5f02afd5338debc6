# Its functions have the signatures of their twins, which a test compares.
from minidl.kernels.reference.convert import *  # noqa: F403
