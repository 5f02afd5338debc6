"""minidl's generator of random numbers, which initializers, dropout and shuffling draw from."""

from __future__ import annotations

import contextlib
import math
import os
import threading
from collections.abc import Iterator

import numpy as np

from . import checks

SEED = 0x6D696E69646C  # the seed until manual_seed is called
# The generator is made on first use, because numpy.random takes long to import.
_generator: np.random.Generator | None = None


class _PerThread(threading.local):
    generator: np.random.Generator | None = None


_per_thread = _PerThread()


def manual_seed(seed: int) -> None:
    """Start the generator (Philox, Salmon et al. 2011) anew: everything drawn after this is a
    function of `seed`.

    TypeError unless `seed` is an integer, ValueError if it is negative.

    >>> md.manual_seed(0)
    >>> a = md.rand(3)
    >>> md.manual_seed(0)
    >>> bool((md.rand(3) == a).min())
    True
    """
    global _generator
    seed = checks.integer(seed, "manual_seed", "seed", 0, math.inf)
    _generator = np.random.Generator(np.random.Philox(seed))


def generator() -> np.random.Generator:
    """The generator in use; what it draws does not depend on threads."""
    if _per_thread.generator is not None:
        return _per_thread.generator
    if _generator is None:
        manual_seed(SEED)
    assert _generator is not None
    return _generator


@contextlib.contextmanager
def own_generator(seed: int = SEED) -> Iterator[None]:
    """Let this thread draw from a generator of the block's own. The other generator does not move,
    so that what is drawn after the block does not depend on it."""
    before = _per_thread.generator
    _per_thread.generator = np.random.Generator(np.random.Philox(seed))
    try:
        yield
    finally:
        _per_thread.generator = before


def _after_fork_in_child() -> None:
    """Free the generator's lock in a forked child. A thread that was drawing at the fork holds it,
    and does not exist in the child to release it."""
    if _generator is not None:
        _generator.bit_generator.lock._at_fork_reinit()  # type: ignore[attr-defined]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
