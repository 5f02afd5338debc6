"""Prefetching: compute results ahead of time in a worker thread that ends with the consumer's
loop."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from itertools import chain
from time import perf_counter
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

SMALL = 0.05  # share of the consumer's time; work that takes less is not worth a thread


def prepared(
    make: Callable[[Item], Result], items: Iterable[Item], ahead: int
) -> Generator[Result]:
    """Yield the same as `prefetched`, but start the thread only when it saves time.

    A worker thread competes with kernels that use all CPUs: all threads of a kernel wait for the
    one whose CPU it takes, which for little work costs several times the work itself. So results
    are computed on demand, until two in a row have taken more than 5% of the consumer's time.
    """
    left = iter(items)
    large = 0
    for item in left:
        start = perf_counter()
        result = make(item)
        made = perf_counter()
        yield result
        del result
        large = large + 1 if made - start > SMALL * (perf_counter() - made) else 0
        if ahead and large == 2:
            break
    else:
        return
    with closing(prefetched(make, left, ahead)) as results:
        yield from results


def prefetched(
    make: Callable[[Item], Result], items: Iterable[Item], ahead: int
) -> Generator[Result]:
    """Yield `make(item)` for each item in order, with up to `ahead` results computed in advance by
    a worker thread.

    With `ahead` 0 each result is computed on demand, without a thread. An exception in `make` is
    raised after all earlier results were yielded, with its traceback. The thread ends when the
    generator is exhausted, closed or garbage-collected. A forked child process does not inherit the
    thread, so there the generator continues without one.
    """
    if ahead == 0:
        for item in items:
            yield make(item)
        return

    # Imported here to keep `import minidl` fast.
    import threading
    from queue import Empty, SimpleQueue

    # Only SimpleQueue may be used where the garbage collector closes a generator: the collector
    # can run in any thread at any time, and a lock of another kind may be held by that thread.
    requests: SimpleQueue[tuple[Item] | None] = SimpleQueue()
    results: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()

    def work() -> None:  # it must not refer to the generator, which could not be collected then
        while request := requests.get():
            try:
                results.put((make(*request), None))
            except BaseException as error:
                results.put((None, error))
                return

    def receive() -> Result:
        result: Result
        result, error = results.get()
        try:
            if error is not None:
                raise error
            return result
        finally:
            del error  # its traceback refers to this frame, which would be a reference cycle

    # A daemon thread does not keep the interpreter alive if it exits before the generator ends.
    thread = threading.Thread(target=work, name="minidl prefetch", daemon=True)
    thread.start()
    process = os.getpid()
    items = iter(items)
    waiting: deque[Item] = deque()  # items that were requested and are not yet yielded
    try:
        for item in items:
            requests.put((item,))
            waiting.append(item)
            if len(waiting) > ahead:
                waiting.popleft()
                yield receive()
                if os.getpid() != process:
                    break
        while waiting and os.getpid() == process:
            waiting.popleft()
            yield receive()
        for item in chain(waiting, items):  # in a forked child, which has no thread
            yield make(item)
    finally:
        try:
            while True:
                requests.get_nowait()
        except Empty:
            requests.put(None)
        # Joining would hang at exit, where daemon threads are frozen, and if the garbage collector
        # closes the generator in the worker thread itself.
        if (
            not sys.is_finalizing()
            and thread is not threading.current_thread()
            and os.getpid() == process
        ):
            thread.join()
