"""Ctrl-C at moments when all is consistent."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import FrameType


class Interrupts:
    """Within its block, Ctrl-C waits for the end of what is `held`: a step that was half done would
    leave a state that no training without the interruption ever has. A second Ctrl-C does not wait.

    Nothing is changed in threads other than the main one, which get no signals, nor where a program
    has a handler of its own.
    """

    def __init__(self) -> None:
        self._holding = self._waiting = False
        self._before: Any = None

    def __enter__(self) -> Interrupts:
        import signal  # they load slowly
        import threading

        if (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        ):
            self._before = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *error: object) -> None:
        if self._before is not None:
            import signal

            signal.signal(signal.SIGINT, self._before)
            self._before = None

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if not self._holding or self._waiting:
            raise KeyboardInterrupt
        self._waiting = True

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Whoever interrupts within this block does so at its end."""
        self._holding = True
        try:
            yield
        finally:
            self._holding = False
        if self._waiting:
            self._waiting = False
            raise KeyboardInterrupt
