"""This module has what the tests of data share. No test reads the user's folders or the network."""

import os

import pooch
import pytest

from tests.support.loaders import prefetch_threads

# The folder of real data, which is read before tests unset MINIDL_DATA.
MINIDL_DATA = os.environ.get("MINIDL_DATA")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Provide an empty user's cache, unset MINIDL_DATA, and let downloads fail."""

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
    """Return where a test makes a folder of pictures."""
    return tmp_path / "photos"


@pytest.fixture
def no_thread_left():
    """Check that loaders have ended their threads when a test is over."""
    yield
    assert prefetch_threads() == []


@pytest.fixture(scope="session")
def real_data():
    """Return the folder that MINIDL_DATA names. The test is skipped if CIFAR-10 is not there."""
    if not MINIDL_DATA or not os.path.isdir(os.path.join(MINIDL_DATA, "cifar10")):
        pytest.skip("MINIDL_DATA names no folder with cifar10/")
    return MINIDL_DATA
