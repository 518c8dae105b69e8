"""Renders the videos that a folder lacks, in several processes."""

import os
from dataclasses import dataclass
from pathlib import Path

from eulernet.datasets.oulu import Name
from eulernet.datasets.parallel import run, shown
from eulernet.datasets.records import Split
from eulernet.simulation import layout
from eulernet.simulation.presets import Preset


@dataclass(frozen=True)
class Job:
    """One video to make."""

    root: Path
    split: Split
    name: Name


Tool = tuple[int, Preset]


def make_video(root: Path, split: Split, name: Name, seed: int, preset: Preset) -> Path:
    """Renders and writes one video and its eye file; they appear when they are complete, the video last."""
    from eulernet.simulation.attempt import Attempt
    from eulernet.simulation.camera import FPS
    from eulernet.simulation.video import write_eyes, write_video

    path = layout.video_path(root, split, name)
    attempt = Attempt(name, seed, preset)
    shots = list(attempt.shots())
    parts = path.with_suffix(".avi.part"), path.with_suffix(".txt.part")
    write_video(parts[0], (shot.picture for shot in shots), FPS, attempt.camera.quantiser)
    write_eyes(parts[1], (shot.eyes for shot in shots))
    parts[1].replace(path.with_suffix(".txt"))
    parts[0].replace(path)
    return path


def simulate(root: Path, seed: int, preset: Preset, jobs: int, progress: bool = False) -> tuple[int, int]:
    """Makes a data set, or what is missing of it.

    Args:
        root: folder; its earlier videos are kept.
        seed: the same seed and preset give the same files, byte for byte, whatever `jobs` is.
        preset: sizes.
        jobs: processes.
        progress: shows a bar on standard error.

    Returns:
        How many videos were made now, and how many there are.

    Raises:
        layout.LayoutError: the folder holds something else.
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
    # One thread a process: the processes are the parallelism.
    os.environ["OMP_NUM_THREADS"] = "1"
    import cv2

    cv2.setNumThreads(1)
    return seed, preset


def _work(job: Job, tool: Tool) -> None:
    make_video(job.root, job.split, job.name, *tool)
