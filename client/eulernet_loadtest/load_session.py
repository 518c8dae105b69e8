# SPDX-License-Identifier: Apache-2.0
"""Start and end of a measuring command: connects to the server, prints the table of runs, writes the report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from eulernet_client.command_options import connect
from eulernet_client.terminal_output import PatientConsole
from eulernet_core.errors import EulerNetError
from eulernet_loadtest import loadtest_report
from eulernet_loadtest.results import Machine, Run, Session
from eulernet_loadtest.runner import Runner
from eulernet_loadtest.terminal_table import table
from eulernet_loadtest.traffic import load

if TYPE_CHECKING:
    from eulernet_client import AsyncClient


@contextmanager
def command_errors() -> Iterator[None]:
    """Inside the block, an error of the client becomes click's, without a traceback."""
    try:
        yield
    except EulerNetError as error:
        raise click.ClickException(str(error)) from error


class LoadSession:
    """One call of a measuring command.

    Args:
        command: the command's name.
        paths: videos and folders that the traffic is read from.
        most_frames: frames of each source.
        server: options of `eulernet_client.command_options.server_options`.

    Raises:
        MediaError: a source makes no clip.
        ServerError: no server answers.
        click.BadParameter: a wrong URL.
    """

    def __init__(self, command: str, paths: Sequence[str], most_frames: int, **server: Any) -> None:
        self.machine = Machine.here()  # before any load

        def client() -> AsyncClient:
            return connect("AsyncClient", retry=False, **server)

        client()  # refuses a wrong URL before the videos are read; connects at its first request only
        self._command, self._urls = command, tuple(server["urls"])
        self.runner = Runner(client, load(paths, most_frames), server["timeout_s"])
        self._version, self._weights = self.runner.server()

    def finish(self, runs: Sequence[Run], out: Path, largest: str = "") -> None:
        """Prints the table of runs with their notes and writes the report into `out`."""
        session = Session(
            command=self._command,
            urls=self._urls,
            server_version=self._version,
            weights=self._weights,
            sources=len(self.runner.traffic.sources),
            bytes_per_frame=self.runner.traffic.bytes_per_frame,
            runs=tuple(runs),
            largest=largest,
            machine=self.machine,
        )
        page, failure = _report(session, out)  # first: a terminal that goes away must not cost it
        console = PatientConsole(highlight=False)
        console.print(table(session.runs))
        for run in session.runs:
            for note in run.notes:
                console.print(f"{run.load}: {note}", style="yellow", markup=False)
        if largest:
            console.print(largest, style="bold", markup=False)
        if failure is not None:
            raise failure
        click.echo(f"report: {page}", err=True)


def _report(session: Session, out: Path) -> tuple[Path | None, click.ClickException | None]:
    """Writes the report. Returns its page, or the error to show after the results."""
    try:
        with writable(out):
            return loadtest_report.write(session, out), None
    except click.ClickException as error:
        return None, error


@contextmanager
def writable(out: Path) -> Iterator[None]:
    """Inside the block, an error of the operating system becomes a ClickException that names `out`."""
    try:
        yield
    except OSError as error:
        raise click.ClickException(f"{out}: cannot be written ({error.strerror}); choose another --out") from error
