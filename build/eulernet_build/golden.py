# SPDX-License-Identifier: Apache-2.0
"""The golden case: pictures, statuses, state and PyTorch's outputs for them. Every later stage is compared with it."""

from typing import Any

import numpy as np
import torch

from eulernet.network import EulerNet
from eulernet_build.graphs import OUTPUT_NAMES, state_names
from eulernet_build.parity import Tensors
from eulernet_core.clip_geometry import CLIP_FRAMES
from eulernet_core.tensors import FACE, STATUS

# Two clips: usable frames, one of them with several faces; then a frame without a face, a continuation and a restart.
CLIP_STATUS = [[0, 1, 0, 0], [0, 4, 0, 2]]
# Three running sequences: one continues, one restarts, one shows no face.
STEP_STATUS = [[0], [2], [4]]


def clip_case(network: EulerNet) -> Tensors:
    """Inputs and PyTorch's outputs of the clip graph, by tensor name."""
    faces = np.stack([_clip(network.config.image_size, subject) for subject in range(len(CLIP_STATUS))])
    status = np.array(CLIP_STATUS, dtype=np.int32)
    with torch.inference_mode():
        prediction = network(torch.from_numpy(faces), torch.from_numpy(status))
    outputs = (tensor.numpy() for tensor in prediction)
    return {FACE: faces, STATUS: status, **dict(zip(OUTPUT_NAMES, outputs, strict=True))}


def step_case(network: EulerNet) -> Tensors:
    """Inputs and PyTorch's outputs of the step graph, by tensor name."""
    n = len(STEP_STATUS)
    faces = np.stack([_clip(network.config.image_size, subject)[1] for subject in range(n)])
    status = np.array(STEP_STATUS, dtype=np.int32)
    state = [_state(tensor.numpy(), i) for i, tensor in enumerate(network.initial_state(n))]
    with torch.inference_mode():
        prediction, new_state = network.step(
            torch.from_numpy(faces), torch.from_numpy(status), tuple(torch.from_numpy(s) for s in state)
        )
    return {
        FACE: faces,
        STATUS: status,
        **dict(zip(state_names(network, "in"), state, strict=True)),
        **dict(zip(OUTPUT_NAMES, (tensor.numpy() for tensor in prediction), strict=True)),
        **dict(zip(state_names(network, "out"), (tensor.numpy() for tensor in new_state), strict=True)),
    }


def _clip(size: int, subject: int) -> np.ndarray[Any, Any]:
    """A drawn head that moves by a few pixels: uint8 (T, size, size, 3).

    Integer arithmetic makes the pixels the same on every machine; steps of 8 let them compress.
    """
    frames = []
    y, x = np.mgrid[0:size, 0:size] * 256 // size
    for t in range(CLIP_FRAMES):
        cy, cx = 128 + 2 * t * (1 - subject), 124 + 3 * t + 5 * subject
        head = (x - cx) ** 2 * 100 + (y - cy) ** 2 * 64
        shade = np.clip(255 - head // 5000, 0, 255)
        eyes = np.minimum((x - cx + 34) ** 2, (x - cx - 34) ** 2) + (y - cy + 24) ** 2 < 90
        mouth = ((x - cx) ** 2 // 6 + (y - cy - 48) ** 2) < 60 + 20 * t
        backdrop = (x * (2 + subject) + y) // 6 % 128 + 40
        grey = np.where(head < 640_000, shade, backdrop)
        grey = np.where(eyes | mouth, 32 + 16 * subject, grey)
        picture = np.stack([grey, grey * 4 // 5, grey * (3 - subject % 2) // 5], axis=-1)
        frames.append((picture // 8 * 8).astype(np.uint8))
    return np.stack(frames)


def _state(zero: np.ndarray[Any, Any], index: int) -> np.ndarray[Any, Any]:
    """State of a running sequence in the shape of `zero`: counts, or smooth maps between -0.5 and 0.5."""
    if zero.dtype == np.int32:
        return np.arange(5, 5 + zero.size, dtype=np.int32).reshape(zero.shape)
    n, k, y, x = np.indices(zero.shape)
    wave = (y * (k + 1) + x * (index + 1)) * 64 // zero.shape[-1] + 7 * n
    maps: np.ndarray[Any, Any] = (np.abs(wave % 64 - 32) - 16) / 32
    return maps.astype(np.float32)
