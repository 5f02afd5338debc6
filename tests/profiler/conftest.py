"""This module has what the tests of profiles share."""

import pytest

import minidl as md
from minidl.profiler import peaks
from minidl.tracers import profilers


@pytest.fixture
def nothing_is_left_on(monkeypatch):
    """Skip the measurement of peaks, and check that no profile is on at the end."""
    md.manual_seed(0)
    n = md.get_num_threads()
    monkeypatch.setitem(peaks._known, ("native", n), peaks.Peaks(100.0, 10.0, n))
    yield
    assert not profilers
