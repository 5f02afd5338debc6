"""The recipe for pictures of any kind; its settings depend on their number, size and colour.

The optimizer is SGD with Nesterov momentum. The learning rate grows linearly in the first fifth of
the steps and then decays to 0 along half a cosine (Goyal et al. 2017, Loshchilov & Hutter 2017).
Biases and the parameters of normalizations have no weight decay. Pictures are shifted by up to an
eighth of their side. Colour pictures are mirrored as well; grey ones are not, since they may show
digits or letters.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ... import checks, optim
from ...nn.layer import Layer
from ..task import Task
from .recipe import Recipe

STEPS = 3000  # steps of a training, within the limits of the next line
LEAST_EPOCHS, MOST_EPOCHS = 15, 100
BATCHES = 10  # the batch size is chosen so that an epoch has at least so many batches


@dataclass
class Default(Recipe):
    """The recipe of the module's docstring. `warmup` is the share of the steps in which the
    learning rate grows. Fields that are None are chosen as follows:

    model:      mnist-cnn for grey pictures whose shorter side has at most 32 pixels, else resnet20
    batch_size: 128, or for few pictures the largest power of two that gives 10 batches an epoch
    lr:         0.1 for batches of 128, proportional to the batch size
    epochs:     the number that makes 3,000 steps, at least 15 and at most 100
    flip, crop: whether pictures have colour, and an eighth of the shorter side
    """

    warmup: float = 0.2

    checks = {**Recipe.checks, "warmup": checks.fraction}

    def settled(self, task: Task) -> Recipe:
        height, width, channels = task.shape
        side, count = min(height, width), len(task.train)
        if self.model is None:
            self.model = "mnist-cnn" if channels == 1 and side <= 32 else "resnet20"
        if self.batch_size is None:
            self.batch_size = min(128, 2 ** int(math.log2(max(4, count / BATCHES))))
        self.batch_size = min(self.batch_size, count)
        if self.lr is None:
            self.lr = 0.1 * self.batch_size / 128
        if self.epochs is None:
            needed = math.ceil(STEPS / (count / self.batch_size))
            self.epochs = min(MOST_EPOCHS, max(LEAST_EPOCHS, needed))
        if self.flip is None:
            self.flip = channels == 3
        if self.crop is None:
            self.crop = side // 8
        return self

    def optimizer(self, model: Layer) -> optim.Optimizer:
        assert self.lr is not None
        return optim.SGD(
            optim.groups(model, self.weight_decay),
            lr=self.lr,
            momentum=self.momentum,
            nesterov=True,
        )

    def schedule(self, optimizer: optim.Optimizer, steps: int) -> Any:
        up = round(self.warmup * steps)
        if not up:
            return optim.CosineLR(optimizer, steps)
        warmup = optim.WarmupLR(optimizer, up)
        if up == steps:
            return warmup
        return optim.SequenceLR([warmup, optim.CosineLR(optimizer, steps - up)], [up])
