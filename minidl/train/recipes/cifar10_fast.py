"""CIFAR-10 to 94% in the fewest operations known, after K. Jordan's airbench94_muon
(arXiv:2404.00498 and its later versions): 8 epochs, 0.29 PFLOP.

The network is `models.CifarFast`. Its first layer has fixed filters that whiten the 2x2 patches of
5,000 training pictures; its bias is trained in the first 3 epochs only. Convolution filters are
trained by Muon with 3 Newton-Schulz steps and Nesterov momentum 0.6, and are scaled to the norm
sqrt(C_out) before each step. All other parameters are trained by SGD with Nesterov momentum 0.85.
All learning rates decay linearly to 0. The loss is the cross-entropy, summed over a batch, with
label smoothing 0.2; logits are divided by 256. The batch size is 1,000, half of the original's: a
CPU gains nothing from larger batches, and in one trial twice as many steps, with 0.7 of Muon's
rate, had a test accuracy that was 0.3% higher.

Pictures are shifted by up to 2 pixels, with reflected borders, and each is mirrored in every other
epoch. The result is the model of the last epoch, which averages its logits over six views of a
picture (`views`). All training pictures are used for training, so there is no validation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ... import checks, data, optim
from ...data import transforms as T
from ...models import CifarFast
from ...nn.layer import Layer
from ..task import Task
from .recipe import Recipe, at_least_one, below_one

if TYPE_CHECKING:
    from ..trainer import Trainer


@dataclass
class CIFAR10Fast(Recipe):
    """The recipe of the module's docstring.

    `lr` is the learning rate of Muon, `bias_lr` that of the biases, `head_lr` that of the dense
    layer; `momentum` is SGD's, `muon_momentum` Muon's. The weight decay of SGD is divided by the
    learning rate: a step at the full rate shrinks a weight by the factor
    1 - weight_decay * batch_size. `whitening_pictures` is the number of pictures that the first
    layer's filters are computed from, `bias_epochs` the number of epochs in which its bias is
    trained.
    """

    model: str | None = "cifar-fast"
    model_options: dict[str, Any] = field(default_factory=lambda: {"views": True})
    epochs: int | None = 8
    batch_size: int | None = 1000
    lr: float | None = 0.17
    muon_momentum: float = 0.6
    momentum: float = 0.85
    bias_lr: float = 0.053
    head_lr: float = 0.67
    weight_decay: float = 2e-6
    label_smoothing: float = 0.2
    flip: bool | None = True
    crop: int | None = 2
    whitening_pictures: int = 5000
    bias_epochs: int = 3
    valid: float = 0.0

    checks = {
        **Recipe.checks,
        "muon_momentum": below_one,
        "bias_lr": checks.positive,
        "head_lr": checks.positive,
        "whitening_pictures": at_least_one,
        "bias_epochs": checks.count,
    }

    def transform(self, task: Task, normalize: T.Normalize) -> Any:
        assert self.crop is not None
        parts: list[Any] = [normalize, T.RandomCrop(task.shape[:2], self.crop, self.crop_mode)]
        return T.Compose(*parts, *([T.RandomFlip(alternate=True)] if self.flip else []))

    def prepare(self, model: Layer, task: Task, normalize: T.Normalize) -> None:
        count = min(self.whitening_pictures, len(task.train))
        # Evenly spaced, since the pictures of a folder are ordered by class.
        some = np.linspace(0, len(task.train) - 1, count, dtype=np.int64)
        images = data.Subset(task.train, some).images
        _network(model).whiten(normalize(images.astype(np.float32) / 255))

    def optimizer(self, model: Layer) -> optim.Optimizer:
        """Create the optimizer with four groups: the filters (Muon), the first layer's bias, the
        other biases, and the dense layer (SGD)."""
        net = _network(model)
        assert self.lr is not None and self.batch_size is not None
        learning = [p for p in net.parameters() if p.requires_grad]
        first, head = net.whitening.bias, net.fc.weight
        filters = [p for p in learning if p.ndim == 4]
        if not filters:
            raise ValueError(
                "recipe cifar10-fast: model must have filters that are not frozen, which Muon "
                "trains; to train only the last layer, use the recipe default"
            )
        biases = [p for p in learning if p.ndim == 1 and p is not first]
        decay = self.weight_decay * self.batch_size
        groups = [
            {"params": params, "lr": rate, "weight_decay": decay / rate}
            for params, rate in (
                ([first], self.bias_lr),
                (biases, self.bias_lr),
                ([head], self.head_lr),
            )
        ]
        return optim.Combined(
            optim.Muon(filters, self.lr, momentum=self.muon_momentum, steps=3, normalize=True),
            optim.SGD(groups, self.bias_lr, momentum=self.momentum, nesterov=True),
        )

    def schedule(self, optimizer: optim.Optimizer, steps: int) -> Any:
        assert self.epochs is not None
        of_bias = max(1, round(steps * self.bias_epochs / self.epochs))
        return optim.LinearLR(optimizer, [steps, of_bias, steps, steps])

    def loss(self) -> Callable[..., Any]:
        return partial(super().loss(), reduction="sum")

    def trainer_options(self) -> dict[str, Any]:
        return {**super().trainer_options(), "reduction": "sum"}

    def callbacks(self, model: Layer) -> list[Any]:
        return [FreezeBias(_network(model), self.bias_epochs)]


class FreezeBias:
    """A callback that freezes the first layer's bias after some epochs. That saves the whole
    backward pass of the layer, whose filters are not trained."""

    def __init__(self, model: CifarFast, epochs: int) -> None:
        self.bias, self.epochs = model.whitening.bias, epochs

    def on_fit_begin(self, trainer: Trainer) -> None:
        self._freeze(trainer)

    def on_epoch_begin(self, trainer: Trainer) -> None:
        self._freeze(trainer)

    def _freeze(self, trainer: Trainer) -> None:
        assert self.bias is not None
        self.bias.requires_grad = trainer.epoch < self.epochs
        self.bias.grad = None


def _network(model: Layer) -> CifarFast:
    if not isinstance(model, CifarFast):
        raise ValueError(
            f"recipe cifar10-fast: model must be cifar-fast, whose layers it trains by different "
            f"optimizers, got {type(model).__name__}"
        )
    return model
