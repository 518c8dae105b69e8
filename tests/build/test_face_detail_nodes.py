# SPDX-License-Identifier: Apache-2.0
"""DEGRADED in the exported graphs: the same frames as by the NumPy formula, in every runtime and variant."""

from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from eulernet_build.export import CLIP_FOLDER, STEP_FOLDER
from eulernet_build.face_detail_nodes import lacks_detail, with_degraded
from eulernet_build.parity import onnxruntime_runner, openvino_runner
from eulernet_build.precision.half import to_half
from eulernet_build.surgery import fuse
from eulernet_core.face_detail import MIN_DETAIL, face_detail
from eulernet_core.shipped import model_repository
from eulernet_core.status import Status
from eulernet_core.tensors import FACE_SIDE_PX, usable_clips

RUNNERS = [onnxruntime_runner, openvino_runner]
Pictures = NDArray[np.uint8]


@pytest.fixture(scope="module")
def faces(portrait: Pictures) -> Pictures:
    """Crops of a face, from sharp to blurred, some near the threshold, and a plain picture: uint8 (12, 256, 256, 3)."""
    side = FACE_SIDE_PX
    crop = cv2.resize(portrait[:300, 70:370], (side, side), interpolation=cv2.INTER_AREA).astype(np.float32)
    noise = np.random.default_rng(1).normal(0, 3, (side, side, 1))
    blurred = [cv2.GaussianBlur(crop, (0, 0), sigma) for sigma in (0.3, 0.5, 0.7, 1.0, 1.5)]
    kinds = [crop, crop + noise, *blurred, *(each + noise / 4 for each in blurred[:4])]
    pictures = [np.clip(each, 0, 255).astype(np.uint8) for each in kinds]
    result = np.stack([*pictures, np.full((side, side, 3), 77, np.uint8)])
    details = face_detail(result)
    assert min(abs(details / MIN_DETAIL - 1)) > 1e-3  # rounding must not decide
    assert min(abs(details / MIN_DETAIL - 1)) < 0.1
    assert 3 <= (details < MIN_DETAIL).sum() <= len(result) - 3
    return result


def test_torch_and_numpy_agree(faces: Pictures) -> None:
    expected = face_detail(faces) < MIN_DETAIL
    assert lacks_detail(torch.from_numpy(faces)).tolist() == expected.tolist()
    clips = torch.from_numpy(faces.reshape(3, 4, *faces.shape[1:]))
    assert lacks_detail(clips).tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (Status.OK, Status.DEGRADED),
        (Status.SEVERAL_FACES | Status.RELOCATED, Status.SEVERAL_FACES | Status.RELOCATED | Status.DEGRADED),
        (Status.SMALL_FACE | Status.REPEATED, Status.SMALL_FACE | Status.DEGRADED | Status.REPEATED),
        (Status.DEGRADED, Status.DEGRADED),
        (Status.NO_FACE, Status.NO_FACE),
        (Status.UNDECODABLE | Status.RELOCATED, Status.UNDECODABLE | Status.RELOCATED),
    ],
)
def test_the_flag_is_added_once_and_to_scored_frames_only(status: int, expected: int) -> None:
    plain = torch.zeros(1, 16, 16, 3, dtype=torch.uint8)
    found = with_degraded(torch.tensor([[int(status)]], dtype=torch.int32), plain)
    assert found.dtype == torch.int32
    assert found.tolist() == [[expected]]


@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.parametrize("folder", [STEP_FOLDER, CLIP_FOLDER])
def test_every_runtime_flags_the_same_crops(faces: Pictures, runner, folder: Path) -> None:
    graph = onnx.load(model_repository() / folder / "model.onnx")
    assert flagged(runner(graph), graph, faces) == (face_detail(faces) < MIN_DETAIL).tolist()


def test_half_precision_flags_the_same_crops(faces: Pictures) -> None:
    graph = to_half(fuse(onnx.load(model_repository() / CLIP_FOLDER / "model.onnx")))
    assert flagged(onnxruntime_runner(graph), graph, faces) == (face_detail(faces) < MIN_DETAIL).tolist()


def flagged(run, graph: onnx.ModelProto, faces: Pictures) -> list[bool]:
    """Which crops get DEGRADED from a step graph or a clip graph."""
    if graph.graph.name == CLIP_FOLDER.parts[0]:
        inputs = usable_clips(faces.reshape(-1, 4, *faces.shape[1:]))
    else:
        inputs = {"FACE": faces, "STATUS": np.zeros((len(faces), 1), np.int32), "FACE_BOX": np.zeros((len(faces), 4))}
        for value in graph.graph.input[2:]:
            sides = [side.dim_value for side in value.type.tensor_type.shape.dim[1:]]
            kind = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
            inputs[value.name] = np.zeros((len(faces), *sides), kind)
    found: list[bool] = (run(inputs)["STATUS_OUT"].ravel() == Status.DEGRADED).tolist()
    return found
