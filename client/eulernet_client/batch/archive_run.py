# SPDX-License-Identifier: Apache-2.0
"""Scores an archive into a table: chooses the sources that are left, records each one, and stops on lasting errors."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from eulernet_client._requests import ServedModel
from eulernet_client.aio import AsyncClient
from eulernet_client.batch.journal import Journal, fingerprint
from eulernet_client.batch.pipeline import Pipeline, Settings, Take
from eulernet_client.batch.row import Row, Scored
from eulernet_client.batch.score_table import check_table, write_table
from eulernet_client.batch.weights import WeightsGuard, served_model
from eulernet_client.errors import (
    BatchStoppedError,
    ServerBusyError,
    ServerError,
    ServerUnavailableError,
    TableError,
)
from eulernet_core.weights_label import WEIGHTS_UNKNOWN

MOST_SERVER_ERRORS = 20  # in a row; as many are not the fault of single sources


class Watcher(Protocol):
    """Receives the progress of a batch; `BatchProgress` draws it."""

    def begin(self, total: int, done: int) -> None:
        """The batch starts: `done` of `total` sources were scored by earlier runs."""

    def advance(self, *, failed: bool) -> None:
        """One more source is finished; `failed`: it has no score."""


class Engine(Protocol):
    """Scores the sources of a batch."""

    async def run(self, sources: Iterable[Path], take: Take) -> None:
        """Passes each finished source to `take` once, in any order. An exception of `take` stops the engine."""


# An engine for an open client, the settings, and the model that all servers have.
EngineMaker = Callable[[AsyncClient, Settings, ServedModel], Engine]


def local_engine(client: AsyncClient, settings: Settings, model: ServedModel) -> Engine:
    """Threads of this process read and decode."""
    return Pipeline(client, settings, model.weights)


@dataclass
class Summary:
    """Contents of the table, and this run's share of the work.

    Attributes:
        out: path of the table.
        weights: label of the weights.
        identity: their hash, and the precision in which the server computes them.
        live, attack, not_scored: number of rows of each kind.
        errors: number of rows by type of error.
        passed_over: number of files and folders without a row, by reason; filled by the command.
        scored_now: sources of this run, with a score or an error.
        frames_now: frames in their scores.
        seconds: wall-clock time of this run's scoring.
    """

    out: str
    weights: str
    identity: str = WEIGHTS_UNKNOWN
    live: int = 0
    attack: int = 0
    not_scored: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    passed_over: Counter[str] = field(default_factory=Counter)
    scored_now: int = 0
    frames_now: int = 0
    seconds: float = 0.0

    @property
    def sources_per_s(self) -> float:
        """Rate of this run."""
        return self.scored_now / self.seconds if self.seconds else 0.0

    @property
    def frames_per_s(self) -> float:
        """Rate of this run."""
        return self.frames_now / self.seconds if self.seconds else 0.0

    def count(self, row: Row) -> None:
        """Adds a row of the table."""
        self.live += row["verdict"] == "live"
        self.attack += row["verdict"] == "attack"
        if row["verdict"] is None:
            self.not_scored += 1
            self.errors[row["error_type"]] += 1

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        rates = {"sources_per_s": self.sources_per_s, "frames_per_s": self.frames_per_s}
        return {**asdict(self), "errors": dict(self.errors), "passed_over": dict(self.passed_over), **rates}


def journal_path(out: Path) -> Path:
    """The journal of a table: a file beside it."""
    return out.with_name(f"{out.name}.journal.jsonl")


def passed_over_path(out: Path) -> Path:
    """The list of what has no row in a table: a file beside it, a line of JSON for each entry."""
    return out.with_name(f"{out.name}.passed_over.jsonl")


async def score_batch(
    client: AsyncClient,
    sources: Sequence[Path],
    out: str | Path,
    settings: Settings | None = None,
    watcher: Watcher | None = None,
    engine: EngineMaker = local_engine,
) -> Summary:
    """Scores sources into a table with one row each, and continues an earlier run that ended early for any reason.

    Each finished source is appended to a journal beside the table; the table is written from the journal at the end, in
    one step. The journal is kept: a later run scores only sources that are new, that have changed, or that failed
    because of the server or the disk. The table holds the sources of this call, in their order.

    Args:
        client: an open client.
        sources: videos and folders of JPEGs, such as from `find_sources`. A source that occurs twice gets one row.
        out: path of the table, .parquet, .csv or .jsonl.
        settings: clips of each source, and limits of parallel work.
        watcher: receives the progress.
        engine: where sources are read; on a Ray cluster with `ray_engine()` of `eulernet_client.batch.ray_engine`.

    Raises:
        TableError, JournalError: before any source is scored.
        OtherWeightsError: the journal, or one of several servers, has other weights.
        BatchStoppedError: the server is unavailable or fails every request; start again to continue.
        RayClusterError: with `ray_engine`, there is no cluster to use.
        ServerError: no server answers at the start.
    """
    out, settings = Path(out), settings or Settings()
    check_table(out)
    if out.exists() and not journal_path(out).exists():
        raise TableError(f"{out}: exists, without a journal beside it to continue; choose another --out")
    model = await served_model(client)
    scoring = engine(client, settings, model)
    by_key = {_key(source): source for source in sources}
    with Journal(journal_path(out), model, settings.clips, settings.at_keyframes) as journal:
        todo = [key for key, source in by_key.items() if not _done(journal, key, source)]
        guard = WeightsGuard(client, journal, model)
        batch = _Batch(client, journal, watcher, guard, Summary(str(out), model.weights, model.identity), len(todo))
        if watcher is not None:
            watcher.begin(len(by_key), len(by_key) - len(todo))
        await batch.run([by_key[key] for key in todo], scoring)
        write_table(out, batch.rows(by_key))
    return batch.summary


def _key(source: Path) -> str:
    """The journal's name for a source, independent of the working directory."""
    return str(source.absolute())


def _done(journal: Journal, key: str, source: Path) -> bool:
    entry = journal.entries.get(key)
    return entry is not None and entry.final and entry.mark == fingerprint(source)


class _Batch:
    """One run: moves rows from the pipeline to the journal until all are done or an error stops the run."""

    def __init__(
        self,
        client: AsyncClient,
        journal: Journal,
        watcher: Watcher | None,
        guard: WeightsGuard,
        summary: Summary,
        todo: int,
    ) -> None:
        self.summary = summary
        self._client, self._journal, self._watcher, self._todo = client, journal, watcher, todo
        self._guard = guard
        self._failures = 0  # server errors since the last source that had none

    async def run(self, todo: Sequence[Path], engine: Engine) -> None:
        """Scores the sources that are left."""
        begun = time.monotonic()
        scoring = asyncio.create_task(engine.run(todo, self._take))
        guarding = asyncio.create_task(self._guard.watch())
        try:
            await asyncio.wait({scoring, guarding}, return_when=asyncio.FIRST_COMPLETED)
            for task in (guarding, scoring):
                if task.done():
                    task.result()
        finally:
            for task in (scoring, guarding):
                task.cancel()
            await asyncio.gather(scoring, guarding, return_exceptions=True)
        await self._guard.check()
        self.summary.seconds = time.monotonic() - begun

    def rows(self, by_key: dict[str, Path]) -> Iterator[Row]:
        """The table's rows, one at a time, counted into the summary."""
        for key, source in by_key.items():
            row = {**self._journal.row(key), "path": str(source), "identity": self._journal.model.identity}
            self.summary.count(row)
            yield row

    def _take(self, source: Path, scored: Scored) -> None:
        error = scored.error
        if isinstance(error, ServerUnavailableError) and not isinstance(error, ServerBusyError):
            raise self._stopped(error) from error
        key = _key(source)
        self._journal.add(key, scored)
        self._guard.scored(key)
        self.summary.scored_now += 1
        self.summary.frames_now += scored.row["frames"]
        if self._watcher is not None:
            self._watcher.advance(failed=error is not None)
        self._failures = self._failures + 1 if isinstance(error, ServerError) else 0
        if error is not None and self._failures >= MOST_SERVER_ERRORS:
            raise self._stopped(error) from error

    def _stopped(self, error: Exception) -> BatchStoppedError:
        done = f"{self.summary.scored_now:,} of {self._todo:,}"
        return BatchStoppedError(f"stopped after {done} sources: {error}. Start again to continue")
