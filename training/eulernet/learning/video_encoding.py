# SPDX-License-Identifier: Apache-2.0
"""Clips as from a smaller, compressed video: scaled down, encoded as H.264, decoded, and enlarged as in service."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import av
import cv2
import numpy as np
import torch
from av.video.reformatter import ColorRange, Colorspace, Interpolation
from numpy.typing import NDArray
from torch import Tensor

from eulernet.datasets.mp4 import SAME_EVERYWHERE, label_bt709
from eulernet.learning.settings import EncodingSettings

Pictures = Sequence[NDArray[np.uint8]]

_RATE_FPS = Fraction(30)
_PRESET = "veryfast"
_FULL_SIZE = 0.3  # of the encoded clips keep their size


def encoded(clips: Tensor, whole_px: int, settings: EncodingSettings, generator: torch.Generator) -> Tensor:
    """Encodes a share of the clips, drawn by the generator; the others stay as they are.

    Args:
        clips: uint8 (K, T, H, H, 3), windows of a crop of `whole_px`.
        settings: the share, the smallest crop and the quantizers.
        generator: on the CPU; it determines everything.

    Returns: uint8 (K, T, H, H, 3), on the same device.
    """
    if not settings.share:
        return clips
    side = clips.shape[2]
    chosen, size, quantizer = torch.rand(3, len(clips), generator=generator)
    size = ((size - _FULL_SIZE) / (1.0 - _FULL_SIZE)).clamp(0.0, 1.0)  # 0: as it is
    scales = min(1.0, settings.smallest_px / whole_px) ** size
    crfs = settings.lowest_crf + quantizer * (settings.highest_crf - settings.lowest_crf)
    found = clips.clone()
    for k in torch.nonzero(chosen < settings.share).flatten().tolist():
        frames = encode_and_decode(list(clips[k].cpu().numpy()), _even(side * float(scales[k])), float(crfs[k]))
        enlarged = [cv2.resize(each, (side, side), interpolation=cv2.INTER_LINEAR) for each in frames]
        found[k] = torch.from_numpy(np.stack(enlarged)).to(clips.device)
    return found


def encode_and_decode(frames: Pictures, side_px: int, crf: float) -> Pictures:
    """Frames, uint8 (H, H, 3) RGB, scaled to `side_px` (even), through x264 with a constant rate factor and back.

    Returns: uint8 (side_px, side_px, 3) RGB each. The colours are BT.709.
    """
    encoder: Any = av.CodecContext.create("libx264", "w")
    encoder.width = encoder.height = side_px
    encoder.pix_fmt, encoder.framerate, encoder.time_base = "yuv420p", _RATE_FPS, 1 / _RATE_FPS
    label_bt709(encoder)
    encoder.options = {"crf": f"{crf:.2f}", "preset": _PRESET, **SAME_EVERYWHERE}
    packets = []
    for number, picture in enumerate(frames):
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(
            side_px,
            side_px,
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
            interpolation=Interpolation.BICUBIC,
        )
        frame.pts = number
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    decoder: Any = av.CodecContext.create("h264", "r")
    found = [frame for packet in packets for frame in decoder.decode(packet)] + decoder.decode(None)
    return [frame.to_ndarray(format="rgb24") for frame in found]


def _even(length: float) -> int:
    return 2 * round(length / 2)
