"""These tests compare Muon with PyTorch's, which takes matrices (out, in) and orthogonalizes in
bfloat16.
"""

import numpy as np
import pytest
import torch

from minidl import nn, optim
from tests.support.parity import both_floats, draw

SHAPES = [(8, 30), (30, 8), (70, 90)]  # (in, out); PyTorch's are transposed
OPTIONS = [{}, {"nesterov": False, "momentum": 0.5}, {"steps": 3, "weight_decay": 0.2}]
every_option = pytest.mark.parametrize("options", OPTIONS, ids=str)


def both(options, dtype, steps):
    """Return our parameters and PyTorch's after some steps with equal gradients."""
    start = [draw(f"start {k}", shape, dtype) for k, shape in enumerate(SHAPES)]
    params = [nn.Parameter(np.array(a)) for a in start]
    tensors = [torch.from_numpy(np.array(a.T, order="C")).requires_grad_() for a in start]
    ours = optim.Muon(params, lr=0.02, **options)
    theirs = torch.optim.Muon(
        tensors,
        lr=0.02,
        **{"weight_decay": 0, **{{"steps": "ns_steps"}.get(k, k): v for k, v in options.items()}},
    )
    for step in range(steps):
        for k, (p, t) in enumerate(zip(params, tensors, strict=True)):
            p.grad = draw(f"gradient {k} {step}", p.shape, dtype)
            t.grad = torch.from_numpy(np.array(p.grad.T, order="C"))
        ours.step()
        theirs.step()
    return [p.data for p in params], [t.detach().numpy().T for t in tensors]


@every_option
@both_floats
def test_the_same_where_pytorch_does_not_round(options, dtype, monkeypatch):
    monkeypatch.setattr(torch.Tensor, "bfloat16", torch.Tensor.clone)
    for ours, theirs in zip(*both(options, dtype, 20), strict=True):
        np.testing.assert_allclose(
            ours, theirs, rtol=0, atol=1e-4 if dtype == np.float32 else 1e-12
        )


@every_option
def test_near_to_what_pytorch_rounds(options):
    """Each singular value of a step is 0.02, and bfloat16 has 8 bits."""
    for ours, theirs in zip(*both(options, np.float32, 1), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=0.02 * 0.05)
