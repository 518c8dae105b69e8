# SPDX-License-Identifier: Apache-2.0
"""Reports of uploaded files, in memory only: the latest few, each dropped when a newer one needs its place."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from eulernet_client.html_report import Report
from eulernet_core.weights_label import WEIGHTS_UNKNOWN

if TYPE_CHECKING:
    from eulernet_client._result import VideoResult
    from eulernet_client.errors import EulerNetError

MOST_REPORTS = 4
MOST_FILES = 100  # of one report, which holds their pictures


class FullReportError(Exception):
    """A report has MOST_FILES files."""


@dataclass
class UploadReport:
    """The page of `eulernet score` for the uploads of one visit. `files`: uploads so far, finished or not."""

    report: Report = field(default_factory=Report)
    files: int = 0
    weights: set[str] = field(default_factory=set)

    def admit(self) -> None:
        """Counts one more file. Raises: FullReportError."""
        if self.files >= MOST_FILES:
            raise FullReportError(
                f"a report takes {MOST_FILES} files; begin another one, or run  eulernet score FOLDER --out scores.csv"
            )
        self.files += 1

    def add(self, result: VideoResult) -> None:
        """Adds a result with its pictures."""
        self.report.add(result)
        self.weights.add(result.weights)

    def add_error(self, name: str, error: EulerNetError) -> None:
        """Adds a file without a score."""
        self.report.add_error(name, error)

    def render(self, server_version: str) -> str:
        """The page as one HTML file."""
        label = ", ".join(sorted(self.weights)) or WEIGHTS_UNKNOWN
        return self.report.render(weights=label, server_version=server_version)


class ReportStore:
    """The latest MOST_REPORTS reports by their random names."""

    def __init__(self) -> None:
        self._reports: OrderedDict[str, UploadReport] = OrderedDict()

    def __iter__(self) -> Iterator[str]:
        return iter(self._reports)

    def begin(self) -> str:
        """A new empty report; returns its name."""
        while len(self._reports) >= MOST_REPORTS:
            self._reports.popitem(last=False)
        name = secrets.token_urlsafe(12)
        self._reports[name] = UploadReport()
        return name

    def find(self, name: str) -> UploadReport | None:
        """The report, or None if it was dropped."""
        return self._reports.get(name)

    def drop(self, name: str) -> None:
        """Forgets a report."""
        self._reports.pop(name, None)
