"""These tests check that the networks in the benchmarks are the same as in PyTorch: weights can be
converted, and results agree.
"""

import numpy as np
import pytest
import torch

from benchmarks import cases, inference, inference_worker, torch_cases, torch_models
from benchmarks.workloads import WORKLOADS
from minidl.nn import Parameter
from tests.support.marks import small_batches
from tests.support.parity import assert_close, channels_first, draw

SHAPES = {"MNIST": (28, 28, 1), "CIFAR-10": (32, 32, 3)}
FIRST_OF_KIND = {case.kind: case for case in reversed(cases.network_cases())}


@small_batches
@pytest.mark.parametrize("name", WORKLOADS)
def test_networks_are_twins(name):
    network, dataset = WORKLOADS[name]
    model = network().astype(np.float64)
    state = {
        key: draw(key, value.shape, low=0.5, high=1.5)
        if "var" in key or "gamma" in key
        else draw(key, value.shape, low=-0.5, high=0.5)
        if value.dtype.kind == "f"
        else value
        for key, value in model.state_dict().items()
    }
    model.load_state_dict(state)
    module = torch_models.MODELS[name]().double()
    torch_models.load(module, state)
    x = draw(f"images of {name}", (4, *SHAPES[dataset]))
    for layer in (model, module):
        layer.eval()
    with torch.no_grad():
        assert_close(model(x).data, module(torch.from_numpy(channels_first(x))).numpy(), name)
    for layer in (model, module):
        layer.train()
    dy = draw("gradient", (4, 10))
    y, theirs = model(x), module(torch.from_numpy(channels_first(x)))
    assert_close(y.data, theirs.detach().numpy(), f"{name} in training")
    y.backward(dy)
    theirs.backward(torch.from_numpy(dy))
    # Gradients are converted like weights.
    found = dict(module.named_parameters())
    assert len(found) == len(list(model.parameters()))
    for key, p in model.named_parameters():
        assert isinstance(p, Parameter)
        assert_close(
            turned(module, key, p.grad), found[their_name(key)].grad.numpy(), key, tolerance=100
        )


def their_name(key):
    layer, _, last = key.rpartition(".")
    return f"{layer}.{torch_models.NAMES.get(last, last)}"


def turned(module, key, value):
    layer, _, last = key.rpartition(".")
    return torch_models.to_torch(value, module.flattened.get(layer) if last == "weight" else None)


@pytest.mark.parametrize("kind", FIRST_OF_KIND)
def test_every_kind_of_case_runs_in_torch(kind):
    mode = {"memory_format": torch.channels_last, "how": "eager"}
    options = mode if kind == "batch_norm_relu" else {}
    getattr(torch_cases, kind)(*FIRST_OF_KIND[kind].arguments, **options)()


@pytest.mark.parametrize("name", inference.MODELS)
def test_inference_by_torchscript_is_what_float64_computes(name, tmp_path):
    exact = inference.write(tmp_path, name, 2)
    run = inference_worker.torch_frozen(inference_worker.Work(tmp_path, name, 2, 1))
    for _ in range(2):
        assert inference.distance(run(), exact) < 1e-5
