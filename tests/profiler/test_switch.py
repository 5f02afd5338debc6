"""These tests check that without a profile everything is as it was before: the same functions,
however the block ended.
"""

import gc
import threading

import numpy as np
import pytest

import minidl as md
import minidl_ext.elementwise.arithmetic
from minidl import backward, kernels, nn
from minidl.graph import Function
from minidl.lazy import Lazy
from minidl.optim.optimizer import Optimizer
from minidl.profiler import switch
from minidl.tracers import profilers

NAMES = [name for names in kernels.FAMILIES.values() for name in names]


def entries():
    """Return what is in the places that a profile changes."""
    return [
        vars(Function)["apply"],
        vars(nn.Layer)["__call__"],
        vars(Lazy)["compute"],
        backward._walk,
        vars(Optimizer)["step"],
        *(getattr(kernels, name) for name in NAMES),
    ]


@pytest.fixture(autouse=True)
def all_is_as_it_was():
    before = entries()
    yield
    assert not profilers
    assert all(now is then for now, then in zip(entries(), before, strict=True))


def is_on():
    return kernels.exp is not minidl_ext.elementwise.arithmetic.exp


def test_on_and_off():
    before = entries()
    with md.profile():
        assert is_on()
        assert all(now is not then for now, then in zip(entries(), before, strict=True))
    assert not is_on()


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, SystemExit, GeneratorExit])
def test_after_an_exception(error):
    with pytest.raises(error), md.profile():
        md.exp(md.ones(3))
        raise error
    assert not is_on()


def test_after_one_inside_the_other():
    with md.profile():
        with pytest.raises(KeyboardInterrupt), md.profile():
            raise KeyboardInterrupt
        assert is_on()
    assert not is_on()


def test_an_interruption_while_it_is_switched_on(monkeypatch):
    def interrupted(around):
        surround(around)
        monkeypatch.undo()
        raise KeyboardInterrupt

    surround = kernels.surround
    monkeypatch.setattr(kernels, "surround", interrupted)
    with pytest.raises(KeyboardInterrupt), md.profile():
        pytest.fail("the block has begun")
    assert not is_on()


def test_an_interruption_while_it_is_switched_off(monkeypatch):
    """It is switched off nevertheless, and then the interruption is raised."""
    p = md.profile()
    with pytest.raises(KeyboardInterrupt):
        with p:
            md.exp(md.ones(3))
            surround = kernels.surround

            def interrupted(around):
                monkeypatch.undo()
                raise KeyboardInterrupt

            monkeypatch.setattr(kernels, "surround", interrupted)
        pytest.fail("the interruption was lost")
    assert kernels.surround is surround
    assert not is_on()


def test_a_block_whose_end_never_came():
    p = md.profile()
    p.__enter__()
    assert is_on()
    del p
    gc.collect()
    assert not is_on()


def test_a_block_that_ends_in_another_thread():
    p = md.profile()
    p.__enter__()
    md.exp(md.ones(3))
    thread = threading.Thread(target=p.__exit__, args=(None, None, None))
    thread.start()
    thread.join()
    assert not is_on()
    assert any(row.name == "Exp" for row in p.summary.operations)


def test_threads_in_any_order():
    first, second = threading.Event(), threading.Event()

    def work():
        with md.profile():
            first.set()
            second.wait(10)

    thread = threading.Thread(target=work)
    with md.profile():
        thread.start()
        first.wait(10)
    assert is_on()  # for the other thread
    second.set()
    thread.join()
    assert not is_on()


def test_backends_change_within_a_profile_and_around_it():
    x = md.tensor(np.ones(3, np.float32))
    with md.profile() as p:
        with md.use_backend("numpy"):
            md.exp(x)
        md.log(x)
    assert {row.name.split()[0] for row in p.summary.kernels} >= {"exp", "log"}
    assert not is_on()
    with md.use_backend("numpy"):
        with md.profile() as p:
            md.exp(x)
        assert kernels.exp.__module__ == "minidl.kernels.reference.elementwise.arithmetic"
    assert {row.name.split()[0] for row in p.summary.kernels} >= {"exp"}
    block = md.use_backend("numpy")
    block.__enter__()
    with md.profile():
        block.__exit__(None, None, None)  # a backend that ends before the profile does
    assert not is_on()


def test_off_may_be_called_at_any_time():
    switch.off(0)
    with md.profile() as p:
        switch.off(0)
        md.exp(md.ones(3))
    assert any(row.name == "Exp" for row in p.summary.operations)


def test_a_trace_within_a_profile_and_around_it():
    net = nn.Sequential(nn.Dense(3, 2), nn.ReLU())
    x = np.ones((4, 3), np.float32)
    expected = [node.operation for node in md.trace(net, x)]
    with md.profile() as p:
        assert [node.operation for node in md.trace(net, x)] == expected
    assert any(row.name == "Linear" for row in p.summary.operations)

    def profiled(x):
        with md.profile():
            return net(x)

    assert [node.operation for node in md.trace(profiled, x)] == expected
