# SPDX-License-Identifier: Apache-2.0
"""Clients that are closed, forked, pickled, or used in a second event loop: errors that say what to do."""

from __future__ import annotations

import asyncio
import copy
import multiprocessing
import pickle
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection

import pytest

from eulernet_client import AsyncClient, Client, errors
from tests.client.secure_servers import recording_server

NOWHERE = "127.0.0.1:9"  # the discard port: closed
JPEGS = [b"\xff\xd8"] * 4


@pytest.fixture
def silent_url() -> Iterator[str]:
    """A port that takes connections and says nothing."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        yield f"127.0.0.1:{silent.getsockname()[1]}"


def test_a_closed_client_says_so() -> None:
    client = Client(NOWHERE, timeout_s=5)
    stream = client.stream()
    client.close()
    client.close()
    for use in (
        client.server_version,
        client.weights,
        client.check,
        client.__enter__,
        lambda: client.ready("antispoof"),
        lambda: client.score_frames(JPEGS),
        lambda: stream.score(JPEGS[0]),
    ):
        with pytest.raises(errors.ClientStateError, match="closed; make a new one"):
            use()
    with client.stream():
        pass  # leaving the block must not hide what happened inside it


async def test_a_closed_asyncio_client_says_so() -> None:
    client = AsyncClient(NOWHERE, timeout_s=5)
    await client.close()
    await client.close()
    for use in (client.server_version, client.weights, client.check, client.__aenter__):
        with pytest.raises(errors.ClientStateError, match="closed; make a new one"):
            await use()
    with pytest.raises(errors.ClientStateError, match="closed; make a new one"):
        await client.score_frames(JPEGS)
    async with client.stream():
        pass


def test_closing_ends_the_calls_of_other_threads(silent_url: str) -> None:
    client = Client(silent_url, timeout_s=20)
    raised: list[BaseException] = []

    def call() -> None:
        try:
            client.score_frames(JPEGS)
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    time.sleep(0.3)
    client.close()
    thread.join(5)
    assert [type(error) for error in raised] == [errors.ClientStateError]


async def test_closing_ends_the_calls_of_other_tasks(silent_url: str) -> None:
    client = AsyncClient(silent_url, timeout_s=20)
    calls = [asyncio.ensure_future(client.score_frames(JPEGS)) for _ in range(3)]
    await asyncio.sleep(0.3)
    await client.close()
    results = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 5)
    assert [type(error) for error in results] == [errors.ClientStateError] * 3


async def test_a_cancelled_call_stays_cancelled(silent_url: str) -> None:
    async with AsyncClient(silent_url, timeout_s=20) as client:
        call = asyncio.ensure_future(client.score_frames(JPEGS))
        await asyncio.sleep(0.3)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call


def test_a_second_event_loop_is_refused() -> None:
    client = AsyncClient(NOWHERE, timeout_s=1)
    with pytest.raises(errors.ServerUnavailableError):
        asyncio.run(client.server_version())
    with pytest.raises(errors.ClientStateError, match="event loop.*asyncio.run"):
        asyncio.run(client.server_version())
    asyncio.run(client.close())


async def test_a_client_is_closed_in_its_own_loop(silent_url: str) -> None:
    async with AsyncClient(silent_url, timeout_s=1) as client:
        with suppress(errors.ServerError):
            await client.server_version()
        with pytest.raises(errors.ClientStateError, match="another event loop.*close it there"):
            await asyncio.to_thread(lambda: asyncio.run(client.close()))


@pytest.mark.parametrize("copied", [pickle.dumps, copy.copy, copy.deepcopy])
@pytest.mark.parametrize("made", [Client, AsyncClient])
def test_clients_and_streams_are_not_copied(made: type, copied: Callable[[object], object]) -> None:
    client = made(NOWHERE)
    for each in (client, client.stream(5)):
        with pytest.raises(errors.ClientStateError, match=f"{type(each).__name__} can't be pickled"):
            copied(each)


def outcome(use: Callable[[], object]) -> str:
    """The error's name and text, or "answered"."""
    try:
        use()
    except errors.RequestRefusedError:
        return "answered"
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    return "answered"


def in_fork(use: Callable[[], object]) -> str:
    """The outcome in a forked child."""
    receive, send = multiprocessing.Pipe(duplex=False)
    child = multiprocessing.get_context("fork").Process(target=lambda: send.send(outcome(use)))
    child.start()
    try:
        assert receive.poll(20), "the child hangs"
        found: str = receive.recv()
        return found
    finally:
        child.kill()
        child.join()


def fresh(url: str, kind: str) -> object:
    """Asks a server with a new client."""

    async def ask() -> str:
        async with AsyncClient(url, timeout_s=5) as client:
            return await client.server_version()

    if kind == "asyncio":
        return asyncio.run(ask())
    with Client(url, timeout_s=5) as client:
        return client.server_version()


FORKS = """
import sys
from tests.client import test_client_state
getattr(test_client_state, sys.argv[1])()
"""


@pytest.mark.parametrize("scene", ["forks_with_a_blocking_client", "forks_with_an_asyncio_client"])
def test_forks(scene: str, root) -> None:
    """In an interpreter of its own: a fork copies whatever other tests have left in the process."""
    done = subprocess.run([sys.executable, "-c", FORKS, scene], cwd=root, capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr


def serve(send: Connection) -> None:
    with recording_server() as (url, _):
        send.send(url)
        time.sleep(60)


def server_of_another_process() -> str:
    """gRPC's server must not run in the process that forks."""
    receive, send = multiprocessing.Pipe(duplex=False)
    multiprocessing.get_context("spawn").Process(target=serve, args=(send,), daemon=True).start()
    url: str = receive.recv()
    return url


def forks_with_a_blocking_client() -> None:
    url = server_of_another_process()
    unused = Client(url, timeout_s=5)
    assert in_fork(unused.server_version) == "answered", "it belongs to nobody yet"
    with Client(url, timeout_s=5) as used:
        assert outcome(used.server_version) == "answered"
        assert "ClientStateError: this client belongs to process" in in_fork(used.server_version)
        assert in_fork(lambda: fresh(url, "sync")) == "answered"
        assert outcome(used.server_version) == "answered", "the parent goes on"


def forks_with_an_asyncio_client() -> None:
    url, refused = server_of_another_process(), "ClientStateError: this process was forked from one that had used"

    async def parent() -> None:
        async with AsyncClient(url, timeout_s=5) as client:
            with suppress(errors.RequestRefusedError):
                await client.server_version()
            assert refused in in_fork(lambda: fresh(url, "asyncio"))
            with pytest.raises(errors.RequestRefusedError):
                await client.server_version()

    asyncio.run(parent())
    assert refused in in_fork(lambda: fresh(url, "asyncio")), "gRPC's threads outlive the client and the loop"
    assert refused in in_fork(lambda: fresh(url, "sync"))


@pytest.mark.parametrize("timeout_s", [float("inf"), float("-inf"), float("nan"), 0, -1, 86_401])
@pytest.mark.parametrize("made", [Client, AsyncClient])
def test_time_limits_that_never_end_are_refused(made: type, timeout_s: float) -> None:
    with pytest.raises(ValueError, match=f"timeout_s={timeout_s}: .*86400"):
        made(NOWHERE, timeout_s=timeout_s)


@pytest.mark.parametrize("timeout_s", ["5", None, True, b"5"])
def test_time_limits_are_numbers(timeout_s: object) -> None:
    with pytest.raises(TypeError, match="timeout_s=.*number"):
        Client(NOWHERE, timeout_s=timeout_s)  # type: ignore[arg-type]


WRONG = ["", "localhost", ":8001", "a:", "a:b", "a:0", "a:65536", "a b:1", "http://a:8001", "a:80 ", "a:٣"]


@pytest.mark.parametrize("url", WRONG)
def test_addresses_are_host_and_port(url: str) -> None:
    with pytest.raises(ValueError, match="host:port"):
        Client(url)


@pytest.mark.parametrize("urls", [5, None, b"a:1", [5]])
def test_addresses_are_text(urls: object) -> None:
    with pytest.raises(TypeError, match="urls: "):
        Client(urls)  # type: ignore[arg-type]
