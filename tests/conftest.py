"""This module has what the tests of several folders share, and the options of a run. Failed
assertions in helpers are explained like those in tests.
"""

import pytest

pytest.register_assert_rewrite("tests.support")


def pytest_addoption(parser):
    group = parser.getgroup("minidl")
    group.addoption(
        "--quick",
        action="store_true",
        help="a sample of the tests that are not slow: see tests/support/quick.py",
    )
    group.addoption(
        "--find-slow",
        action="store_true",
        help="measure the sample of all tests, and write down which are slow",
    )


def pytest_configure(config):
    if config.getoption("find_slow"):
        from tests.support.quick import Clock

        config.pluginmanager.register(Clock())


def pytest_collection_modifyitems(config, items):
    if not config.getoption("quick"):
        return
    from tests.support.quick import sample, slow_functions

    slow = () if config.getoption("find_slow") else slow_functions()
    wanted = sample([item.nodeid for item in items], slow)
    config.hook.pytest_deselected(items=[item for item in items if item.nodeid not in wanted])
    items[:] = [item for item in items if item.nodeid in wanted]


@pytest.fixture
def seeded():
    """Seed the generator, so that random numbers do not depend on which tests ran before."""
    import minidl as md

    md.manual_seed(0)


@pytest.fixture
def no_tracer_is_left(seeded):
    """Check that no trace continues when a test is over."""
    from minidl.tracers import tracers

    yield
    assert not tracers
