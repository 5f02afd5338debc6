"""These tests check the default number of threads if PyTorch was imported first."""

import pytest

from minidl import cpus
from tests.support.processes import printed, python

CODE = "import torch, minidl; print(minidl.get_num_threads())"


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"OMP_PROC_BIND": "true"},
        {"OMP_PLACES": "cores"},
        {"OMP_NUM_THREADS": "3"},
        {"OMP_NUM_THREADS": "1", "OMP_PROC_BIND": "close"},
    ],
    ids=str,
)
def test_it_is_what_it_is_without_pytorch(variables):
    done = python(CODE, **variables)
    expected = variables.get("OMP_NUM_THREADS", cpus.available_cpus())
    assert done.stdout.strip() == str(expected), done.stderr


@pytest.mark.parametrize("imports", ["import torch, minidl as md", "import minidl as md, torch"])
def test_kernels_and_pytorch_compute_in_turn(imports):
    """They may share a runtime (if PyTorch comes first, which makes its own visible to all) or
    not.
    """
    said = printed(f"""
        {imports}
        import numpy as np
        from minidl_ext.runtime import affinity
        from minidl_ext.elementwise import arithmetic as elementwise
        from minidl_ext.gemm import matmul
        from minidl_ext.runtime import threads
        rng = np.random.default_rng(0)
        x = rng.standard_normal((300, 300)).astype(np.float32)
        wave = np.linspace(-1, 1, 200_000, dtype=np.float32)
        alone = matmul.matmul(x, x, threads=1), elementwise.exp(wave, threads=1)
        torch.set_num_threads(2)
        md.set_num_threads(3)
        for _ in range(5):
            theirs = torch.from_numpy(wave).exp().numpy()
            print(np.allclose(theirs, alone[1], rtol=1e-5),
                  np.array_equal(matmul.matmul(x, x, threads=3), alone[0]),
                  np.array_equal(elementwise.exp(wave, threads=3), alone[1]))
        print(affinity.library_at(threads.openmp_address()) in affinity.loaded_libraries())
    """)
    assert said == ["True"] * 16
