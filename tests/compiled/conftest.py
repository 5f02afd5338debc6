"""What the tests of compiled models share."""

import pytest

import minidl as md


@pytest.fixture(autouse=True)
def same_weights():
    """Weights that do not depend on which tests ran before: where a bias cancels a product almost
    wholly, rounding is more than the tolerance of what is left."""
    md.manual_seed(0)
