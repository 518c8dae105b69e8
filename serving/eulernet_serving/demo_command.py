# SPDX-License-Identifier: Apache-2.0
"""`eulernet demo`: renders four clips, serves, scores and reports, each step by its own command as a user types it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click

from eulernet_core.own_command import own_command

FREE_PORTS = ("--grpc-port", "0", "--metrics-port", "0", "--health-port", "0")


@click.command()
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("out/demo"),
    show_default=True,
    help="Folder for the clips, the report and the server's log.",
)
@click.option(
    "--face-models",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the face models, for a machine without a network.",
)
def demo(out: Path, face_models: Path | None) -> None:
    """Render four simulated clips, start the server, score them, write OUT/report.html, and stop.

    Exit status: 0 all clips were scored, else the status of the command that failed.
    """
    clips, report = out / "clips", out / "report.html"
    _run("demo-clips", "--out", str(clips))
    served = ["--face-models", str(face_models)] if face_models else []
    scoring = own_command("score", str(clips), "--report", str(report))
    _run("serve", *FREE_PORTS, "--log", str(out / "server.log"), *served, "--", *scoring)


def _run(name: str, *arguments: str) -> None:
    """Runs a command of `eulernet` as a process; a failure of it ends this command with its exit status."""
    try:
        status = subprocess.run(own_command(name, *arguments), check=False).returncode
    except KeyboardInterrupt:  # the process has heard it too
        status = 130
    if status:
        sys.exit(status)
