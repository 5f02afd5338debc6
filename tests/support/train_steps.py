"""This module takes train steps of the models of the benchmarks, for bitwise comparisons."""

import numpy as np

import minidl as md
from minidl import models, optim
from tests.support.arrays import uniform

# The batches are so large that almost every layer is shared among threads.
SHAPES = {
    models.MLP: (256, 28, 28, 1),
    models.MnistCNN: (32, 28, 28, 1),
    models.ResNet20: (32, 32, 32, 3),
    models.VGG8: (32, 32, 32, 3),
    models.Mobile: (32, 32, 32, 3),
}


def two_steps(make):
    """Return everything that two train steps compute, as bytes by name."""
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
