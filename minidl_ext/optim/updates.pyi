# Its functions have the signatures of their twins, which a test compares.
from minidl.kernels.reference.optim.updates import *  # noqa: F403
