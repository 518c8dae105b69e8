# SPDX-License-Identifier: Apache-2.0
"""EulerNet (Cong, Zhang, He and Gao, SEKE 2022): a face location map and a liveness for each frame of a face.

From the slides: clips of 4 frames, every 3rd of the video; FCAM; the residual pyramid; the face location map as output.
Declared choices, because they are not published: 256x256 input, backbone, widths, positions of the FCAMs, map size
32x32, and the score's definition.
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from eulernet.blocks import ConvBNReLU, ResidualBlock
from eulernet.fcam import FCAM
from eulernet.residual_pyramid import DeepestLevel, ResidualPyramid
from eulernet_core.status import Status
from eulernet_core.tensors import FACE_SIDE_PX

# A frame is usable if STATUS % USE_PERIOD < UNUSABLE, and the filters restart if STATUS % RESTART_PERIOD >= RELOCATED:
# tests of single bits in operators that every runtime of the exported graph has. All flags of unusable frames are
# adjacent, from NO_FACE to TOO_LARGE.
UNUSABLE, USE_PERIOD = int(Status.NO_FACE), 2 * int(Status.TOO_LARGE)
RELOCATED, RESTART_PERIOD = int(Status.RELOCATED), 2 * int(Status.RELOCATED)

# Red, green, blue, for pixels from 0 to 1; normalised values are between -1 and 1.
PIXEL_MEAN = (0.5, 0.5, 0.5)
PIXEL_STD = (0.5, 0.5, 0.5)

# Before calibration on a development set: half of the mean of a face's relief over its crop, and a slope that gives
# an all-zero map the score 0.05 and a whole face 0.95.
DEFAULT_THRESHOLD = 0.15
DEFAULT_SCALE = 20.0


@dataclass(frozen=True)
class NetworkConfig:
    """Structure of the network. `fcam` and `pyramid` are off only in ablations."""

    fcam: bool = True  # filter and attend over time
    pyramid: bool = True  # fuse residuals of three depths
    widths: tuple[int, int, int, int] = (16, 32, 64, 128)  # channels of the four stages of the backbone
    compressed_channels: int = 4  # filtered maps of each FCAM
    pyramid_width: int = 32  # channels of the pyramid
    image_size: int = FACE_SIDE_PX  # side of the crop in px, a multiple of 16

    def __post_init__(self) -> None:
        if self.image_size < 16 or self.image_size % 16:
            raise ValueError(f"image_size {self.image_size}: the network halves it four times, use a multiple of 16")

    @property
    def map_size(self) -> int:
        """Side of the face location map."""
        return self.image_size // 8

    @property
    def level_sizes(self) -> tuple[int, int, int]:
        """Sides of the three levels that FCAMs filter and the pyramid fuses."""
        return self.image_size // 4, self.image_size // 8, self.image_size // 16


class Prediction(NamedTuple):
    """The network's outputs for each frame.

    liveness: float (N, T), 0 for a presentation attack to 1 for bona fide; location_map: float (N, T, S, S), 0 to 1;
    frame_count: int32 (N, T), usable frames since the filter last started from zero. `step` drops the T of the map.
    """

    liveness: Tensor
    location_map: Tensor
    frame_count: Tensor


State = tuple[Tensor, ...]


class EulerNet(nn.Module):
    """The network. `create` makes one with seeded parameters."""

    scale: Tensor
    threshold: Tensor
    pixel_gain: Tensor
    pixel_offset: Tensor

    def __init__(self, config: NetworkConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or NetworkConfig()
        stem, *levels = config.widths
        self.stem = ConvBNReLU(3, stem, stride=2)
        self.stages = nn.ModuleList(
            nn.Sequential(ConvBNReLU(before, after, stride=2), ResidualBlock(after))
            for before, after in zip(config.widths, levels, strict=False)
        )
        self.fcams = nn.ModuleList(FCAM(c, config.compressed_channels) for c in levels if config.fcam)
        neck = ResidualPyramid if config.pyramid else DeepestLevel
        self.neck = neck(levels, config.pyramid_width)
        self.head = nn.Conv2d(config.pyramid_width, 1, kernel_size=1)
        self.register_buffer("scale", torch.tensor(DEFAULT_SCALE))
        self.register_buffer("threshold", torch.tensor(DEFAULT_THRESHOLD))
        # Equal values for all channels: with scalars OpenVINO moves the arithmetic before the transpose, where the last
        # dimension is 3 and vector units are poorly used. That took 0.7 ms per frame, this takes 0.03 ms.
        mean, std = torch.tensor(PIXEL_MEAN)[:, None, None], torch.tensor(PIXEL_STD)[:, None, None]
        self.register_buffer("pixel_gain", 1.0 / (255.0 * std), persistent=False)
        self.register_buffer("pixel_offset", -mean / std, persistent=False)

    def normalise(self, faces: Tensor) -> Tensor:
        """uint8 (..., H, W, 3), 0 to 255, to float (M, 3, H, W), -1 to 1; M: product of the leading dimensions."""
        # The cast is first, because TensorRT supports few operations on uint8 besides the conversion to float.
        pictures = faces.float().reshape(-1, *faces.shape[-3:]).permute(0, 3, 1, 2)
        return pictures * self.pixel_gain + self.pixel_offset

    def initial_state(self, n: int, image_size: int | None = None) -> State:
        """The state before a sequence's first frame: zeros.

        Args:
            n: sequences.
            image_size: of the pictures.  [the configuration's]

        Returns:
            h1 and h2 of each FCAM in turn, float (N, K, S_l, S_l), then the frame count, int32 (N, 1).
        """
        k, device = self.config.compressed_channels, self.scale.device
        config = dataclasses.replace(self.config, image_size=image_size or self.config.image_size)
        sizes = [size for size in config.level_sizes for _ in range(2)] if config.fcam else []
        state = [torch.zeros(n, k, size, size, dtype=self.scale.dtype, device=device) for size in sizes]
        return *state, torch.zeros(n, 1, dtype=torch.int32, device=device)

    def logits(self, pictures: Tensor) -> Tensor:
        """For training: the location map before its sigmoid, with every frame usable, from zero state.

        Args:
            pictures: float (N, T, 3, H, H), RGB, normalised as in `normalise`; H is any multiple of 16, because
                training also uses windows of crops.

        Returns:
            float (N, T, S, S).
        """
        n, t = pictures.shape[:2]
        state = self.initial_state(n, pictures.shape[-1])
        logits, _ = self._run(pictures.flatten(0, 1), state[:-1], None, None)
        return logits.reshape(n, t, *logits.shape[1:])

    def forward(self, clip: Tensor, status: Tensor | None = None) -> Prediction:
        """Score a clip from zero state, layer by layer over all its frames; only the filters run frame by frame.

        Args:
            clip: uint8 (N, T, H, W, 3), RGB.
            status: int32 (N, T), flags of `eulernet_core.status`. An unusable frame has the score 0 and does not enter
                state and count; at a frame with RELOCATED, usable or not, both start from zero. None: all are usable.
        """
        state = self.initial_state(clip.shape[0])
        if status is None:
            logits, _ = self._run(self.normalise(clip), state[:-1], None, None)
            count = torch.arange(1, clip.shape[1] + 1, dtype=torch.int32, device=clip.device)
            location_map = torch.sigmoid(logits).reshape(*clip.shape[:2], *logits.shape[1:])
            return Prediction(self.liveness(location_map), location_map, count.expand(clip.shape[0], -1))
        prediction, _ = self._score(clip, status, state)
        return prediction

    def step(self, face: Tensor, status: Tensor, state: State) -> tuple[Prediction, State]:
        """Score the next frame of N sequences; T steps have the outputs of `forward` for T frames.

        Args:
            face: uint8 (N, H, W, 3), RGB.
            status: int32 (N, 1), as in `forward`.
            state: `initial_state`, or the state from the previous step.

        Returns:
            liveness (N, 1), location_map (N, S, S) and frame_count (N, 1); and the new state.
        """
        prediction, state = self._score(face, status, state)
        return prediction._replace(location_map=prediction.location_map[:, 0]), state

    def liveness(self, location_map: Tensor) -> Tensor:
        """float (N, T, S, S) to (N, T): sigmoid(scale * (mean - threshold)), a declared choice, calibrated later."""
        return torch.sigmoid(self.scale * (location_map.mean(dim=(2, 3)) - self.threshold))

    def _score(self, faces: Tensor, status: Tensor, state: State) -> tuple[Prediction, State]:
        """faces: uint8 (N, T, H, W, 3), or (N, H, W, 3) where T is 1; status: int32 (N, T)."""
        usable, restart = status % USE_PERIOD < UNUSABLE, status % RESTART_PERIOD >= RELOCATED
        logits, filters = self._run(self.normalise(faces), state[:-1], usable, restart)
        location_map = torch.sigmoid(logits).reshape(-1, status.shape[1], *logits.shape[1:])
        location_map = torch.where(usable[:, :, None, None], location_map, 0.0)
        liveness = torch.where(usable, self.liveness(location_map), 0.0)
        counts = frame_counts(state[-1], usable, restart)
        return Prediction(liveness, location_map, counts), (*filters, counts[:, -1:])

    def _run(
        self, pictures: Tensor, filters: Sequence[Tensor], usable: Tensor | None, restart: Tensor | None
    ) -> tuple[Tensor, State]:
        """Normalised pictures float (N * T, 3, H, W) and filter states to map logits (N * T, S, S) and new states."""
        x = self.stem(pictures)
        levels: list[Tensor] = []
        states: list[Tensor] = []
        for i, stage in enumerate(self.stages):
            x = stage(x)
            if self.config.fcam:
                x, *new = self.fcams[i](x, filters[2 * i], filters[2 * i + 1], usable, restart)
                states += new
            levels.append(x)
        logits: Tensor = self.head(self.neck(levels))
        return logits.squeeze(1), tuple(states)


def frame_counts(before: Tensor, usable: Tensor, restart: Tensor) -> Tensor:
    """int32 (N, 1) and two bool (N, T) to int32 (N, T): usable frames up to each frame since the last restart."""
    counts = []
    count = before
    for t in range(usable.shape[1]):
        use, again = usable[:, t : t + 1], restart[:, t : t + 1]
        count = torch.where(again, 0, count)
        count = torch.where(use, count + 1, count)
        counts.append(count)
    return torch.cat(counts, dim=1)


def create(seed: int = 0, config: NetworkConfig | None = None, training: bool = False) -> EulerNet:
    """An untrained EulerNet whose parameters are the same bits on every machine.

    Convolutions have Kaiming's uniform initialisation (He et al. 2015). The head's bias gives a map at the score's
    threshold, so that neither training nor an untrained score starts in the flat part of a sigmoid.
    """
    network = EulerNet(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                _draw(module.weight, generator)
                if module.bias is not None:
                    module.bias.zero_()
        assert network.head.bias is not None
        network.head.bias.fill_(math.log(DEFAULT_THRESHOLD / (1.0 - DEFAULT_THRESHOLD)))
    return network.train(training)


def _draw(weight: Tensor, generator: torch.Generator) -> None:
    """Fill with uniform numbers of variance 2 / fan-in."""
    fan_in = weight[0].numel()
    # Not `kaiming_uniform_`: its scaling is fused into the generator's kernel on some processors only, which changes
    # bits. torch.rand gives multiples of 2^-24, so 2r - 1 is exact and one rounding remains.
    weight.copy_((2.0 * torch.rand(weight.shape, generator=generator) - 1.0) * math.sqrt(6.0 / fan_in))
