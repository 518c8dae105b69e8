# SPDX-License-Identifier: Apache-2.0
"""Coverage-guided inputs for the code that reads JPEGs in Python (atheris, libFuzzer's engine)."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from benchmarks.reliability.jpeg_mutations import base_pictures, crafted

MAX_INPUT_BYTES = 12_000
MOST_SEEDS_BYTES = 9_000
TIMEOUT_S = 5  # of one input


@dataclass(frozen=True)
class Guided:
    """`inputs`: those that reached new code; `failures`: files of inputs that raised, hung or broke a rule."""

    runs: int = 0
    installed: bool = True
    inputs: list[bytes] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


def installed() -> bool:
    """Whether atheris is there."""
    return find_spec("atheris") is not None


def guided(folder: Path, runs: int, seed: int, limit_s: int) -> Guided:
    """Runs the process on `folder`, which keeps its inputs. Does nothing without atheris or with 0 runs."""
    if not installed() or not runs:
        return Guided(installed=installed(), inputs=_inputs(folder))
    folder.mkdir(parents=True, exist_ok=True)
    for number, jpeg in enumerate([*base_pictures().values(), *(jpeg for _, jpeg in crafted())]):
        if len(jpeg) <= MOST_SEEDS_BYTES:
            (folder / f"seed_{number:03d}").write_bytes(jpeg)
    failed = folder.parent / "guided_failures"
    failed.mkdir(exist_ok=True)
    for each in failed.iterdir():
        each.unlink()
    limits = (f"-runs={runs}", f"-max_total_time={limit_s}", f"-timeout={TIMEOUT_S}", f"-max_len={MAX_INPUT_BYTES}")
    command = [sys.executable, "-m", "benchmarks.reliability.guided_target", str(folder)]
    with (folder.parent / "guided.txt").open("wb") as output:
        status = subprocess.run(
            [*command, *limits, f"-seed={seed}", f"-artifact_prefix={failed}/"],
            stdout=output,
            stderr=output,
            check=False,
        ).returncode
    failures = sorted(str(each) for each in failed.iterdir())
    if status and not failures:
        failures = [f"status {status}; see {folder.parent / 'guided.txt'}"]
    return Guided(runs, True, _inputs(folder), failures)


def _inputs(folder: Path) -> list[bytes]:
    return [each.read_bytes() for each in sorted(folder.glob("[0-9a-f]*")) if not each.name.startswith("seed_")]
