# SPDX-License-Identifier: Apache-2.0
"""Requests and responses, on tritonclient's own objects."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tritonclient.grpc import service_pb2
from tritonclient.grpc._utils import _get_inference_request

from eulernet_client import Status, errors
from eulernet_client._requests import (
    Answer,
    ServedModel,
    SourceScores,
    StreamState,
    clip_call,
    frames_as_clip,
    parse_clip,
    parse_frame,
    served_model,
)
from eulernet_client.sources import SourceClip, SourceFrame
from eulernet_core.clip_geometry import clip_indices

JPEGS = [b"\xff\xd8one", b"\xff\xd8two!", b"\xff\xd8three", b""]
GOOD = [0, 0, 0, 0]
COUNTS = [1, 2, 3, 4]


def message(call) -> service_pb2.ModelInferRequest:
    """The protobuf request that tritonclient makes of a call."""
    rest = {"model_version": "", "priority": 0, "timeout": None, "parameters": None}
    return _get_inference_request(**call.arguments(), **rest)


def source_clip(number: int = 0, start: int = 45) -> SourceClip:
    return SourceClip(number, tuple(SourceFrame(i, f"frame {i}", b"jpeg %d" % i) for i in clip_indices(start)))


def test_clip_request() -> None:
    request = message(clip_call(JPEGS))
    assert request.model_name == "antispoof_clip"
    assert [tensor.name for tensor in request.inputs] == ["ENCODED_0", "ENCODED_1", "ENCODED_2", "ENCODED_3"]
    assert [tensor.datatype for tensor in request.inputs] == ["UINT8"] * 4
    # An empty file becomes one byte: Triton takes no empty tensor.
    assert [list(tensor.shape) for tensor in request.inputs] == [[1, 5], [1, 6], [1, 7], [1, 1]]
    assert list(request.raw_input_contents) == [*JPEGS[:3], b"\0"]
    assert {tensor.name for tensor in request.outputs} == {
        "LIVENESS",
        "LOCATION_MAP",
        "FACE_BOX",
        "FRAME_COUNT",
        "STATUS",
    }
    assert not request.parameters, "a clip has no sequence"


@pytest.mark.parametrize("count", [0, 3, 5])
def test_clip_of_another_length_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match=f"^{count} frames"):
        clip_call([b"x"] * count)


def test_clip_answer(make) -> None:
    maps = np.random.default_rng(1).random(4 * 32 * 32, dtype=np.float32)
    boxes = np.arange(16, dtype=np.float32)
    frames = parse_clip(make.answer([0.1, 0.2, 0.3, 0.4], [0, 1, 4, 10], COUNTS, maps=maps, boxes=boxes))
    assert [frame.liveness for frame in frames] == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert [frame.status.label for frame in frames] == ["OK", "SEVERAL_FACES", "NO_FACE", "RELOCATED|UNDECODABLE"]
    assert [frame.frame_count for frame in frames] == COUNTS
    assert [frame.box for frame in frames] == [(0, 1, 2, 3), (4, 5, 6, 7), (8, 9, 10, 11), (12, 13, 14, 15)]
    np.testing.assert_array_equal(np.stack([f.location_map for f in frames]), maps.reshape(4, 32, 32))
    with pytest.raises(ValueError, match="read-only"):
        frames[0].location_map[0, 0] = 1


def test_stream_answer(make) -> None:
    frame = parse_frame(make.answer([0.75], [2], [1], stream=True))
    assert (frame.liveness, frame.status, frame.frame_count) == (0.75, Status.RELOCATED, 1)
    assert frame.location_map.shape == (32, 32)
    assert frame.box == (40, 30, 200, 190)


@pytest.mark.parametrize("name", ["LIVENESS", "LOCATION_MAP", "FACE_BOX", "FRAME_COUNT", "STATUS"])
def test_missing_output_is_named(name: str, make) -> None:
    with pytest.raises(errors.ResponseError, match=f"^antispoof_clip: .*{name}"):
        parse_clip(make.answer([0.0] * 4, GOOD, COUNTS, leave_out=name))


def test_answer_of_another_shape_is_refused(make) -> None:
    with pytest.raises(errors.ResponseError, match=r"LIVENESS .*\(1, 1\).*\(1, 4\)"):
        parse_clip(make.answer([0.5], [0], [1], stream=True))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_answer_that_is_not_finite_is_refused(bad: float, make) -> None:
    with pytest.raises(errors.ResponseError, match="LIVENESS"):
        parse_clip(make.answer([0.5, bad, 0.5, 0.5], GOOD, COUNTS))
    with pytest.raises(errors.ResponseError, match="LOCATION_MAP"):
        parse_clip(make.answer([0.5] * 4, GOOD, COUNTS, maps=np.full(4096, bad, np.float32)))


def test_clip_result(make) -> None:
    scores = SourceScores("selfie.mp4", keep_jpegs=True)
    scores.add(source_clip(), Answer(make.answer([0.1, 0.2, 0.3, 0.625], [0, 1, 0, 0], COUNTS), 0, 0.08))
    result = scores.result("run 7")
    assert (result.path, result.liveness, result.live, result.verdict) == ("selfie.mp4", 0.625, True, "live")
    assert (result.weights, result.latency_s, result.frames_used) == ("run 7", 0.08, 4)
    assert result.ms_per_frame == pytest.approx(20)
    assert [frame.index for frame in result.frames] == [45, 48, 51, 54]
    assert result.frames[1].jpeg == b"jpeg 48"
    (warning,) = result.warnings
    assert "several faces in 1 of 4 frames" in warning


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        (Status.SEVERAL_FACES, "several faces"),
        (Status.SMALL_FACE, "small face"),
        (Status.DEGRADED, "compressed"),
        (Status.REPEATED, "same picture"),
    ],
)
def test_each_flag_of_a_scored_frame_is_a_warning(flag: Status, said: str, make) -> None:
    scores = SourceScores("a")
    scores.add(source_clip(), Answer(make.answer([0.5] * 4, [0, flag, flag, 0], COUNTS), 0, 0.1))
    (warning,) = scores.result("").warnings
    assert said in warning
    assert ("2 of 4 frames" in warning) == (flag != Status.REPEATED)


@pytest.mark.parametrize(("liveness", "live"), [(0.5, True), (np.nextafter(np.float32(0.5), np.float32(0)), False)])
def test_live_from_one_half_up(liveness: float, live: bool, make) -> None:
    scores = SourceScores("a")
    scores.add(source_clip(), Answer(make.answer([0, 0, 0, liveness], GOOD, COUNTS), 0, 0.1))
    assert scores.result("").live is live


def test_several_clips_give_their_mean(make) -> None:
    scores = SourceScores("a.mp4")
    for number, liveness in enumerate([0.25, 0.5, 1.0]):
        clip = source_clip(number, 100 * number)
        scores.add(clip, Answer(make.answer([0, 0, 0, liveness], GOOD, COUNTS), 0, 0.1))
    scores.add(source_clip(3, 300), Answer(make.answer([0.0] * 4, [0, 4, 0, 0], [1, 1, 2, 3]), 0, 0.1))
    result = scores.result("")
    assert result.liveness == pytest.approx((0.25 + 0.5 + 1.0) / 3)
    assert result.latency_s == pytest.approx(0.4)
    assert [frame.clip for frame in result.frames] == [0] * 4 + [1] * 4 + [2] * 4
    (warning,) = result.warnings
    assert "1 of 4 clips" in warning
    assert "a.mp4: frame 303: " in warning


@pytest.mark.parametrize(
    ("status", "counts", "kind", "index", "fields"),
    [
        ([4, 4, 4, 4], [0, 0, 0, 0], errors.NoFaceError, 45, "15 %"),
        ([0, 0, 0, 4], [1, 2, 3, 3], errors.NoFaceError, 54, ""),
        ([0, 8, 0, 0], [1, 1, 2, 3], errors.UndecodableError, 48, "JPEG"),
        ([16, 16, 16, 16], [0] * 4, errors.TooLargeError, 45, "pixel limit"),
        ([0, 0, 2, 0], [1, 2, 1, 2], errors.FaceMovedError, 51, ""),
        ([0, 0, 24, 0], [1, 2, 2, 3], errors.TooLargeError, 51, ""),
        ([4, 2, 0, 0], [0, 1, 2, 3], errors.NoFaceError, 45, ""),
        ([0, 0, 0, 0], [1, 2, 3, 3], errors.ResponseError, None, "FRAME_COUNT is 3"),
    ],
)
def test_clip_without_a_score_says_why(
    status: list[int], counts: list[int], kind: type[Exception], index: int | None, fields: str, make
) -> None:
    scores = SourceScores("d/selfie.mp4")
    scores.add(source_clip(), Answer(make.answer([0.0] * 4, status, counts), 0, 0.1))
    assert not scores.scored
    with pytest.raises(errors.EulerNetError, match=f"^d/selfie.mp4: .*{fields}") as caught:
        scores.result("")
    assert type(caught.value) is kind
    if isinstance(caught.value, errors.FrameError):
        assert (caught.value.path, caught.value.index) == ("d/selfie.mp4", index)
        assert f"frame {index}:" in str(caught.value)


def test_restart_at_the_first_frame_loses_nothing(make) -> None:
    scores = SourceScores("a")
    scores.add(source_clip(), Answer(make.answer([0, 0, 0, 0.9], [2, 0, 0, 0], COUNTS), 0, 0.1))
    assert scores.result("").live


def test_frame_of_a_folder_is_named(make) -> None:
    clip = SourceClip(0, tuple(SourceFrame(i, f"frame {i} (img{i}.jpg)", b"") for i in range(4)))
    scores = SourceScores("frames")
    scores.add(clip, Answer(make.answer([0.0] * 4, [0, 8, 0, 0], [1, 1, 2, 3]), 0, 0.1))
    with pytest.raises(errors.UndecodableError, match=r"^frames: frame 1 \(img1.jpg\): "):
        scores.result("")


def test_result_as_json(make) -> None:
    scores = SourceScores("a.mp4", keep_jpegs=True)
    scores.add(source_clip(), Answer(make.answer([0.25] * 4, GOOD, COUNTS), 0, 0.125))
    result = scores.result("untrained")
    row = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert row["frames"][0] == {
        "index": 45,
        "clip": 0,
        "liveness": 0.25,
        "box": [40, 30, 200, 190],
        "frame_count": 1,
        "status": "OK",
        "started_anew": False,
    }
    assert {key: row[key] for key in row if key != "frames"} == {
        "path": "a.mp4",
        "verdict": "attack",
        "liveness": 0.25,
        "frames_used": 4,
        "latency_s": 0.125,
        "weights": "untrained",
        "warnings": [],
    }
    maps = [frame["location_map"] for frame in result.to_dict(location_maps=True)["frames"]]
    assert np.shape(maps) == (4, 32, 32)


def test_results_are_frozen(make) -> None:
    frame = parse_frame(make.answer([0.5], [0], [1], stream=True))
    with pytest.raises(AttributeError):
        frame.liveness = 1.0


def test_raise_for_status(make) -> None:
    parse_frame(make.answer([0.5], [3], [1], stream=True)).raise_for_status()
    with pytest.raises(errors.NoFaceError, match="^frame 0: "):
        parse_frame(make.answer([0.0], [4], [0], stream=True)).raise_for_status()


def flags(call) -> tuple[bool, bool]:
    parameters = message(call).parameters
    return parameters["sequence_start"].bool_param, parameters["sequence_end"].bool_param


def frame_answer(make, count: int, status: int = 0) -> Answer:
    return Answer(make.answer([0.5], [status], [count], stream=True), 0, 0.1)


def test_stream_start_and_end(make) -> None:
    state = StreamState(7)
    seen = []
    for number in range(3):
        call = state.call([b"jpeg"], last=number == 2)
        assert call.model == "antispoof"
        assert message(call).parameters["sequence_id"].int64_param == 7
        seen.append(flags(call))
        (frame,) = state.answered(frame_answer(make, number + 1), [b"jpeg"], last=number == 2)
        assert frame.index == number
    assert seen == [(True, False), (False, False), (False, True)]
    assert state.closing_call() is None, "END was sent"
    with pytest.raises(errors.SequenceError, match="stream 7: "):
        state.check_open()


def test_closing_a_stream_sends_end_with_an_undecodable_byte(make) -> None:
    state = StreamState("door 4")
    assert state.closing_call() is None, "nothing was sent, no slot is held"
    state.answered(frame_answer(make, 1), [b"jpeg"], last=False)
    call = state.closing_call()
    assert call is not None
    assert flags(call) == (False, True)
    assert list(message(call).raw_input_contents) == [b"\0"]
    assert message(call).parameters["sequence_id"].string_param == "door 4"
    assert state.closing_call() is None, "END is sent once"


@pytest.mark.parametrize("error", [errors.RequestTimeoutError("h:1: no answer in time"), KeyboardInterrupt()])
def test_without_a_replay_the_first_frame_may_be_sent_again_later_ones_may_not(make, error: BaseException) -> None:
    state = StreamState(9)
    assert not state.failed(error)
    assert flags(state.call([b"0"], last=False)) == (True, False)
    state.answered(frame_answer(make, 1), [b"0"], last=False)
    assert state.failed(error)
    with pytest.raises(errors.StreamLostError, match="stream 9: ") as caught:
        state.check_open()
    assert caught.value.__cause__ is error


def test_the_error_of_a_lost_stream_names_the_cause() -> None:
    lost = StreamState(9).lost(errors.RequestTimeoutError("h:1: no answer in time"))
    assert type(lost) is errors.StreamLostError
    assert "stream 9: " in str(lost)
    assert "h:1: no answer in time" in str(lost)


def played(make, *frames: tuple[bytes, int, int], bound: float = 1e6) -> StreamState:
    """A stream that keeps frames, after frames with these JPEGs, STATUS and FRAME_COUNT."""
    state = StreamState(9, bound)
    for jpeg, status, count in frames:
        state.answered(frame_answer(make, count, status), [jpeg], last=False)
    return state


def kept(state: StreamState) -> list[bytes]:
    return [each.jpeg for each in state.kept]


def test_a_failed_frame_is_replayed_after_the_kept_ones(make) -> None:
    state = played(make, (b"0", 0, 1), (b"1", 8, 1), (b"2", 0, 2))
    assert not state.failed(errors.ServerFailedError("x"))
    calls = [state.replay_call(each, start=number == 0) for number, each in enumerate(state.kept)]
    assert [message(call).raw_input_contents[0] for call in calls] == [b"0", b"1", b"2"]
    assert [flags(call) for call in calls] == [(True, False), (False, False), (False, False)]
    state.rebuilt()
    assert flags(state.call([b"3"], last=True)) == (False, True)
    assert not state.answered(frame_answer(make, 3), [b"3"], last=True)[0].started_anew


def test_frames_before_a_restart_of_the_filter_are_not_kept(make) -> None:
    assert kept(played(make, (b"0", 0, 1), (b"1", 2, 1), (b"2", 1, 2), (b"3", 64, 3))) == [b"1", b"2", b"3"]
    unusable = played(make, (b"0", 0, 1), (b"1", 2 | 8, 0), (b"2", 0, 1))
    assert kept(unusable) == [b"0", b"1", b"2"], "a face that could not be cropped does not start the filter"


def test_frames_without_a_face_are_kept_once_and_never_before_the_first_face(make) -> None:
    state = played(make, (b"a", 4, 0), (b"b", 4, 0))
    assert kept(state) == []
    state.failed(errors.ServerFailedError("x"))
    state.rebuilt()
    assert flags(state.call([b"c"], last=False)) == (True, False), "START: there is no state to rebuild"
    state = played(make, (b"a", 4, 0), (b"0", 0, 1), (b"b", 4, 1), (b"c", 4, 1), (b"d", 8, 1), (b"e", 4, 1))
    assert kept(state) == [b"0", b"b", b"d", b"e"]


def test_the_bound_of_the_kept_frames(make) -> None:
    big = bytes(1000)
    state = played(make, (big, 0, 1), (big, 0, 2), bound=3000)
    assert state.kept.complete
    state.answered(frame_answer(make, 3), [big], last=False)
    assert (state.kept.complete, len(state.kept)) == (False, 0)
    state.failed(errors.ServerFailedError("x"))
    state.start_anew()
    assert flags(state.call([big], last=False)) == (True, False)
    assert state.answered(frame_answer(make, 1), [big], last=False)[0].started_anew
    assert state.kept.complete, "the new start can be replayed"
    assert len(state.kept) == 1
    assert not state.answered(frame_answer(make, 2), [big], last=False)[0].started_anew
    moved = played(make, (big, 0, 1), (big, 0, 2), (big, 0, 3), (big, 2, 1), bound=3000)
    assert moved.kept.complete, "so can a relocated face"


def test_a_broken_response_is_followed_by_a_replay(make) -> None:
    state = played(make, (b"0", 0, 1))
    with pytest.raises(errors.ResponseError):
        state.answered(Answer(make.answer([0.5], [0], [1], stream=True, leave_out="STATUS"), 0, 0.1), [b"1"], False)
    assert not state.served
    assert kept(state) == [b"0"]


def test_correlation_ids() -> None:
    drawn = {StreamState().sequence_id for _ in range(100)}
    assert len(drawn) == 100
    assert all(isinstance(number, int) and 0 < number < 2**63 for number in drawn)
    for bad in (0, -1, 2**63, "", "x" * 129):
        with pytest.raises(ValueError, match="sequence_id"):
            StreamState(bad)
    assert StreamState("x" * 128).sequence_id == "x" * 128


def test_frames_from_memory() -> None:
    clip = frames_as_clip([b"a", b"b", b"c", b"d"])
    assert clip.jpegs == [b"a", b"b", b"c", b"d"]
    assert [frame.index for frame in clip.frames] == [0, 1, 2, 3]


def test_label_and_identity_of_a_server() -> None:
    response = service_pb2.ModelConfigResponse()
    assert served_model(response) == ServedModel("unknown", "unknown")
    response.config.parameters["weights"].string_value = "oulu-p1-ema"
    assert served_model(response) == ServedModel("oulu-p1-ema", "unknown")
    response.config.parameters["identity"].string_value = "1a2b3c4d5e6f7a8b fp32"
    assert served_model(response) == ServedModel("oulu-p1-ema", "1a2b3c4d5e6f7a8b fp32")
