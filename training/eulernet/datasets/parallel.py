# SPDX-License-Identifier: Apache-2.0
"""Runs jobs in several processes. A crash of a process loses one job; the processes end when the parent is killed."""

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

J = TypeVar("J")
CRASHED = "unreadable video: the process that read it crashed; check the file, or use a machine with more memory"
_tool: Any = None  # made once in each process and used for all of its jobs


def run(
    work: Callable[[J, Any], None],
    jobs: list[J],
    make_tool: Callable[..., Any],
    tool_arguments: tuple[Any, ...],
    processes: int,
) -> Iterator[tuple[J, str | None]]:
    """Calls work(job, tool) for each job. Yields each finished job, with None or the reason of its failure.

    Args:
        work, make_tool: module-level functions, so that another process can import them.
        tool_arguments: make_tool(*tool_arguments) is called once in each process.
        processes: with 1, this process does the work, and a crash ends it.
    """
    if processes <= 1:
        tool = make_tool(*tool_arguments) if jobs else None
        for job in jobs:
            work(job, tool)
            yield job, None
        return
    if not jobs:
        return
    start = (make_tool, tool_arguments)
    unfinished = dict(enumerate(jobs))
    try:
        for number in _pooled(work, unfinished, start, min(processes, len(jobs))):
            yield unfinished.pop(number), None
    except BrokenProcessPool:
        # The exception does not name the job, so the remaining jobs run one by one.
        for job in unfinished.values():
            try:
                list(_pooled(work, {0: job}, start, 1))
                yield job, None
            except BrokenProcessPool:
                yield job, CRASHED


def shown(
    answers: Iterator[tuple[J, str | None]], total: int, what: str, progress: bool
) -> Iterator[tuple[J, str | None]]:
    """Yields the results of `run`, with a progress bar on standard error."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), disable=not (progress and total)) as bar:
        task = bar.add_task(what, total=total)
        for answer in answers:
            yield answer
            bar.advance(task)


def _pooled(
    work: Callable[[J, Any], None], jobs: dict[int, J], start: tuple[Callable[..., Any], Any], processes: int
) -> Iterator[int]:
    """The number of each job when it is done."""
    # Spawned: a fork copies locks but not the threads that own them.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(processes, mp_context=context, initializer=_start, initargs=start)
    try:
        futures: dict[Future[None], int] = {pool.submit(_call, work, job): number for number, job in jobs.items()}
        for future in as_completed(futures):
            future.result()
            yield futures[future]
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start(make_tool: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    global _tool
    # A worker waits on a pipe that it holds open itself, so it would not notice the parent's death.
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    _tool = make_tool(*arguments)


def _end_with(parent: Any) -> None:
    parent.join()
    os._exit(1)


def _call(work: Callable[[J, Any], None], job: J) -> None:
    work(job, _tool)
