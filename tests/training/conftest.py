# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the training tests: one thread, clips, and videos of a moving picture."""

from collections.abc import Callable, Iterator
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def make_clip() -> Callable[..., Tensor]:
    """make_clip(n, t, size, seed) gives smooth random pictures, uint8 (n, t, size, size, 3)."""

    def make(n: int, t: int = 4, size: int = 64, seed: int = 0) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        coarse = torch.rand(n * t, 3, 4, 4, generator=generator)
        smooth = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bilinear", align_corners=True)
        return (smooth * 255.0).to(torch.uint8).permute(0, 2, 3, 1).reshape(n, t, size, size, 3).contiguous()

    return make


@pytest.fixture(scope="session")
def write_shifted() -> Callable[..., None]:
    """write_shifted(path, picture, step_px, down_px, gain) writes 14 frames, 320x240, of a picture that moves right."""

    def write(path: Path, picture: NDArray[np.uint8], step_px: float, down_px: float = -20, gain: float = 1.0) -> None:
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=30, options={"preset": "ultrafast"})
            stream.height, stream.width = 240, 320
            for number in range(14):
                shift = np.array([[1.2, 0, -150 + step_px * number], [0, 1.2, down_px]], np.float32)
                frame = cv2.warpAffine(picture, shift, (320, 240)) * gain
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame.astype(np.uint8), format="rgb24")))
            container.mux(stream.encode())

    return write
