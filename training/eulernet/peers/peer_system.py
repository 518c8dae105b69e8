# SPDX-License-Identifier: Apache-2.0
"""What the systems other than EulerNet have in common in training.

None of the sources limits gradients or warms up the learning rate, so both settings have no effect here. The frame
count of a run is the number of frames that reach `learn`.
"""

import abc
from typing import NamedTuple

import torch
from torch import Tensor
from torch.optim import Optimizer

from eulernet.learning.augmentation import to_float
from eulernet.learning.settings import Settings, SettingsError
from eulernet.learning.system import Batch, Judgement, System, descend
from eulernet.peers.peer_network import PeerNetwork


class Judged(NamedTuple):
    """Of pictures or clips: losses, float (M,), and published scores, float (M,)."""

    losses: Tensor
    values: Tensor


class PeerSystem(System):
    """A system with one optimizer that learns from a random frame of each clip.

    A subclass states `changed`, the augmentation, and `judged`, the losses and scores of pictures; one that learns from
    clips, or with several optimizers, replaces more.
    """

    network: PeerNetwork

    def __init__(self, network: PeerNetwork, settings: Settings, device: torch.device) -> None:
        """Raises: SettingsError for twins, if the network sees no time."""
        super().__init__(network, settings, device)
        if settings.twins.on and not network.temporal:
            raise SettingsError(f"[twins]: {network.title} sees single frames; remove the section")

    @abc.abstractmethod
    def changed(self, clips: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """The source's augmentation of clips, float (N, T, 3, P, P), 0 to 1, and of targets, float (N, S, S)."""

    @abc.abstractmethod
    def judged(self, pictures: Tensor, targets: Tensor, live: Tensor) -> Judged:
        """Losses and scores of pictures, float (M, 3, P, P), 0 to 1, with targets (M, S, S) and live (M,)."""

    def optimizers(self) -> list[Optimizer]:
        """Adam with L2 regularisation, as in most of the sources."""
        settings = self.settings.optimizer
        return [adam(self.network.parameters(), settings.learning_rate, settings.weight_decay, self.device)]

    def rate(self, step: int, steps: int, warmup_steps: int) -> float:
        """Constant, unless a subclass has the source's schedule, stretched to the run's length."""
        return 1.0

    def select(self, batch: Batch, generator: torch.Generator, done: float) -> Batch:
        return one_frame(batch, generator)

    def learn(self, batch: Batch, optimizers: list[Optimizer], generator: torch.Generator, done: float) -> Tensor:
        pictures, targets = self.prepared(batch, generator)
        loss = self.weighted(self.judged_in_low_precision(pictures[:, 0], targets, batch.live).losses, batch.live)
        (optimizer,) = optimizers
        return descend(loss, optimizer, (), None)

    def judge(self, batch: Batch) -> Judgement:
        """Every frame counts; a clip's score is the mean over its frames."""
        n, t = batch.clips.shape[:2]
        pictures = self.network.seen(to_float(batch.clips).flatten(0, 1))
        targets, live = batch.targets.repeat_interleave(t, 0), batch.live.repeat_interleave(t, 0)
        found = self.judged_in_low_precision(pictures, targets, live)
        return Judgement(self.weighted(found.losses, live), found.values.reshape(n, t).mean(dim=1))

    def prepared(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """The clips resized to the network's side and changed, float (N, T, 3, P, P), and their targets."""
        n, t = batch.clips.shape[:2]
        pictures = self.network.seen(to_float(batch.clips).flatten(0, 1))
        return self.changed(pictures.reshape(n, t, *pictures.shape[1:]), batch.targets, generator)

    def judged_in_low_precision(self, pictures: Tensor, targets: Tensor, live: Tensor) -> Judged:
        """`judged` with its convolutions in the type that the settings choose."""
        with self.lowered():
            return self.judged(pictures, targets, live)

    def lowered(self) -> torch.autocast:
        """The context in which convolutions are in the type that the settings choose."""
        on, dtype = self.autocast is not None, self.autocast or torch.bfloat16
        return torch.autocast(self.device.type, dtype, enabled=on)

    def weighted(self, losses: Tensor, live: Tensor) -> Tensor:
        """The mean of losses, float (M,), in which bona fide weigh `live_weight`."""
        weights = torch.where(live > 0.5, self.settings.loss.live_weight, 1.0)
        return (weights * losses.float()).sum() / weights.sum()


def one_frame(batch: Batch, generator: torch.Generator) -> Batch:
    """A random frame of each clip."""
    n, t = batch.clips.shape[:2]
    rows = torch.arange(n, device=batch.clips.device)
    frames = torch.randint(t, (n,), generator=generator).to(batch.clips.device)
    targets = batch.targets if batch.targets.ndim == 3 else batch.targets[rows, frames]
    return Batch(batch.clips[rows, frames].unsqueeze(1), targets, batch.live)


def adam(
    parameters: object, rate: float, decay: float, device: torch.device, betas: tuple[float, float] = (0.9, 0.999)
) -> Optimizer:
    """Adam (Kingma and Ba 2015) with L2 regularisation, fused on a GPU."""
    return torch.optim.Adam(
        parameters,  # type: ignore[arg-type]
        lr=rate,
        weight_decay=decay,
        betas=betas,
        fused=device.type == "cuda" or None,
    )
