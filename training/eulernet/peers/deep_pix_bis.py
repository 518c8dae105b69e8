# SPDX-License-Identifier: Apache-2.0
"""DeepPixBiS (George and Marcel, ICB 2019).

Sources: "Deep pixel-wise binary supervision for face presentation attack detection", arXiv 1907.04047; Bob's
`deep_pix_bis.py` and its port by E. Jacob, for facts. DenseNet-161 up to its second transition, a 14x14 map, and one
score from the map; both are supervised by the class alone.

Gaps: no ImageNet weights, which are a large part of the published accuracy, so it learns from nothing; the crop is not
aligned by the eyes, but the detector's box without a margin (`box_scale` of the recipe); classes are balanced by weight
in place of by leaving out attacks; the epoch is chosen by the development error, as for all systems here, in place of
by the validation loss.
The port compares labels with -1 for bona fide, which is an attack in OULU-NPU's lists; here 1 is bona fide.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from eulernet.learning.augmentation import augment
from eulernet.learning.settings import AugmentationSettings, PeerSettings
from eulernet.peers.peer_network import SingleFrameNetwork, scaled
from eulernet.peers.peer_system import Judged, PeerSystem

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
STEM, GROWTH, LAYERS, BOTTLENECK = 96, 48, (6, 12), 4
SMOOTHED = (0.01, 0.99)  # target of a map's cell for attacks and bona fide
MAP_WEIGHT = 0.5
CHANGES = AugmentationSettings(flip=True, gain=0.15, contrast=0.15, saturation=0.15, colour=0.0, shift=0.0, zoom=0.0)


class Outputs(NamedTuple):
    """Logits of the map, float (M, S, S), and of the score, float (M,)."""

    map: Tensor
    score: Tensor


class _DenseLayer(nn.Module):
    """(M, C, H, W) to (M, C + growth, H, W): BN, ReLU, 1x1, BN, ReLU, 3x3, after the input."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(channels), nn.Conv2d(channels, BOTTLENECK * growth, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(BOTTLENECK * growth)
        self.conv2 = nn.Conv2d(BOTTLENECK * growth, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.conv1(functional.relu(self.norm1(x)))
        return torch.cat([x, self.conv2(functional.relu(self.norm2(inner)))], dim=1)


def _features(factor: float) -> tuple[nn.Sequential, int]:
    """The layers up to the second transition, with a sixteenth of the side, and their number of channels."""
    channels, growth = scaled(STEM, factor), scaled(GROWTH, factor)
    layers: list[nn.Module] = [
        nn.Conv2d(3, channels, 7, stride=2, padding=3, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        nn.MaxPool2d(3, stride=2, padding=1),
    ]
    for count in LAYERS:
        layers += [_DenseLayer(channels + k * growth, growth) for k in range(count)]
        channels += count * growth
        layers += [nn.BatchNorm2d(channels), nn.ReLU(), nn.Conv2d(channels, channels // 2, 1, bias=False)]
        layers.append(nn.AvgPool2d(2))
        channels //= 2
    return nn.Sequential(*layers), channels


class DeepPixBiS(SingleFrameNetwork):
    """The network. Its score is the mean of the map, as in Bob ("pixel_mean")."""

    name, title = "deep_pix_bis", "DeepPixBiS"
    published_px, cell_px = 224, 16
    mean: Tensor
    deviation: Tensor

    def __init__(self, config: PeerSettings) -> None:
        super().__init__(config)
        self.features, channels = _features(config.width_factor)
        self.map = nn.Conv2d(channels, 1, 1)
        self.score = nn.Linear((self.side_px // self.cell_px) ** 2, 1)
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(DEVIATION).view(3, 1, 1), persistent=False)

    def outputs(self, pictures: Tensor) -> Outputs:
        """pictures: float (M, 3, P, P), RGB, 0 to 1."""
        logits = self.map(self.features((pictures - self.mean) / self.deviation))
        score = self.score(torch.sigmoid(logits).flatten(1))
        return Outputs(logits.squeeze(1), score.squeeze(1))

    def picture_values(self, pictures: Tensor) -> Tensor:
        return torch.sigmoid(self.outputs(pictures).map.float()).mean(dim=(1, 2))


class DeepPixBiSSystem(PeerSystem):
    """Half the cross-entropy of the map's cells and half that of the score; the target map is flat."""

    network: DeepPixBiS

    def changed(self, clips: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        return augment(clips, targets, CHANGES, generator)

    def judged(self, pictures: Tensor, targets: Tensor, live: Tensor) -> Judged:
        logits, score = (each.float() for each in self.network.outputs(pictures))
        cells = torch.where(live > 0.5, SMOOTHED[1], SMOOTHED[0]).view(-1, 1, 1).expand_as(logits)
        of_map = functional.binary_cross_entropy_with_logits(logits, cells, reduction="none").mean(dim=(1, 2))
        of_score = functional.binary_cross_entropy_with_logits(score, live, reduction="none")
        losses = MAP_WEIGHT * of_map + (1.0 - MAP_WEIGHT) * of_score
        return Judged(losses, torch.sigmoid(logits).mean(dim=(1, 2)))
