# Its functions have the signatures of their twins, which a test compares.
from minidl.kernels.reference.conv.depthwise_backward import *  # noqa: F403
