"""These tests check no_grad, and graphs in several threads."""

import asyncio
import inspect
import threading

import pytest

import minidl as md
from tests.support.arrays import uniform
from tests.support.errors import refuses
from tests.support.tensors import leaf


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
    """The second thread enters, already under no_grad, before the first one leaves. Both get their
    own mode back.
    """
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
    expected = md.grad(md.tanh(w @ w).sum(), w)
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
    assert all((g == expected).all() for g in got)


# ------------------------------------------------------------- bodies that are suspended


def record(x):
    return (x * 2).requires_grad


def test_a_decorated_generator_function():
    @md.no_grad()
    def values(x):
        try:
            sent = yield record(x)
            yield sent, record(x)
            try:
                yield record(x)
            except ZeroDivisionError:
                yield "caught", record(x)
            return "end"
        finally:
            ends.append(record(x))

    x, ends = leaf(1.0), []
    body = values(x)
    assert next(body) is False
    assert record(x)
    assert body.send(7) == (7, False)
    assert next(body) is False
    assert body.throw(ZeroDivisionError()) == ("caught", False)
    assert record(x)
    with pytest.raises(StopIteration, match="end"):
        next(body)
    body = values(x)
    next(body)
    body.close()
    assert ends == [False, False]
    assert record(x)
    assert inspect.isgeneratorfunction(values)


def test_generators_that_take_turns():
    def modes(x):
        while True:
            yield record(x)

    x = leaf(1.0)
    silent, loud = md.no_grad()(modes)(x), modes(x)
    for _ in range(3):
        assert [next(silent), next(loud)] == [False, True]
    with md.no_grad():
        assert [next(silent), next(loud)] == [False, False]


def test_a_generator_that_fails():
    @md.no_grad()
    def fails(x):
        yield record(x)
        raise ZeroDivisionError

    x = leaf(1.0)
    body = fails(x)
    next(body)
    with pytest.raises(ZeroDivisionError):
        next(body)
    assert record(x)


async def pause():
    await asyncio.sleep(0)


def test_a_decorated_coroutine_function():
    @md.no_grad()
    async def work(x):
        before = record(x)
        await pause()
        return before, record(x)

    async def other(x):
        found = []
        for _ in range(3):
            found.append(record(x))
            await pause()
        return found

    async def main():
        return await asyncio.gather(work(x), other(x), work(x))

    x = leaf(1.0)
    assert asyncio.run(main()) == [(False, False), [True] * 3, (False, False)]
    assert inspect.iscoroutinefunction(work)
    assert record(x)


def test_a_block_in_a_task_is_that_tasks():
    async def silent(x):
        with md.no_grad():
            await pause()
            return record(x)

    async def loud(x):
        await pause()
        return record(x)

    async def main():
        return await asyncio.gather(silent(x), loud(x), silent(x), loud(x))

    x = leaf(1.0)
    assert asyncio.run(main()) == [False, True, False, True]


def test_a_decorated_async_generator_function():
    @md.no_grad()
    async def values(x):
        try:
            for _ in range(2):
                await pause()
                yield record(x)
            try:
                yield record(x)
            except ZeroDivisionError:
                yield "caught"
        finally:
            ends.append(record(x))

    async def main():
        found = [(v, record(x)) async for v in values(x)]
        body = values(x)
        for _ in range(3):
            await anext(body)
        found.append(await body.athrow(ZeroDivisionError()))
        await body.aclose()
        return found

    x, ends = leaf(1.0), []
    assert asyncio.run(main()) == [(False, True)] * 3 + ["caught"]
    assert ends == [False, False]
    assert inspect.isasyncgenfunction(values)


def test_a_decorator_without_parentheses():
    @md.no_grad
    def double(x):
        """Twice x."""
        return x * 2

    x = md.ones(2, requires_grad=True)
    assert not double(x).requires_grad and (x * 2).requires_grad
    assert double.__doc__ == "Twice x."
    with pytest.raises(TypeError, match="no_grad: decorates a function, got int"):
        md.no_grad(3)


def test_no_grad_decorates_functions_only():
    with refuses(TypeError, "no_grad", "list"):
        md.no_grad()([])
