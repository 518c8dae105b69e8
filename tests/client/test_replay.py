# SPDX-License-Identifier: Apache-2.0
"""Streams whose servers are cut off in between: the scores go on, and each frame is answered once."""

import asyncio
import logging
import threading
import time

import numpy as np
import pytest
import simplejpeg

from eulernet_client import AsyncClient, Client, Status
from eulernet_client.errors import RequestTimeoutError, SequenceError, ServerUnavailableError, StreamLostError
from tests.client.stream_results import assert_equal, events

pytestmark = pytest.mark.triton


@pytest.fixture(scope="module")
def frames(moving_faces):
    return moving_faces(14, 5)


@pytest.mark.parametrize("servers", [1, 2])
def test_a_stream_goes_on_after_a_cut(relays, frames, undisturbed, caplog, servers):
    caplog.set_level(logging.INFO, "eulernet_client")
    first, *others = relays(servers)
    with Client([each.url for each in (first, *others)]) as client, client.stream() as stream:
        results = [stream.score(frame) for frame in frames[:9]]
        first.cut()
        if not others:
            threading.Timer(1.5, first.restore).start()
        results += [stream.score(frame, last=frame is frames[-1]) for frame in frames[9:]]
    assert_equal(results, undisturbed(frames))
    (replay,) = events(caplog, "replay")
    assert (replay.frames, replay.model, replay.server) == (9, "antispoof", (others or [first])[0].url)
    assert replay.error == "ServerUnavailableError"
    assert replay.server in replay.getMessage()
    assert events(caplog, "stream_lost") == []


def test_a_replay_is_replayed_when_its_server_fails_too(relays, frames, undisturbed, caplog):
    caplog.set_level(logging.INFO, "eulernet_client")
    first, second, third = relays(3)
    with Client([each.url for each in (first, second, third)]) as client, client.stream() as stream:
        results = [stream.score(frame) for frame in frames[:10]]
        second.cut_after = sum(map(len, frames[:5]))  # in the middle of the replay
        first.cut()
        results += [stream.score(frame) for frame in frames[10:]]
    assert second.cut_after is None, "the second server was used"
    assert_equal(results, undisturbed(frames))
    assert [record.server for record in events(caplog, "failover")] == [first.url, second.url]
    assert [record.server for record in events(caplog, "replay")] == [third.url]


def test_only_frames_since_the_face_moved_are_replayed(relays, moving_faces, undisturbed, caplog):
    caplog.set_level(logging.INFO, "eulernet_client")
    still = moving_faces(1, 5)[0]
    moved = simplejpeg.encode_jpeg(np.ascontiguousarray(np.roll(simplejpeg.decode_jpeg(still), 230, axis=1)))
    frames = [still] * 12 + [moved] * 14
    expected = undisturbed(frames)
    moved_at = [each.index for each in expected if each.status & Status.RELOCATED]
    assert moved_at == [20], "the box is checked every 10 frames"
    first, second = relays(2)
    with Client([first.url, second.url]) as client, client.stream() as stream:
        results = [stream.score(frame) for frame in frames[:23]]
        first.cut()
        results += [stream.score(frame) for frame in frames[23:]]
    assert_equal(results, expected)
    assert [record.frames for record in events(caplog, "replay")] == [3]


def test_frames_without_a_face_are_kept_once(relays, frames, encode, undisturbed, caplog):
    caplog.set_level(logging.INFO, "eulernet_client")
    empty = encode(np.full((480, 640, 3), 128, np.uint8))
    played = [empty, empty, *frames[:10], b"junk", empty, empty, *frames[10:12], empty, frames[12]]
    expected = undisturbed(played)
    assert expected[12].status & Status.UNDECODABLE
    first, second = relays(2)
    with Client([first.url, second.url]) as client, client.stream() as stream:
        results = [stream.score(frame) for frame in played[:2]]
        first.cut()
        results.append(stream.score(played[2]))
        assert events(caplog, "replay")[0].frames == 0, "an empty picture before the first face leaves no state"
        first.restore()
        results += [stream.score(frame) for frame in played[3:14]]
        second.cut()
        results += [stream.score(frame) for frame in played[14:]]
    assert_equal(results, expected)


def test_beyond_the_bound_a_stream_starts_anew_and_says_so(relays, frames, caplog):
    caplog.set_level(logging.INFO, "eulernet_client")
    first, second = relays(2)
    bound_mb = 3.5 * max(map(len, frames)) / 2**20
    with Client([first.url, second.url]) as client, client.stream(replay_mb=bound_mb) as stream:
        results = [stream.score(frame) for frame in frames[:5]]
        first.cut()
        results += [stream.score(frame) for frame in frames[5:8]]
        first.restore()
        second.cut()
        results += [stream.score(frame) for frame in frames[8:10]]
    assert [result.index for result in results] == list(range(10))
    assert [result.frame_count for result in results] == [1, 2, 3, 4, 5, 1, 2, 3, 4, 5]
    assert [result.index for result in results if result.started_anew] == [5]
    assert results[5].to_dict()["started_anew"]
    assert len(events(caplog, "started_anew")) == 1
    assert [record.frames for record in events(caplog, "replay")] == [3], "the new start is kept again"


@pytest.mark.parametrize("options", [{"replay_mb": 0}, {"retry": False}])
def test_replay_can_be_turned_off(relays, frames, options, caplog):
    caplog.set_level(logging.INFO, "eulernet_client")
    first, second = relays(2)
    retry = options.pop("retry", True)
    with Client([first.url, second.url], retry=retry) as client, client.stream(**options) as stream:
        stream.score(frames[0])
        first.cut()
        with pytest.raises(StreamLostError) as caught:
            stream.score(frames[1])
        assert type(caught.value.__cause__) is ServerUnavailableError
        with pytest.raises(StreamLostError):
            stream.score(frames[1])
    assert len(events(caplog, "stream_lost")) == 1
    assert events(caplog, "replay") == []


@pytest.mark.parametrize("bad", [-1, float("nan")])
def test_a_wrong_bound_is_named(server, bad):
    with Client(server.url) as client, pytest.raises(ValueError, match=f"replay_mb={bad}"):
        client.stream(replay_mb=bad)


@pytest.mark.slow
def test_a_frame_that_no_server_answered_may_be_sent_again(relays, frames, undisturbed):
    (relay,) = relays(1)
    with Client(relay.url, timeout_s=1) as client, client.stream() as stream:
        results = [stream.score(frame) for frame in frames[:4]]
        relay.cut()
        with pytest.raises(ServerUnavailableError):
            stream.score(frames[4])
        relay.restore()
        relay.hold()
        with pytest.raises((RequestTimeoutError, ServerUnavailableError)):
            stream.score(frames[4])
        relay.cut()
        relay.restore()
        time.sleep(1.2)  # gRPC's longest wait before it connects again
        results += [stream.score(frame) for frame in frames[4:]]
    assert_equal([*results], [*undisturbed(frames)])


@pytest.mark.slow
async def test_a_stream_that_its_server_has_dropped_goes_on_or_is_lost(tight_server, frames, caplog):
    caplog.set_level(logging.INFO, "eulernet_client")
    url = tight_server.url
    with Client(url) as client, client.stream() as calm:
        expected = [calm.score(frame) for frame in frames[:6]]
    async with AsyncClient(url) as asynchronous, AsyncClient(url, retry=False) as once:
        with Client(url) as client, client.stream() as stream, client.stream(replay_mb=0) as not_kept:
            async with asynchronous.stream() as other, once.stream() as not_retried:
                results = [stream.score(frame) for frame in frames[:4]]
                others = [await other.score(frame) for frame in frames[:4]]
                for each in (not_kept.score(frames[0]), await not_retried.score(frames[0])):
                    assert each.frame_count == 1
                await asyncio.sleep(8)  # longer than the server's idle timeout
                results += [stream.score(frame) for frame in frames[4:6]]
                others += [await other.score(frame) for frame in frames[4:6]]
                for _ in range(2):
                    with pytest.raises(StreamLostError, match=f"stream {not_kept.sequence_id}: ") as lost:
                        not_kept.score(frames[1])
                    assert type(lost.value.__cause__) is SequenceError
                    with pytest.raises(StreamLostError) as lost:
                        await not_retried.score(frames[1])
                    assert type(lost.value.__cause__) is SequenceError
    assert_equal(results, expected)
    assert_equal(others, expected)
    assert [record.error for record in events(caplog, "replay")] == ["SequenceError"] * 2
    losses = [(each.server, each.model, each.error) for each in events(caplog, "stream_lost")]
    assert losses == [(url, "antispoof", "SequenceError")] * 2


async def test_asyncio_streams_go_on(relays, moving_faces, undisturbed):
    first, second = relays(2)
    played = {seed: moving_faces(10, seed) for seed in range(4)}

    async def play(client, frames):
        async with client.stream() as stream:
            results = []
            for frame in frames:
                results.append(await stream.score(frame))
                if len(results) == 6:
                    first.cut()
            return results

    async with AsyncClient([first.url, second.url]) as client:
        answered = await asyncio.gather(*(play(client, frames) for frames in played.values()))
    for frames, results in zip(played.values(), answered, strict=True):
        assert_equal(results, undisturbed(frames))


async def test_a_cancelled_frame_is_left_out_and_the_stream_goes_on(relays, frames, undisturbed):
    (relay,) = relays(1)
    async with AsyncClient(relay.url) as client, client.stream() as stream:
        results = [await stream.score(frame) for frame in frames[:5]]
        relay.hold()
        cancelled = asyncio.create_task(stream.score(frames[5]))
        await asyncio.sleep(0.2)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        relay.resume()
        results += [await stream.score(frame) for frame in frames[6:]]
    assert_equal(results, undisturbed(frames[:5] + frames[6:]))
