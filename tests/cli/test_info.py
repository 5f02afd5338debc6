"""`minidl info`: what a report of a fault should have."""

import numpy as np

import minidl as md
from minidl import data, version


def test_it_says_what_runs_here(minidl):
    said = minidl("info")
    assert said.code == 0 and said.err == ""
    for word in (version.__version__, np.__version__, "threads", str(md.get_num_threads()),
                 f"level     {md.kernels.isa}, ", "this CPU runs: base",
                 str(data.cache.folder())):
        assert word in said.out


def test_it_takes_nothing(refused):
    refused("info", "more", words=["more"])
