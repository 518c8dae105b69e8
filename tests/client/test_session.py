# SPDX-License-Identifier: Apache-2.0
"""The logic that both clients share: running its coroutines without a loop, and the identities of the servers."""

from __future__ import annotations

import asyncio

import pytest

from eulernet_client import Client, _identities, errors
from eulernet_client._identities import Identities
from eulernet_client._requests import ServedModel
from eulernet_client._session import run_blocking
from eulernet_client._transport import Endpoints

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


KNOWN, UNKNOWN = ServedModel("w", "1a2b3c4d5e6f7a8b fp32"), ServedModel()


@pytest.mark.parametrize("models", [(KNOWN, KNOWN), (UNKNOWN, UNKNOWN)])
def test_servers_of_one_identity_are_accepted(models: tuple[ServedModel, ServedModel]) -> None:
    identities = Identities(Endpoints(["a:1", "b:1"]))
    identities.compare(dict(enumerate(models)))
    assert identities.compared
    assert identities.of(1) == models[1]
    identities.forget(1)
    assert identities.of(1) is None, "it has to report again"


@pytest.mark.parametrize("other", [UNKNOWN, ServedModel("w", "1a2b3c4d5e6f7a8b bf16")])
def test_servers_of_two_identities_are_refused(other: ServedModel) -> None:
    endpoints = Endpoints(["a:1", "b:1"])
    identities = Identities(endpoints)
    with pytest.raises(errors.MixedServersError, match=f"a:1 has '{KNOWN.identity}', b:1 has '{other.identity}'"):
        identities.compare({0: KNOWN, 1: other})
    assert not identities.compared
    identities.compare({0: KNOWN})
    with pytest.raises(errors.MixedServersError, match=f"b:1 has '{other.identity}'"):
        identities.learn(1, other)
    assert (identities.of(1), endpoints.refused) == (None, {1})
    identities.learn(1, KNOWN)
    assert (identities.of(1), endpoints.refused) == (KNOWN, set())


def test_a_server_that_paused_has_to_report_again(monkeypatch: pytest.MonkeyPatch) -> None:
    endpoints = Endpoints(["a:1"])
    identities = Identities(endpoints)
    identities.compare({0: KNOWN})
    monkeypatch.setattr(_identities, "FRESH_S", 0.0)
    assert identities.of(0) is None
    monkeypatch.setattr(_identities, "FRESH_S", 0.2)
    endpoints.answered(0)
    assert identities.of(0) == KNOWN
