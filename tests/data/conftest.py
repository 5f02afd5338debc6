"""What the tests of data share: no test reads the user's folders or the network."""

import os

import pooch
import pytest

from tests.support.loaders import prefetch_threads

# Where real data are, from before each test loses sight of it.
MINIDL_DATA = os.environ.get("MINIDL_DATA")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """The user's cache, empty; MINIDL_DATA unset; downloads fail."""

    def retrieve(url, *args, **kwargs):
        raise OSError("no network in tests")

    monkeypatch.delenv("MINIDL_DATA", raising=False)
    monkeypatch.delenv("MINIDL_CACHE", raising=False)
    monkeypatch.delenv("MINIDL_CACHE_LIMIT", raising=False)
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / "cache" / project)
    monkeypatch.setattr(pooch, "retrieve", retrieve)
    return tmp_path / "cache" / "minidl"


@pytest.fixture
def root(tmp_path):
    """Where a test makes a folder of pictures."""
    return tmp_path / "photos"


@pytest.fixture
def no_thread_left():
    """Loaders have ended their threads when a test is over."""
    yield
    assert prefetch_threads() == []


@pytest.fixture(scope="session")
def real_data():
    """The folder that MINIDL_DATA names; the test is skipped where it has no CIFAR-10."""
    if not MINIDL_DATA or not os.path.isdir(os.path.join(MINIDL_DATA, "cifar10")):
        pytest.skip("MINIDL_DATA names no folder with cifar10/")
    return MINIDL_DATA
