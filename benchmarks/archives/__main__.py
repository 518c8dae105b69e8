# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.archives`: measures how fast `eulernet score --out` reads the clips of H.264 videos.

Another version of this project is compared if a folder with its code is given, such as one that this writes:
`git archive REVISION core client | tar -x -C FOLDER`.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from benchmarks import pages
from benchmarks.archives import archive_videos as videos
from benchmarks.archives.reading_rounds import compared, open_readers, run_rounds
from benchmarks.pages import say
from eulernet_loadtest.results import Machine


@click.command()
@click.option("--before", type=pages.FOLDER, help="Folder with `core` and `client` of another version.")
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True, help="Turns of each way.")
@click.option("--files", type=click.IntRange(min=1), default=8, show_default=True, help="Videos of each kind.")
@click.option("--jobs", type=click.IntRange(min=1), help="Videos read at once. [default: the number of cores]")
@click.option("--only", default="", help="Only kinds of video with this text in their name, such as AVI.")
@click.option("--video", "own", type=click.Path(exists=True, path_type=Path), multiple=True, help="Also these videos.")
@click.option("--out", type=pages.FOLDER, default=Path("out/archives"), show_default=True, help="Folder for results.")
def main(
    before: Path | None, rounds: int, files: int, jobs: int | None, only: str, own: tuple[Path, ...], out: Path
) -> None:
    """Compare ways of reading the clips of an archive, from the file to the JPEGs that are sent.

    Reports processor time of all threads, which other load on the machine affects little, and wall-clock time.
    """
    jobs = jobs or len(os.sched_getaffinity(0))
    archives = {
        kind.name: videos.write_videos(out / "videos" / f"{number}_{kind.frames}", kind, files)
        for number, kind in enumerate(videos.KINDS)
        if only in kind.name
    }
    if own:
        archives["given videos"] = list(own)
    results: dict[str, Any] = {"machine": asdict(Machine.here()), "jobs": jobs, "rounds": rounds, "kinds": {}}
    with ExitStack() as stack:
        readers, results["missing"] = open_readers(stack, jobs, before)
        for name, reason in results["missing"].items():
            say(f"{name} is left out: {reason}")
        for name, paths in archives.items():
            say(f"{name}: {len(paths)} videos, {sum(path.stat().st_size for path in paths) / len(paths) / 1e6:.2f} MB")
            results["kinds"][name] = compared(run_rounds(readers, paths, rounds))
    pages.write_json(results, out / "results.json")
    click.echo("\n".join(_lines(results)))


def _lines(results: dict[str, Any]) -> list[str]:
    lines = []
    for name, rows in results["kinds"].items():
        lines += [
            "",
            f"{name}; {results['jobs']} at once",
            f"  {'':<20}{'processor, ms a frame':>23}{'this version':>26}{'wall, ms a frame':>20}{'this version':>26}",
        ]
        for row in rows:
            cells = "".join(
                f"{row[f'{clock}_ms_a_frame']:>{width}.2f}{_times(row[f'{clock}_ratio']):>26}"
                for clock, width in (("cpu_s", 23), ("wall_s", 20))
            )
            lines.append(f"  {row['way']:<20}{cells}{'' if row['same_jpegs'] else '  other JPEGs'}")
    return lines


def _times(ratio: list[float]) -> str:
    return "{:.2f} ({:.2f} to {:.2f}) times".format(*ratio)


if __name__ == "__main__":
    main()
