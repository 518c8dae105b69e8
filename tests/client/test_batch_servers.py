# SPDX-License-Identifier: Apache-2.0
"""Batches whose servers stop, hang, or serve another model: the scores that are kept, and how a run continues."""

import asyncio
import contextlib
import json
import re
import time

import pytest

from eulernet_client import AsyncClient
from eulernet_client._requests import ServedModel
from eulernet_client.batch import Settings, score_batch, weights
from eulernet_client.batch.archive_run import journal_path
from eulernet_client.batch.journal import Journal
from eulernet_client.errors import BatchStoppedError, OtherWeightsError, RequestTimeoutError, ServerUnavailableError

pytestmark = pytest.mark.triton

NOWHERE = "127.0.0.1:9"  # the discard port: closed


class Seen:
    """A watcher that counts sources, and calls a function after a given number."""

    def __init__(self, after=-1, then=lambda: None):
        self.count, self.before, self._after, self._then = 0, 0, after, then

    def begin(self, total, done):
        self.before = done
        self._maybe()

    def advance(self, *, failed):
        self.count += 1
        self._maybe()

    def _maybe(self):
        if self.count == self._after:
            self._then()


async def batch(url, sources, out, seen=None, timeout_s=30, **settings):
    async with AsyncClient(url, timeout_s=timeout_s) as client:
        return await score_batch(client, sources, out, Settings(**settings), seen)


def score(url, sources, out):
    return asyncio.run(batch(url, sources, out))


def rows_of(out):
    return [json.loads(line) for line in out.read_text().splitlines()]


def model_of(out):
    head = json.loads(journal_path(out).read_bytes().splitlines()[0])
    return ServedModel(head["weights"], head["identity"])


def final_keys_in(journal):
    """Keys of final rows; on a busy machine others may hold a timeout."""
    entries = [json.loads(line) for line in journal.read_bytes().splitlines()[1:]]
    return [entry["key"] for entry in entries if entry["final"]]


class Relay:
    """A TCP relay between client and server that can be cut, redirected or paused."""

    def __init__(self):
        self._writers, self._target = set(), None
        self.flows = asyncio.Event()
        self.flows.set()

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_):
        self._server.close()
        self.flows.set()
        self.to(None)
        await asyncio.gather(*(writer.wait_closed() for writer in self._writers), return_exceptions=True)

    def to(self, url):
        """Cuts every connection; new ones go to `url`, or nowhere."""
        self._target = url
        for writer in self._writers:
            writer.close()

    async def _accept(self, reader, writer):
        self._writers.add(writer)
        with contextlib.suppress(OSError):
            if self._target is not None:
                far_reader, far = await asyncio.open_connection(*self._target.split(":"))
                self._writers.add(far)
                await asyncio.gather(self._pump(reader, far), self._pump(far_reader, writer))
        writer.close()

    async def _pump(self, reader, writer):
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 16):
                await self.flows.wait()
                writer.write(data)
                await writer.drain()
        writer.close()


async def test_server_that_stops_ends_the_run_and_the_next_run_continues(server, archive, tmp_path):
    sources, out = archive(12), tmp_path / "t.jsonl"
    async with Relay() as relay:
        relay.to(server.url)
        with pytest.raises(BatchStoppedError, match=r"\d of 12 sources: .*127.0.0.1:.* [Ss]tart again"):
            await batch(relay.url, sources, out, Seen(5, lambda: relay.to(None)), 4, concurrency=2)
        assert not out.exists()
        kept = final_keys_in(journal_path(out))
        relay.to(server.url)
        summary = await batch(relay.url, sources, out)
    assert summary.scored_now == 12 - len(kept)
    assert sorted(final_keys_in(journal_path(out))) == sorted(map(str, sources)), "each source once"
    assert [row["error"] for row in rows_of(out)] == [None] * 12


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_server_that_hangs_ends_the_run_and_its_failures_are_scored_again(server, archive, tmp_path):
    sources, out = archive(22), tmp_path / "t.jsonl"
    async with Relay() as relay:
        relay.to(server.url)
        with pytest.raises(BatchStoppedError, match="20 of 22 sources: ") as caught:
            await batch(relay.url, sources, out, Seen(0, relay.flows.clear), 4, concurrency=22)
        assert type(caught.value.__cause__) is RequestTimeoutError
        relay.to(server.url)  # drops the requests that were held back
        relay.flows.set()
        seen = Seen()
        summary = await batch(relay.url, sources, out, seen)
    assert (seen.before, seen.count, summary.not_scored) == (0, 22, 0)


def test_one_table_does_not_mix_two_models(server, other_server, archive, tmp_path, weights_label):
    sources, out = archive(3), tmp_path / "t.jsonl"
    score(server.url, sources[:2], out)
    before = out.read_bytes(), journal_path(out).read_bytes()
    with pytest.raises(OtherWeightsError, match=f"'{re.escape(weights_label)}'.*'other'.*--out"):
        score(other_server.url, sources, out)
    with pytest.raises(OtherWeightsError, match=f"'{re.escape(weights_label)}'.*'other'"):
        score([server.url, other_server.url], sources, out)
    assert (out.read_bytes(), journal_path(out).read_bytes()) == before
    score([server.url, NOWHERE], sources, out)
    rows = rows_of(out)
    assert {(row["weights"], row["identity"]) for row in rows} == {(weights_label, model_of(out).identity)}
    assert re.fullmatch(r"[0-9a-f]{16} (fp32|bf16|int8-[0-9a-f]{8})", rows[0]["identity"])


@pytest.mark.parametrize("check_s", [0.1, 1e6])  # in the middle; at the end alone
async def test_model_replaced_during_a_run(server, other_server, archive, tmp_path, monkeypatch, check_s):
    monkeypatch.setattr(weights, "CHECK_S", check_s)
    sources, out = archive(20), tmp_path / "t.jsonl"
    await batch(server.url, sources[:2], out)
    async with Relay() as relay:
        relay.to(server.url)
        seen = Seen(5, lambda: relay.to(other_server.url))
        with pytest.raises(OtherWeightsError, match="'other'.*--out"):
            await batch(relay.url, sources, out, seen, concurrency=1)
    assert (seen.before, seen.count <= 18) == (2, True)
    with Journal(journal_path(out), model_of(out), clips=1) as journal:
        assert {str(source) for source in sources[:2]} <= set(journal.entries)
        assert len(journal.entries) <= 2 + (0 if check_s > 1 else 5), "none that the other model may have scored"
    seen = Seen()
    await batch(server.url, sources, out, seen)
    assert seen.count == 20 - seen.before
    assert len(rows_of(out)) == 20


def test_no_server_fails_at_once_and_leaves_no_file(archive, tmp_path):
    sources = archive(1)
    begun = time.monotonic()
    with pytest.raises(ServerUnavailableError, match=NOWHERE):
        asyncio.run(batch(NOWHERE, sources, tmp_path / "t.jsonl"))
    assert time.monotonic() - begun < 8
    assert sorted(each.name for each in tmp_path.iterdir()) == ["archive"]
