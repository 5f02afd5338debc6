"""This module has what tests of runs share: the data sets of the package, a cache of their own, and
no drawings.
"""

import pytest

from tests.support.runs import draw_nothing
from tests.support.threads import threads


@pytest.fixture
def quick(tmp_path, monkeypatch):
    """Prepare tests that make runs: the current folder is empty, and nothing is drawn."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINIDL_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MINIDL_DATA", raising=False)
    draw_nothing(monkeypatch)
    with threads(1):
        yield tmp_path
