# SPDX-License-Identifier: Apache-2.0
"""Results on the terminal. A terminal that is narrow, can't encode a name or goes away costs no result."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from eulernet_core.weights_label import weights_warning

if TYPE_CHECKING:
    from eulernet_client._result import VideoResult
    from eulernet_client.errors import EulerNetError

    Row = tuple[str, VideoResult | EulerNetError]

NARROW = 60  # columns; below, each source has lines of its own, since a table would leave no room for its name


class PatientConsole(Console):
    """A console that falls silent when its reader goes away, as with `| head`; rich would end the program."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        _discard(self.file)


@contextmanager
def output_errors() -> Iterator[None]:
    """Inside the block, standard output is written to the end. A reader that went away is no error.

    Raises:
        click.ClickException: it can't be written, such as on a full disk.
    """
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        _discard(sys.stdout)
    except OSError as error:
        _discard(sys.stdout)
        raise click.ClickException(f"standard output can't be written ({error.strerror})") from error


def _discard(stream: IO[str]) -> None:
    """Leads a stream nowhere, so that flushing what is left in it raises no further error."""
    with suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def shown(text: str, encoding: str = "utf-8") -> str:
    """The text of a row, which may hold any file's name. What can't be printed becomes an escape such as `\\x1b`."""
    printable = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
    return printable.encode(encoding, "backslashreplace").decode(encoding)


def print_results(weights: str, rows: Sequence[Row]) -> None:
    """Prints the results to standard output. Raises: click.ClickException."""
    with output_errors():
        console = PatientConsole(highlight=False)
        style = "yellow" if weights_warning(weights) else None
        console.print(f"weights: {shown(weights, console.encoding)}", style=style, markup=False)
        if console.width < NARROW:
            for row in rows:
                console.print(Text(shown(row[0], console.encoding)), overflow="fold")
                console.print(Padding(details(row, console.encoding), (0, 0, 0, 2)), overflow="fold")
        else:
            console.print(results_table(rows, console))


def results_table(rows: Sequence[Row], console: Console) -> Table:
    """The results as a table as wide as the console."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, expand=False)
    table.add_column("clip", overflow="fold", ratio=1 if console.width < 100 else None)
    table.add_column("verdict", no_wrap=True)
    for heading in ("liveness", "frames", "ms/frame"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        name = Text.assemble(shown(row[0], console.encoding), _notes(row, console.encoding))
        table.add_row(name, _verdict(row), *_numbers(row))
    return table


def details(row: Row, encoding: str) -> Text:
    """One result without its name as lines of text: the verdict with the numbers, and the notes."""
    liveness, frames, ms = _numbers(row)
    numbers = "" if isinstance(row[1], Exception) else f" {liveness}, {frames} frames, {ms} ms/frame"
    return Text.assemble(_verdict(row), numbers, _notes(row, encoding))


def _notes(row: Row, encoding: str) -> Text:
    """The source's warnings, or its error, each after a line break."""
    path, result = row
    if isinstance(result, Exception):
        return Text("\n" + shown(str(result).removeprefix(f"{path}: "), encoding), style="red")
    return Text("".join("\n" + shown(warning, encoding) for warning in result.warnings), style="yellow")


def _verdict(row: Row) -> Text:
    result = row[1]
    if isinstance(result, Exception):
        return Text("not scored", style="bold red")
    return Text(result.verdict, style="bold green" if result.live else "bold red")


def _numbers(row: Row) -> tuple[str, str, str]:
    """Liveness, frames, and ms a frame."""
    result = row[1]
    if isinstance(result, Exception):
        return "-", "-", "-"
    return f"{result.liveness:.3f}", str(result.frames_used), f"{result.ms_per_frame:.1f}"
