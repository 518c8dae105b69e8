# SPDX-License-Identifier: Apache-2.0
"""One WebSocket is one stream: answers equal the client library's, nothing queues, and STATUS is put into words."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from eulernet_client import Client, FrameResult
from eulernet_client._result import PROBLEMS
from eulernet_client.console.live_stream import MAP_LEVELS
from eulernet_client.console.status_words import HeldVerdict, verdict, words
from eulernet_core.status import NOT_SCORED, Status
from eulernet_core.weights_label import weights_warning
from eulernet_serving.embedded_server import EmbeddedServer
from tests.client.tcp_relay import Relay
from tests.console.conftest import Console


@contextmanager
def stream(console: Console) -> Iterator[ClientConnection]:
    """A stream of the console, as its page opens it."""
    with connect(f"ws://127.0.0.1:{console.port}/api/stream", origin=console.address, proxy=None) as socket:  # type: ignore[arg-type]
        yield socket


def play(socket: ClientConnection, frames: list[bytes]) -> list[dict[str, Any]]:
    """Sends each frame after the answer to the one before."""
    answers = []
    for frame in frames:
        socket.send(frame)
        answers.append(json.loads(socket.recv(timeout=120)))
    return answers


@pytest.mark.triton
def test_two_sockets_are_two_streams_with_the_librarys_answers(
    console: Console, server: EmbeddedServer, moving_faces: Callable[[int, int], list[bytes]]
) -> None:
    played = [moving_faces(6, seed) for seed in (1, 2)]
    with stream(console) as one, stream(console) as two:
        answers: list[list[dict[str, Any]]] = [[], []]
        for pair in zip(*played, strict=True):
            for number, socket in enumerate((one, two)):
                answers[number] += play(socket, [pair[number]])
    for frames, answered in zip(played, answers, strict=True):
        with Client(server.url, timeout_s=60) as client, client.stream() as calm:
            expected = [calm.score(frame) for frame in frames]
        for answer, frame in zip(answered, expected, strict=True):
            assert answer["liveness"] == pytest.approx(frame.liveness, abs=1e-5)
            assert answer["verdict"] == verdict(frame)
            assert answer["frame_count"] == frame.frame_count
            assert answer["box"] == pytest.approx(frame.box)
            levels = np.frombuffer(base64.b64decode(answer["map"]), np.uint8).reshape(frame.location_map.shape)
            assert np.abs(levels / MAP_LEVELS - frame.location_map).max() < 0.01
    assert [each["verdict"] for each in answers[0][:3]] == ["gathering"] * 3


@pytest.mark.triton
def test_a_frame_too_many_is_dropped_and_never_queued(
    console: Console, moving_faces: Callable[[int, int], list[bytes]]
) -> None:
    frames = moving_faces(12, 4)
    with stream(console) as socket:
        for frame in frames:
            socket.send(frame)
        answers = [json.loads(socket.recv(timeout=120)) for _ in frames]
        kinds = [answer["type"] for answer in answers]
        assert set(kinds) == {"frame", "dropped"}
        numbers = [answer["index"] for answer in answers if answer["type"] == "frame"]
        assert numbers == list(range(len(numbers))), "what is dropped is no frame of the stream"
        (after,) = play(socket, frames[:1])
        assert after["index"] == len(numbers)


@pytest.mark.triton
def test_frames_without_a_face_are_explained(console: Console, encode: Callable[..., bytes]) -> None:
    with stream(console) as socket:
        empty, broken = play(socket, [encode(np.full((240, 320, 3), 90, np.uint8)), b"no JPEG"])
    assert empty["verdict"] == broken["verdict"] == "unscored"
    assert [each["flag"] for each in empty["words"]] == ["NO_FACE"]
    assert [each["flag"] for each in broken["words"]] == ["UNDECODABLE"]
    assert all(each["kind"] == "problem" and each["advice"] for each in (*empty["words"], *broken["words"]))


@pytest.mark.triton
def test_a_text_ends_the_stream(console: Console) -> None:
    with stream(console) as socket:
        socket.send("text")
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=60)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1003


@pytest.mark.triton
def test_the_weights_label_comes_with_its_warning(console: Console, weights_label: str) -> None:
    state = console.json("/api/server")
    assert state["error"] is None
    assert (state["weights"], state["warning"]) == (weights_label, weights_warning(weights_label))


def test_a_server_that_is_down_fails_the_frame_and_not_the_stream(
    lonely_console: Console, moving_faces: Callable[[int, int], list[bytes]]
) -> None:
    with stream(lonely_console) as socket:
        (answer,) = play(socket, moving_faces(1, 1))
        assert answer["type"] == "failed"
        assert answer["error"]["type"] == "ServerUnavailableError"


@pytest.mark.triton
def test_a_server_that_came_back_with_other_weights_loses_the_stream(
    server: EmbeddedServer, other_server: EmbeddedServer, moving_faces: Callable[[int, int], list[bytes]]
) -> None:
    """Scores of two sets of weights are never mixed: the page is told, and its next frame begins another stream."""
    relay = Relay(server.url)
    console = Console(relay.url, server.ports.metrics)
    try:
        with stream(console) as socket:
            frames = moving_faces(4, 1)
            *_, before = play(socket, frames[:2])
            relay.cut()
            relay.restore(other_server.url)
            lost, anew = play(socket, frames[2:])
        assert (before["type"], before["frame_count"]) == ("frame", 2)
        assert (lost["type"], lost["error"]["type"]) == ("lost", "StreamLostError")
        assert "0123456789abcdef bf16" in lost["error"]["message"]
        assert (anew["type"], anew["frame_count"]) == ("frame", 1)
        assert console.json("/api/server")["weights"] == "other"
    finally:
        assert "Traceback" not in console.stop()
        relay.close()


def test_every_flag_has_words() -> None:
    assert {flag for flag, _, _ in PROBLEMS} == {flag for flag in Status if flag & NOT_SCORED}
    for flag in (each for each in Status if each):
        (entry,) = words(flag)
        assert entry["flag"] == flag.name
        assert entry["kind"] == ("problem" if flag & NOT_SCORED else "warning")
        assert entry["text"]
        assert entry["advice"]
    assert words(Status.OK) == []
    assert len(words(Status.SMALL_FACE | Status.DEGRADED)) == 2


def test_a_verdict_needs_a_clips_frames() -> None:
    def frame(liveness: float, count: int, status: Status = Status.OK) -> FrameResult:
        return FrameResult(0, liveness, np.zeros((32, 32), np.float32), (0, 0, 9, 9), count, status)

    assert verdict(frame(0.9, 3)) == "gathering"
    assert verdict(frame(0.5, 4)) == "live"
    assert verdict(frame(0.49, 4)) == "attack"
    assert verdict(frame(0.0, 4, Status.NO_FACE)) == "unscored"
    held = HeldVerdict()
    seen = [(0.9, 3), (0.9, 4), (0.2, 1), (0.2, 2), (0.2, 4), (0.9, 1), (0.9, 1, Status.RELOCATED), (0.9, 2), (0.9, 4)]
    assert [held.of(frame(*each)) for each in seen] == [
        ("gathering", False),
        ("live", False),
        ("live", True),
        ("live", True),
        ("attack", False),
        ("attack", True),
        ("gathering", False),
        ("gathering", False),
        ("live", False),
    ]
    assert held.of(frame(0.0, 4, Status.NO_FACE)) == ("unscored", False)
    assert held.of(frame(0.9, 1)) == ("gathering", False)
