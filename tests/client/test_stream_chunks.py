# SPDX-License-Identifier: Apache-2.0
"""Stream.score_chunk on real servers: the scores of single frames, also after a cut, and where no chunk is taken."""

import asyncio
import contextlib
import logging

import pytest
from click.testing import CliRunner

from eulernet_client import AsyncClient, Client, Status
from eulernet_client._session import Session
from eulernet_client.errors import RequestRefusedError, ServerUnavailableError, StreamLostError, TooLargeError
from eulernet_core.limits import MAX_CHUNK_FRAMES
from eulernet_loadtest.loadtest_command import loadtest
from tests.client.stream_results import assert_equal, events
from tests.client.tcp_relay import Relay
from tests.request_counts import requests_of

pytestmark = pytest.mark.triton


@pytest.fixture(scope="module")
def frames(moving_faces):
    return moving_faces(14, 5)


def in_chunks(stream, frames, size, last=True):
    results = []
    for first in range(0, len(frames), size):
        part = frames[first : first + size]
        results += stream.score_chunk(part, last=last and first + size >= len(frames))
    return results


@pytest.mark.parametrize("size", [1, 4, MAX_CHUNK_FRAMES])
def test_chunks_are_scored_as_single_frames_with_fewer_requests(server, frames, undisturbed, size):
    expected = undisturbed(frames)
    before = requests_of(server)
    with Client(server.url) as client, client.stream() as stream:
        assert_equal(in_chunks(stream, frames, size), expected)
    assert requests_of(server) - before == -(-len(frames) // size)


async def test_asyncio_streams_take_chunks(server, frames, undisturbed):
    expected = undisturbed(frames)
    async with AsyncClient(server.url) as client, client.stream() as stream:
        parts = [stream.score_chunk(frames[:5]), stream.score(frames[5]), stream.score_chunk(frames[6:], last=True)]
        first, single, rest = await asyncio.gather(*parts)
    assert_equal([*first, single, *rest], expected)


def test_a_frame_without_a_score_leaves_the_others_scored(server, frames):
    with Client(server.url) as client, client.stream() as stream:
        results = stream.score_chunk([frames[0], b"", frames[1], b"text", frames[2]])
    assert [each.status & Status.UNDECODABLE != 0 for each in results] == [False, True, False, True, False]
    assert [(each.index, each.frame_count) for each in results] == [(0, 1), (1, 1), (2, 2), (3, 2), (4, 3)]


def test_a_cut_between_chunks_is_replayed(relays, frames, undisturbed, caplog):
    caplog.set_level(logging.INFO, "eulernet_client")
    first, second = relays(2)
    with Client([first.url, second.url]) as client, client.stream() as stream:
        results = in_chunks(stream, frames[:8], 4, last=False)
        first.cut()
        results += in_chunks(stream, frames[8:], 4)
    assert_equal(results, undisturbed(frames))
    assert [record.frames for record in events(caplog, "replay")] == [8]


def test_a_server_of_single_frames_gets_single_frames(single_frame_server, frames, undisturbed):
    before = requests_of(single_frame_server)
    with Client(single_frame_server.url) as client, client.stream() as stream:
        assert_equal(in_chunks(stream, frames, 4), undisturbed(frames))
    assert requests_of(single_frame_server) - before == len(frames)


def test_a_load_test_of_chunks_refuses_a_server_of_single_frames(single_frame_server, frames, tmp_path):
    folder = tmp_path / "clip"
    folder.mkdir()
    for number, frame in enumerate(frames):
        (folder / f"{number}.jpg").write_bytes(frame)
    options = [
        "--url",
        single_frame_server.url,
        "--chunk-frames",
        "4",
        "--duration-s",
        "1",
        "--out",
        str(tmp_path / "o"),
    ]
    done = CliRunner().invoke(loadtest, [str(folder), *options])
    assert done.exit_code == 2, done.output
    assert f"{single_frame_server.url} takes one frame" in done.output
    assert not (tmp_path / "o").exists()


def test_a_server_that_came_to_refuse_chunks_gets_single_frames(single_frame_server, frames, undisturbed):
    with Client(single_frame_server.url) as client:
        for begun in (0, 5):
            with client.stream() as stream:
                results = [stream.score(frame) for frame in frames[:begun]]
                client._session._takes_chunks[0] = True  # as learned from the server that was at this address before
                results += in_chunks(stream, frames[begun:], 4)
            assert_equal(results, undisturbed(frames))


def test_a_gateway_that_forwards_inference_only_gets_single_frames(server, frames, undisturbed, monkeypatch):
    """A stand-in for the refusal of a proxy."""

    async def refused(self, endpoint, method, model=""):
        raise RequestRefusedError("only inference is forwarded")

    monkeypatch.setattr(Session, "_ask", refused)
    with Client(server.url, retry=False) as client, client.stream() as stream:
        assert_equal(in_chunks(stream, frames, 4), undisturbed(frames))


def test_there_a_failure_within_a_chunk_loses_the_stream(single_frame_server, frames):
    """Some of its frames were answered: the caller can't send the chunk again."""
    relay = Relay(single_frame_server.url)
    with contextlib.closing(relay), Client(relay.url, retry=False, timeout_s=5) as client:
        stream = client.stream()
        stream.score(frames[0])
        relay.cut_after = sum(map(len, frames[1:3]))  # within the third frame of the chunk
        with pytest.raises(StreamLostError) as lost:
            stream.score_chunk(frames[1:6])
        assert isinstance(lost.value.__cause__, ServerUnavailableError)
        with pytest.raises(StreamLostError, match="earlier frame"):
            stream.score(frames[6])


def test_more_bytes_than_a_request_may_have_go_in_two(server, frames):
    large = frames[0] + bytes(13 << 20)  # bytes behind a picture belong to it
    before = requests_of(server)
    with Client(server.url) as client, client.stream() as stream:
        results = stream.score_chunk([large] * 5)
    assert [each.frame_count for each in results] == [1, 2, 3, 4, 5]
    assert requests_of(server) - before == 3, "1, 4 and the closing one"


@pytest.mark.parametrize("count", [0, MAX_CHUNK_FRAMES + 1])
def test_a_chunk_has_a_length(server, frames, count):
    with Client(server.url) as client, client.stream() as stream:
        with pytest.raises(ValueError, match=f"{count} frames: a chunk has 1 to {MAX_CHUNK_FRAMES}"):
            stream.score_chunk([frames[0]] * count)
        assert stream.score(frames[0]).frame_count == 1, "nothing was sent"


def test_one_large_frame_refuses_the_chunk_before_it_is_sent(server, frames):
    with Client(server.url, max_frame_mb=1) as client, client.stream() as stream:
        with pytest.raises(TooLargeError, match="frame 1"):
            stream.score_chunk([frames[0], bytes(2 << 20)])
        assert stream.score(frames[0]).frame_count == 1, "nothing was sent"
