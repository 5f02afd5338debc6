"""The same bits for any number of threads, whole networks: losses, gradients, parameters."""

import os

import numpy as np
import pytest

import minidl as md
from minidl import models, optim
from tests.harness import python, threads, uniform

# Batches of which almost every layer is worth sharing among threads.
SHAPES = {models.MLP: (256, 28, 28, 1), models.MnistCNN: (32, 28, 28, 1),
          models.ResNet20: (32, 32, 32, 3), models.VGG8: (32, 32, 32, 3),
          models.Mobile: (32, 32, 32, 3)}


def two_steps(make):
    """Everything that two train steps compute, as bytes by name."""
    md.manual_seed(0)
    model = make()
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    found = {}
    for step in range(2):
        x = uniform(*SHAPES[make], seed=step)
        loss = md.cross_entropy(model(x), np.arange(len(x)) % 10)
        model.zero_grad()
        loss.backward()
        optimizer.step()
        found[f"loss {step}"] = loss.data.tobytes()
        for name, p in model.named_parameters():
            found[f"gradient {step} of {name}"] = p.grad.tobytes()
        for name, value in model.state_dict().items():
            found[f"{name} after {step}"] = value.tobytes()
    return found


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
    """The threads did not survive the fork, what they had allocated did."""
    done = python(f"""
import os, signal
import minidl as md
from minidl import models
from tests.models.test_threads import two_steps
md.set_num_threads(3)
first = two_steps(models.{make.__name__})
pid = os.fork()
if pid == 0:
    signal.alarm(60)                    # ends the child, should it hang
    os._exit(0 if two_steps(models.{make.__name__}) == first else 1)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), two_steps(models.{make.__name__}) == first)
""")
    assert done.stdout.split() == ["0", "True"], done.stderr
