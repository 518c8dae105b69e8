# SPDX-License-Identifier: Apache-2.0
"""Renders the missing videos of a data set, in several processes."""

import os
from dataclasses import dataclass
from pathlib import Path

from eulernet.datasets.oulu import Name
from eulernet.datasets.parallel import run, shown
from eulernet.datasets.records import Split
from eulernet.simulation import data_set_folder as layout
from eulernet.simulation.presets import Preset
from eulernet_core.whole_files import replacing


@dataclass(frozen=True)
class Job:
    """One video to make."""

    root: Path
    split: Split
    name: Name


Tool = tuple[int, Preset]


def make_video(root: Path, split: Split, name: Name, seed: int, preset: Preset) -> Path:
    """Renders and writes one video and its eye file, both atomically, the video last."""
    from eulernet.simulation.attempt import Attempt
    from eulernet.simulation.video_file import write_eyes, write_video

    path = layout.video_path(root, split, name)
    attempt = Attempt(name, seed, preset)
    shots = list(attempt.shots())
    write_eyes(path.with_suffix(".txt"), (shot.eyes for shot in shots))
    with replacing(path) as temporary:
        write_video(temporary, (shot.picture for shot in shots), preset.fps, attempt.encoding)
    return path


def simulate(root: Path, seed: int, preset: Preset, jobs: int, progress: bool = False) -> tuple[int, int]:
    """Renders the missing videos of a data set.

    Args:
        root: folder; finished videos in it are kept.
        seed: a seed and preset determine the files byte for byte, for any `jobs`.
        preset: sizes.
        jobs: processes.
        progress: show a bar on standard error.

    Returns:
        The number of new videos, and of all videos.

    Raises:
        layout.LayoutError: the folder belongs to another data set.
        RuntimeError: a process crashed.
    """
    users = layout.prepare(root, seed, preset)
    wanted, total = layout.missing(root, users)
    work: list[Job] = [Job(root, split, name) for split, name in wanted]
    answers = run(_work, work, _tool, (seed, preset), jobs)
    for job, failure in shown(answers, len(work), "videos", progress):
        if failure is not None:
            raise RuntimeError(f"{layout.video_path(job.root, job.split, job.name)}: {failure}")
    return len(work), total


def _tool(seed: int, preset: Preset) -> Tool:
    # One thread per process, because several processes run.
    os.environ["OMP_NUM_THREADS"] = "1"
    import cv2

    cv2.setNumThreads(1)
    return seed, preset


def _work(job: Job, tool: Tool) -> None:
    make_video(job.root, job.split, job.name, *tool)
