"""What tests of several folders share, and helpers that explain failed assertions as tests do."""

import pytest

pytest.register_assert_rewrite("tests.support")


@pytest.fixture
def seeded():
    """Random numbers do not depend on which tests ran before."""
    import minidl as md

    md.manual_seed(0)


@pytest.fixture
def no_tracer_is_left(seeded):
    """No trace goes on when a test is over."""
    from minidl.tracers import tracers

    yield
    assert not tracers
