"""These tests check that an interrupt ends long calls of convolution kernels, which look for it
between pieces of their work.
"""

import signal

import numpy as np
import pytest

from tests.support.kernel_convs import native, whole_factors

SAME = ((1, 1), (1, 1))
WIDE = ((4, 3), (4, 3))  # the padding for kernels of 8 x 8


def zeros(*shape):
    """Return arrays that take no memory until they are written."""
    return np.zeros(shape, np.float32)


def depthwise(**arguments):
    """Return a case with 64 taps and 50 million outputs."""
    images, weights = zeros(48, 256, 256, 16), zeros(8, 8, 1, 16)
    every = {"x": images, "dy": images, "w": weights}
    return {**{name: every[name] for name in every if name in arguments}, "padding": WIDE}


# Each case does half as much again as what is done before the first look for an interrupt.
CASES = {
    "depthwise_conv": lambda: depthwise(x=1, w=1),
    "depthwise_input_grad": lambda: {**depthwise(dy=1, w=1), "input_shape": (48, 256, 256, 16)},
    "depthwise_weight_grad": lambda: {**depthwise(x=1, dy=1), "kernel_shape": (8, 8)},
    "depthwise_backward": lambda: depthwise(x=1, dy=1, w=1),
    "pointwise_conv": lambda: {"x": zeros(24, 32, 32, 2048), "w": zeros(1, 1, 2048, 512)},
    "pointwise_backward": lambda: {
        "x": zeros(48, 32, 32, 512),
        "dy": zeros(48, 32, 32, 512),
        "w": zeros(1, 1, 512, 512),
    },
    "winograd_weight_grad": lambda: (
        dict.fromkeys(("x", "dy"), zeros(6, 1024, 1024, 32)) | {"padding": SAME}
    ),
}


def interrupted_inside(name, case):
    """Return whether an interrupt shortly after the call begins ends it before it has computed
    everything.
    """

    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(KeyboardInterrupt) as error:
            getattr(native, name)(**case, threads=1)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    # If the handler runs after the call, the kernel has no frame above it.
    return any(entry.name.endswith(name) for entry in error.traceback)


@pytest.mark.parametrize("name", CASES)
def test_an_interrupt_ends_a_long_call(name):
    assert interrupted_inside(name, CASES[name]())


def test_an_interrupt_ends_a_long_call_that_normalizes():
    case = CASES["depthwise_conv"]()
    case |= {"factors": whole_factors(16), "relu": True, "stats": True}
    assert interrupted_inside("depthwise_conv", case)
