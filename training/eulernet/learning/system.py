# SPDX-License-Identifier: Apache-2.0
"""What the trainer needs of a system: how it learns from a batch of clips, and how it judges one.

EulerNet and the systems of `eulernet.peers` are trained by one loop. A system has its own augmentation, losses and
optimizers; the loop has the data, the order of the clips, the schedule, the choice of the epoch and the checkpoints.
"""

import abc
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from eulernet.learning.augmentation import cosine_rate
from eulernet.learning.settings import Settings


class Batch(NamedTuple):
    """Clips of one step.

    clips: uint8 (N, T, H, W, 3), RGB; targets: float (N, S, S) or (N, T, S, S); live: float (N,), 1 for bona fide. T is
    1 where a system learns from single frames.
    """

    clips: Tensor
    targets: Tensor
    live: Tensor

    def to(self, device: torch.device) -> "Batch":
        """The same batch on a device."""
        return Batch(*(each.to(device) for each in self))


class Judgement(NamedTuple):
    """loss: float (), of a batch of the development set; scores: float (N,), higher for bona fide."""

    loss: Tensor
    scores: Tensor


class System(abc.ABC):
    """A network and its way to learn.

    Args:
        network: with the buffers `threshold` and `scale` of the calibration; on `device`.
        settings: of the run.
        device: of the network and of the batches of `learn` and `judge`.
    """

    def __init__(self, network: nn.Module, settings: Settings, device: torch.device) -> None:
        self.network, self.settings, self.device = network, settings, device
        self.autocast = autocast_dtype(settings.optimizer.autocast, device)

    @abc.abstractmethod
    def optimizers(self) -> list[Optimizer]:
        """The optimizers, each group with its largest learning rate."""

    def rate(self, step: int, steps: int, warmup_steps: int) -> float:
        """Factor of all learning rates in a step of the run: linear warm-up, then cosine decay to zero."""
        return cosine_rate(step, steps, warmup_steps)

    def first_complete_epoch(self) -> int:
        """Number of the first epoch, from 0, after which all parts of the system have learned."""
        return 0

    @abc.abstractmethod
    def select(self, batch: Batch, generator: torch.Generator, done: float) -> Batch:
        """The part of the clips that a step uses, such as windows or single frames, before it is moved to the device.

        Args:
            batch: whole clips, on the CPU or on the device.
            generator: on the CPU; `learn` of this step gets it next.
            done: share of the run's steps that are done, 0 to 1.
        """

    @abc.abstractmethod
    def learn(self, batch: Batch, optimizers: list[Optimizer], generator: torch.Generator, done: float) -> Tensor:
        """Augments the batch, takes one step of the optimizers, and returns the loss, float (), without gradient."""

    @abc.abstractmethod
    def judge(self, batch: Batch) -> Judgement:
        """The loss and the scores of whole clips, without augmentation."""


def descend(loss: Tensor, optimizer: Optimizer, parameters: Iterable[nn.Parameter], norm: float | None) -> Tensor:
    """One step of an optimizer. `norm`: limit of the gradients' norm. Returns the loss without gradient."""
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    if norm is not None:
        torch.nn.utils.clip_grad_norm_(parameters, norm)
    optimizer.step()
    return loss.detach()


def autocast_dtype(choice: str, device: torch.device) -> torch.dtype | None:
    """bfloat16, or None for float32 throughout."""
    if choice == "off":
        return None
    if choice == "auto" and device.type == "cpu" and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return None
    return torch.bfloat16
