# SPDX-License-Identifier: Apache-2.0
"""The golden case: pictures, statuses, state and PyTorch's outputs for them. Every later stage is compared with it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from eulernet.network import EulerNet
from eulernet_build.graphs import ClipGraph, StepGraph, state_names
from eulernet_build.parity import TensorMap, Tensors
from eulernet_core.clip_geometry import CLIP_FRAMES
from eulernet_core.tensors import FACE, FACE_BOX, NETWORK_OUTPUTS, STATUS

# Two clips: usable frames with notes and a repeated frame without a face; then a restart at an undecodable frame, a
# continuation and a restart at a usable frame.
CLIP_STATUS = [[0, 33, 132, 64], [0, 10, 32, 66]]
# Four running sequences: one continues, one restarts, one shows no face, one restarts at an undecodable frame.
STEP_STATUS = [[0], [34], [132], [10]]
# Frames without fine structure. DEGRADED is added to 33 and 34. The others show that 64 and 10 stay as they are.
CLIP_SMOOTH = [[False, True, False, True], [False, True, False, False]]
STEP_SMOOTH = [False, True, False, False]
STATE_STEP = 1 / 64  # of the filters' states: they compress better. A sum near the middle of two may become either one


def clip_case(network: EulerNet) -> Tensors:
    """Inputs and PyTorch's outputs of the clip graph, by tensor name."""
    faces = np.stack([_clip(network.config.image_size, subject) for subject in range(len(CLIP_STATUS))])
    faces[CLIP_SMOOTH] = _smooth(faces[CLIP_SMOOTH])
    status = np.array(CLIP_STATUS, dtype=np.int32)
    inputs = {FACE: faces, STATUS: status, FACE_BOX: _boxes(*status.shape)}
    return inputs | _outputs(ClipGraph(network), inputs, NETWORK_OUTPUTS)


def step_case(network: EulerNet) -> Tensors:
    """Inputs and PyTorch's outputs of the step graph, by tensor name."""
    n = len(STEP_STATUS)
    before, faces = np.stack([_clip(network.config.image_size, subject)[:2] for subject in range(n)], axis=1)
    faces[STEP_SMOOTH] = _smooth(faces[STEP_SMOOTH])
    status = np.array(STEP_STATUS, dtype=np.int32)
    *state, count = _after(network, before)
    state.append(np.arange(5, 5 + count.size, dtype=np.int32).reshape(count.shape))
    inputs = {
        FACE: faces,
        STATUS: status,
        FACE_BOX: _boxes(n, 1)[:, 0],
        **dict(zip(state_names(network, "in"), state, strict=True)),
    }
    return inputs | _outputs(StepGraph(network), inputs, [*NETWORK_OUTPUTS, *state_names(network, "out")])


def _outputs(graph: nn.Module, inputs: TensorMap, names: Sequence[str]) -> Tensors:
    with torch.inference_mode():
        outputs = graph(*(torch.from_numpy(value) for value in inputs.values()))
    return dict(zip(names, (tensor.numpy() for tensor in outputs), strict=True))


def _boxes(n: int, frames: int) -> np.ndarray[Any, Any]:
    """Square boxes with fractions of a pixel: float32 (N, T, 4)."""
    row, t = np.indices((n, frames))
    x0, y0, side = 100.25 + 8 * t, 60.5 + 16 * row, 144.75 + 32 * row
    boxes: np.ndarray[Any, Any] = np.stack([x0, y0, x0 + side, y0 + side], axis=-1)
    return boxes.astype(np.float32)


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


def _smooth(pictures: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Means of 3x3 px, taken four times, in integers: uint8 (M, H, W, 3)."""
    means = pictures.astype(np.int64)
    for axis in 4 * (1, 2):
        means = (np.roll(means, 1, axis) + means + np.roll(means, -1, axis)) // 3
    return means.astype(np.uint8)


def _after(network: EulerNet, faces: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
    """The state of sequences that have seen one frame each, uint8 (N, H, W, 3); maps in steps of STATE_STEP."""
    n = len(faces)
    with torch.inference_mode():
        _, state = network.step(torch.from_numpy(faces), torch.zeros(n, 1, dtype=torch.int32), network.initial_state(n))
    return [
        (torch.round(each / STATE_STEP) * STATE_STEP if each.is_floating_point() else each).numpy() for each in state
    ]
