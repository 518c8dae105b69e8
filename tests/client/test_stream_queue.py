# SPDX-License-Identifier: Apache-2.0
"""Frames that several coroutines send to one stream: those that wait share a request; the scores stay."""

import asyncio
import contextlib
import logging

import pytest

from eulernet_client import AsyncClient, Client
from eulernet_client._shared_requests import SharedRequests, WaitingFrames
from eulernet_client.errors import SequenceError, ServerUnavailableError, StreamLostError, TooLargeError
from eulernet_core.limits import MAX_CHUNK_BYTES, MAX_CHUNK_FRAMES
from tests.client.stream_results import assert_equal, events
from tests.client.tcp_relay import Relay
from tests.request_counts import requests_of


@pytest.fixture(scope="module")
def frames(moving_faces):
    return moving_faces(14, 5)


def sent(stream, frames, last=True):
    """Each frame from a coroutine of its own, all at once."""
    return [
        asyncio.ensure_future(stream.score(frame, last=last and number + 1 == len(frames)))
        for number, frame in enumerate(frames)
    ]


async def held(relay, stream, frames):
    """Frames that wait, the first of them alone in a request that the relay keeps back."""
    relay.hold()
    waiting = sent(stream, frames[:1], last=False)
    await asyncio.sleep(0.2)
    waiting += sent(stream, frames[1:], last=False)
    await asyncio.sleep(0.1)
    return waiting


@pytest.mark.triton
async def test_frames_that_wait_share_a_request(server, frames, undisturbed):
    expected, before = undisturbed(frames), requests_of(server)
    async with AsyncClient(server.url) as client, client.stream() as stream:
        results = await asyncio.gather(*sent(stream, frames))
    assert_equal(results, expected)
    assert requests_of(server) - before == 2, "8 and 6 frames"


@pytest.mark.triton
async def test_callers_that_go_on_at_an_answer_fill_the_next_request(server, frames, undisturbed):
    """Four coroutines that send a frame upon each answer share their requests, though none waits at the answer."""
    expected, before = undisturbed(frames), requests_of(server)
    todo = iter(range(len(frames)))

    async def call(stream):
        return [(number, await stream.score(frames[number])) for number in todo]

    async with AsyncClient(server.url) as client, client.stream() as stream:
        scored = dict(pair for part in await asyncio.gather(*(call(stream) for _ in range(4))) for pair in part)
    assert_equal([scored[number] for number in range(len(frames))], expected)
    assert requests_of(server) - before == 5, "4, 4, 4, 2 and the closing one"


@pytest.mark.triton
async def test_a_server_of_single_frames_gets_them_one_by_one(single_frame_server, frames, undisturbed):
    before = requests_of(single_frame_server)
    async with AsyncClient(single_frame_server.url) as client, client.stream() as stream:
        results = await asyncio.gather(*sent(stream, frames))
    assert_equal(results, undisturbed(frames))
    assert requests_of(single_frame_server) - before == len(frames)


@pytest.mark.triton
async def test_a_cut_while_frames_wait_is_replayed(relays, frames, undisturbed, caplog):
    caplog.set_level(logging.INFO, "eulernet_client")
    first, second = relays(2)
    async with AsyncClient([first.url, second.url]) as client, client.stream() as stream:
        results = [await stream.score(frame) for frame in frames[:4]]
        waiting = await held(first, stream, frames[4:])
        first.cut()
        results += await asyncio.gather(*waiting)
    assert_equal(results, undisturbed(frames))
    assert [record.frames for record in events(caplog, "replay")] == [4]


@pytest.mark.triton
@pytest.mark.parametrize("cancelled", [4, 6], ids=["under way", "waiting"])
async def test_a_cancelled_frame_is_left_out_and_the_others_go_on(relays, frames, undisturbed, cancelled):
    (relay,) = relays(1)
    async with AsyncClient(relay.url) as client, client.stream() as stream:
        results = [await stream.score(frame) for frame in frames[:4]]
        waiting = await held(relay, stream, frames[4:])
        waiting.pop(cancelled - 4).cancel()
        await asyncio.sleep(0.1)
        relay.resume()
        results += await asyncio.gather(*waiting)
    assert_equal(results, undisturbed(frames[:cancelled] + frames[cancelled + 1 :]))


@pytest.mark.triton
@pytest.mark.parametrize("cancelled", [[5], [6], [5, 6, 7]], ids=["first", "second", "three"])
async def test_a_frame_cancelled_in_a_shared_request_stays_in_the_stream(relays, frames, undisturbed, cancelled):
    (relay,) = relays(1)
    async with AsyncClient(relay.url) as client, client.stream() as stream:
        results = [await stream.score(frame) for frame in frames[:5]]
        assert await client._session.takes_chunks(0)
        relay.hold()
        waiting = sent(stream, frames[5:9], last=False)
        await asyncio.sleep(0.3)
        for number in reversed(cancelled):
            waiting.pop(number - 5).cancel()
        await asyncio.sleep(0.1)
        relay.resume()
        results += await asyncio.gather(*waiting)
        results += [await stream.score(frame) for frame in frames[9:]]
    expected = [each for each in undisturbed(frames) if each.index not in cancelled]
    assert [each.index for each in results] == [each.index for each in expected]
    assert [each.liveness for each in results] == pytest.approx([each.liveness for each in expected], abs=1e-5)


@pytest.mark.triton
async def test_a_shared_request_that_nobody_waits_for_is_left_out(relays, frames, undisturbed, caplog):
    caplog.set_level(logging.INFO, "eulernet_client")
    (relay,) = relays(1)
    async with AsyncClient(relay.url) as client, client.stream() as stream:
        results = [await stream.score(frame) for frame in frames[:5]]
        assert await client._session.takes_chunks(0)
        relay.hold()
        waiting = sent(stream, frames[5:8], last=False)
        await asyncio.sleep(0.3)
        for each in waiting:
            each.cancel()
        rest = sent(stream, frames[8:])
        await asyncio.sleep(0.1)
        relay.resume()
        results += await asyncio.gather(*rest)
    assert_equal(results, undisturbed(frames[:5] + frames[8:]))
    assert [record.frames for record in events(caplog, "replay")] == [5]


@pytest.mark.triton
async def test_frames_of_one_request_fail_together_and_may_be_sent_again(relays, frames, undisturbed):
    (relay,) = relays(1)
    async with AsyncClient(relay.url, timeout_s=1.5) as client, client.stream() as stream:
        results = [await stream.score(frame) for frame in frames[:4]]
        assert await client._session.takes_chunks(0)
        relay.cut()
        failed = await asyncio.gather(*sent(stream, frames[4:9], last=False), return_exceptions=True)
        assert isinstance(failed[0], ServerUnavailableError)
        assert all(each is failed[0] for each in failed)
        relay.restore()
        results += await asyncio.gather(*sent(stream, frames[4:]))
    assert_equal(results, undisturbed(frames))


@pytest.mark.triton
async def test_without_a_replay_a_failure_loses_the_stream_for_all_that_wait(relays, frames):
    (relay,) = relays(1)
    async with AsyncClient(relay.url, retry=False, timeout_s=5) as client:
        stream = client.stream()
        await stream.score(frames[0])
        waiting = await held(relay, stream, frames[1:6])
        relay.cut()
        failed = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(each) for each in failed} == {StreamLostError}
    assert all(isinstance(each.__cause__, ServerUnavailableError) for each in failed)


@pytest.mark.triton
@pytest.mark.parametrize("cancelled", [0, 1])
async def test_without_a_replay_a_cancelled_frame_takes_no_other_with_it(relays, frames, undisturbed, cancelled):
    (relay,) = relays(1)
    async with AsyncClient(relay.url) as client, client.stream(replay_mb=0) as stream:
        results = [await stream.score(frame) for frame in frames[:4]]
        assert await client._session.takes_chunks(0)
        relay.hold()
        waiting = sent(stream, frames[4:8], last=False)
        await asyncio.sleep(0.3)
        waiting.pop(cancelled).cancel()
        await asyncio.sleep(0.1)
        relay.resume()
        results += await asyncio.gather(*waiting)
    expected = [each for each in undisturbed(frames[:8]) if each.index != 4 + cancelled]
    assert [(each.index, each.frame_count) for each in results] == [(each.index, each.frame_count) for each in expected]
    assert [each.liveness for each in results] == pytest.approx([each.liveness for each in expected], abs=1e-5)


@pytest.mark.triton
async def test_two_servers_of_single_frames_share_the_streams(single_frame_server, frames):
    """A first request of several frames, which such a server does not take, counts as one turn."""
    urls = [Relay(single_frame_server.url) for _ in range(2)]
    with contextlib.closing(urls[0]), contextlib.closing(urls[1]):
        async with AsyncClient([each.url for each in urls]) as client:
            streams = [client.stream() for _ in range(4)]
            for stream in streams:
                await asyncio.gather(*sent(stream, frames[:2]))
            assert sorted(stream._stream._endpoint for stream in streams) == [0, 0, 1, 1]


@pytest.mark.triton
async def test_nothing_follows_a_last_frame(server, frames, undisturbed):
    async with AsyncClient(server.url) as client, client.stream() as stream:
        calls = [*sent(stream, frames[:5]), *sent(stream, frames[5:6])]
        *results, late = await asyncio.gather(*calls, return_exceptions=True)
    assert_equal(results, undisturbed(frames[:5]))
    assert isinstance(late, SequenceError)


@pytest.mark.triton
async def test_a_frame_that_is_refused_is_named_and_touches_no_other(server, frames, undisturbed):
    async with AsyncClient(server.url, max_frame_mb=1) as client, client.stream() as stream:
        calls = sent(stream, [*frames[:3], bytes(2 << 20), "text", *frames[3:]])
        results = await asyncio.gather(*calls, return_exceptions=True)
    large, text = results.pop(3), results.pop(3)
    assert isinstance(large, TooLargeError)
    assert "frame 3" in str(large)
    assert isinstance(text, TypeError)
    assert_equal(results, undisturbed(frames))


@pytest.mark.triton
async def test_closing_waits_for_the_frames_before(server, frames, undisturbed):
    async with AsyncClient(server.url) as client:
        stream = client.stream()
        waiting = sent(stream, frames[:6], last=False)
        await asyncio.sleep(0)
        await stream.close()
        results = await asyncio.gather(*waiting)
        with pytest.raises(SequenceError):
            await stream.score(frames[6])
    assert_equal(results, undisturbed(frames[:6]))


@pytest.mark.triton
def test_the_blocking_stream_sends_one_by_one(server, frames, undisturbed):
    expected, before = undisturbed(frames), requests_of(server)
    with Client(server.url) as client, client.stream() as stream:
        results = [stream.score(frame, last=frame is frames[-1]) for frame in frames]
    assert_equal(results, expected)
    assert requests_of(server) - before == len(frames)


class TestRequests:
    """What goes into the next request."""

    @staticmethod
    def next_of(*waiting):
        requests = SharedRequests(None)
        requests._waiting.extend(waiting)
        return requests._next_request()

    async def test_frames_up_to_the_limit_in_order(self):
        waiting = [of(*[b"jpeg"] * count) for count in (1, 5, 2, 1)]
        assert self.next_of(*waiting) == waiting[:3]
        assert sum(len(each.jpegs) for each in waiting[:3]) == MAX_CHUNK_FRAMES

    async def test_a_call_is_not_divided(self):
        waiting = [of(*[b"jpeg"] * count) for count in (5, 4, 1)]
        assert self.next_of(*waiting) == waiting[:1], "and none overtakes"

    async def test_bytes_up_to_the_limit(self):
        thirds = [of(_Sized(MAX_CHUNK_BYTES // 3)) for _ in range(4)]
        assert self.next_of(*thirds) == thirds[:3]

    async def test_more_bytes_than_the_limit_go_alone(self):
        huge = of(_Sized(2 * MAX_CHUNK_BYTES))
        assert self.next_of(huge, of(b"jpeg")) == [huge]

    async def test_nothing_after_a_last_frame(self):
        last = of(b"jpeg", last=True)
        assert self.next_of(last, of(b"jpeg")) == [last]

    async def test_the_end_goes_alone_and_in_order(self):
        frame, end = of(b"jpeg"), of(last=True)
        assert self.next_of(frame, end) == [frame]
        assert self.next_of(end, frame) == [end]

    async def test_cancelled_frames_are_left_out(self):
        cancelled, frame = of(b"jpeg"), of(b"jpeg")
        cancelled.results.cancel()
        assert self.next_of(cancelled, frame) == [frame]
        assert self.next_of(cancelled) == []


def of(*jpegs, last=False):
    return WaitingFrames(jpegs, last, asyncio.get_running_loop().create_future())


class _Sized(bytes):
    """As long as it says, without the memory."""

    def __new__(cls, length):
        made = super().__new__(cls)
        made.length = length
        return made

    def __len__(self):
        return self.length
