# SPDX-License-Identifier: Apache-2.0
"""Progress of a batch, with rate and remaining time: a bar on a terminal, a line every half minute elsewhere."""

from __future__ import annotations

import time
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

LINE_EVERY_S = 30.0
ESTIMATE_S = 60.0  # rate and remaining time are estimated over these last seconds


def rate_text(per_s: float | None) -> str:
    """Sources a second, or a minute below one a second."""
    if not per_s:
        return "-/s"
    return f"{per_s:.1f}/s" if per_s >= 1 else f"{60 * per_s:.1f}/min"


def left_text(left_s: float | None) -> str:
    """Remaining time as 1:02:03."""
    return "time left unknown" if left_s is None else f"{timedelta(seconds=round(left_s))} left"


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        failed = f", {task.fields['failed']} not scored" if task.fields["failed"] else ""
        return Text(f"{rate_text(task.speed)}, {left_text(task.time_remaining)}{failed}")


class BatchProgress:
    """Draws on `console`; use it in a `with` block.

    Args:
        console: a terminal gets the bar, another file gets lines.
        line_every_s: pause between lines.
    """

    def __init__(self, console: Console, line_every_s: float = LINE_EVERY_S) -> None:
        self._console = console
        self._every_s = line_every_s
        self._bar = Progress(
            TextColumn("scoring"),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(),
            console=console,
            transient=True,
            speed_estimate_period=ESTIMATE_S,
            disable=not console.is_terminal,
        )
        self._failed = 0

    def begin(self, total: int, done: int) -> None:
        """`done` of `total` sources were scored by earlier runs."""
        self._task = self._bar.add_task("", total=total, completed=done, failed=0)
        self._told = time.monotonic()
        if done:
            self._console.print(f"{done:,} of {total:,} sources are already scored", highlight=False)

    def advance(self, *, failed: bool) -> None:
        """One more source is finished; `failed`: it has no score."""
        self._failed += failed
        self._bar.update(self._task, advance=1, failed=self._failed)
        if not self._console.is_terminal and time.monotonic() - self._told >= self._every_s:
            self._told = time.monotonic()
            self._console.print(self._line(), highlight=False, soft_wrap=True)

    def _line(self) -> str:
        task = next(each for each in self._bar.tasks if each.id == self._task)
        not_scored = f" ({self._failed:,} not scored)" if self._failed else ""
        done = f"{int(task.completed):,} of {int(task.total or 0):,} done{not_scored}"
        return f"{done}, {rate_text(task.speed)}, {left_text(task.time_remaining)}"

    def __enter__(self) -> BatchProgress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
