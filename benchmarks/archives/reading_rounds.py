# SPDX-License-Identifier: Apache-2.0
"""Runs the ways of reading by turns, and compares them round by round, so that other load hits all of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

CHILD = Path(__file__).with_name("reading_child.py")
NOW, KEYFRAMES, BEFORE = "this version", "--at-keyframes", "the other version"
ROOT = Path(__file__).parents[2]
Turn = dict[str, Any]  # what `reading_child` measured


class Reader:
    """One way in its own process. Use it in a `with` block.

    Args:
        way: of `reading_child.WAYS`.
        jobs: videos read at once.
        code: folder with `core` and `client` of the measured version.
    Raises: ChildProcessError if the way can't run here; says why.
    """

    def __init__(self, way: str, jobs: int, code: Path) -> None:
        paths = os.pathsep.join([str(code / "core"), str(code / "client")])
        self._process = subprocess.Popen(
            [sys.executable, str(CHILD), way, str(jobs)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [paths, os.environ.get("PYTHONPATH")]))},
        )
        if reason := json.loads(self._line()):
            self.close()
            raise ChildProcessError(reason)

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the process."""
        self._process.communicate()

    def turn(self, paths: Sequence[Path]) -> Turn:
        """Reads the clips of all videos. Raises: ChildProcessError."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([str(path) for path in paths]) + "\n")
        self._process.stdin.flush()
        turn: Turn = json.loads(self._line())
        return turn

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise ChildProcessError(f"the reader ended with status {self._process.wait()}; see its error above")
        return line


def open_readers(stack: ExitStack, jobs: int, before: Path | None) -> tuple[dict[str, Reader], dict[str, str]]:
    """All ways that run here, this version first. Returns also: why each of the others does not run."""
    wanted = {
        NOW: ("project", ROOT),
        KEYFRAMES: ("at keyframes", ROOT),
        "PyAV": ("PyAV", ROOT),
        "torchcodec": ("torchcodec", ROOT),
    }
    if before is not None:
        wanted[BEFORE] = ("project", before)
    readers, missing = {}, {}
    for name, (way, code) in wanted.items():
        try:
            readers[name] = stack.enter_context(Reader(way, jobs, code))
        except ChildProcessError as error:
            missing[name] = str(error)
    return readers, missing


def run_rounds(readers: dict[str, Reader], paths: Sequence[Path], rounds: int) -> dict[str, list[Turn]]:
    """The turns of each way; every round has another order. The first turn of each way warms up and is left out."""
    names = list(readers)
    turns: dict[str, list[Turn]] = {name: [] for name in names}
    for name in names:
        readers[name].turn(paths)
    for number in range(rounds):
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            turns[name].append(readers[name].turn(paths))
    return turns


def _pairs(a: list[Turn], b: list[Turn]) -> Iterator[tuple[Turn, Turn]]:
    return zip(a, b, strict=True)


def compared(turns: dict[str, list[Turn]]) -> list[dict[str, Any]]:
    """For each way: medians of the rounds, and this version's speed as a multiple of it, within each round."""
    now = turns[NOW]
    rows = []
    for name, its in turns.items():
        row: dict[str, Any] = {"way": name, "same_jpegs": all(a["digest"] == b["digest"] for a, b in _pairs(now, its))}
        for clock in ("cpu_s", "wall_s"):
            ratios = [a[clock] / b[clock] for a, b in _pairs(its, now)]
            row[f"{clock}_ms_a_frame"] = median(1000 * each[clock] / each["frames"] for each in its)
            row[f"{clock}_ratio"] = [median(ratios), min(ratios), max(ratios)]
        rows.append(row)
    return rows
