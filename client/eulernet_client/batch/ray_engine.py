# SPDX-License-Identifier: Apache-2.0
"""Scores an archive on a Ray cluster: actors read, decode and call the servers; the rows come back to this process.

    async with AsyncClient("gateway:8443", tls=Tls()) as client:
        await score_batch(client, sources, "scores.parquet", engine=ray_engine("auto"))

The journal beside the table is the run's only record, as without Ray: a run that was killed continues on Ray or without
it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from eulernet_client import errors
from eulernet_client._requests import ServedModel
from eulernet_client.aio import AsyncClient
from eulernet_client.batch.archive_run import EngineMaker
from eulernet_client.batch.journal import fingerprint
from eulernet_client.batch.pipeline import Settings, Take
from eulernet_client.batch.ray_actors import MOST_DEATHS, ActorPool, Answer, Stop
from eulernet_client.batch.ray_cluster import check_ray, connected
from eulernet_client.batch.ray_worker import Job, OneCpu
from eulernet_client.batch.row import Scored, error_row
from eulernet_client.errors import BatchStoppedError, EulerNetError, MissingFileError, WorkerDiedError

STOP_S = 10.0  # for Ray to end its actors


def ray_engine(address: str | None = None, workers: int | None = None) -> EngineMaker:
    """An engine for `score_batch` that reads the sources on a Ray cluster.

    Args:
        address: host:port of the cluster's head, "auto" for the cluster that this machine is part of, or "local" to
            start Ray here for this run. Default: $RAY_ADDRESS, or else "auto". A Ray that this process is connected to
            is used as it is.
        workers: most actors at once, each with one CPU; by default one for each CPU of the cluster.

    Raises:
        RayClusterError: Ray is not installed, or the address is of another kind.
    """
    check_ray(address)

    def engine(client: AsyncClient, settings: Settings, model: ServedModel) -> RayEngine:
        return RayEngine(Job.of(client, settings, model), address, workers)

    return engine


class RayEngine:
    """Scores sources on a Ray cluster; see `ray_engine`. `job.settings`: of the whole run."""

    def __init__(self, job: Job, address: str | None, workers: int | None) -> None:
        self._job, self._address, self._workers = job, address, workers

    async def run(self, sources: Iterable[Path], take: Take) -> None:
        """See Engine.

        Raises:
            RayClusterError: no cluster can be used.
            BatchStoppedError: Ray failed, or a node can't see the sources.
            OtherWeightsError, CredentialsError: of a worker.
        """
        todo = dict(enumerate(sources))
        if not todo:
            return
        feed = _Feed(partial(self._answers, todo))
        feed.start()
        try:
            while (item := await feed.items.get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                _take(item, todo, take, self._job.model)
        finally:
            feed.stopped.set()
            await asyncio.to_thread(feed.join, STOP_S)

    def _answers(self, todo: dict[int, Path], stopped: threading.Event) -> Iterator[Answer | Stop]:
        with connected(self._address, self._workers) as ray:
            cpus = max(1, int(ray.cluster_resources().get("CPU", 1)))
            actors = min(self._workers or cpus, len(todo))
            concurrency = max(1, self._job.settings.concurrency // actors)
            whole = self._job.settings
            job = replace(self._job, settings=OneCpu(whole.clips, 1, concurrency, whole.at_keyframes))
            yield from ActorPool(ray, job, actors).answers(todo, stopped)


def _take(item: Answer | Stop, todo: dict[int, Path], take: Take, model: ServedModel) -> None:
    """Passes an answer on. Raises: BatchStoppedError, or the worker's error."""
    if isinstance(item, Stop):
        raise _error(item.kind, item.text) or BatchStoppedError(
            f"{item.host}: the Ray worker failed: {item.kind}: {item.text}. Start again to continue"
        )
    source = todo[item.number]
    if item.scored is None:
        error = WorkerDiedError(
            f"{source}: {MOST_DEATHS} Ray workers died while they read it; see Ray's logs for a lack of memory or a "
            "crash of the decoder, and score this source alone"
        )
        take(source, Scored(error_row(str(source), error, None, model.weights, 0.0), fingerprint(source), False, error))
        return
    row = {**item.scored["row"], "path": str(source)}
    raised: Exception | None = None
    if row["error"] is not None:
        row["error"] = row["error"].replace(str(source.absolute()), str(source))  # as the user named it
        raised = _error(row["error_type"], row["error"]) or RuntimeError(row["error"])
        if isinstance(raised, MissingFileError) and source.exists():
            raise BatchStoppedError(
                f"{item.host}: this node does not have {source.absolute()}, which exists here; mount the archive at "
                "the same path on every node, and start again to continue"
            )
    take(source, Scored(row, item.scored["mark"], item.scored["final"], raised))


def _error(kind: str, text: str) -> EulerNetError | None:
    """A worker's error as an exception; None if it is none of the client's."""
    return getattr(errors, kind)(text) if kind in errors.__all__ else None


class _Feed(threading.Thread):
    """Runs an iterator in a thread, since Ray's calls block, and queues its items for the event loop.

    Attributes:
        items: then None at the end, or the exception that ended it.
        stopped: set it to end the thread.
    """

    def __init__(self, work: Callable[[threading.Event], Iterator[Answer | Stop]]) -> None:
        super().__init__(name="eulernet-ray", daemon=True)
        self.items: asyncio.Queue[Answer | Stop | Exception | None] = asyncio.Queue()
        self.stopped = threading.Event()
        self._work, self._loop = work, asyncio.get_running_loop()

    def run(self) -> None:
        try:
            for item in self._work(self.stopped):
                self._put(item)
            self._put(None)
        except EulerNetError as error:
            self._put(error)
        except Exception as error:  # Ray raises more than its own RayError
            text = (str(error).strip() or repr(error)).splitlines()[-1]
            stopped = BatchStoppedError(f"Ray ended the run: {type(error).__name__}: {text}. Start again to continue")
            stopped.__cause__ = error
            self._put(stopped)

    def _put(self, item: Answer | Stop | Exception | None) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits
            self._loop.call_soon_threadsafe(self.items.put_nowait, item)
