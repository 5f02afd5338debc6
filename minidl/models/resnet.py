"""The residual networks for CIFAR-10 of He et al. (2015), section 4.2. One is the benchmark
`resnet20`."""

from __future__ import annotations

from typing import Any

from .. import checks, nn, ops
from ..tensor import Tensor
from .network import Network
from .norms import Norm, Norms, norm_relu


class BasicBlock(nn.Layer):
    """Computes relu(bn2(conv2(relu(bn1(conv1(x))))) + shortcut(x)), or with the norm position
    "after" bn2(relu(conv2(bn1(relu(conv1(x)))) + shortcut(x))).

    The shortcut is the identity, or a 1x1 convolution with normalization if the shape changes.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int,
        norms: Norms,
        zero_gamma: bool = False,
    ) -> None:
        super().__init__()
        self.norm_position = norms.position
        self.conv1, self.bn1 = norms.normalized(
            nn.Conv, in_channels, out_channels, 3, stride, padding=1
        )
        self.conv2, self.bn2 = norms.normalized(nn.Conv, out_channels, out_channels, 3, padding=1)
        if zero_gamma:
            gamma = getattr(self.bn2, "gamma", None)
            if gamma is None:
                raise ValueError(
                    f"{norms.model}: zero_gamma needs normalization layers with a "
                    f"gamma, got {type(self.bn2).__name__} from norm={norms.norm!r}"
                )
            gamma.data[...] = 0
        self.shortcut = None
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(
                *norms.normalized(nn.Conv, in_channels, out_channels, 1, stride, relu=False)
            )

    def forward(self, x: Any) -> Tensor:
        shortcut = x if self.shortcut is None else self.shortcut(x)
        y = norm_relu(self.bn1, self.conv1(x), self.norm_position)
        return norm_relu(self.bn2, self.conv2(y), self.norm_position, shortcut)


class ResNet(Network):
    """A convolution, three stages of `blocks_per_stage` blocks with 16, 32 and 64 channels, the
    mean over all positions, and a dense layer."""

    blocks_per_stage: int

    def __init__(
        self,
        classes: int = 10,
        norm: Norm = "batch",
        norm_position: str = "before",
        zero_gamma: bool = False,
        input_shape: tuple[int, ...] = (32, 32, 3),
    ) -> None:
        super().__init__(classes, input_shape, norm, norm_position)
        name = type(self).__name__
        norms = Norms(name, norm, norm_position)
        self.zero_gamma = checks.flag(zero_gamma, name, "zero_gamma")
        if zero_gamma and norm_position == "after":
            raise ValueError(
                f'{name}: zero_gamma needs norm_position="before", got "after": the last '
                f"normalization of a block would then follow the sum, and a gamma of 0 would "
                f"multiply the shortcut by 0 as well"
            )
        self.conv, self.bn = norms.normalized(nn.Conv, self.input_shape[2], 16, 3, padding=1)
        blocks = []
        channels = 16
        for stage in range(3):
            for block in range(self.blocks_per_stage):
                out = 16 << stage
                blocks.append(
                    BasicBlock(channels, out, 2 if stage and not block else 1, norms, zero_gamma)
                )
                channels = out
        self.blocks = nn.Sequential(*blocks)
        self.fc = nn.Dense(64, classes)

    def config(self) -> dict[str, Any]:
        return {**super().config(), "zero_gamma": self.zero_gamma}

    def forward(self, x: Any) -> Tensor:
        x = self.blocks(norm_relu(self.bn, self.conv(x), self.norm_position))
        return self.fc(ops.global_avg_pool(x))


class ResNet20(ResNet):
    """Maps images (N, H, W, C), 32 x 32 x 3 in CIFAR-10, to logits (N, classes); 272,000
    parameters.

    It has three stages of three residual blocks with 16, 32 and 64 channels.

    norm, norm_position: the normalization, and whether it comes before or after the ReLU (see
        `minidl.models`)
    zero_gamma: whether the gamma of the last normalization of each block starts at 0, so that the
        block starts as its shortcut (Goyal et al. 2017)
    input_shape: the shape of the images that the model is meant for; it takes images of any size

    ValueError for an `input_shape` below 4 x 4, for `zero_gamma` if a normalization has no gamma,
    and for `zero_gamma` with the position "after", where it would multiply the shortcut by 0 too.

    >>> from minidl import models
    >>> models.ResNet20(classes=100)(md.zeros((2, 32, 32, 3))).shape
    (2, 100)
    >>> model = models.ResNet20(norm="group", zero_gamma=True)
    >>> x = md.rand(1, 8, 8, 16)        # what comes out of a ReLU
    >>> np.array_equal(model.blocks[0](x).data, x.data)
    True
    """

    blocks_per_stage = 3


class ResNet32(ResNet):
    """`ResNet20` with five blocks per stage (He et al. 2015): 467,000 parameters.

    >>> from minidl import models
    >>> len(models.ResNet32().blocks)
    15
    """

    blocks_per_stage = 5


class ResNet56(ResNet):
    """`ResNet20` with nine blocks per stage (He et al. 2015): 856,000 parameters.

    >>> from minidl import models
    >>> len(models.ResNet56().blocks)
    27
    """

    blocks_per_stage = 9
