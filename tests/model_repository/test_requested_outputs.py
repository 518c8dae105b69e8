# SPDX-License-Identifier: Apache-2.0
"""A request may name any of an ensemble's outputs: Triton skips steps that it takes for unneeded, and none may be."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pytest
import tritonclient.grpc as triton

from eulernet_core.status import Status
from eulernet_core.tensors import CLIP_ENCODED, CLIP_MODEL, ENCODED, FACE_BOX, LIVENESS, OUTPUTS, STATUS, STREAM_MODEL
from tests.model_repository.conftest import TIMEOUT_S, Raw, jpeg_input

pytestmark = pytest.mark.triton

REQUESTS = [*combinations(OUTPUTS, 1), *combinations(OUTPUTS, 2), OUTPUTS]
Tensors = dict[str, np.ndarray]


def infer(raw: Raw, model: str, frames: dict[str, bytes], names: Sequence[str], **sequence: object) -> Tensors:
    """The outputs of one request that names these outputs."""
    inputs = [jpeg_input(name, frame) for name, frame in frames.items()]
    outputs = [triton.InferRequestedOutput(name) for name in names]
    result = raw.client.infer(model, inputs, outputs=outputs, client_timeout=TIMEOUT_S, **sequence)
    assert {each.name for each in result.get_response().outputs} == set(names)
    return {name: result.as_numpy(name) for name in names}


def stream_frame(raw: Raw, frame: bytes, names: Sequence[str], **sequence: object) -> Tensors:
    return infer(raw, STREAM_MODEL, {ENCODED: frame}, names, **sequence)


def assert_part_of(part: Tensors, whole: Tensors) -> None:
    for name, value in part.items():
        assert value.dtype == whole[name].dtype
        np.testing.assert_allclose(value, whole[name], rtol=0, atol=1e-5, err_msg=name)


@pytest.fixture(scope="module")
def frames(moving_faces) -> list[bytes]:
    return moving_faces(4, seed=5)


@pytest.fixture(scope="module")
def whole_clip(raw, frames) -> Tensors:
    """All outputs of a clip."""
    return infer(raw, CLIP_MODEL, dict(zip(CLIP_ENCODED, frames, strict=True)), OUTPUTS)


@pytest.fixture(scope="module")
def whole_stream(raw, frames) -> list[Tensors]:
    """All outputs of each frame of a stream."""
    key, last = next(raw.ids), len(frames) - 1
    order = [{"sequence_id": key, "sequence_start": t == 0, "sequence_end": t == last} for t in range(len(frames))]
    return [stream_frame(raw, frame, OUTPUTS, **each) for frame, each in zip(frames, order, strict=True)]


@pytest.mark.parametrize("names", REQUESTS, ids="+".join)
def test_a_clip(raw, frames, whole_clip, names):
    assert_part_of(infer(raw, CLIP_MODEL, dict(zip(CLIP_ENCODED, frames, strict=True)), names), whole_clip)


@pytest.mark.parametrize("names", REQUESTS, ids="+".join)
def test_a_stream_goes_on(raw, frames, whole_stream, names):
    """The outputs of the first frame, of one in the middle and of the last are named; the stream loses no frame."""
    key = next(raw.ids)
    asked = [names, names, OUTPUTS, names]
    for t, (frame, each) in enumerate(zip(frames, asked, strict=True)):
        answer = stream_frame(raw, frame, each, sequence_id=key, sequence_start=t == 0, sequence_end=t == 3)
        assert_part_of(answer, whole_stream[t])
    with pytest.raises(triton.InferenceServerException, match="START"):
        stream_frame(raw, frames[0], names, sequence_id=key)


@pytest.mark.parametrize("names", [(STATUS,), (FACE_BOX,), (LIVENESS,)], ids="+".join)
def test_a_stream_of_one_frame(raw, frames, whole_stream, names):
    answer = stream_frame(raw, frames[0], names, sequence_id=next(raw.ids), sequence_start=True, sequence_end=True)
    assert_part_of(answer, whole_stream[0])


def test_the_status_of_bad_frames_alone(raw, frames):
    clip = [frames[0], b"", b"text", frames[3]]
    status = infer(raw, CLIP_MODEL, dict(zip(CLIP_ENCODED, clip, strict=True)), (STATUS,))
    assert [Status(int(each)).usable for each in status[STATUS][0]] == [True, False, False, True]
    key = next(raw.ids)
    first = stream_frame(raw, b"text", (STATUS,), sequence_id=key, sequence_start=True)
    assert first[STATUS].tolist() == [[Status.UNDECODABLE]]
    second = stream_frame(raw, frames[0], (STATUS, FACE_BOX), sequence_id=key, sequence_end=True)
    assert Status(int(second[STATUS].item())).usable
    assert second[FACE_BOX].any()
