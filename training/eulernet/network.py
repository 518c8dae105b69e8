# SPDX-License-Identifier: Apache-2.0
"""EulerNet (Cong, Zhang, He and Gao, SEKE 2022): a face location map and a liveness for each frame of a face.

From the slides: clips of 4 frames, every 3rd of the video; FCAM; the residual pyramid; the face location map as output.
Declared choices, because they are not published: 256x256 input, backbone, widths, positions of the FCAMs, map size
32x32, the difference to the previous frame as input, and the score's definition.
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from eulernet.blocks import BlockKind, StemKind, make_stage, make_stem
from eulernet.diirf import POLE_RADIUS
from eulernet.fcam import FCAM
from eulernet.residual_pyramid import DeepestLevel, ResidualPyramid
from eulernet_core.clip_geometry import CLIP_FRAMES
from eulernet_core.face_box import BOX_SCALE
from eulernet_core.status import Status
from eulernet_core.tensors import FACE_SIDE_PX

# A frame is usable if STATUS % USE_PERIOD < UNUSABLE, and the filters restart if STATUS % RESTART_PERIOD >= RELOCATED:
# tests of single bits in operators that every runtime of the exported graph has. All flags of unusable frames are
# adjacent, from NO_FACE to TOO_LARGE. The filters read the same bits of a status of their own, in which RELOCATED is at
# the frames where a sequence starts.
UNUSABLE, USE_PERIOD = int(Status.NO_FACE), 2 * int(Status.TOO_LARGE)
RELOCATED, RESTART_PERIOD = int(Status.RELOCATED), 2 * int(Status.RELOCATED)

# The difference of normalised pixels between frames is small: this brings it to the range of the pixels.
DIFFERENCE_GAIN = 4.0
Difference = Literal["none", "green", "colour"]
# Green has the most detail in a camera's picture, and is a third of the state and of the work.
DIFFERENCE_CHANNELS: dict[Difference, slice] = {"none": slice(0), "green": slice(1, 2), "colour": slice(3)}

# Red, green, blue, for pixels from 0 to 1; normalised values are between -1 and 1.
PIXEL_MEAN = (0.5, 0.5, 0.5)
PIXEL_STD = (0.5, 0.5, 0.5)

# A stream's filters start anew after so many frames. Clips show the filters the beginnings of sequences alone, and what
# they remember from further back made scores worse, also after a training with longer sequences.
LONGEST_SEQUENCE = 8

# Before calibration on a development set: half of the mean of a face's relief over its crop, and slopes that give a
# whole face 0.95.
DEFAULT_THRESHOLD = 0.15
ScoreKind = Literal["log", "linear"]
DEFAULT_SCALES: dict[ScoreKind, float] = {"log": 4.3, "linear": 20.0}
# Added to a map's mean before its logarithm. Sure attacks have means below it, living faces ten to a hundred times it.
SCORE_OFFSET = 1e-3


@dataclass(frozen=True)
class NetworkConfig:
    """Structure of the network. `fcam` and `pyramid` are off, and `change_maps` is on, only in ablations."""

    fcam: bool = True  # filter and attend over time
    pyramid: bool = True  # fuse residuals of three depths
    widths: tuple[int, int, int, int] = (8, 24, 40, 80)  # channels of the stem and of the three levels
    compressed_channels: int = 4  # filtered maps of each FCAM
    pyramid_width: int = 24  # channels of the pyramid
    image_size: int = FACE_SIDE_PX  # side of the crop in px, a multiple of 16
    stem: StemKind = "plain"  # plain, residual or patch
    block: BlockKind = "residual"  # of each level: residual, single or separable
    light_pyramid: bool = True  # separable convolutions in the pyramid
    frame_difference: Difference = "green"  # to the previous frame, for the stem: none, green or colour
    differential: bool = True  # filters whose response to a still is zero for any parameters
    global_context: bool = True  # every place of the map also sees the whole picture's mean and maximum
    change_maps: bool = False  # the pyramid also sees the filters' magnitudes
    box_scale: float = BOX_SCALE  # side of the crop to the detector's box; the service cuts the default
    pole_radius: float = POLE_RADIUS  # largest of the filters' poles; 1 in files that don't state it
    score: ScoreKind = "log"  # of the map's mean: log, or linear as in files that don't state it
    longest_sequence: int = LONGEST_SEQUENCE  # usable frames until the filters start anew; 0: never

    def __post_init__(self) -> None:
        for name, kind in (
            ("stem", StemKind),
            ("block", BlockKind),
            ("frame_difference", Difference),
            ("score", ScoreKind),
        ):
            kinds = get_args(kind)
            if getattr(self, name) not in kinds:
                raise ValueError(f"{name} {getattr(self, name)!r}: choose one of {', '.join(kinds)}")
        if self.stem == "patch" and self.widths[0] != self.widths[1]:
            raise ValueError(f"widths {self.widths}: a patch stem is the first level, so both have the same width")
        if not 0.0 < self.pole_radius <= 1.0:
            raise ValueError(f"pole_radius {self.pole_radius}: choose one above 0, up to 1")
        if self.image_size < 16 or self.image_size % 16:
            raise ValueError(f"image_size {self.image_size}: the network halves it four times, use a multiple of 16")
        if not 1.0 <= self.box_scale <= 8.0:
            raise ValueError(f"box_scale {self.box_scale}: choose one from 1 to 8")
        if self.longest_sequence and self.longest_sequence < CLIP_FRAMES:
            raise ValueError(f"longest_sequence {self.longest_sequence}: choose at least {CLIP_FRAMES}, or 0: no end")

    @property
    def differences(self) -> int:
        """Channels of the difference to the previous frame."""
        return len(range(3)[DIFFERENCE_CHANNELS[self.frame_difference]])

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
        first, *levels = config.widths
        self.stem = make_stem(config.stem, 3 + config.differences, first)
        strides = (1 if config.stem == "patch" else 2, 2, 2)
        self.stages = nn.ModuleList(
            make_stage(config.block, before, after, stride)
            for before, after, stride in zip(config.widths, levels, strides, strict=False)
        )
        maps = config.compressed_channels
        self.fcams = nn.ModuleList(
            FCAM(c, maps, config.differential, config.pole_radius) for c in levels if config.fcam
        )
        neck = ResidualPyramid if config.pyramid else DeepestLevel
        changes = maps if config.fcam and config.change_maps else 0
        fused = [c + changes for c in levels]
        self.neck = neck(fused, config.pyramid_width, config.light_pyramid, config.global_context)
        self.head = nn.Conv2d(config.pyramid_width, 1, kernel_size=1)
        self.register_buffer("scale", torch.tensor(DEFAULT_SCALES[config.score]))
        self.register_buffer("threshold", torch.tensor(DEFAULT_THRESHOLD))
        # Equal values for all channels: with scalars OpenVINO moves the arithmetic before the transpose, where the last
        # dimension is 3 and vector units are poorly used. That took 0.7 ms per frame, this takes 0.03 ms.
        mean, std = torch.tensor(PIXEL_MEAN)[:, None, None], torch.tensor(PIXEL_STD)[:, None, None]
        self.register_buffer("pixel_gain", 1.0 / (255.0 * std), persistent=False)
        self.register_buffer("pixel_offset", -mean / std, persistent=False)

    def pixels(self, faces: Tensor) -> Tensor:
        """uint8 (..., H, W, 3) to float (M, 3, H, W), both 0 to 255; M: product of the leading dimensions."""
        # The cast is first, because TensorRT supports few operations on uint8 besides the conversion to float.
        return faces.float().reshape(-1, *faces.shape[-3:]).permute(0, 3, 1, 2)

    def normalise(self, pixels: Tensor) -> Tensor:
        """float (M, 3, H, W), 0 to 255, to the same shape, -1 to 1."""
        return pixels * self.pixel_gain + self.pixel_offset

    def initial_state(self, n: int, image_size: int | None = None) -> State:
        """The state before a sequence's first frame: zeros.

        Args:
            n: sequences.
            image_size: of the pictures.  [the configuration's]

        Returns:
            h1 and h2 of each FCAM in turn, float (N, K, S_l, S_l); with a frame difference the D channels of the
            previous frame, uint8 (N, D, H, W); and the frame count, int32 (N, 1).
        """
        k, device = self.config.compressed_channels, self.scale.device
        config = dataclasses.replace(self.config, image_size=image_size or self.config.image_size)
        sizes = [size for size in config.level_sizes for _ in range(2)] if config.fcam else []
        state = [torch.zeros(n, k, size, size, dtype=self.scale.dtype, device=device) for size in sizes]
        if channels := config.differences:
            sides = config.image_size, config.image_size
            state.append(torch.zeros(n, channels, *sides, dtype=torch.uint8, device=device))
        return *state, torch.zeros(n, 1, dtype=torch.int32, device=device)

    def logits(self, pictures: Tensor, before: int = 0) -> Tensor:
        """For training: the location map before its sigmoid, with every frame usable, from the start of a sequence.

        The filters don't start anew, however many frames there are.

        Args:
            pictures: float (N, T, 3, H, H), RGB, normalised as in `normalise`; H is any multiple of 16, because
                training also uses windows of crops.
            before: the first frames, fewer than T, that only enter the state, without a map and a gradient.

        Returns:
            float (N, T - before, S, S).
        """
        n, t = pictures.shape[:2]
        state = self.initial_state(n, pictures.shape[-1])
        if self.config.differences:
            seen = pictures[:, :, DIFFERENCE_CHANNELS[self.config.frame_difference]]
            change = DIFFERENCE_GAIN * (seen[:, 1:] - seen[:, :-1])
            change = torch.cat([torch.zeros_like(seen[:, :1]), change], dim=1)
            pictures = torch.cat([pictures, change], dim=2)
        if before:
            with torch.no_grad():
                _, state = self._levels(pictures[:, :before].flatten(0, 1), state, None, None)
            going_on = torch.ones(n, t - before, dtype=torch.bool, device=pictures.device)
            logits, _ = self._run(pictures[:, before:].flatten(0, 1), state, going_on, ~going_on)
        else:
            logits, _ = self._run(pictures.flatten(0, 1), state, None, None)
        return logits.reshape(n, t - before, *logits.shape[1:])

    def forward(self, clip: Tensor, status: Tensor | None = None) -> Prediction:
        """Score a clip from its start, layer by layer over all its frames; only the filters run frame by frame.

        Args:
            clip: uint8 (N, T, H, W, 3), RGB.
            status: int32 (N, T), flags of `eulernet_core.status`. An unusable frame has the score 0 and does not enter
                state and count; after a frame with RELOCATED, usable or not, the sequence starts anew, and so it does
                at the usable frame after `longest_sequence` of them. None: all are usable.
        """
        longest = self.config.longest_sequence
        ends = 0 < longest < clip.shape[1]
        if status is None and ends:
            status = torch.zeros(clip.shape[:2], dtype=torch.int32, device=clip.device)
        if status is None:
            pictures = self.normalise(self.pixels(clip)).reshape(*clip.shape[:2], 3, *clip.shape[2:4])
            location_map = torch.sigmoid(self.logits(pictures))
            count = torch.arange(1, clip.shape[1] + 1, dtype=torch.int32, device=clip.device)
            return Prediction(self.liveness(location_map), location_map, count.expand(clip.shape[0], -1))
        prediction, _ = self._score(clip, status, self.initial_state(clip.shape[0]), longest if ends else 0)
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
        prediction, state = self._score(face, status, state, self.config.longest_sequence)
        return prediction._replace(location_map=prediction.location_map[:, 0]), state

    def liveness(self, location_map: Tensor) -> Tensor:
        """float (N, T, S, S) to (N, T): sigmoid(scale * (v(mean) - v(threshold))), a declared choice, calibrated later.

        v is `score_value`, a logarithm: the means of attacks' maps span several powers of ten below the threshold, and
        a sigmoid of the mean itself would give all of them much the same score.
        """
        mean = location_map.mean(dim=(2, 3))
        return torch.sigmoid(self.scale * (self.score_value(mean) - self.score_value(self.threshold)))

    def score_value(self, mean: Tensor) -> Tensor:
        """v of a map's mean: log(mean + SCORE_OFFSET), or the mean itself for a linear score."""
        return torch.log(mean + SCORE_OFFSET) if self.config.score == "log" else mean

    def _score(self, faces: Tensor, status: Tensor, state: State, longest: int) -> tuple[Prediction, State]:
        """faces: uint8 (N, T, H, W, 3), or (N, H, W, 3) where T is 1; status: int32 (N, T); longest: sequence, or 0."""
        filter_status, counts = sequence_starts(status, state[-1], longest)
        usable, start = filter_status % USE_PERIOD < UNUSABLE, filter_status % RESTART_PERIOD >= RELOCATED
        pixels = self.pixels(faces)
        pictures = self.normalise(pixels)
        previous: State = ()
        if self.config.differences:
            change, previous = self._changes(pixels, state[-2], usable, start)
            pictures = torch.cat([pictures, change], dim=1)
        logits, filters = self._run(pictures, state, usable, start)
        location_map = torch.sigmoid(logits).reshape(-1, status.shape[1], *logits.shape[1:])
        location_map = torch.where(usable[:, :, None, None], location_map, 0.0)
        liveness = torch.where(usable, self.liveness(location_map), 0.0)
        return Prediction(liveness, location_map, counts), (*filters, *previous, counts[:, -1:])

    def _changes(self, pixels: Tensor, previous: Tensor, usable: Tensor, start: Tensor) -> tuple[Tensor, State]:
        """What the stem sees of each frame's difference to the previous usable one, and the last usable frame.

        pixels: float (N * T, 3, H, W), 0 to 255; previous: uint8 (N, D, H, W); usable, start: bool (N, T). The
        difference is float (N * T, D, H, W), and zero at a start.
        """
        channels = DIFFERENCE_CHANNELS[self.config.frame_difference]
        frames = pixels[:, channels].reshape(-1, usable.shape[1], *previous.shape[1:])
        before = previous.float()
        changes = []
        for t in range(usable.shape[1]):
            use, begin = usable[:, t, None, None, None], start[:, t, None, None, None]
            frame = frames[:, t]
            changes.append(torch.where(begin, 0.0, frame - before))
            before = torch.where(use, frame, before)
        change = torch.stack(changes, dim=1).reshape(-1, *previous.shape[1:])
        return change * (DIFFERENCE_GAIN * self.pixel_gain[channels]), (before.to(torch.uint8),)

    def _run(
        self, pictures: Tensor, state: Sequence[Tensor], usable: Tensor | None, start: Tensor | None
    ) -> tuple[Tensor, State]:
        """The stem's input, float (N * T, C, H, W), and a state to map logits (N * T, S, S) and new filter states."""
        levels, states = self._levels(pictures, state, usable, start)
        logits: Tensor = self.head(self.neck(levels))
        return logits.squeeze(1), states

    def _levels(
        self, pictures: Tensor, state: Sequence[Tensor], usable: Tensor | None, start: Tensor | None
    ) -> tuple[list[Tensor], State]:
        """What the pyramid fuses, and the new filter states."""
        x = self.stem(pictures)
        levels: list[Tensor] = []
        states: list[Tensor] = []
        for i, stage in enumerate(self.stages):
            x = stage(x)
            seen = x
            if self.config.fcam:
                x, y, *new = self.fcams[i](x, state[2 * i], state[2 * i + 1], usable, start)
                states += new
                seen = torch.cat([x, y.abs().to(x.dtype)], dim=1) if self.config.change_maps else x
            levels.append(seen)
        return levels, tuple(states)


def sequence_starts(status: Tensor, count: Tensor, longest: int = 0) -> tuple[Tensor, Tensor]:
    """Where a sequence starts, and its frame counts.

    A sequence starts at its first usable frame, at the first usable frame from one with RELOCATED on, and at the usable
    frame after `longest` of them.

    Args:
        status: int32 (N, T), flags of `eulernet_core.status`.
        count: int32 (N, 1), usable frames before the first frame since the sequence's start.
        longest: number of usable frames in a sequence; 0 for no end.

    Returns:
        int32 (N, T): RELOCATED at starts, NO_FACE at unusable frames, 0 at all others; and int32 (N, T), usable frames
        up to each frame since the sequence's start.
    """
    usable, restart = status % USE_PERIOD < UNUSABLE, status % RESTART_PERIOD >= RELOCATED
    before, after = [], []
    for t in range(status.shape[1]):
        count = torch.where(restart[:, t : t + 1], 0, count)
        if longest:
            count = torch.where(usable[:, t : t + 1], torch.where(count < longest, count, 0), count)
        before.append(count)
        count = torch.where(usable[:, t : t + 1], count + 1, count)
        after.append(count)
    first = torch.cat(before, dim=1) < 1
    of_usable = torch.where(first, RELOCATED, 0).to(status.dtype)
    return torch.where(usable, of_usable, UNUSABLE).to(status.dtype), torch.cat(after, dim=1)


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
