"""CIFAR-10 with ResNet-20 as He et al. trained it (arXiv:1512.03385, section 4.2).

SGD with momentum 0.9 and weight decay 1e-4 on all parameters, batches of 128, 64,000 steps: the
rate is 0.1, a tenth of it after 32,000 steps and a hundredth after 48,000. Pictures are padded by 4
pixels of the mean colour on each side, cropped to 32 x 32 at random, and half of them mirrored; the
test pictures are used as they are. All 50,000 training pictures are trained on, so nothing is
validated, and the model of the last epoch is the result. The paper reports 91.25%.

Ours differs in the mean, which is one number a channel and not one a pixel, and in the standard
deviation, by which it is divided; and shortcuts between the groups are those of `models.ResNet20`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ... import optim
from ...nn.layer import Layer
from .recipe import Recipe


@dataclass
class CIFAR10ResNet20(Recipe):
    """See the head of the file; `epochs` of 390 steps each."""

    model: str | None = "resnet20"
    epochs: int | None = 164
    batch_size: int | None = 128
    lr: float | None = 0.1
    weight_decay: float = 1e-4
    flip: bool | None = True
    crop: int | None = 4
    crop_mode: str = "constant"
    valid: float = 0.0

    def optimizer(self, model: Layer) -> optim.Optimizer:
        assert self.lr is not None
        return optim.SGD(
            model.parameters(), lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay
        )

    def schedule(self, optimizer: optim.Optimizer, steps: int) -> Any:
        return optim.MultiStepLR(optimizer, [max(1, steps // 2), max(1, steps * 3 // 4)])
