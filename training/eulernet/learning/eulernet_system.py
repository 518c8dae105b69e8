# SPDX-License-Identifier: Apache-2.0
"""EulerNet as a system of the trainer: windows and twins of clips, the losses of the location map, AdamW."""

import dataclasses

import torch
from torch import Tensor
from torch.nn import functional
from torch.optim import Optimizer

from eulernet.learning.augmentation import augment, to_float, to_network
from eulernet.learning.graphs import GraphedLogits, Logits
from eulernet.learning.losses import clip_loss
from eulernet.learning.settings import Settings
from eulernet.learning.system import Batch, Judgement, System, descend
from eulernet.learning.twins import with_twins
from eulernet.learning.video_encoding import encoded
from eulernet.network import EulerNet
from eulernet_core.clip_geometry import CLIP_FRAMES


def training_clips(batch: Batch, settings: Settings, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Windows of clips and of their twins, a share of them encoded, uint8 (K, T, H, H, 3), and the targets."""
    clips, targets = with_twins(*batch, settings.twins, settings.augmentation, generator)
    return encoded(clips, batch.clips.shape[2], settings.encoding, generator), targets


class EulerNetSystem(System):
    """Learns from windows of clips, and of what a clip has seen before; on a GPU, through CUDA graphs."""

    network: EulerNet

    def __init__(self, network: EulerNet, settings: Settings, device: torch.device) -> None:
        super().__init__(network, settings, device)
        self._logits = Logits(network, self.autocast)
        self._train_logits = GraphedLogits(self._logits) if device.type == "cuda" else self._logits

    def optimizers(self) -> list[Optimizer]:
        """AdamW. Weight decay acts on convolutions only, not on biases, norms and filter coefficients."""
        settings = self.settings.optimizer
        decayed = [p for p in self.network.parameters() if p.ndim == 4]
        rest = [p for p in self.network.parameters() if p.ndim != 4]
        groups = [
            {"params": decayed, "weight_decay": settings.weight_decay},
            {"params": rest, "weight_decay": 0.0},
        ]
        return [torch.optim.AdamW(groups, lr=settings.learning_rate, fused=self.device.type == "cuda" or None)]

    def select(self, batch: Batch, generator: torch.Generator, done: float) -> Batch:
        # Windows are cut before the conversion to float: 16 whole clips as float32 are 50 MB.
        clips, targets = training_clips(batch, self.settings, generator)
        return Batch(clips, targets, functional.pad(batch.live, (0, len(clips) - len(batch.live))))

    def learn(self, batch: Batch, optimizers: list[Optimizer], generator: torch.Generator, done: float) -> Tensor:
        clips, targets = augment(to_float(batch.clips), batch.targets, self.settings.augmentation, generator)
        past = max(clips.shape[1] - CLIP_FRAMES, 0)
        loss_settings = dataclasses.replace(self.settings.loss, first_frame=0) if past else self.settings.loss
        loss = clip_loss(self._train_logits(to_network(clips), past), targets, loss_settings)
        (optimizer,) = optimizers
        return descend(loss, optimizer, self.network.parameters(), self.settings.optimizer.gradient_norm)

    def judge(self, batch: Batch) -> Judgement:
        """The score is the liveness of each clip's last frame."""
        logits = self._logits(to_network(to_float(batch.clips)))
        loss = clip_loss(logits, batch.targets, self.settings.loss)
        return Judgement(loss, self.network.liveness(torch.sigmoid(logits.float()))[:, -1])
