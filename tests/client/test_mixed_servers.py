# SPDX-License-Identifier: Apache-2.0
"""Servers that differ in weights or precision: refused at start, and left out when one comes back different."""

import threading
import time

import pytest
from tritonclient.grpc import InferenceServerClient

from eulernet_client import AsyncClient, Client, _transport
from eulernet_client.errors import MixedServersError, StreamLostError
from tests.client.stream_results import assert_equal

pytestmark = pytest.mark.triton


@pytest.fixture(scope="module")
def frames(moving_faces):
    return moving_faces(14, 5)


def answered(server, model):
    """Requests that a server's model has scored. A stream's frame that it refuses, for want of a START, is none."""
    with InferenceServerClient(server.url) as channel:
        return channel.get_inference_statistics(model).model_stats[0].inference_stats.success.count


def test_servers_that_differ_are_refused_at_start(server, other_server, frames):
    before = answered(other_server, "antispoof_clip"), answered(other_server, "antispoof")
    for urls in ([server.url, other_server.url], [other_server.url, server.url]):
        with Client(urls) as client, client.stream() as stream:
            named = f"{server.url}.*fp32|{other_server.url}.*0123456789abcdef bf16"
            for _ in range(2):
                with pytest.raises(MixedServersError, match=named):
                    client.score_frames(frames[:4])
                with pytest.raises(MixedServersError, match=named):
                    stream.score(frames[0])
    assert before == (answered(other_server, "antispoof_clip"), answered(other_server, "antispoof"))


async def test_asyncio_servers_that_differ_are_refused(server, other_server, frames):
    async with AsyncClient([server.url, other_server.url]) as client:
        with pytest.raises(MixedServersError, match=other_server.url):
            await client.score_frames(frames[:4])


@pytest.mark.slow
def test_a_server_that_comes_back_different_gets_no_request(
    relays, server, other_server, frames, undisturbed, monkeypatch
):
    monkeypatch.setattr(_transport, "DOWN_S", 0.5)
    first, second = relays(2)
    expected = undisturbed(frames)
    with Client([first.url, second.url], timeout_s=20) as client, client.stream() as stream:
        results = [stream.score(frame) for frame in frames[:6]]
        before = client.score_frames(frames[:4]).liveness
        counts = answered(other_server, "antispoof_clip"), answered(other_server, "antispoof")
        second.cut()
        client.score_frames(frames[:4])
        client.score_frames(frames[:4])
        second.restore(other_server.url)
        time.sleep(0.6)  # now the client tries the second server again
        assert [client.score_frames(frames[:4]).liveness for _ in range(4)] == pytest.approx([before] * 4, abs=1e-5)
        results += [stream.score(frame) for frame in frames[6:9]]
        first.cut()
        threading.Timer(1.0, first.restore).start()
        results += [stream.score(frame) for frame in frames[9:]]
        assert_equal(results, expected)
        first.cut()
        first.restore(other_server.url)
        time.sleep(2.1)  # less would be too short for a restart
        with pytest.raises(MixedServersError, match="bf16"):
            client.score_frames(frames[:4])
    assert counts == (answered(other_server, "antispoof_clip"), answered(other_server, "antispoof"))


def test_a_stream_is_lost_if_its_server_comes_back_different(relays, other_server, frames):
    (relay,) = relays(1)
    with Client(relay.url) as client:
        with client.stream() as stream:
            stream.score(frames[0])
            counts = answered(other_server, "antispoof")
            relay.cut()
            relay.restore(other_server.url)
            with pytest.raises(StreamLostError, match="bf16") as caught:
                stream.score(frames[1])
            assert type(caught.value.__cause__) is MixedServersError
        assert answered(other_server, "antispoof") == counts
        with client.stream() as stream:
            assert stream.score(frames[0]).frame_count == 1, "a new stream may use the new weights"
