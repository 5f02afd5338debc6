# Its functions have the signatures of their twins, which a test compares.
from minidl.kernels.reference.conv.direct import *  # noqa: F403
