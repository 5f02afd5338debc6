"""This module checks which errors are raised, and what they say."""

import contextlib

import pytest


@contextlib.contextmanager
def refuses(error, *words):
    """Check that an error of this type is raised within the `with` block, and that its message has
    all these words.
    """
    with pytest.raises(error) as info:
        yield
    for word in words:
        assert word in str(info.value)


def read_only():
    """Check that NumPy refuses a write within the `with` block."""
    return pytest.raises(ValueError, match="read-only")
