"""`no_grad`, the mode in which operations record no graph.

The mode is a context variable: each thread and each asyncio task has its own.
"""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Generator
from contextvars import ContextVar
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])
Before = tuple[bool, Any]  # the mode outside a block, and the Before of that outer block

_recording: ContextVar[bool] = ContextVar("minidl_recording", default=True)
_before: ContextVar[Before | None] = ContextVar("minidl_before", default=None)

is_recording = _recording.get  # tells whether operations in this thread or task record a graph


class no_grad:
    """Operations inside record no graph: `with md.no_grad(): ...`, or as a decorator, with or
    without parentheses.

    The mode holds for the current thread or asyncio task, and blocks may be nested. As a decorator
    of a generator or coroutine function it holds while the function's body runs, and not while it
    is suspended at a `yield` or `await`. A `with` block inside a generator goes on holding while
    the generator is suspended: do not yield in such a block.

    >>> x = md.tensor([1.], requires_grad=True)
    >>> with md.no_grad():
    ...     y = x * 2
    >>> y.requires_grad
    False
    """

    def __new__(cls, function: Any = None) -> Any:
        mode = super().__new__(cls)
        return mode if function is None else mode(function)

    def __enter__(self) -> no_grad:
        _before.set((_recording.get(), _before.get()))
        _recording.set(False)
        return self

    def __exit__(self, *exc: object) -> None:
        recorded, around = _before.get() or (True, None)
        _recording.set(recorded)
        _before.set(around)

    def __call__(self, function: F) -> F:
        if not callable(function):
            raise TypeError(
                f"{type(self).__name__}: decorates a function, got {type(function).__name__}"
            )
        wrapper: Callable[..., Any]
        if inspect.isgeneratorfunction(function):

            @functools.wraps(function)
            def wrapper(*args: Any, **options: Any) -> Any:
                return (yield from self._run(function(*args, **options)))
        elif inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def wrapper(*args: Any, **options: Any) -> Any:
                return await self._await(function(*args, **options))
        elif inspect.isasyncgenfunction(function):

            @functools.wraps(function)
            async def wrapper(*args: Any, **options: Any) -> Any:
                body = function(*args, **options)
                try:
                    step = body.asend(None)
                    while True:
                        try:
                            value = await self._await(step)
                        except StopAsyncIteration:
                            return
                        try:
                            sent = yield value
                        except GeneratorExit:
                            raise
                        except BaseException as error:
                            step = body.athrow(error)
                        else:
                            step = body.asend(sent)
                finally:
                    await self._await(body.aclose())
        else:

            @functools.wraps(function)
            def wrapper(*args: Any, **options: Any) -> Any:
                with self:
                    return function(*args, **options)

        return wrapper  # type: ignore[return-value]

    def _run(self, body: Any) -> Generator[Any, Any, Any]:
        """Run a generator or coroutine so that its body is in this mode, and the caller is in its
        own mode whenever the body is suspended."""
        resume, argument = body.send, None
        try:
            while True:
                try:
                    with self:
                        value = resume(argument)
                except StopIteration as end:
                    return end.value
                try:
                    resume, argument = body.send, (yield value)
                except GeneratorExit:
                    raise
                except BaseException as error:
                    resume, argument = body.throw, error
        finally:
            with self:
                body.close()

    @types.coroutine
    def _await(self, body: Any) -> Generator[Any, Any, Any]:
        return (yield from self._run(body))
