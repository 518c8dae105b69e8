# SPDX-License-Identifier: Apache-2.0
"""Several frames of a stream in one request, on the real server: the answers of the frames one by one."""

import queue
from collections.abc import Sequence

import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from eulernet.network import LONGEST_SEQUENCE
from eulernet_core.limits import MAX_CHUNK_BYTES, MAX_CHUNK_FRAMES
from eulernet_core.status import Status
from eulernet_core.tensors import ENCODED, FRAME_BYTES, OUTPUTS, STREAM_MODEL
from eulernet_serving.cpu_repository import assemble_cpu
from eulernet_serving.embedded_server import EmbeddedServer, Ports
from eulernet_serving.repository_manifest import CPU_ONE_STAGE
from tests.conftest import FACE_MODELS, READY_TIMEOUT_S
from tests.model_repository.conftest import QUALITY, TIMEOUT_S, Answer, Raw, jpeg_input

pytestmark = pytest.mark.triton


@pytest.fixture(scope="module")
def one_stage(tmp_path_factory):
    """Calls a server with one stage."""
    folder = tmp_path_factory.mktemp("chunks")
    assemble_cpu(folder / "model_repository", FACE_MODELS, "fp32", CPU_ONE_STAGE)
    with EmbeddedServer(folder / "model_repository", Ports(0, 0), folder / "server.log") as running:
        running.wait_ready(READY_TIMEOUT_S)
        yield Raw(running)
        running.check_running()
        running.kill()


@pytest.fixture(params=["raw", "one_stage"])
def called(request):
    """Calls each server in turn."""
    return request.getfixturevalue(request.param)


def chunk_inputs(frames: Sequence[bytes], lengths: Sequence[int] | None = None) -> list[triton.InferInput]:
    given = np.array([[len(frame) for frame in frames] if lengths is None else lengths], np.int32)
    tensor = triton.InferInput(FRAME_BYTES, list(given.shape), "INT32")
    tensor.set_data_from_numpy(given)
    return [jpeg_input(ENCODED, b"".join(frames)), tensor]


def send(called: Raw, inputs: list[triton.InferInput], sequence_id: int, *, start=False, end=False):
    return called.client.infer(
        STREAM_MODEL,
        inputs,
        sequence_id=sequence_id,
        sequence_start=start,
        sequence_end=end,
        client_timeout=TIMEOUT_S,
    )


def parted(result: triton.InferResult) -> list[Answer]:
    """The answer of each frame, from the tensors of a chunk."""
    count = result.as_numpy("STATUS").shape[1]
    values = {name: result.as_numpy(name) for name in OUTPUTS}
    assert {name: value.shape for name, value in values.items()} == {
        **dict.fromkeys(("LIVENESS", "FRAME_COUNT", "STATUS"), (1, count)),
        "LOCATION_MAP": (1, count * 32, 32),
        "FACE_BOX": (1, count * 4),
    }
    rows = {name: value.reshape(count, -1) for name, value in values.items()}
    return [
        Answer(
            rows["LIVENESS"][i],
            rows["LOCATION_MAP"][i].reshape(32, 32),
            rows["FACE_BOX"][i],
            rows["FRAME_COUNT"][i],
            rows["STATUS"][i] & ~QUALITY,
            rows["STATUS"][i] & QUALITY,
        )
        for i in range(count)
    ]


def assert_equal(found: Sequence[Answer], expected: Sequence[Answer]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        for name, value in vars(one).items():
            np.testing.assert_array_equal(value, getattr(other, name), err_msg=name)


@pytest.mark.parametrize("sizes", [(1, 7, 1), (4, 4, 5), (MAX_CHUNK_FRAMES,)])
def test_chunks_of_any_size_are_answered_as_single_frames(called, moving_faces, sizes):
    frames = moving_faces(sum(sizes), seed=11)
    expected, number = called.sequence(frames), next(called.ids)
    found, first = [], 0
    for size in sizes:
        end = first + size
        part = chunk_inputs(frames[first:end])
        found += parted(send(called, part, number, start=first == 0, end=end == len(frames)))
        first = end
    assert_equal(found, expected)
    assert [int(each.count[0]) for each in found] == [t % LONGEST_SEQUENCE + 1 for t in range(len(frames))]


def test_a_bad_frame_costs_its_own_score_alone(called, moving_faces):
    frames = moving_faces(6, seed=12)
    mixed = [b"x", frames[0], frames[1], b"\xff\xd8\xff", *frames[2:]]
    found = parted(send(called, chunk_inputs(mixed), next(called.ids), start=True, end=True))
    assert_equal(found, called.sequence(mixed))
    assert [int(each.status[0]) & Status.UNDECODABLE != 0 for each in found] == [True, False, False, True, *[False] * 4]
    assert [int(each.count[0]) for each in found] == [0, 1, 2, 2, 3, 4, 5, 6]


def test_chunks_and_single_frames_of_many_streams_share_batches(called, moving_faces):
    streams = {next(called.ids): (moving_faces(12, seed), 1 + seed % 5) for seed in range(6)}
    expected = {number: called.sequence(frames) for number, (frames, _) in streams.items()}
    answers: queue.Queue = queue.Queue()
    sent = 0
    with triton.InferenceServerClient(called.server.url) as client:
        client.start_stream(lambda result, error: answers.put((result, error)))
        for first in range(12):
            for number, (frames, size) in streams.items():
                part = frames[first * size : (first + 1) * size]
                if part:
                    # A lone frame goes without the lengths, as every client without chunks sends it.
                    inputs = chunk_inputs(part) if len(part) > 1 else [jpeg_input(ENCODED, part[0])]
                    last = (first + 1) * size >= len(frames)
                    client.async_stream_infer(
                        STREAM_MODEL,
                        inputs,
                        request_id=str(number),
                        sequence_id=number,
                        sequence_start=first == 0,
                        sequence_end=last,
                    )
                    sent += 1
        collected = [answers.get(timeout=TIMEOUT_S) for _ in range(sent)]
        client.stop_stream()
    found: dict[int, list[Answer]] = {number: [] for number in streams}
    for result, error in collected:
        assert error is None, str(error)
        found[int(result.get_response().id)] += parted(result)
    for number, answered in found.items():
        assert_equal(answered, expected[number])


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        (lambda sizes: [*sizes[:-1], sizes[-1] - 1], "together"),
        (lambda sizes: [*sizes[:-1], sizes[-1] + 1], "together"),
        (lambda sizes: [0, sum(sizes)], "together"),
        (lambda sizes: [-5, sum(sizes) + 5], "together"),
        (lambda sizes: [2**31 - 1, 2**31 - 1], "together"),
        (lambda sizes: [*[1] * MAX_CHUNK_FRAMES, sum(sizes) - MAX_CHUNK_FRAMES], f"1 to {MAX_CHUNK_FRAMES} frames"),
    ],
)
def test_wrong_lengths_are_refused_and_the_stream_goes_on(called, moving_faces, lengths, message):
    frames, number = moving_faces(4, seed=13), next(called.ids)
    whole = called.sequence(frames)
    first = parted(send(called, chunk_inputs(frames[:2]), number, start=True))
    wrong = chunk_inputs(frames[2:], lengths([len(frame) for frame in frames[2:]]))
    with pytest.raises(InferenceServerException, match=FRAME_BYTES) as refused:
        send(called, wrong, number)
    assert message in str(refused.value)
    assert "INVALID_ARGUMENT" in str(refused.value.status())
    assert_equal(first + parted(send(called, chunk_inputs(frames[2:]), number, end=True)), whole)


def test_a_chunk_has_no_more_bytes_than_a_clip(called, moving_faces):
    large = moving_faces(1, seed=1)[0] + bytes(13 << 20)
    with pytest.raises(InferenceServerException, match=f"at most {MAX_CHUNK_BYTES}"):
        send(called, chunk_inputs([large] * 5), next(called.ids), start=True, end=True)


def test_no_length_at_all_is_refused(called, moving_faces):
    with pytest.raises(InferenceServerException):
        send(called, chunk_inputs(moving_faces(1, seed=1), []), next(called.ids), start=True, end=True)


def test_the_network_refuses_tensors_of_different_numbers_of_frames(raw):
    face, number = np.zeros((1, 512, 256, 3), np.uint8), next(raw.ids)
    with pytest.raises(InferenceServerException, match="FACE is"):
        raw.network(face, 0, number, start=True, end=True)
    assert raw.network(face[:, :256], 0, number, start=True, end=True).as_numpy("FRAME_COUNT").tolist() == [[1]]
