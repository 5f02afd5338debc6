"""minidl's generator of random numbers, behind initializers, dropout and shuffling."""

from __future__ import annotations

import contextlib
import math
import os
import threading
from collections.abc import Iterator

import numpy as np

from . import checks

_SEED = 0x6D696E69646C      # until manual_seed is called
_generator: np.random.Generator | None = None     # made on first use: numpy.random loads slowly


class _Apart(threading.local):
    generator: np.random.Generator | None = None


_apart = _Apart()


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
    seed = checks.whole(seed, "manual_seed", "seed", 0, math.inf)
    _generator = np.random.Generator(np.random.Philox(seed))


def generator() -> np.random.Generator:
    """The generator in use; what it draws does not depend on threads."""
    if _apart.generator is not None:
        return _apart.generator
    if _generator is None:
        manual_seed(_SEED)
    assert _generator is not None
    return _generator


@contextlib.contextmanager
def apart(seed: int = _SEED) -> Iterator[None]:
    """Within the block this thread draws from a generator of the block's own: what is drawn after
    it is what would have been without it."""
    before, _apart.generator = _apart.generator, np.random.Generator(np.random.Philox(seed))
    try:
        yield
    finally:
        _apart.generator = before


def _after_fork_in_child() -> None:
    """Another thread may have been drawing at the fork: it is not here to release the lock."""
    if _generator is not None:
        _generator.bit_generator.lock._at_fork_reinit()     # type: ignore[attr-defined]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
