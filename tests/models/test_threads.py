"""These tests check that whole networks give the same bits on any number of threads: losses,
gradients, parameters.
"""

import os

import pytest

from minidl import models
from tests.support.processes import python
from tests.support.threads import threads
from tests.support.train_steps import SHAPES, two_steps


def different(a, b):
    assert a.keys() == b.keys()
    return [name for name in a if a[name] != b[name]]


@pytest.mark.parametrize("make", SHAPES)
def test_same_bits(make):
    with threads(1):
        first = two_steps(make)
    for n in (2, 3, 4):
        with threads(n):
            assert different(first, two_steps(make)) == [], f"{n} threads"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("make", [models.ResNet20, models.Mobile])
def test_a_forked_child_trains_alike_and_ends(make):
    """The threads did not survive the fork, but the memory that they had allocated did."""
    done = python(f"""
import os, signal
import minidl as md
from minidl import models
from tests.support.train_steps import two_steps
md.set_num_threads(3)
first = two_steps(models.{make.__name__})
pid = os.fork()
if pid == 0:
    signal.alarm(60)                    # ends the child, should it hang
    os._exit(0 if two_steps(models.{make.__name__}) == first else 1)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), two_steps(models.{make.__name__}) == first)
""")
    assert done.stdout.split() == ["0", "True"], done.stderr
