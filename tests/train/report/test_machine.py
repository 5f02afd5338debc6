"""What is said of the machine."""

import sys

import numpy as np

import minidl as md
from minidl import kernels
from minidl.train.report.machine import machine, versions


def test_machine():
    found = machine()
    assert {"processor", "cores", "threads", "kernels", "system"} <= set(found)
    assert kernels.isa in found["kernels"] and found["threads"] == str(md.get_num_threads())
    assert all(isinstance(text, str) and text for text in found.values())


def test_versions():
    assert versions() == {"minidl": md.__version__, "python": sys.version.split()[0],
                          "numpy": np.__version__}
