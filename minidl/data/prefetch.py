"""Work done ahead of time, in a thread of its own, that ends with the loop it serves."""

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

SMALL = 0.05  # of the time in which the caller works: what takes less is not worth a thread


def prepared(
    make: Callable[[Item], Result], items: Iterable[Item], ahead: int
) -> Generator[Result]:
    """The same as `prefetched`, with a thread from the time on when it pays.

    A thread that works beside kernels which use all CPUs makes their team wait for the one that it
    takes: for a small work that costs several times the work itself. So each result is made when
    it is asked for, until two in a row have taken more than 5% of what the caller did with them.
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
    """Yield `make(item)` for each item in turn, with up to `ahead` results made in advance.

    ahead = 0 makes each result when it is asked for, without a thread. An exception in `make` is
    raised here, with its traceback, after the results before it. When the generator is exhausted,
    closed or collected, its thread has ended. In a child process that was forked meanwhile, which
    has no such thread, the generator goes on without one.
    """
    if ahead == 0:
        for item in items:
            yield make(item)
        return

    # Imported here: they would slow down `import minidl`.
    import threading
    from queue import Empty, SimpleQueue

    # Only SimpleQueue may be used where the garbage collector closes a generator: the collector
    # can run in any thread at any time, and a lock of another kind may be held by that thread.
    requests: SimpleQueue[tuple[Item] | None] = SimpleQueue()
    results: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()

    def work() -> None:  # must not refer to the generator, or that would never be collected
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
            del error  # its traceback refers to this frame

    # daemon: an interpreter that exits with the generator alive does not wait for the thread.
    thread = threading.Thread(target=work, name="minidl prefetch", daemon=True)
    thread.start()
    process = os.getpid()
    items = iter(items)
    waiting: deque[Item] = deque()  # asked for, and not yet yielded
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
        for item in chain(waiting, items):  # in a child: the thread stayed with its parent
            yield make(item)
    finally:
        try:
            while True:
                requests.get_nowait()
        except Empty:
            requests.put(None)
        # At exit a daemon thread is frozen and never ends; and the collector may close the
        # generator in the thread itself.
        if (
            not sys.is_finalizing()
            and thread is not threading.current_thread()
            and os.getpid() == process
        ):
            thread.join()
