# SPDX-License-Identifier: Apache-2.0
"""FAS-SGTD (Wang et al., "Deep spatial gradient and temporal depth learning for face anti-spoofing", CVPR 2020).

Sources: arXiv 2003.08061 and the published files of clks-wzz/FAS-SGTD, for facts. A network of residual spatial
gradient blocks maps each frame to depth; short-term blocks compare the features of adjacent frames; two convolutional
GRUs refine the depth; a small classifier reads the mean of the maps. First the network of single frames learns, then it
is frozen and the temporal part learns, each for half of the run.

The published code differs from the paper, which is followed here: the GRUs recur over time, not over the clips of a
batch; the frames of a clip stay together in a batch of several; softmax is applied once; the depth map is mirrored with
the picture.
Gaps: four frames in place of five, as EulerNet gets; the depth of the first frame is the target of all frames, and is
this project's, from the face mesh, in place of PRNet's; the score takes the mean over the whole crop, because there is
no silhouette of attacks; normalisations have a scale, and a decay of 0.99 in place of 0.999, for shorter runs; Adam in
both stages, because Adadelta at a rate of 0.01 changes a weight by about 1e-6 in a step; bona fide clips are weighted
in place of leaving out attacks; the crop has a fixed margin.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from eulernet.learning.augmentation import to_float
from eulernet.learning.losses import contrastive_depth_loss
from eulernet.learning.settings import AugmentationSettings, PeerSettings
from eulernet.learning.system import Batch, Judgement, descend
from eulernet.learning.twins import with_twins
from eulernet.peers.peer_augmentation import contrast_and_brightness, cutout, flip
from eulernet.peers.peer_network import PeerNetwork, map_targets, scaled
from eulernet.peers.peer_system import Judged, PeerSystem, adam, one_frame

STEM, WIDE, WIDER, NARROW = 64, 128, 192, 64
REDUCED, HIDDEN, CLASSIFIER = 32, 64, 64
GRU_SHARE = 0.6  # of a depth map; the rest is the single frame's
BONA_FIDE = 0  # of the two classes
DEPTH_SHARE = 0.2  # of loss and score; the rest is the class's
CONTRAST_WEIGHT = 0.5  # of the single frames' loss
CUT_SHARE = 0.5
NORM_EPSILON, NORM_MOMENTUM = 1e-3, 0.01
SINGLE_SHARE = 0.5  # of the run's steps, in which single frames are learned
WHOLE_CROPS = AugmentationSettings()


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=NORM_EPSILON, momentum=NORM_MOMENTUM)


class Sobel(nn.Module):
    """The gradients of each channel: (M, C, H, W) to two of the same, with zero padding."""

    kernels: Tensor

    def __init__(self) -> None:
        super().__init__()
        across = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
        self.register_buffer("kernels", torch.stack([across, across.T]).unsqueeze(1), persistent=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        channels = x.shape[1]
        across, down = (
            functional.conv2d(x, kernel.expand(channels, 1, 3, 3), padding=1, groups=channels)
            for kernel in self.kernels
        )
        return across, down


class SpatialGradientBlock(nn.Module):
    """ReLU(BN(conv3x3(x) + BN(conv1x1(magnitude of the gradient)))), (M, C_in, H, W) to (M, C_out, H, W)."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.sobel = Sobel()
        self.conv = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.of_gradient = nn.Conv2d(channels_in, channels_out, 1)
        self.norm, self.norm_of_gradient = _norm(channels_out), _norm(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        across, down = self.sobel(x)
        magnitude = torch.sqrt(across.square() + down.square() + 1e-8)
        gradient = self.norm_of_gradient(self.of_gradient(magnitude))
        return functional.relu(self.norm(self.conv(x) + gradient))


class SingleFrameDepth(nn.Module):
    """Pictures (M, 3, P, P) to maps (M, P/8, P/8), and the features of three levels, before their pools."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        stem, wide, wider, narrow = (scaled(each, factor) for each in (STEM, WIDE, WIDER, NARROW))
        self.stem = SpatialGradientBlock(3, stem)
        self.levels = nn.ModuleList(
            nn.Sequential(
                SpatialGradientBlock(before, wide), SpatialGradientBlock(wide, wider), SpatialGradientBlock(wider, wide)
            )
            for before in (stem, wide, wide)
        )
        self.head = nn.Sequential(
            SpatialGradientBlock(3 * wide, wide),
            SpatialGradientBlock(wide, narrow),
            nn.Conv2d(narrow, 1, 3, padding=1),
            nn.ReLU(),
        )

    def forward(self, pictures: Tensor) -> tuple[Tensor, list[Tensor]]:
        x, side = self.stem(pictures), pictures.shape[-1] // 8
        features, fused = [], []
        for level in self.levels:
            features.append(level(x))
            x = functional.max_pool2d(features[-1], 2)
            fused.append(_at(x, side))
        y: Tensor = self.head(torch.cat(fused, dim=1))
        return y.squeeze(1), features


class ShortTermBlock(nn.Module):
    """Features of T frames, (N, T, C, H, W), to T - 1 comparisons of adjacent ones, (N * (T - 1), C, H/2, W/2)."""

    def __init__(self, channels: int, reduced: int) -> None:
        super().__init__()
        self.sobel = Sobel()
        self.reduce, self.norm = nn.Conv2d(channels, reduced, 1), _norm(reduced)
        self.fuse = nn.Conv2d(channels + 5 * reduced, channels, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        n, t = features.shape[:2]
        reduced = self.norm(functional.relu(self.reduce(features.flatten(0, 1))))
        framed = [each.reshape(n, t, *each.shape[1:]) for each in (reduced, *self.sobel(reduced))]
        (r, r_next), (x, x_next), (y, y_next) = ((each[:, :-1], each[:, 1:]) for each in framed)
        seen = torch.cat([features[:, :-1], x, y, x_next, y_next, r - r_next], dim=2)
        return functional.max_pool2d(functional.relu(self.fuse(seen.flatten(0, 1))), 2)


class ConvGRU(nn.Module):
    """h' = u h + (1 - u) tanh(conv[x, r h]) over time, from zero: (N, T, C, H, W) to (N, T, hidden, H, W)."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.gates = nn.Conv2d(channels + hidden, 2 * hidden, 3, padding=1)
        self.candidate = nn.Conv2d(channels + hidden, hidden, 3, padding=1)
        assert self.gates.bias is not None
        nn.init.ones_(self.gates.bias)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.zeros_like(x[:, 0, :1]).repeat(1, self.hidden, 1, 1)
        states = []
        for frame in x.unbind(dim=1):
            r, u = torch.sigmoid(self.gates(torch.cat([frame, h], dim=1))).chunk(2, dim=1)
            h = u * h + (1.0 - u) * torch.tanh(self.candidate(torch.cat([frame, r * h], dim=1)))
            states.append(h)
        return torch.stack(states, dim=1)


class TemporalDepth(nn.Module):
    """Features and maps of T frames to T - 1 refined maps, (N, T - 1, S, S), and the logits of the two classes."""

    def __init__(self, factor: float, side: int) -> None:
        super().__init__()
        wide, hidden = scaled(WIDE, factor), scaled(HIDDEN, factor)
        self.side = side
        self.blocks = nn.ModuleList(ShortTermBlock(wide, scaled(REDUCED, factor)) for _ in range(3))
        self.cascade = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channels, wide, 3, padding=1), nn.ReLU(), _norm(wide))
            for channels in (2 * wide, 2 * wide, wide)
        )
        self.gru = nn.Sequential(ConvGRU(wide, hidden), ConvGRU(hidden, 1))
        self.classify = nn.Sequential(nn.Linear(side * side, CLASSIFIER), nn.ReLU(), nn.Linear(CLASSIFIER, 2))

    def forward(self, features: list[Tensor], maps: Tensor) -> tuple[Tensor, Tensor]:
        n, t = maps.shape[:2]
        first, second, third = (block(each) for block, each in zip(self.blocks, features, strict=True))
        x = self.cascade[0](torch.cat([_at(first, 2 * self.side), second], dim=1))
        x = self.cascade[2](self.cascade[1](torch.cat([_at(x, self.side), third], dim=1)))
        refined = self.gru(x.reshape(n, t - 1, *x.shape[1:])).squeeze(2)
        mixed = GRU_SHARE * refined + (1.0 - GRU_SHARE) * maps[:, :-1]
        logits: Tensor = self.classify(mixed.mean(dim=1).flatten(1))
        return mixed, logits


class FASSGTD(PeerNetwork):
    """The network of clips. Its score is the published mixture of depth and class."""

    name, title, published_px, temporal = "fas_sgtd", "FAS-SGTD", 256, True

    def __init__(self, config: PeerSettings) -> None:
        super().__init__(config)
        self.single = SingleFrameDepth(config.width_factor)
        self.temporal_part = TemporalDepth(config.width_factor, self.side_px // 8)

    def single_maps(self, pictures: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Depth maps (M, P/8, P/8), and features, of pictures, float (M, 3, P, P), RGB, 0 to 1."""
        maps, features = self.single((255.0 * pictures - 127.5) / 255.0)
        return maps, features

    def outputs(self, clips: Tensor) -> tuple[Tensor, Tensor]:
        """Depth maps (N, T - 1, S, S), and logits (N, 2), of what `seen` gives, float (N, T, 3, P, P)."""
        n, t = clips.shape[:2]
        maps, features = self.single_maps(clips.flatten(0, 1))
        framed = [each.reshape(n, t, *each.shape[1:]) for each in (maps, *features)]
        refined, logits = self.temporal_part(framed[1:], framed[0])
        return refined, logits

    def values(self, maps: Tensor, logits: Tensor) -> Tensor:
        """The published score, float (N,), of `outputs`."""
        depth = maps.float().mean(dim=(1, 2, 3))
        for_live = DEPTH_SHARE * depth + (1.0 - DEPTH_SHARE) * logits.float().softmax(dim=1)[:, BONA_FIDE]
        return torch.sigmoid(for_live - (1.0 - depth))

    def clip_values(self, clips: Tensor) -> Tensor:
        n, t = clips.shape[:2]
        pictures = self.seen(clips.flatten(0, 1))
        return self.values(*self.outputs(pictures.reshape(n, t, *pictures.shape[1:])))


class FASSGTDSystem(PeerSystem):
    """Depth and contrastive depth losses of single frames, then of clips with the class's cross-entropy."""

    network: FASSGTD

    def optimizers(self) -> list[Optimizer]:
        """Adam for each stage; L2 regularisation of the convolutions only."""
        settings = self.settings.optimizer
        found = []
        for part in (self.network.single, self.network.temporal_part):
            rest = [p for p in part.parameters() if p.ndim != 4]
            groups = [
                {"params": [p for p in part.parameters() if p.ndim == 4]},
                {"params": rest, "weight_decay": 0.0},
            ]
            found.append(adam(groups, settings.learning_rate, settings.weight_decay, self.device))
        return found

    def first_complete_epoch(self) -> int:
        return int(SINGLE_SHARE * self.settings.optimizer.epochs)

    def select(self, batch: Batch, generator: torch.Generator, done: float) -> Batch:
        if done < SINGLE_SHARE:
            return one_frame(batch, generator)
        clips, targets = with_twins(*batch, self.settings.twins, WHOLE_CROPS, generator)
        return Batch(clips, targets, functional.pad(batch.live, (0, len(clips) - len(batch.live))))

    def changed(self, clips: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        clips, targets = flip(clips, targets, generator)
        return cutout(contrast_and_brightness(clips, generator), generator, CUT_SHARE), targets

    def learn(self, batch: Batch, optimizers: list[Optimizer], generator: torch.Generator, done: float) -> Tensor:
        if done < SINGLE_SHARE:
            return super().learn(batch, optimizers[:1], generator, done)
        self.network.single.eval()
        clips, targets = self.prepared(batch, generator)
        loss = self.weighted(self.judged_clips(clips, targets, batch.live).losses, batch.live)
        return descend(loss, optimizers[1], (), None)

    def judged(self, pictures: Tensor, targets: Tensor, live: Tensor) -> Judged:
        maps = self.network.single_maps(pictures)[0].float()
        losses = _depth_losses(maps, map_targets(targets, maps.shape[-1]), CONTRAST_WEIGHT)
        return Judged(losses, maps.mean(dim=(1, 2)))

    def judged_clips(self, clips: Tensor, targets: Tensor, live: Tensor) -> Judged:
        """Losses and scores of clips, float (N, T, 3, P, P), 0 to 1; the network of single frames is not trained."""
        n, t = clips.shape[:2]
        with self.lowered():
            with torch.no_grad():
                maps, features = self.network.single_maps(clips.flatten(0, 1))
            framed = [each.reshape(n, t, *each.shape[1:]) for each in (maps, *features)]
            refined, logits = self.network.temporal_part(framed[1:], framed[0])
        refined, logits = refined.float(), logits.float()
        wanted = map_targets(targets, refined.shape[-1]).repeat_interleave(t - 1, 0)
        depth = _depth_losses(refined.flatten(0, 1), wanted, 1.0).reshape(n, t - 1).sum(dim=1) / t
        classes = torch.where(live > 0.5, BONA_FIDE, 1 - BONA_FIDE)
        of_class = functional.cross_entropy(logits, classes, reduction="none")
        losses = DEPTH_SHARE * depth + (1.0 - DEPTH_SHARE) * of_class
        return Judged(losses, self.network.values(refined, logits))

    def judge(self, batch: Batch) -> Judgement:
        """The score is that of the whole clip."""
        n, t = batch.clips.shape[:2]
        pictures = self.network.seen(to_float(batch.clips).flatten(0, 1))
        found = self.judged_clips(pictures.reshape(n, t, *pictures.shape[1:]), batch.targets, batch.live)
        return Judgement(self.weighted(found.losses, batch.live), found.values)


def _at(x: Tensor, side: int) -> Tensor:
    return functional.interpolate(x, size=(side, side), mode="bilinear", align_corners=False)


def _depth_losses(maps: Tensor, targets: Tensor, contrast_weight: float) -> Tensor:
    """Squared error plus contrastive depth with zero padding: float (M, S, S) each, to (M,)."""
    error = (maps - targets).square().mean(dim=(1, 2))
    return error + contrast_weight * contrastive_depth_loss(maps, targets, padding=1)
