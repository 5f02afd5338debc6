"""Locks that a forked child finds free. A thread that held one at the fork does not exist in the
child, and so could never release it there."""

from __future__ import annotations

import os
import threading


def lock() -> threading.RLock:
    """Return a new lock. The thread that holds it may take it again, because a finalizer may run on
    that thread at any time and want the lock too."""
    new = threading.RLock()
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=new._at_fork_reinit)  # type: ignore[attr-defined]
    return new
