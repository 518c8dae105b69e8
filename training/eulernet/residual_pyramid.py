# SPDX-License-Identifier: Apache-2.0
"""The residual pyramid of EulerNet (SEKE 2022 slides): residuals between resolutions, from different depths, fused."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from eulernet.blocks import ConvBNReLU, SeparableConvBNReLU


def upsample(x: Tensor) -> Tensor:
    """(N, C, H, W) to (N, C, 2H, 2W), bilinear."""
    return functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


class GlobalContext(nn.Module):
    """Adds to every place what the whole picture shows: f(mean and maximum over the picture), (N, C, H, W) to the same.

    A display's frame, a hand, a cast of colour lie outside the field of view of the face's places. As in
    squeeze-and-excitation (Hu et al. 2018), but added in place of multiplied.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(2 * channels, channels, kernel_size=1)
        self.excite = nn.Conv2d(channels, channels, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """x: float (N, C, H, W)."""
        seen = torch.cat([x.mean(dim=(2, 3), keepdim=True), x.amax(dim=(2, 3), keepdim=True)], dim=1)
        added: Tensor = self.excite(functional.relu(self.squeeze(seen)))
        return x + added


class ResidualPyramid(nn.Module):
    """Residuals between levels, resized to the middle level's size and fused.

    The slides name the residuals, the resolutions and the fusion of depths, not the wiring. Declared choices: three
    levels P_0, P_1, P_2, each half the size of the one before, projected to a common width by 1x1 convolutions;
    residuals R_0 = P_0 - up(P_1), R_1 = P_1 - up(P_2), and the base R_2 = P_2, as in a Laplacian pyramid; a convolution
    of stride 2 shrinks R_0, because an average would cancel its fine detail; R_2 is enlarged; concatenation and a 3x3
    convolution fuse them. A light pyramid has separable convolutions, and a 1x1 convolution before the last one. With
    context, the base carries what the whole picture shows.
    """

    def __init__(self, channels: Sequence[int], width: int, light: bool = False, context: bool = False) -> None:
        super().__init__()
        if len(channels) != 3:
            raise ValueError(f"residual pyramid of {len(channels)} levels: it is wired for 3")
        self.project = nn.ModuleList(nn.Conv2d(c, width, kernel_size=1) for c in channels)
        self.context = GlobalContext(width) if context else None
        self.down: nn.Module
        self.fuse: nn.Module
        if light:
            self.down = SeparableConvBNReLU(width, width, stride=2)
            self.fuse = nn.Sequential(ConvBNReLU(3 * width, width, kernel=1), SeparableConvBNReLU(width, width))
        else:
            self.down = ConvBNReLU(width, width, stride=2)
            self.fuse = ConvBNReLU(3 * width, width)

    def residuals(self, levels: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """levels: float (N, C_l, S_l, S_l) from fine to coarse. Returns R_0, R_1, R_2, each (N, width, S_l, S_l)."""
        p0, p1, p2 = (project(level) for project, level in zip(self.project, levels, strict=True))
        return p0 - upsample(p1), p1 - upsample(p2), p2 if self.context is None else self.context(p2)

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """levels: float (N, C_l, S_l, S_l) from fine to coarse. Returns float (N, width, S_1, S_1)."""
        r0, r1, r2 = self.residuals(levels)
        fused: Tensor = self.fuse(torch.cat([self.down(r0), r1, upsample(r2)], dim=1))
        return fused


class DeepestLevel(nn.Module):
    """The ablation without the pyramid: the coarsest level alone, enlarged to the middle level's size."""

    def __init__(self, channels: Sequence[int], width: int, light: bool = False, context: bool = False) -> None:
        super().__init__()
        self.context = GlobalContext(width) if context else None
        self.project = nn.Conv2d(channels[-1], width, kernel_size=1)
        self.fuse: nn.Module = SeparableConvBNReLU(width, width) if light else ConvBNReLU(width, width)

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """levels: float (N, C_l, S_l, S_l) from fine to coarse. Returns float (N, width, S_1, S_1)."""
        base = self.project(levels[-1])
        fused: Tensor = self.fuse(upsample(base if self.context is None else self.context(base)))
        return fused
