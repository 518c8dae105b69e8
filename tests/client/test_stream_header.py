# SPDX-License-Identifier: Apache-2.0
"""The header by which gateways keep a stream on a server: one value a stream, another one for each stream."""

from concurrent import futures
from contextlib import contextmanager

import grpc
import pytest

from eulernet_client import Client
from eulernet_client.aio import AsyncClient
from eulernet_core.limits import STREAM_HEADER
from tests.client.stream_results import events

pytestmark = pytest.mark.triton


class Forwarding(grpc.GenericRpcHandler):
    """Sends every call on to the real server and notes the headers of inferences."""

    def __init__(self, url, seen):
        self._channel, self._seen = grpc.insecure_channel(url), seen

    def service(self, details):
        headers = dict(details.invocation_metadata)
        if details.method.endswith("ModelInfer"):
            self._seen.append(headers.get(STREAM_HEADER))
        return grpc.unary_unary_rpc_method_handler(
            lambda message, _: self._channel.unary_unary(details.method)(message)
        )


@contextmanager
def forwarding(url, seen):
    """A server that forwards; `stop` ends it."""
    server = grpc.server(futures.ThreadPoolExecutor(2), handlers=[Forwarding(url, seen)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}", lambda: server.stop(0).wait()
    finally:
        server.stop(0).wait()


def test_a_stream_keeps_its_value_through_a_replay_and_to_its_end(server, moving_faces, caplog):
    caplog.set_level("INFO", "eulernet_client")
    frames = moving_faces(6, 1)
    seen = [], []
    with (
        forwarding(server.url, seen[0]) as (one, stop_one),
        forwarding(server.url, seen[1]) as (other, stop_other),
        Client([one, other]) as client,
        client.stream() as stream,
    ):
        for frame in frames[:3]:
            stream.score(frame)
        (stop_one if seen[0] else stop_other)()
        for frame in frames[3:]:
            stream.score(frame)
    assert len(events(caplog, "replay")) == 1
    assert sorted(len(each) for each in seen) == [3, 3 + 3 + 1], "three frames; these again, three more, and END"
    (value,) = set(seen[0] + seen[1])
    assert 1 <= len(value) <= 64
    assert value != str(stream.sequence_id)


async def test_each_stream_has_a_value_and_clips_have_none(server, moving_faces):
    seen = []
    frames = moving_faces(4, 1)
    with forwarding(server.url, seen) as (url, _):
        with Client(url, headers={"x-tenant": "a"}) as client:
            client.score_frames(frames)
            for _ in range(2):
                with client.stream(sequence_id=9) as stream:
                    stream.score(frames[0], last=True)
        async with AsyncClient(url) as client, client.stream() as stream:
            await stream.score(frames[0], last=True)
    assert seen[0] is None
    assert None not in seen[1:]
    assert len(set(seen)) == len(seen) == 4
