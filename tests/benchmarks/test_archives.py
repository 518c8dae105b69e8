# SPDX-License-Identifier: Apache-2.0
"""The comparison of ways to read an archive: real videos and processes, and ratios of hand-made turns."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.archives import archive_videos
from benchmarks.archives.__main__ import main
from benchmarks.archives.archive_videos import Kind
from benchmarks.archives.reading_rounds import BEFORE, KEYFRAMES, NOW, ROOT, Reader, compared, open_readers, run_rounds
from eulernet_client import Client

SMALL = Kind("small", "avi", {"g": "10", "bf": "0"}, 160, 208, 30)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return archive_videos.write_videos(tmp_path_factory.mktemp("archive"), SMALL, 2)


def test_every_way_reads_the_same_jpegs(archive: list[Path]) -> None:
    with ExitStack() as stack:
        readers, missing = open_readers(stack, 2, ROOT)
        turns = run_rounds(readers, archive, 2)
    assert set(readers) | set(missing) == {NOW, KEYFRAMES, BEFORE, "PyAV", "torchcodec"}
    assert set(missing) <= {"torchcodec"}
    for name in (NOW, KEYFRAMES, BEFORE, "PyAV"):
        assert [each["frames"] for each in turns[name]] == [8, 8]
        assert all(each["cpu_s"] > 0 and each["wall_s"] > 0 for each in turns[name])
    rows = {row["way"]: row for row in compared(turns)}
    assert rows[BEFORE]["same_jpegs"]
    assert rows["PyAV"]["same_jpegs"]
    assert rows[KEYFRAMES]["same_jpegs"], "the clip has its place at a keyframe"


def test_ratios_are_of_the_same_round() -> None:
    def turn(cpu_s: float, digest: str) -> dict[str, object]:
        return {"cpu_s": cpu_s, "wall_s": 2 * cpu_s, "frames": 4, "digest": digest}

    now = [turn(1.0, "a"), turn(10.0, "a"), turn(2.0, "a")]
    other = [turn(3.0, "a"), turn(20.0, "a"), turn(10.0, "b")]
    first, second = compared({NOW: now, "other": other})
    assert first["cpu_s_ratio"] == [1, 1, 1]
    assert second["cpu_s_ratio"] == [3, 2, 5]
    assert second["cpu_s_ms_a_frame"] == 2500
    assert (first["same_jpegs"], second["same_jpegs"]) == (True, False)


def test_a_way_that_cannot_run_is_named_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "core" / "eulernet_core").mkdir(parents=True)
    with pytest.raises(ChildProcessError, match="Error: "):
        Reader("project", 1, _without_client(tmp_path))


def _without_client(folder: Path) -> Path:
    """Code whose client can't be imported."""
    package = folder / "client" / "eulernet_client"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('no client')\n")
    return folder


def test_the_command_writes_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_videos, "KINDS", (SMALL,))
    options = ["--rounds", "1", "--files", "1", "--jobs", "1", "--before", str(ROOT), "--out", str(tmp_path)]
    done = CliRunner().invoke(main, options)
    assert done.exit_code == 0, done.output
    assert "this version" in done.output
    found = json.loads((tmp_path / "results.json").read_text())
    assert found["kinds"]["small"][0]["way"] == NOW
    assert found["jobs"] == 1


@pytest.mark.triton
def test_the_videos_show_a_face(server, archive: list[Path]) -> None:
    with Client(server.url) as client:
        assert client.score(archive[0]).frames_used == 4
