# SPDX-License-Identifier: Apache-2.0
"""CDCN (Yu et al., "Searching central difference convolutional networks for face anti-spoofing", CVPR 2020).

Sources: arXiv 2003.04092 and the published files of ZitongYu/CDCN, for facts. Each 3x3 convolution is replaced by a
central difference convolution: y = conv3x3(x; W) - theta * conv1x1(x; sum of W over its taps). A depth map of 32x32 is
regressed, zero for attacks. The second term is a change of the kernel's middle, so one convolution computes both, in
training as well; the published form takes a ninth more multiplications.

Gaps: the depth is this project's, from the face mesh, in place of PRNet's; a score is the map's mean over the whole
crop, because there is no silhouette of attacks to divide by; the crop is EulerNet's, about 1.3 times a box from
hairline to chin, without the random 1.2 to 1.4; the learning rate halves at the published shares of the run (500 and
1,000 of 1,400 epochs).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from eulernet.learning.losses import contrastive_depth_loss
from eulernet.learning.settings import PeerSettings
from eulernet.peers.peer_augmentation import add_and_gamma, cutout, erase, flip
from eulernet.peers.peer_network import Foldable, SingleFrameNetwork, map_targets, scaled
from eulernet.peers.peer_system import Judged, PeerSystem

THETA = 0.7
STEM, WIDE, WIDER, NARROW = 64, 128, 196, 64
HALVED_AT = (500 / 1400, 1000 / 1400)  # shares of the run


class CentralDifferenceConv(Foldable):
    """The convolution, (M, C_in, H, W) to (M, C_out, H, W), without bias."""

    def __init__(self, channels_in: int, channels_out: int, theta: float) -> None:
        super().__init__()
        self.theta = theta
        self.weight = nn.Parameter(nn.Conv2d(channels_in, channels_out, 3).weight.detach())

    def kernel(self) -> Tensor:
        """The kernel of the one convolution that computes both terms."""
        if self.theta == 0.0:
            return self.weight
        sums = self.weight.sum(dim=(2, 3), keepdim=True)
        return self.weight - self.theta * functional.pad(sums, (1, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv2d(x, self.kernel(), padding=1)

    def fold(self) -> None:
        self.weight, self.theta = nn.Parameter(self.kernel().detach(), requires_grad=False), 0.0


def block(channels_in: int, channels_out: int, theta: float) -> list[nn.Module]:
    """Convolution, BN, ReLU."""
    return [CentralDifferenceConv(channels_in, channels_out, theta), nn.BatchNorm2d(channels_out), nn.ReLU()]


class DepthNet(nn.Module):
    """Pictures, float (M, 3, P, P), normalised, to maps, float (M, P/8, P/8), at least 0. theta 0: plain convolutions.

    Three levels of three blocks, each followed by a max pool; their outputs are resized to the smallest, concatenated
    and reduced to the map.
    """

    def __init__(self, factor: float, theta: float) -> None:
        super().__init__()
        stem, wide, wider, narrow = (scaled(each, factor) for each in (STEM, WIDE, WIDER, NARROW))
        self.stem = nn.Sequential(*block(3, stem, theta))
        self.levels = nn.ModuleList(
            nn.Sequential(
                *block(before, wide, theta),
                *block(wide, wider, theta),
                *block(wider, wide, theta),
                nn.MaxPool2d(3, stride=2, padding=1),
            )
            for before in (stem, wide, wide)
        )
        self.head = nn.Sequential(
            *block(3 * wide, wide, theta),
            *block(wide, narrow, theta),
            CentralDifferenceConv(narrow, 1, theta),
            nn.ReLU(),
        )

    def forward(self, pictures: Tensor) -> Tensor:
        x, side = self.stem(pictures), pictures.shape[-1] // 8
        fused = []
        for level in self.levels:
            x = level(x)
            fused.append(functional.interpolate(x, size=(side, side), mode="bilinear", align_corners=False))
        y: Tensor = self.head(torch.cat(fused, dim=1))
        return y.squeeze(1)


class CDCN(SingleFrameNetwork):
    """The network. Its score is the mean of the map."""

    name, title, published_px = "cdcn", "CDCN", 256

    def __init__(self, config: PeerSettings) -> None:
        super().__init__(config)
        self.depth = DepthNet(config.width_factor, THETA)

    def maps(self, pictures: Tensor) -> Tensor:
        """pictures: float (M, 3, P, P), RGB, 0 to 1, to float (M, P/8, P/8)."""
        y: Tensor = self.depth((255.0 * pictures - 127.5) / 128.0)
        return y

    def picture_values(self, pictures: Tensor) -> Tensor:
        return self.maps(pictures).float().mean(dim=(1, 2))


class CDCNSystem(PeerSystem):
    """The squared error of the depth map plus the contrastive depth loss."""

    network: CDCN

    def rate(self, step: int, steps: int, warmup_steps: int) -> float:
        return 0.5 ** sum(step >= share * steps for share in HALVED_AT)

    def changed(self, clips: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        clips = erase(add_and_gamma(clips, generator), generator)
        clips, targets = flip(clips, targets, generator)
        return cutout(clips, generator), targets

    def judged(self, pictures: Tensor, targets: Tensor, live: Tensor) -> Judged:
        maps = self.network.maps(pictures).float()
        wanted = map_targets(targets, maps.shape[-1])
        losses = (maps - wanted).square().mean(dim=(1, 2)) + contrastive_depth_loss(maps, wanted)
        return Judged(losses, maps.mean(dim=(1, 2)))
