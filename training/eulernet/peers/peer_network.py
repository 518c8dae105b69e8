# SPDX-License-Identifier: Apache-2.0
"""The networks of other published systems: what they have in common, and how each scores a clip.

All of them get crops with the margin that their recipe names (`box_scale`) and resize them bilinearly to their own
side. A clip's value is the published score, the mean over the clip's frames where the system scores single frames;
LIVENESS is a calibrated sigmoid of it, as EulerNet's, so that 0.5 is the threshold.
"""

import abc
import copy
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from eulernet.learning.augmentation import to_float
from eulernet.learning.settings import PeerSettings, SettingsError
from eulernet_core.weights_label import LIVE_THRESHOLD

DEFAULT_SCALE = 8.0  # before calibration
CHANNEL_STEP = 4  # scaled numbers of channels are multiples of it


class PeerNetwork(nn.Module, abc.ABC):
    """Layers of a system, and its score of a clip.

    Attributes:
        name: in recipes and checkpoints, the module's name.
        title: in tables.
        published_px: side of the published input.
        cell_px: the input's side is a multiple of it.
        resizable: whether other sides and widths than the published ones are possible.
        temporal: whether it needs several frames; other systems score each frame alone.
        training_only: names of the parts that do not score.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    published_px: ClassVar[int]
    cell_px: ClassVar[int] = 8
    resizable: ClassVar[bool] = True
    temporal: ClassVar[bool] = False
    training_only: ClassVar[tuple[str, ...]] = ()
    threshold: Tensor
    scale: Tensor

    def __init__(self, config: PeerSettings) -> None:
        """Raises: SettingsError if the system can't have this size."""
        super().__init__()
        self.config = config
        self.side_px = config.input_px or self.published_px
        if not self.resizable and (self.side_px, config.width_factor) != (self.published_px, 1.0):
            raise SettingsError(f"{self.title} has one size: remove input_px and width_factor from [peer]")
        if self.side_px % self.cell_px:
            raise SettingsError(f"input_px = {self.side_px}: {self.title} needs a multiple of {self.cell_px}")
        self.register_buffer("threshold", torch.tensor(LIVE_THRESHOLD))
        self.register_buffer("scale", torch.tensor(DEFAULT_SCALE))

    @property
    def label(self) -> str:
        """The title, and the size where it is not the published one."""
        reduced = [f"{self.side_px} px"] if self.side_px != self.published_px else []
        if self.config.width_factor != 1.0:
            reduced.append(f"{self.config.width_factor:g} of the channels")
        return f"{self.title} ({', '.join(reduced)})" if reduced else self.title

    def seen(self, pictures: Tensor) -> Tensor:
        """The part of crops, float (M, 3, H, H), that the network sees, at its own side."""
        return resized(pictures, self.side_px)

    @abc.abstractmethod
    def clip_values(self, clips: Tensor) -> Tensor:
        """The published score: float (N, T, 3, H, H), RGB, 0 to 1, to float (N,), higher for bona fide."""

    def liveness(self, values: Tensor) -> Tensor:
        """The calibrated score, 0 to 1, of the values of `clip_values`."""
        return torch.sigmoid(self.scale * (values - self.threshold))

    def forward(self, face: Tensor) -> Tensor:
        """Crops uint8 (N, T, H, H, 3), RGB, to liveness, float (N,)."""
        return self.liveness(self.clip_values(to_float(face)))

    def scoring_parameters(self) -> int:
        """The number of parameters of the parts that score."""
        named = self.named_parameters()
        return sum(each.numel() for name, each in named if name.split(".", 1)[0] not in self.training_only)


class SingleFrameNetwork(PeerNetwork):
    """A network that scores single pictures."""

    @abc.abstractmethod
    def picture_values(self, pictures: Tensor) -> Tensor:
        """The published score of what `seen` gives: float (M, 3, P, P), RGB, 0 to 1, to float (M,)."""

    def clip_values(self, clips: Tensor) -> Tensor:
        n, t = clips.shape[:2]
        return self.picture_values(self.seen(clips.flatten(0, 1))).reshape(n, t).mean(dim=1)


def resized(pictures: Tensor, side_px: int) -> Tensor:
    """float (M, C, H, H) to (M, C, side_px, side_px), bilinear."""
    if pictures.shape[-1] == side_px:
        return pictures
    return functional.interpolate(pictures, size=(side_px, side_px), mode="bilinear", align_corners=False)


def scaled(channels: int, factor: float) -> int:
    """A published number of channels times the width factor; exact for 1."""
    return channels if factor == 1.0 else max(CHANNEL_STEP, CHANNEL_STEP * round(channels * factor / CHANNEL_STEP))


def map_targets(targets: Tensor, side: int) -> Tensor:
    """Target maps, float (M, S, S), as means over the cells of a map of another side: float (M, side, side)."""
    return functional.adaptive_avg_pool2d(targets.unsqueeze(1), side).squeeze(1)


def scoring_copy(network: PeerNetwork) -> PeerNetwork:
    """A copy for inference on the CPU, without the parts that do not score, its kernels folded where they can be."""
    copied = copy.deepcopy(network).cpu().eval().requires_grad_(False)
    for name in copied.training_only:
        delattr(copied, name)
    for module in list(copied.modules()):
        if isinstance(module, Foldable):
            module.fold()
    return copied


class Foldable(nn.Module):
    """A layer that becomes a plain convolution for inference."""

    def fold(self) -> None:
        """Replaces the parameters by those of the plain convolution."""
        raise NotImplementedError
