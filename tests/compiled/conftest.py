"""This module has what the tests of compiled models share."""

import pytest

import minidl as md


@pytest.fixture(autouse=True)
def same_weights():
    """Seed the weights, so that they do not depend on which tests ran before. Where a bias nearly
    cancels a product, the rounding error exceeds the tolerance of what remains.
    """
    md.manual_seed(0)
