"""These tests check what is reported about the machine."""

import os
import platform
import sys

import numpy as np
import pytest

import minidl as md
from benchmarks.machine import describe
from minidl import kernels, machine


def test_facts():
    found = machine.facts()
    assert {
        "minidl",
        "python",
        "numpy",
        "system",
        "cpu",
        "cores",
        "kernels",
        "openmp",
        "threads",
    } <= set(found)
    assert kernels.isa in found["kernels"] and found["threads"] == str(md.get_num_threads())
    assert all(isinstance(text, str) and text for text in found.values())


def test_versions():
    assert machine.versions() == {
        "minidl": md.__version__,
        "python": sys.version.split()[0],
        "numpy": np.__version__,
    }


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (
            "processor\t: 0\nmodel\t\t: 85\nmodel name\t: Some CPU @ 2.00GHz \nmodel name\t: B\n",
            "Some CPU @ 2.00GHz",
        ),
        ("processor\t: 0\n\nHardware\t: BCM2835\nModel\t\t: A Board\n", "A Board"),
        ("model name\t:\nprocessor\t: 0\n", None),
        (None, None),
    ],
)
def test_cpu(monkeypatch, tmp_path, text, name):
    """The name is that in /proc/cpuinfo on x86 and on ARM, or else Python's."""
    file = tmp_path / "cpuinfo"
    if text is not None:
        file.write_text(text)
    monkeypatch.setattr(machine, "CPUINFO", str(file))
    assert machine.cpu() == name or (
        name is None and machine.cpu() == (platform.processor() or platform.machine())
    )


def test_memory_that_the_system_does_not_tell(monkeypatch):
    monkeypatch.delattr(os, "sysconf")
    assert machine.memory() == "" and "memory" not in machine.facts()


def test_benchmarks_say_the_same():
    said = describe(threads=3)
    assert said["cpu"] == machine.cpu() and said["threads"] == 3
    assert machine.versions().items() <= said.items()
