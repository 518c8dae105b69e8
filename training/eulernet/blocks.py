# SPDX-License-Identifier: Apache-2.0
"""The convolution blocks of EulerNet's backbone: a declared choice, since the slides do not state one."""

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

BlockKind = Literal["residual", "single", "separable"]
StemKind = Literal["plain", "residual", "patch"]


class ConvBN(nn.Module):
    """Convolution and batch normalisation, (N, C_in, H, W) to (N, C_out, H / stride, W / stride).

    An odd kernel is padded to keep the size at stride 1; an even one is not padded.
    """

    def __init__(self, channels_in: int, channels_out: int, stride: int = 1, kernel: int = 3, groups: int = 1) -> None:
        super().__init__()
        padding = kernel // 2 if kernel % 2 else 0
        self.conv = nn.Conv2d(channels_in, channels_out, kernel, stride, padding, groups=groups, bias=False)
        self.bn: nn.Module = nn.BatchNorm2d(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.bn(self.conv(x))
        return y


class ConvBNReLU(ConvBN):
    """`ConvBN` and ReLU."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(super().forward(x))


class SeparableConvBN(nn.Module):
    """A depthwise 3x3 convolution with ReLU and a 1x1 convolution (Howard et al. 2017), shapes as `ConvBN`."""

    def __init__(self, channels_in: int, channels_out: int, stride: int = 1) -> None:
        super().__init__()
        self.depthwise = ConvBNReLU(channels_in, channels_in, stride, groups=channels_in)
        self.pointwise = ConvBN(channels_in, channels_out, kernel=1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.pointwise(self.depthwise(x))
        return y


class SeparableConvBNReLU(SeparableConvBN):
    """`SeparableConvBN` and ReLU."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(super().forward(x))


class ResidualBlock(nn.Module):
    """relu(x + convbn(convbnrelu(x))), (N, C, H, W) to the same (He et al. 2016)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = ConvBNReLU(channels, channels)
        self.second = ConvBN(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x + self.second(self.first(x)))


class SingleBlock(nn.Module):
    """relu(x + convbn(x)), (N, C, H, W) to the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.only = ConvBN(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x + self.only(x))


class SeparableBlock(nn.Module):
    """`ResidualBlock` of separable convolutions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = SeparableConvBNReLU(channels, channels)
        self.second = SeparableConvBN(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x + self.second(self.first(x)))


def make_stem(kind: StemKind, channels_in: int, channels_out: int) -> nn.Module:
    """The first layers.

    plain: a 3x3 convolution to half the resolution; residual: the same and a SingleBlock there; patch: a 4x4
    convolution of stride 4.
    """
    if kind == "patch":
        return ConvBNReLU(channels_in, channels_out, stride=4, kernel=4)
    first = ConvBNReLU(channels_in, channels_out, stride=2)
    return first if kind == "plain" else nn.Sequential(first, SingleBlock(channels_out))


def make_stage(kind: BlockKind, channels_in: int, channels_out: int, stride: int) -> nn.Module:
    """One level of the backbone: a convolution to the level's size (none for stride 1) and a block."""
    blocks = {"residual": ResidualBlock, "single": SingleBlock, "separable": SeparableBlock}
    block = blocks[kind](channels_out)
    if stride == 1:
        return nn.Sequential(block)
    shrink = SeparableConvBNReLU if kind == "separable" else ConvBNReLU
    return nn.Sequential(shrink(channels_in, channels_out, stride), block)
