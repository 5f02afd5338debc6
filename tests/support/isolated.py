"""This module makes calls that might end a process, or never end, in a process of their own.

A table has a Python expression for each name, and what it must give: the shapes of the result, or
the error. Many expressions run in one process, which reports each outcome. If one of them ends the
process, or is killed after some seconds (by a signal that ends the process even if a kernel holds
the interpreter's lock), only its own answer is lost.
"""

import functools
import json
import os
import subprocess
import sys

from tests.support.processes import ROOT

SECONDS = 20
BYTES = 6 << 30  # of address space; a request for more is a MemoryError, whatever the machine has

CHILD = """
import json, resource, signal, sys
import numpy as np
import minidl as md
from minidl import kernels as K, nn

BIG, HUGE = 2**31 - 1, 2**70

def z(*shape):
    return np.zeros(shape, np.float32)

def t(*shape):
    return md.Tensor(z(*shape), requires_grad=True)

def gradient(f, *shape):
    x = t(*shape)
    f(x).sum().backward()
    return x.grad

def told(result):
    if isinstance(result, (tuple, list)):
        return ", ".join(told(r) for r in result)
    return str(result.shape) if hasattr(result, "shape") else repr(result)

backend, seconds, memory, cases = json.load(sys.stdin)
if memory:
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
with md.use_backend(backend), np.errstate(all="ignore"):
    for name, call in cases.items():
        print(json.dumps([name]), flush=True)
        signal.alarm(seconds)
        try:
            answer = told(eval(call))
        except Exception as error:
            kind = "MemoryError" if isinstance(error, MemoryError) else type(error).__name__
            answer = f"{kind}: {error}"
        signal.alarm(0)
        print(json.dumps([name, answer]), flush=True)
"""


def outcomes(cases, backend="native"):
    """Return the outcome of each call of {name: expression}."""
    answers, left = {}, dict(cases)
    memory = 0 if "libasan" in os.environ.get("LD_PRELOAD", "") else BYTES
    while left:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", CHILD],
            cwd=ROOT,
            text=True,
            input=json.dumps([backend, SECONDS, memory, left]),
            capture_output=True,
            timeout=SECONDS * (len(left) + 2),
        )
        for name, *answer in map(json.loads, done.stdout.splitlines()):
            answers[name] = answer[0] if answer else f"died: {done.returncode} {done.stderr[-500:]}"
            left.pop(name, None)
        assert done.stdout, done.stderr
    return answers


def table(cases, backend="native"):
    """Return a function (name) that checks one of {name: (expression, expected)}. All expressions
    run together, when the first result is needed.
    """

    @functools.cache
    def answers():
        return outcomes({name: call for name, (call, _) in cases.items()}, backend)

    def check(name):
        expected, answer = cases[name][1], answers()[name]
        if expected.endswith(("Error", "Errors")):
            kinds = ("MemoryError", "ValueError") if expected == "Errors" else (expected,)
            assert answer.split(":")[0] in kinds, f"{cases[name][0]} came to {answer}"
        else:
            assert answer == expected, f"{cases[name][0]} came to {answer}"

    return check
