"""These functions are faults that the tests of the fuzzers plant: each breaks something in its own
process.
"""

import dataclasses
import os
import time

import numpy as np

import minidl as md
from minidl.data import store
from minidl.onnx.operators import OPERATORS
from minidl_ext.elementwise import arithmetic as elementwise

RELU, RELU_BACKWARD, EXP = elementwise.relu, elementwise.relu_backward, md.ops.exp


def wrong_bits():
    def relu(x, out=None, threads=0):
        y = RELU(x, out, threads)
        y[y > 1] *= 1 + 1e-6
        return y

    elementwise.relu = relu


def other_bits_on_threads():
    elementwise.relu = lambda x, out=None, threads=0: RELU(x, out, threads) + np.float32(threads)


def hangs():
    def relu(x, out=None, threads=0):
        until = time.process_time() + 60
        while time.process_time() < until:
            pass

    elementwise.relu = relu


def ends():
    elementwise.relu = lambda x, out=None, threads=0: os._exit(3)


def aborts():
    elementwise.relu = lambda x, out=None, threads=0: os.abort()


def eats():
    def relu(x, out=None, threads=0):
        np.ones(180_000_000).sum()
        return RELU(x, out, threads)

    elementwise.relu = relu


def changes_its_input():
    def relu(x, out=None, threads=0):
        y = RELU(x, out, threads)
        x[...] = 0
        return y

    elementwise.relu = relu


def fails_inside():
    elementwise.relu = lambda x, out=None, threads=0: x.no_such_attribute


def refuses():
    def relu(x, out=None, threads=0):
        raise ValueError("relu: not today")

    elementwise.relu = relu


def wrong_gradient():
    def relu_backward(dy, y, out=None, threads=0):
        dx = RELU_BACKWARD(dy, y, out, threads)
        dx[y > 1] *= 1.001
        return dx

    elementwise.relu_backward = relu_backward


def careless_call():
    def exp(x):
        raise AttributeError("no such attribute") if isinstance(x, str) else EXP(x)

    md.exp = exp


def reads_anything():
    def read_up_to(stream, size):
        raise KeyError("header")

    store.read_up_to = md.data.mnist.read_up_to = read_up_to


def _planted(run):
    OPERATORS["Relu"] = dataclasses.replace(OPERATORS["Relu"], run=run)


def careless_operator():
    def run(step, x):
        raise RuntimeError("nobody expects this")

    _planted(run)


def wrong_operator():
    before = OPERATORS["Relu"].run

    def run(step, x):
        y = before(step, x)
        return y.like(y.tensor * 1.001)

    _planted(run)


def refused_operator():
    def run(step, x):
        raise ValueError("not today")

    _planted(run)
