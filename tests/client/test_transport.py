# SPDX-License-Identifier: Apache-2.0
"""Errors of gRPC, retries, failover and their log, on closed ports and on servers that refuse with Triton's texts."""

from __future__ import annotations

import asyncio
import logging
import re
import socket
import time
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager

import grpc
import pytest
from tritonclient.utils import InferenceServerException

from eulernet_client import AsyncClient, Client, aio, errors
from eulernet_client._connection import Connection
from eulernet_client._server_errors import server_error
from eulernet_client._transport import REPLAY_SPREAD_S, Attempts, Endpoints
from eulernet_client.errors import RequestRefusedError, ServerUnavailableError

JPEGS = [b"\xff\xd8"] * 4


@pytest.fixture
def closed_url() -> str:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{bound.getsockname()[1]}"


@contextmanager
def refusing_server(code: str, text: str) -> Iterator[tuple[str, list[str]]]:
    """A gRPC server that refuses every call with one error. Yields its address and the methods called so far."""
    asked: list[str] = []

    class Refuses(grpc.GenericRpcHandler):
        def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
            asked.append(details.method.rpartition("/")[2])
            return grpc.unary_unary_rpc_method_handler(
                lambda _, context: context.abort(getattr(grpc.StatusCode, code), text)
            )

    server = grpc.server(futures.ThreadPoolExecutor(2), handlers=[Refuses()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}", asked
    finally:
        server.stop(None).wait()


# code, text of Triton or gRPC, error, key fields of its message
CASES = [
    ("UNAVAILABLE", "failed to connect to all addresses", errors.ServerUnavailableError, "eulernet serve"),
    ("UNAVAILABLE", "Exceeds maximum queue size", errors.ServerBusyError, "queue size.*replica"),
    ("UNAVAILABLE", "Request timeout expired", errors.ServerBusyError, "timeout.*replica"),
    (
        "UNAVAILABLE",
        "Request for unknown model: 'antispoof_clip' has no available versions",
        errors.ServerUnavailableError,
        "no available versions.*log",
    ),
    (
        "UNAVAILABLE",
        "This protocol is restricted, expecting header 'triton-grpc-protocol-key'",
        errors.RequestRefusedError,
        "triton-grpc-protocol-key",
    ),
    ("DEADLINE_EXCEEDED", "Deadline Exceeded", errors.RequestTimeoutError, "timeout"),
    (
        "INVALID_ARGUMENT",
        "inference request for sequence 5 to model 'eulernet' must specify the START flag on the first request",
        errors.SequenceError,
        "START flag",
    ),
    ("INVALID_ARGUMENT", "unexpected shape", errors.RequestRefusedError, "INVALID_ARGUMENT: unexpected shape"),
    ("NOT_FOUND", "unknown model", errors.RequestRefusedError, "NOT_FOUND: unknown model"),
    ("UNAUTHENTICATED", "token", errors.RequestRefusedError, "UNAUTHENTICATED: token"),
    (
        "INTERNAL",
        "Stub process 'face_crop_0_0' is not healthy.",
        errors.ServerUnavailableError,
        "face_crop_0_0.*restart",
    ),
    *(
        (code, "Failed to process the request(s)", errors.ServerFailedError, f"{code}.*log")
        for code in ("INTERNAL", "UNKNOWN", "DATA_LOSS", "ABORTED", "CANCELLED")
    ),
]


@pytest.mark.parametrize(("code", "text", "kind", "fields"), CASES)
def test_what_an_error_means(code: str, text: str, kind: type[Exception], fields: str) -> None:
    error = server_error(InferenceServerException(text, status=f"StatusCode.{code}"), "gpu1:8001", "antispoof_clip")
    assert type(error) is kind
    assert str(error).startswith("gpu1:8001: antispoof_clip: ")
    assert re.search(fields, str(error))


@pytest.mark.parametrize(
    ("code", "text", "kind", "retried"),
    [
        ("INVALID_ARGUMENT", "unexpected shape", errors.RequestRefusedError, False),
        ("INTERNAL", "Failed to process", errors.ServerFailedError, True),
        ("ABORTED", "Failed to process", errors.ServerFailedError, True),
        ("UNAVAILABLE", "Exceeds maximum queue size", errors.ServerBusyError, True),
        ("UNAVAILABLE", "This protocol is restricted", errors.RequestRefusedError, False),
    ],
)
@pytest.mark.parametrize("form", ["sync", "asyncio"])
def test_only_what_may_pass_is_retried(form: str, code: str, text: str, kind: type[Exception], retried: bool) -> None:
    with refusing_server(code, text) as (url, asked):
        begun = time.monotonic()
        with pytest.raises(kind, match=text):
            score(form, url, 1)
        assert time.monotonic() - begun < 3
    assert asked[0] == "ModelInfer"
    assert (len(asked) > 2) == retried


def inferences(asked: list[str]) -> int:
    """Number of inference requests; with several servers each is asked for its identity too."""
    return asked.count("ModelInfer")


def score(form: str, urls: str | list[str], timeout_s: float, retry: bool = True) -> None:
    """Scores a clip with the client of that form."""

    async def score_async() -> None:
        async with AsyncClient(urls, timeout_s=timeout_s, retry=retry) as client:
            await client.score_frames(JPEGS)

    if form == "asyncio":
        asyncio.run(score_async())
        return
    with Client(urls, timeout_s=timeout_s, retry=retry) as client:
        client.score_frames(JPEGS)


def score_frame(form: str, url: str) -> None:
    """Sends the first frame of a stream once, with the client of that form."""

    async def score_async() -> None:
        async with AsyncClient(url, retry=False) as client, client.stream() as stream:
            await stream.score(JPEGS[0])

    if form == "asyncio":
        asyncio.run(score_async())
        return
    with Client(url, retry=False) as client, client.stream() as stream:
        stream.score(JPEGS[0])


@pytest.mark.parametrize("form", ["sync", "asyncio"])
def test_without_retry_each_request_is_sent_once_and_its_error_is_raised(form: str, closed_url: str) -> None:
    with refusing_server("UNAVAILABLE", "Exceeds maximum queue size") as (url, asked):
        with pytest.raises(errors.ServerBusyError, match=url):
            score(form, url, 20, retry=False)
        assert inferences(asked) == 1
        with pytest.raises(errors.ServerUnavailableError, match=closed_url):
            score(form, [closed_url, url], 20, retry=False)
        assert inferences(asked) == 1
        with pytest.raises(errors.ServerBusyError, match=url):
            score_frame(form, url)
        assert inferences(asked) == 2


@pytest.mark.parametrize("form", ["sync", "asyncio"])
def test_retries_are_logged(form: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "eulernet_client")
    with refusing_server("UNAVAILABLE", "Exceeds maximum queue size") as (url, asked):
        with pytest.raises(errors.ServerBusyError):
            score(form, url, 1)
        assert len(caplog.records) == len(asked) - 1, "one line for each request after the first"
    for record in caplog.records:
        assert logged(record) == ("retry", url, "antispoof_clip", "ServerBusyError")


@pytest.mark.parametrize("form", ["sync", "asyncio"])
def test_failovers_are_logged(form: str, closed_url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "eulernet_client")
    with refusing_server("INVALID_ARGUMENT", "second") as (url, _), pytest.raises(errors.RequestRefusedError):
        score(form, [closed_url, url], 20)
    (record,) = caplog.records
    assert logged(record) == ("failover", closed_url, "antispoof_clip", "ServerUnavailableError")
    assert url in record.getMessage()


def test_failovers_of_queries_are_logged(closed_url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "eulernet_client")
    with (
        refusing_server("INVALID_ARGUMENT", "reached") as (url, _),
        Client([closed_url, url]) as client,
        pytest.raises(errors.RequestRefusedError),
    ):
        client.server_version()
    (record,) = caplog.records
    assert logged(record) == ("failover", closed_url, "", "ServerUnavailableError")


def test_the_log_is_silent_by_default(closed_url: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(errors.ServerUnavailableError):
        score("sync", [closed_url, closed_url], 1)
    assert capfd.readouterr() == ("", "")


def logged(record: logging.LogRecord) -> tuple[str, str, str, str]:
    """Event, server, model and error of a record; its text holds them too."""
    fields = tuple(getattr(record, name) for name in ("event", "server", "model", "error"))
    assert (record.name, record.levelno) == ("eulernet_client", logging.INFO)
    assert all(field in record.getMessage() for field in fields)
    event, server, model, error = fields
    return event, server, model, error


@pytest.mark.parametrize("form", ["sync", "asyncio"])
def test_a_dead_server_is_passed_over(form: str, closed_url: str) -> None:
    with refusing_server("INVALID_ARGUMENT", "reached the second") as (url, asked):
        begun = time.monotonic()
        with pytest.raises(errors.RequestRefusedError, match="reached the second"):
            score(form, [closed_url, url], 20)
        assert time.monotonic() - begun < 5
        assert inferences(asked) == 1


def test_first_frame_of_a_stream_goes_on_to_the_next_server(closed_url: str) -> None:
    with (
        refusing_server("INVALID_ARGUMENT", "reached") as (url, asked),
        Client([closed_url, url]) as client,
        client.stream() as stream,
    ):
        with pytest.raises(errors.RequestRefusedError, match="reached"):
            stream.score(b"\xff\xd8")
        assert inferences(asked) == 1
    assert inferences(asked) == 1, "a stream without START has no END"


def test_queries_do_not_wait_for_a_server(closed_url: str) -> None:
    begun = time.monotonic()
    with Client(closed_url) as client:
        with pytest.raises(errors.ServerUnavailableError, match=f"{closed_url}: .*eulernet serve"):
            client.server_version()
        with pytest.raises(errors.ServerUnavailableError):
            client.check()
        assert client.weights() == "unknown"
    assert time.monotonic() - begun < 5


async def test_asyncio_queries(closed_url: str) -> None:
    async with AsyncClient(closed_url) as client:
        with pytest.raises(errors.ServerUnavailableError, match=closed_url):
            await client.server_version()
        with pytest.raises(errors.ServerUnavailableError, match=closed_url):
            await client.check()
        assert await client.weights() == "unknown"
        async with client.stream("front door") as stream:
            assert stream.sequence_id == "front door"


def test_weights_are_unknown_if_the_server_refuses_and_asked_for_once() -> None:
    with (
        refusing_server("UNAVAILABLE", "This protocol is restricted, expecting header 'x'") as (url, asked),
        Client(url) as client,
    ):
        assert [client.weights(), client.weights()] == ["unknown", "unknown"]
        assert asked == ["ModelConfig"]


def test_a_server_that_says_nothing_times_out() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        begun = time.monotonic()
        with (
            Client(f"127.0.0.1:{silent.getsockname()[1]}", timeout_s=1) as client,
            pytest.raises(errors.RequestTimeoutError, match="timeout"),
        ):
            client.score_frames(JPEGS)
        assert 0.9 < time.monotonic() - begun < 3


def test_media_errors_need_no_server(closed_url: str, tmp_path) -> None:
    with Client(closed_url) as client, pytest.raises(errors.MissingFileError):
        client.score(tmp_path / "gone.mp4")


async def test_asyncio_media_errors_need_no_server(closed_url: str, tmp_path) -> None:
    async with AsyncClient(closed_url) as client:
        with pytest.raises(errors.MissingFileError):
            await client.score(tmp_path / "gone.mp4")


def test_servers_take_turns_and_those_that_failed_come_last() -> None:
    endpoints = Endpoints(["a:1", "b:1", "c:1"])
    assert [endpoints.order() for _ in range(4)] == [[0, 1, 2], [1, 2, 0], [2, 0, 1], [0, 1, 2]]
    endpoints.failed(1, InferenceServerException("down", status="StatusCode.UNAVAILABLE"))
    assert endpoints.order() == [2, 0, 1]
    endpoints.failed(2, InferenceServerException("bad shape", status="StatusCode.INVALID_ARGUMENT"))
    assert endpoints.order() == [2, 0, 1], "a refused request is not the server's failure"
    endpoints.answered(1)
    assert endpoints.order() == [0, 1, 2]
    assert endpoints.order() == [1, 2, 0]


def test_a_frame_goes_to_its_stream_s_server_first_and_takes_no_turn() -> None:
    endpoints = Endpoints(["a:1", "b:1", "c:1"])
    first = [Attempts(endpoints, 10, home=2, replays=True).next()[0] for _ in range(5)]
    assert first == [2] * 5
    attempts = Attempts(endpoints, 10, home=0, replays=True)
    assert attempts.next()[0] == 0
    endpoints.failed(0, InferenceServerException("down", status="StatusCode.UNAVAILABLE"))
    assert [attempts.next()[0] for _ in range(4)] == [1, 2, 0, 1]


def test_replays_and_retries_are_spread_in_time() -> None:
    def pause(attempt: int, *, replays: bool) -> float:
        """Before the attempt that follows so many."""
        attempts, pauses_s = Attempts(Endpoints(["a:1", "b:1"]), 10, replays=replays), []

        async def sleep(seconds: float) -> None:
            pauses_s.append(seconds)

        async def fail_first() -> int:
            attempts.next()
            if len(pauses_s) < attempt:
                raise ServerUnavailableError("down")
            return len(pauses_s)

        assert asyncio.run(attempts.run(sleep, fail_first)) == attempt
        return pauses_s[-1]

    assert pause(1, replays=False) == 0, "a clip goes to the next server at once"
    drawn = sorted(pause(1, replays=True) for _ in range(200))
    assert 0 <= drawn[0] < drawn[20] < REPLAY_SPREAD_S / 4
    assert 3 / 4 * REPLAY_SPREAD_S < drawn[-20] < drawn[-1] <= REPLAY_SPREAD_S
    again = [pause(20, replays=False) for _ in range(200)]
    assert 0.5 <= min(again) < 0.7 < 1.3 < max(again) <= 1.5


def test_an_error_that_does_not_pass_is_raised_at_once() -> None:
    tried = []

    async def refused() -> None:
        tried.append(1)
        raise RequestRefusedError("bad shape")

    with pytest.raises(RequestRefusedError, match="bad shape"):
        asyncio.run(Attempts(Endpoints(["a:1", "b:1"]), 10).run(asyncio.sleep, refused))
    assert tried == [1]


def test_all_attempts_end_within_the_time_of_the_call() -> None:
    attempts, begun_s = Attempts(Endpoints(["a:1"]), 0.5), time.monotonic()

    async def slow() -> None:
        attempts.next()
        await asyncio.sleep(0.2)
        raise ServerUnavailableError("down")

    with pytest.raises(ServerUnavailableError, match="down"):
        asyncio.run(attempts.run(asyncio.sleep, slow))
    assert time.monotonic() - begun_s < 1.0


def test_attempts_leave_time_for_another_server() -> None:
    attempts = Attempts(Endpoints(["a:1", "b:1"]), 10)
    numbers, times = zip(*(attempts.next() for _ in range(3)), strict=True)
    assert numbers == (0, 1, 0)
    assert all(4 < seconds <= 5 for seconds in times)
    for endpoints, retry in ((["a:1"], True), (["a:1", "b:1"], False)):
        _, seconds = Attempts(Endpoints(endpoints), 10, retry=retry).next()
        assert 9 < seconds <= 10


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"urls": []}, "urls .*host:port"),
        ({"urls": "http://localhost:8001"}, "'http://localhost:8001': .*host:port"),
        ({"urls": ["localhost"]}, "'localhost': .*host:port"),
        ({"timeout_s": 0}, "timeout_s=0: "),
        ({"timeout_s": float("nan")}, "timeout_s=nan: "),
    ],
)
def test_wrong_arguments_are_named(arguments: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Client(**arguments)


def test_channel_arguments() -> None:
    plain = Connection.make("a:1", 5, None, {"X-Camera": "door"})
    assert plain.headers == {"x-camera": "door"}
    assert "ssl" not in plain.channel("a:1")
    no_proxy = ("grpc.enable_http_proxy", 0)
    assert no_proxy not in plain.channel("a:1")["channel_args"]
    for url in ("localhost:1", "127.0.0.1:1", "[::1]:1"):
        assert no_proxy in plain.channel(url)["channel_args"]


async def test_a_call_that_grpc_never_ends_times_out(monkeypatch):
    """Stands for gRPC's asyncio layer when it misses a wake-up; that can't be provoked at will."""

    async def never(self, *arguments, **keywords):
        await asyncio.Event().wait()

    monkeypatch.setattr(aio.InferenceServerClient, "infer", never)
    monkeypatch.setattr(aio, "DEADLINE_GRACE_S", 0.1)
    async with aio.AsyncClient("127.0.0.1:9", timeout_s=0.2, retry=False) as client:
        with pytest.raises(errors.RequestTimeoutError, match=r"127\.0\.0\.1:9"):
            await client.score_frames([b"jpeg"] * 4)
