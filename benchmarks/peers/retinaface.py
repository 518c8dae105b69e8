# SPDX-License-Identifier: Apache-2.0
"""The face detector of Silent-Face-Anti-Spoofing, as a network with random weights, for its time alone.

RetinaFace (Deng et al., CVPR 2020) on MobileNet at a quarter of its width, as that project configures it: a pyramid of
64 channels at strides 8, 16 and 32 whose upsampling is learned, a context module (SSH, Najibi et al., ICCV 2017) and
two anchors at each. Sizes are from the model's description in the project's repository. What follows its outputs there,
the boxes from their anchors and non-maximum suppression, is left out, which favours it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

CHANNELS = 64
ANCHORS, BOX_NUMBERS, CLASSES = 2, 4, 2
# Widths and strides of MobileNet's separable convolutions by level: what each level's last one gives is in the pyramid.
LEVELS = (
    ((16, 1), (32, 2), (32, 1), (64, 2), (64, 1)),
    ((128, 2), (128, 1), (128, 1), (128, 1), (128, 1), (128, 1)),
    ((256, 2), (256, 1)),
)
STEM = 8


class RetinaFace(nn.Module):
    """IMAGE float32 (N, 3, H, W), BGR less a mean, to BOX float32 (N, A, 4) and SCORE (N, A): for each of A anchors the
    offsets of the box, and the share of the class of faces."""

    def __init__(self) -> None:
        super().__init__()
        before, levels = STEM, []
        for level in LEVELS:
            blocks = []
            for width, stride in level:
                blocks += [_convolution(before, before, 3, stride, groups=before), _convolution(before, width, 1)]
                before = width
            levels.append(nn.Sequential(*blocks))
        self.stem, self.levels = _convolution(3, STEM, 3, 2), nn.ModuleList(levels)
        self.sides = nn.ModuleList(_convolution(level[-1][0], CHANNELS, 1) for level in LEVELS)
        self.up = nn.ModuleList(nn.ConvTranspose2d(CHANNELS, CHANNELS, 2, 2) for _ in LEVELS[1:])
        self.merged = nn.ModuleList(_convolution(CHANNELS, CHANNELS, 3) for _ in LEVELS[1:])
        self.heads = nn.ModuleList(_Head() for _ in LEVELS)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        features, x = [], self.stem(image)
        for level, side in zip(self.levels, self.sides, strict=True):
            x = level(x)
            features.append(side(x))
        for fine in (1, 0):
            upper = self.up[fine](features[fine + 1])[..., : features[fine].shape[2], : features[fine].shape[3]]
            features[fine] = self.merged[fine](features[fine] + upper)
        found = [head(each) for head, each in zip(self.heads, features, strict=True)]
        boxes, scores = (torch.cat(each, 1) for each in zip(*found, strict=True))
        return boxes, scores.softmax(-1)[..., 1]


class _Head(nn.Module):
    """A level's context module and its boxes and classes."""

    def __init__(self) -> None:
        super().__init__()
        half, quarter = CHANNELS // 2, CHANNELS // 4
        self.near = _convolution(CHANNELS, half, 3, active=False)
        self.begin = _convolution(CHANNELS, quarter, 3)
        self.middle = _convolution(quarter, quarter, 3, active=False)
        self.far = nn.Sequential(_convolution(quarter, quarter, 3), _convolution(quarter, quarter, 3, active=False))
        self.box = nn.Conv2d(CHANNELS, ANCHORS * BOX_NUMBERS, 1)
        self.classes = nn.Conv2d(CHANNELS, ANCHORS * CLASSES, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        begin = self.begin(x)
        x = torch.cat([self.near(x), self.middle(begin), self.far(begin)], 1).relu()
        boxes, classes = (each.permute(0, 2, 3, 1) for each in (self.box(x), self.classes(x)))
        return boxes.reshape(len(x), -1, BOX_NUMBERS), classes.reshape(len(x), -1, CLASSES)


def _convolution(
    before: int, width: int, kernel: int, stride: int = 1, groups: int = 1, *, active: bool = True
) -> nn.Sequential:
    layers = [
        nn.Conv2d(before, width, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(width),
    ]
    return nn.Sequential(*layers, nn.ReLU()) if active else nn.Sequential(*layers)
