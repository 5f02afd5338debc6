"""The recipe for pictures of any kind, with what fits their number, size and colour.

Nesterov's SGD; the rate grows in a straight line in a fifth of the steps and falls to 0 on half a
cosine (Goyal et al. 2017, Loshchilov & Hutter 2017). Biases and normalizations do not decay.
Pictures are shifted by up to an eighth of their side, and colour pictures mirrored: grey ones may
be digits and letters.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ... import checks, optim
from ...nn.layer import Layer
from ..task import Task
from .recipe import Recipe

STEPS = 3000  # of a training, as far as MOST_EPOCHS and LEAST_EPOCHS allow
LEAST_EPOCHS, MOST_EPOCHS = 15, 100
BATCHES = 10  # that an epoch of few pictures has at least


@dataclass
class Default(Recipe):
    """See the head of the file. `warmup` is the share of the steps in which the rate grows. What is
    None is chosen:

    model:      mnist-cnn for grey pictures up to 32 x 32, else resnet20
    batch_size: 128, or of few pictures the largest power of two with 10 batches an epoch
    lr:         0.1 for a batch of 128, in proportion to the batch
    epochs:     as many as make 3,000 steps, from 15 to 100
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
