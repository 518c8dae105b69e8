# SPDX-License-Identifier: Apache-2.0
"""MiniFASNet of minivision-ai/Silent-Face-Anti-Spoofing (2020): network, crop and score of two small networks.

The project's weights (Apache-2.0, commit b6d5f04) load into these modules. `Judge` scores faces with both of them; the
parts are separate, so that a network can be trained alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from eulernet.peers.minifasnet_window import window

Picture = NDArray[np.uint8]
Floats = NDArray[np.float32]

SIDE_PX = 80
CLASSES = 3
REAL = 1  # of the 3 classes; 0 and 2 are attacks, which the project does not name
EMBEDDING = 128
# The project's detector draws its box from the hairline to the chin and between the ears. These are its centre above
# the middle of eyes and mouth, its width and its height, in distances of the eyes' line from the mouth.
BOX_OF_EYES = (-0.20, 1.95, 2.60)


class WeightsError(ValueError):
    """A folder or file is not MiniFASNet's weights; the message names it."""


@dataclass(frozen=True)
class Widths:
    """Inner channels of the residual blocks at 20, 10 and 5 pixels, and whether their last blocks weigh channels."""

    stage_3: tuple[int, ...]
    stage_4: tuple[int, ...]
    stage_5: tuple[int, ...]
    squeeze: bool
    dropout: float


V2 = Widths((13, 13, 13, 13), (231, 52, 26, 77, 26, 26), (26, 26), squeeze=False, dropout=0.2)
V2SE = Widths(V2.stage_3, V2.stage_4, V2.stage_5, squeeze=True, dropout=0.75)
V1SE = Widths((13, 26, 13, 52), (154, 52, 26, 52, 26, 26), (26, 26), squeeze=True, dropout=0.75)


@dataclass(frozen=True)
class Member:
    """One network of the published pair: its file, its widths, and its crop's size in boxes of the face."""

    file: str
    widths: Widths
    crop_scale: float


MEMBERS = (
    Member("2.7_80x80_MiniFASNetV2.pth", V2, 2.7),
    Member("4_0_0_80x80_MiniFASNetV1SE.pth", V1SE, 4.0),
)


class _ConvBN(nn.Module):
    """Convolution without bias and batch normalisation, (N, inputs, H, W) to (N, outputs, H / stride, W / stride)."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, padding: int, groups: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.bn(self.conv(x))
        return y


class _ConvBNPReLU(_ConvBN):
    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, kernel // 2, groups)
        self.prelu = nn.PReLU(outputs)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.prelu(super().forward(x))
        return y


class _Squeeze(nn.Module):
    """Weights of channels from their means (squeeze and excitation, reduction 4), shape unchanged."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // 4, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels // 4)
        self.fc2 = nn.Conv2d(channels // 4, channels, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        squeezed = torch.relu(self.bn1(self.fc1(x.mean((2, 3), keepdim=True))))
        return x * torch.sigmoid(self.bn2(self.fc2(squeezed)))


class _Block(nn.Module):
    """1x1 to `inner`, 3x3 depthwise, 1x1 to `outputs`; with `residual` the input is added."""

    def __init__(
        self, inputs: int, inner: int, outputs: int, stride: int, residual: bool = False, squeeze: bool = False
    ) -> None:
        super().__init__()
        self.conv = _ConvBNPReLU(inputs, inner)
        self.conv_dw = _ConvBNPReLU(inner, inner, 3, stride, groups=inner)
        self.project = _ConvBN(inner, outputs, 1, 1, 0, 1)
        if squeeze:
            self.se_module = _Squeeze(outputs)
        self._residual, self._squeeze = residual, squeeze

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.project(self.conv_dw(self.conv(x)))
        if self._squeeze:
            y = self.se_module(y)
        return x + y if self._residual else y


class _Stage(nn.Module):
    def __init__(self, channels: int, inner: Sequence[int], squeeze: bool) -> None:
        super().__init__()
        last = len(inner) - 1
        blocks = (
            _Block(channels, width, channels, 1, residual=True, squeeze=squeeze and k == last)
            for k, width in enumerate(inner)
        )
        self.model = nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.model(x)
        return y


class MiniFASNet(nn.Module):
    """One network. The modules' names are those of the published weights.

    Input: float32 (N, 3, 80, 80), BGR, 0 to 255 (not normalised). Output: logits float32 (N, 3), see REAL.
    """

    def __init__(self, widths: Widths = V2SE) -> None:
        super().__init__()
        self.conv1 = _ConvBNPReLU(3, 32, 3, 2)
        self.conv2_dw = _ConvBNPReLU(32, 32, 3, 1, groups=32)
        self.conv_23 = _Block(32, 103, 64, 2)
        self.conv_3 = _Stage(64, widths.stage_3, widths.squeeze)
        self.conv_34 = _Block(64, 231, 128, 2)
        self.conv_4 = _Stage(128, widths.stage_4, widths.squeeze)
        self.conv_45 = _Block(128, 308, 128, 2)
        self.conv_5 = _Stage(128, widths.stage_5, widths.squeeze)
        self.conv_6_sep = _ConvBNPReLU(128, 512)
        self.conv_6_dw = _ConvBN(512, 512, 5, 1, 0, 512)
        self.linear = nn.Linear(512, EMBEDDING, bias=False)
        self.bn = nn.BatchNorm1d(EMBEDDING)
        self.drop = nn.Dropout(widths.dropout)
        self.prob = nn.Linear(EMBEDDING, CLASSES, bias=False)

    def features(self, x: Tensor) -> Tensor:
        """The map of stage 4, float32 (N, 128, 10, 10); in training it also predicts the Fourier spectrum."""
        y: Tensor = self.conv_4(self.conv_34(self.conv_3(self.conv_23(self.conv2_dw(self.conv1(x))))))
        return y

    def classify(self, features: Tensor) -> Tensor:
        """Logits, float32 (N, 3), of the map of `features`."""
        y = self.conv_6_dw(self.conv_6_sep(self.conv_5(self.conv_45(features))))
        logits: Tensor = self.prob(self.drop(self.bn(self.linear(y.flatten(1)))))
        return logits

    def forward(self, x: Tensor) -> Tensor:
        return self.classify(self.features(x))


def face_box(eyes: Floats, mouth: Floats) -> Floats:
    """The box that the project's detector would draw, estimated from landmarks: float32 (4,), x0, y0, x1, y1 px.

    Args:
        eyes: float32 (2, 2), the centres of both eyes, px.
        mouth: float32 (2,), its middle, px.
    """
    between = eyes.mean(0)
    length = float(np.hypot(*(mouth - between)))
    rise, width, height = (value * length for value in BOX_OF_EYES)
    x, y = (between + mouth) / 2
    return np.array([x - width / 2, y + rise - height / 2, x + width / 2, y + rise + height / 2], np.float32)


def crop(picture: Picture, box: Floats, scale: float) -> Picture:
    """A network's input, uint8 (80, 80, 3) BGR, of a picture uint8 (H, W, 3) RGB; the aspect ratio is not kept."""
    left, top, right, bottom = window(box, scale, *picture.shape[:2])
    region = picture[top:bottom, left:right, ::-1]
    return np.asarray(cv2.resize(np.ascontiguousarray(region), (SIDE_PX, SIDE_PX)), np.uint8)


def tensor(crops: Sequence[Picture]) -> Tensor:
    """A batch for `MiniFASNet`, float32 (N, 3, 80, 80), of crops uint8 (80, 80, 3) BGR."""
    return torch.from_numpy(np.stack(crops).transpose(0, 3, 1, 2).astype(np.float32))


def class_shares(logits: Sequence[Tensor]) -> Tensor:
    """Mean of the networks' softmax vectors, float32 (N, 3), from the logits (N, 3) of each."""
    return torch.stack([each.softmax(1) for each in logits]).mean(0)


def score(logits: Sequence[Tensor]) -> Tensor:
    """Liveness, float32 (N,), 0 to 1: the share of the class REAL."""
    return class_shares(logits)[:, REAL]


def load(path: Path, widths: Widths) -> MiniFASNet:
    """A network with published weights, in evaluation mode.

    Raises:
        WeightsError: the file is missing, or is not this network's.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: no such file; give the folder with {' and '.join(m.file for m in MEMBERS)}")
    state = torch.load(path, map_location="cpu", weights_only=True)
    network = MiniFASNet(widths)
    try:
        network.load_state_dict({name.removeprefix("module."): value for name, value in state.items()})
    except (RuntimeError, AttributeError) as error:
        raise WeightsError(f"{path}: not the weights of this network: {error}") from None
    return network.eval()


class Judge:
    """The published pair of networks.

    Args:
        weights: folder with the files of MEMBERS.

    Raises:
        WeightsError: a file is missing or is another network's.
    """

    def __init__(self, weights: Path) -> None:
        self._networks = [load(weights / member.file, member.widths) for member in MEMBERS]

    @torch.inference_mode()
    def __call__(self, pictures: Sequence[Picture], boxes: Sequence[Floats]) -> Floats:
        """`class_shares`, float32 (N, 3), of faces in pictures uint8 (H, W, 3) RGB; liveness is the column REAL."""
        logits = []
        for member, network in zip(MEMBERS, self._networks, strict=True):
            crops = [crop(picture, box, member.crop_scale) for picture, box in zip(pictures, boxes, strict=True)]
            logits.append(network(tensor(crops)))
        return np.asarray(class_shares(logits).numpy(), np.float32)
