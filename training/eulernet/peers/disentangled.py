# SPDX-License-Identifier: Apache-2.0
"""Our reading of "Face anti-spoofing via disentangled representation learning" (Zhang et al., ECCV 2020).

Source: notes on arXiv 2008.08250. There is no published code, and the tables of layers and the weights of the losses
could not be read, so this is a reading of the method and no reproduction. From the paper: an encoder splits a picture
into liveness and content; a decoder draws pictures in which a bona fide picture and an attack have swapped their
liveness; a drawn picture must have the texture and the depth of its liveness; two discriminators at two scales; all
other losses are L1; the score is the mean of the LBP map's and the depth map's means.

Ours: the encoder is the first two levels of the depth network of CDCN with plain convolutions, with one 1x1 convolution
each for liveness and content; the decoder doubles the side twice; the LBP network has three convolutions; the depth
network is CDCN's with plain convolutions; weights 1, 10, 1, 1, 1 of generator, picture, latent, depth and LBP; Adam at
1e-4 with (0.5, 0.999) for both sides; every attack of a batch is paired with one of its bona fide pictures in turn.
Gaps: the depth is this project's, from the face mesh, in place of PRNet's. The notes name no augmentation; pictures are
mirrored, as in the other systems.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from eulernet.colour import LUMA
from eulernet.learning.settings import PeerSettings
from eulernet.learning.system import Batch, descend
from eulernet.peers.cdcn import STEM, WIDE, WIDER, DepthNet, block
from eulernet.peers.peer_augmentation import flip
from eulernet.peers.peer_network import SingleFrameNetwork, map_targets, scaled
from eulernet.peers.peer_system import Judged, PeerSystem, adam

PLAIN = 0.0  # theta of a plain convolution
LATENT, NARROW = 128, 64
DISCRIMINATOR = (64, 128, 256)
PICTURE_WEIGHT, LATENT_WEIGHT, DEPTH_WEIGHT, LBP_WEIGHT = 10.0, 1.0, 1.0, 1.0
BETAS = (0.5, 0.999)
# The neighbours of a pixel, in the order of the pattern's bits.
NEIGHBOURS = ((0, 0), (0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0))


class Latent(NamedTuple):
    """Liveness and content, float (M, C, P/4, P/4) each."""

    liveness: Tensor
    content: Tensor


class Encoder(nn.Module):
    """Pictures, float (M, 3, P, P), -1 to 1, to a latent."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        stem, wide, wider, latent = (scaled(each, factor) for each in (STEM, WIDE, WIDER, LATENT))
        layers = block(3, stem, PLAIN)
        for before in (stem, wide):
            layers += [*block(before, wide, PLAIN), *block(wide, wider, PLAIN), *block(wider, wide, PLAIN)]
            layers.append(nn.MaxPool2d(3, stride=2, padding=1))
        self.layers = nn.Sequential(*layers)
        self.liveness, self.content = nn.Conv2d(wide, latent, 1), nn.Conv2d(wide, latent, 1)

    def forward(self, pictures: Tensor) -> Latent:
        x = self.layers(pictures)
        return Latent(self.liveness(x), self.content(x))


class Decoder(nn.Module):
    """A latent to pictures, float (M, 3, P, P), -1 to 1."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        latent, narrow = scaled(LATENT, factor), scaled(NARROW, factor)
        self.layers = nn.Sequential(
            nn.Upsample(scale_factor=2),
            *block(2 * latent, latent, PLAIN),
            nn.Upsample(scale_factor=2),
            *block(latent, narrow, PLAIN),
            nn.Conv2d(narrow, 3, 3, padding=1),
            nn.Tanh(),
        )

    def forward(self, liveness: Tensor, content: Tensor) -> Tensor:
        y: Tensor = self.layers(torch.cat([liveness, content], dim=1))
        return y


class TextureNet(nn.Module):
    """Liveness to maps of local binary patterns, float (M, P/8, P/8), at least 0."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        latent, wide, narrow = (scaled(each, factor) for each in (LATENT, WIDE, NARROW))
        self.layers = nn.Sequential(
            nn.AvgPool2d(2),
            *block(latent, wide, PLAIN),
            *block(wide, narrow, PLAIN),
            nn.Conv2d(narrow, 1, 3, padding=1),
            nn.ReLU(),
        )

    def forward(self, liveness: Tensor) -> Tensor:
        y: Tensor = self.layers(liveness)
        return y.squeeze(1)


class Discriminator(nn.Module):
    """Pictures to logits of patches, positive for recorded pictures and negative for drawn ones."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for channels in (scaled(each, factor) for each in DISCRIMINATOR):
            layers += [nn.Conv2d(before, channels, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
            before = channels
        self.layers = nn.Sequential(*layers, nn.Conv2d(before, 1, 4, stride=2, padding=1))

    def forward(self, pictures: Tensor) -> Tensor:
        y: Tensor = self.layers(pictures)
        return y


class Disentangled(SingleFrameNetwork):
    """The network. Its score is the mean of the LBP map's and the depth map's means."""

    name, title, published_px, cell_px = "disentangled", "Disentangled (our reading)", 256, 32
    training_only = ("discriminators",)

    def __init__(self, config: PeerSettings) -> None:
        super().__init__(config)
        factor = config.width_factor
        self.encoder, self.decoder, self.texture = Encoder(factor), Decoder(factor), TextureNet(factor)
        self.depth = DepthNet(factor, PLAIN)
        self.discriminators = nn.ModuleList(Discriminator(factor) for _ in range(2))

    def maps(self, signed: Tensor) -> tuple[Tensor, Tensor]:
        """LBP and depth maps, float (M, P/8, P/8) each, of pictures, float (M, 3, P, P), -1 to 1."""
        latent = self.encoder(signed)
        return self.texture(latent.liveness), self.depth(self.decoder(*latent))

    def picture_values(self, pictures: Tensor) -> Tensor:
        return map_score(*self.maps(2.0 * pictures - 1.0))


class DisentangledSystem(PeerSystem):
    """Discriminators and the rest learn in alternation, the discriminators first."""

    network: Disentangled

    def optimizers(self) -> list[Optimizer]:
        """Adam for the parts that draw and score, and Adam for the discriminators."""
        settings, judges = self.settings.optimizer, self.network.discriminators
        rest = [each for name, each in self.network.named_parameters() if not name.startswith("discriminators.")]
        return [
            adam(each, settings.learning_rate, settings.weight_decay, self.device, BETAS)
            for each in (rest, list(judges.parameters()))
        ]

    def changed(self, clips: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        return flip(clips, targets, generator)

    def judged(self, pictures: Tensor, targets: Tensor, live: Tensor) -> Judged:
        """The losses of both maps only; the others need pairs of pictures."""
        texture, depth = (each.float() for each in self.network.maps(2.0 * pictures - 1.0))
        patterns, wanted = self._targets(pictures, targets, live)
        losses = LBP_WEIGHT * _distance(texture, patterns) + DEPTH_WEIGHT * _distance(depth, wanted)
        return Judged(losses, map_score(texture, depth))

    def learn(self, batch: Batch, optimizers: list[Optimizer], generator: torch.Generator, done: float) -> Tensor:
        clips, targets = self.prepared(batch, generator)
        pictures, live, count = clips[:, 0], batch.live, len(clips)
        signed, network = 2.0 * pictures - 1.0, self.network
        of_parts, of_judges = optimizers
        own, other = pairs(live)
        with self.lowered():
            latent = network.encoder(signed)
            swapped = Latent(latent.liveness[other], latent.content[own])
            # One batch, so that swapped and plain latents have the same statistics.
            drawn = network.decoder(*(torch.cat(each) for each in zip(latent, swapped, strict=True)))
        self._teach_judges(signed, drawn.detach(), of_judges)
        with self.lowered():
            fooled = self._judges(drawn, 1.0)
            texture, depth = network.texture(latent.liveness), network.depth(drawn)
            found = network.encoder(drawn[count:]) if len(own) else swapped
        patterns, wanted = self._targets(pictures, targets, live)
        whose = torch.cat([torch.arange(count, device=self.device), other])
        of_picture = PICTURE_WEIGHT * _distance(drawn[:count], signed) + LBP_WEIGHT * _distance(texture, patterns)
        of_depth = DEPTH_WEIGHT * _distance(depth, wanted[whose])
        loss = fooled + self.weighted(of_picture, live) + self.weighted(of_depth, live[whose])
        if len(own):
            apart = [_distance(a, b.detach()).mean() for a, b in zip(found, swapped, strict=True)]
            loss = loss + LATENT_WEIGHT * (apart[0] + apart[1])
        return descend(loss, of_parts, (), None)

    def _teach_judges(self, signed: Tensor, drawn: Tensor, optimizer: Optimizer) -> None:
        with self.lowered():
            loss = self._judges(signed, 1.0) + self._judges(drawn, 0.0)
        descend(loss, optimizer, (), None)

    def _judges(self, signed: Tensor, recorded: float) -> Tensor:
        """Cross-entropy of both discriminators, on pictures and on their halves, summed."""
        losses = []
        scales = (signed, functional.avg_pool2d(signed, 2))
        for judge, seen in zip(self.network.discriminators, scales, strict=True):
            logits = judge(seen).float()
            wanted = torch.full_like(logits, recorded)
            losses.append(functional.binary_cross_entropy_with_logits(logits, wanted))
        return losses[0] + losses[1]

    def _targets(self, pictures: Tensor, targets: Tensor, live: Tensor) -> tuple[Tensor, Tensor]:
        """The LBP maps, zero for attacks, and the depth maps."""
        side = self.network.side_px // 8
        return map_targets(binary_patterns(pictures), side) * live.view(-1, 1, 1), map_targets(targets, side)


def pairs(live: Tensor) -> tuple[Tensor, Tensor]:
    """Each attack with a bona fide picture, and the same the other way round: numbers, int64 (K,) and (K,).

    A batch of one class has no pairs.
    """
    lives, attacks = torch.nonzero(live > 0.5).flatten(), torch.nonzero(live <= 0.5).flatten()
    if not len(lives) or not len(attacks):
        return lives[:0], lives[:0]
    lives = lives[torch.arange(len(attacks), device=live.device) % len(lives)]
    return torch.cat([attacks, lives]), torch.cat([lives, attacks])


def binary_patterns(pictures: Tensor) -> Tensor:
    """Local binary patterns (Ojala et al. 2002), 8 neighbours, radius 1: float (M, 3, P, P), to (M, P, P), 0 to 1."""
    weights = torch.tensor(LUMA, device=pictures.device, dtype=pictures.dtype).view(3, 1, 1)
    grey = (pictures * weights).sum(dim=1)
    height, width = grey.shape[1:]
    padded = functional.pad(grey.unsqueeze(1), (1, 1, 1, 1), mode="replicate").squeeze(1)
    pattern = torch.zeros_like(grey)
    for bit, (row, column) in enumerate(NEIGHBOURS):
        pattern += 2.0**bit * (padded[:, row : row + height, column : column + width] >= grey)
    return pattern / 255.0


def map_score(texture: Tensor, depth: Tensor) -> Tensor:
    """The score of both maps, float (M, S, S) each, to (M,)."""
    return (texture.float().mean(dim=(1, 2)) + depth.float().mean(dim=(1, 2))) / 2.0


def _distance(found: Tensor, wanted: Tensor) -> Tensor:
    """Mean absolute difference of each picture or map: float (M, ...) each, to (M,)."""
    return (found.float() - wanted.float()).abs().flatten(1).mean(dim=1)
