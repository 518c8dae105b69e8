# SPDX-License-Identifier: Apache-2.0
"""The convolution blocks of EulerNet's backbone: a declared choice, since the slides do not state one."""

from torch import Tensor, nn
from torch.nn import functional


class ConvBN(nn.Module):
    """3x3 convolution and batch normalisation, (N, C_in, H, W) to (N, C_out, H / stride, W / stride)."""

    def __init__(self, channels_in: int, channels_out: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn: nn.Module = nn.BatchNorm2d(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.bn(self.conv(x))
        return y


class ConvBNReLU(ConvBN):
    """`ConvBN` and ReLU."""

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
