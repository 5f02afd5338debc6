"""Locks that a forked child finds free: what thread held one at the fork is not in the child."""

from __future__ import annotations

import os
import threading


def lock() -> threading.RLock:
    """A lock that the thread which holds it may take again, as a finalizer of it may."""
    new = threading.RLock()
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=new._at_fork_reinit)     # type: ignore[attr-defined]
    return new
