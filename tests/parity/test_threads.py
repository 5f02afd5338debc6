"""The default number of threads where PyTorch was imported first."""

import pytest

from minidl import cpus
from tests.harness import python

CODE = "import torch, minidl; print(minidl.get_num_threads())"


@pytest.mark.parametrize("variables", [
    {}, {"OMP_PROC_BIND": "true"}, {"OMP_PLACES": "cores"}, {"OMP_NUM_THREADS": "3"},
    {"OMP_NUM_THREADS": "1", "OMP_PROC_BIND": "close"}], ids=str)
def test_it_is_what_it_is_without_pytorch(variables):
    done = python(CODE, **variables)
    expected = variables.get("OMP_NUM_THREADS", cpus.available_cpus())
    assert done.stdout.strip() == str(expected), done.stderr
