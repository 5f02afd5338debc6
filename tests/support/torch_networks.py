"""This module has PyTorch networks as its libraries have them, but small enough for a test: a
ResNet-18 of half the width (He et al. 2015, 1512.03385), a MobileNetV2 (Sandler et al. 2018,
1801.04381) and a U-Net with transposed convolutions (Ronneberger et al. 2015, 1505.04597).
"""

import torch
from torch import nn


class BasicBlock(nn.Module):
    def __init__(self, before, after, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.downsample = None
        if stride != 1 or before != after:
            self.downsample = nn.Sequential(
                nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after)
            )

    def forward(self, x):
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet18(nn.Module):
    def __init__(self, width=32, classes=10):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        before = width
        for k in range(4):
            after = width * 2**k
            setattr(
                self,
                f"layer{k + 1}",
                nn.Sequential(
                    BasicBlock(before, after, 1 if k == 0 else 2), BasicBlock(after, after, 1)
                ),
            )
            before = after
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(before, classes)

    def forward(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(torch.flatten(self.avgpool(x), 1))


def conv_bn(before, after, kernel, stride=1, groups=1):
    return nn.Sequential(
        nn.Conv2d(before, after, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU6(inplace=True),
    )


class InvertedResidual(nn.Module):
    def __init__(self, before, after, stride, expand):
        super().__init__()
        hidden = before * expand
        self.shortcut = stride == 1 and before == after
        layers = [conv_bn(before, hidden, 1)] if expand != 1 else []
        self.conv = nn.Sequential(
            *layers,
            conv_bn(hidden, hidden, 3, stride, hidden),
            nn.Conv2d(hidden, after, 1, bias=False),
            nn.BatchNorm2d(after),
        )

    def forward(self, x):
        return x + self.conv(x) if self.shortcut else self.conv(x)


class MobileNetV2(nn.Module):
    def __init__(self, classes=10):
        super().__init__()
        layers, before = [conv_bn(3, 32, 3, 2)], 32
        for expand, after, count, stride in (
            (1, 16, 1, 1),
            (6, 24, 2, 2),
            (6, 32, 3, 2),
            (6, 64, 4, 2),
            (6, 96, 3, 1),
            (6, 160, 3, 2),
            (6, 320, 1, 1),
        ):
            for k in range(count):
                layers.append(InvertedResidual(before, after, stride if k == 0 else 1, expand))
                before = after
        self.features = nn.Sequential(*layers, conv_bn(before, 1280, 1))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, classes))

    def forward(self, x):
        return self.classifier(nn.functional.adaptive_avg_pool2d(self.features(x), 1).flatten(1))


class UNet(nn.Module):
    """Has two levels, of which one goes up by a transposed convolution and one by resizing."""

    def __init__(self, width=8, classes=3):
        super().__init__()
        self.first, self.second = self.pair(3, width), self.pair(width, 2 * width)
        self.bottom = self.pair(2 * width, 4 * width)
        self.up2 = nn.ConvTranspose2d(4 * width, 2 * width, 2, 2)
        self.back2 = self.pair(4 * width, 2 * width)
        self.up1 = nn.ConvTranspose2d(2 * width, width, 3, 2, 1, output_padding=1)
        self.back1 = self.pair(2 * width, width)
        self.head = nn.Conv2d(width, classes, 1)

    @staticmethod
    def pair(before, after):
        return nn.Sequential(
            nn.Conv2d(before, after, 3, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
            nn.Conv2d(after, after, 3, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
        )

    def forward(self, x):
        a = self.first(x)
        b = self.second(nn.functional.max_pool2d(a, 2))
        c = self.bottom(nn.functional.max_pool2d(b, 2))
        b = self.back2(torch.cat([b, self.up2(c)], 1))
        a = self.back1(torch.cat([a, self.up1(b)], 1))
        a = nn.functional.interpolate(a, scale_factor=2.0, mode="bilinear", align_corners=False)
        return self.head(nn.functional.avg_pool2d(a, 2))


class VGG(nn.Module):
    """Flattens images for dense layers, with a dropout in between."""

    def __init__(self, classes=10):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 16, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.classifier = nn.Sequential(
            nn.Dropout(0.0), nn.Linear(16 * 64, 32), nn.ReLU(), nn.Linear(32, classes)
        )

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))
