# SPDX-License-Identifier: Apache-2.0
"""The blocking client's way of running the coroutines that both clients share."""

from __future__ import annotations

import asyncio

import pytest

from eulernet_client import Client, errors
from eulernet_client._session import run_blocking

NOWHERE = "127.0.0.1:9"  # the discard port: closed


async def doubled(number: int) -> int:
    if number < 0:
        raise ValueError(number)
    return 2 * number


def test_result_and_exception_of_a_coroutine() -> None:
    assert run_blocking(doubled(3)) == 6
    with pytest.raises(ValueError, match="-1"):
        run_blocking(doubled(-1))


def test_a_coroutine_that_suspends_is_refused_and_closed() -> None:
    closed = []

    async def suspending() -> None:
        try:
            await asyncio.sleep(0)
        finally:
            closed.append(True)

    with pytest.raises(RuntimeError, match="suspended"):
        run_blocking(suspending())
    assert closed == [True]


async def test_the_blocking_client_works_inside_a_running_loop() -> None:
    with Client(NOWHERE, retry=False) as client:
        with pytest.raises(errors.ServerUnavailableError, match=NOWHERE):
            client.score_frames([b""] * 4)
        with client.stream(5) as stream, pytest.raises(errors.ServerUnavailableError):
            stream.score(b"")
