"""SqueezeNet, version 1.0: a network of fire modules for pictures of ImageNet.

F. N. Iandola et al., "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters and <0.5MB model
size", 2016, table 1; with the padding of ``conv10`` that its authors' Caffe model has.
"""

import torch
from torch import Tensor, nn

__all__ = ["SIDE", "SqueezeNet"]

SIDE = 227
"""Rows and columns of a picture."""


class _Fire(nn.Module):
    """Few channels by 1x1 convolutions, then many by 1x1 and by 3x3, joined in this order."""

    def __init__(self, inputs: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze1x1 = nn.Conv2d(inputs, squeeze, 1)
        self.expand1x1 = nn.Conv2d(squeeze, expand, 1)
        self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.squeeze1x1(x).relu()
        return torch.cat([self.expand1x1(x).relu(), self.expand3x3(x).relu()], 1)


class SqueezeNet(nn.Module):
    """Scores of the 1000 classes of ImageNet, ``(n, 1000)``, for ``(n, 3, 227, 227)``.

    Channels are blue, green and red: 0 to 255, less the means of ImageNet (104, 117, 123).
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 96, 7, stride=2)
        self.fire2 = _Fire(96, 16, 64)
        self.fire3 = _Fire(128, 16, 64)
        self.fire4 = _Fire(128, 32, 128)
        self.fire5 = _Fire(256, 32, 128)
        self.fire6 = _Fire(256, 48, 192)
        self.fire7 = _Fire(384, 48, 192)
        self.fire8 = _Fire(384, 64, 256)
        self.fire9 = _Fire(512, 64, 256)
        self.conv10 = nn.Conv2d(512, 1000, 1, padding=1)
        self.pool = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.mean = nn.AdaptiveAvgPool2d(1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.conv1(x).relu())
        x = self.pool(self.fire4(self.fire3(self.fire2(x))))
        x = self.pool(self.fire8(self.fire7(self.fire6(self.fire5(x)))))
        return self.mean(self.conv10(self.fire9(x)).relu()).flatten(1)
