"""This module has the marks of pytest that tests share."""

import os

import pytest

from tests.support.arrays import FLOATS

BACKENDS = ("native", "numpy")

both_backends = pytest.mark.parametrize("backend", BACKENDS)
both_floats = pytest.mark.parametrize("dtype", FLOATS, ids=["float32", "float64"])
# For tests whose batches are so small that BatchNorm warns.
small_batches = pytest.mark.filterwarnings("ignore:BatchNorm.*values a channel")
needs_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0,
    reason="only the superuser becomes another user",
)
