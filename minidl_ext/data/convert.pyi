# Its functions have the signatures of their twins, which a test compares.
from minidl.kernels.reference.data.convert import *  # noqa: F403
