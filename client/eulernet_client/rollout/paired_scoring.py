# SPDX-License-Identifier: Apache-2.0
"""Scores sources on two servers by turns, so that both see the machine and the network in the same state."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from eulernet_client._requests import ServedModel
from eulernet_client._session import run_blocking
from eulernet_client.client import Client
from eulernet_client.errors import EulerNetError, RequestTimeoutError, ServerBusyError, ServerUnavailableError
from eulernet_client.rollout.score_pairs import Answered, Pair


def served_model(client: Client) -> ServedModel:
    """Label and identity of the weights of a client's server. Raises: ServerError."""
    return run_blocking(client._session.served_model(0))


def score_pairs(stable: Client, candidate: Client, sources: Sequence[Path], clips: int = 1) -> Iterator[Pair]:
    """Scores each source on both servers; which one comes first alternates.

    Args:
        stable, candidate: open clients with one server each.
        clips: of each source.

    Raises:
        ServerUnavailableError, RequestTimeoutError: a server does not answer; an error of the source itself does not
            end the comparison.
    """
    for number, source in enumerate(sources):
        order = (stable, candidate) if number % 2 == 0 else (candidate, stable)
        answers = {client: _answered(client, source, clips) for client in order}
        yield Pair(str(source), answers[stable], answers[candidate])


def _answered(client: Client, source: Path, clips: int) -> Answered:
    try:
        result = client.score(source, clips=clips)
    except ServerBusyError as error:
        return Answered(None, error=type(error).__name__)
    except (ServerUnavailableError, RequestTimeoutError):
        raise
    except EulerNetError as error:
        return Answered(None, error=type(error).__name__)
    return Answered(result.liveness, result.latency_s)
