"""no_grad, and graphs in several threads."""

import threading

import pytest

import minidl as md
from tests.harness import refuses, uniform


def leaf(*values):
    return md.tensor(values, requires_grad=True)


def test_no_grad_records_nothing():
    x = leaf(1.0, 2.0)
    with md.no_grad():
        y = x * 2
        assert not y.requires_grad
        z = leaf(1.0)
    assert z.requires_grad
    assert (x * 2).requires_grad
    with refuses(RuntimeError, "no_grad"):
        y.sum().backward()
    (y * x).sum().backward()
    assert x.grad.tolist() == [2, 4]


def test_no_grad_nests_and_ends_with_exceptions():
    x = leaf(1.0)
    mode = md.no_grad()
    with mode:
        with mode, md.no_grad():
            assert not (x * 2).requires_grad
        assert not (x * 2).requires_grad
        with pytest.raises(ZeroDivisionError), md.no_grad():
            raise ZeroDivisionError
        assert not (x * 2).requires_grad
    assert (x * 2).requires_grad


def test_no_grad_is_a_decorator():
    @md.no_grad()
    def double(x, depth=2):
        """Doc."""
        return double(x, depth - 1) if depth else x * 2

    x = leaf(1.0)
    assert not double(x).requires_grad
    assert (x * 2).requires_grad
    assert double.__name__ == "double"
    assert double.__doc__ == "Doc."


def test_no_grad_does_not_reach_into_the_walk():
    x = leaf(1.0, 2.0)
    y = (x * x).sum()
    with md.no_grad():
        y.backward()
    assert x.grad.tolist() == [2, 4]


def in_thread(work):
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def test_no_grad_holds_for_its_thread():
    x = leaf(1.0)
    seen = []
    with md.no_grad():
        in_thread(lambda: seen.append((x * 2).requires_grad))
    assert seen == [True]


def test_one_decorated_function_in_two_threads():
    """The second enters, under no_grad already, before the first leaves: both find what was."""
    x = leaf(1.0)
    inside, leave = ([threading.Event() for _ in range(2)] for _ in range(2))
    after = {}

    @md.no_grad()
    def work(k):
        inside[k].set()
        leave[k].wait(10)

    def first():
        work(0)
        after[0] = (x * 2).requires_grad

    def second():
        with md.no_grad():
            work(1)
            after[1] = (x * 2).requires_grad

    workers = [threading.Thread(target=f) for f in (first, second)]
    for k in (0, 1):
        workers[k].start()
        assert inside[k].wait(10)
    for k in (0, 1):
        leave[k].set()
        workers[k].join()
    assert after == {0: True, 1: False}


def test_threads_walk_their_own_graphs():
    w = md.tensor(uniform(50, 50), requires_grad=True)
    right = md.grad(md.tanh(w @ w).sum(), w)
    got = []

    def work():
        for _ in range(20):
            got.append(md.grad(md.tanh(w @ w).sum(), w))

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(got) == 80
    assert all((g == right).all() for g in got)
