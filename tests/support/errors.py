"""Errors that must be raised, and what they must say."""

import contextlib

import pytest


@contextlib.contextmanager
def refuses(error, *words):
    """An error of this type is raised inside, and its message has all these words."""
    with pytest.raises(error) as info:
        yield
    for word in words:
        assert word in str(info.value)


def read_only():
    """NumPy refuses what is written inside."""
    return pytest.raises(ValueError, match="read-only")
