# SPDX-License-Identifier: Apache-2.0
"""SIGTERM, SIGINT and SIGHUP: an exception while there is nothing to keep, and a count afterwards."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(BaseException):
    """A signal asks this program to stop."""


class StopSignals:
    """Hears the signals from `__enter__` to `__exit__`, and ignores them afterwards: the program is about to end.

    `count`: how many so far.

    The first one raises Stopped, unless `count_only` was called before; later ones can't cut the stopping short.
    """

    def __init__(self) -> None:
        self.count, self._raises = 0, True

    def count_only(self) -> None:
        """From now on signals are counted and raise nothing."""
        self._raises = False

    def __enter__(self) -> StopSignals:
        nohup = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        heard = [number for number in STOP_SIGNALS if not (nohup and number == signal.SIGHUP)]
        for number in heard:
            signal.signal(number, self._hear)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        if self._raises:
            self._raises = False
            raise Stopped
