"""Delay Ctrl-C until the state of a training is consistent."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import FrameType


class Interrupts:
    """A signal handler: within its block, a KeyboardInterrupt is raised at the end of the current
    `held` block. A half-done step would leave a state that an uninterrupted training never has. A
    second Ctrl-C interrupts at once.

    It does nothing in threads other than the main one, which receive no signals, and nothing if the
    program has installed its own handler.
    """

    def __init__(self) -> None:
        self._holding = self._waiting = False
        self._before: Any = None

    def __enter__(self) -> Interrupts:
        import signal  # imported here to keep `import minidl` fast
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
        """Delay an interrupt within this block until its end."""
        self._holding = True
        try:
            yield
        finally:
            self._holding = False
        if self._waiting:
            self._waiting = False
            raise KeyboardInterrupt
