# SPDX-License-Identifier: Apache-2.0
"""Archives into tables on the real server: the rows, kills and restarts, changed files, bounded memory."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import weakref
from pathlib import Path

import cv2
import numpy as np
import pytest
from arro3.io import read_parquet
from tritonclient.grpc import InferenceServerClient

from eulernet_client import AsyncClient, Client
from eulernet_client.batch import COLUMNS, Settings, pipeline, score_batch
from eulernet_client.batch.archive_run import journal_path
from eulernet_client.sources import find_sources

pytestmark = pytest.mark.triton

EULERNET = [sys.executable, "-m", "eulernet_client"]


async def batch(url, sources, out, seen=None, timeout_s=30, **settings):
    async with AsyncClient(url, timeout_s=timeout_s) as client:
        return await score_batch(client, sources, out, Settings(**settings), seen)


def score(*arguments):
    return asyncio.run(batch(*arguments[:3]))


def rows_of(out):
    """The table's rows, as the JSON Lines have them."""
    if out.suffix == ".jsonl":
        return [json.loads(line) for line in out.read_text().splitlines()]
    table = read_parquet(out).read_all()
    columns = [table.column(name).to_pylist() for name in table.schema.names]
    return [dict(zip(table.schema.names, row, strict=True)) for row in zip(*columns, strict=True)]


def keys_in(journal):
    return [json.loads(line)["key"] for line in journal.read_bytes().splitlines()[1:]]


@pytest.fixture(scope="module")
def frames(moving_faces):
    return moving_faces(10, 3)


@pytest.fixture
def face_picture(portrait):
    def picture(number):
        move = np.array([[0.625, 0, 0.5 * number], [0, 0.625, 0.3 * number]], np.float32)
        return cv2.warpAffine(portrait, move, (320, 240), borderMode=cv2.BORDER_REPLICATE)

    return picture


@pytest.fixture
def mixed(make, tmp_path, face_picture, encode, frames):
    """Good and bad sources of every kind, by name."""
    folder = tmp_path / "mixed"
    folder.mkdir()

    def half(number):
        return face_picture(number) if number < 30 else np.zeros((240, 320, 3), np.uint8)

    make.video(folder / "good.mp4", 40, picture=face_picture)
    make.video(folder / "half.mp4", 60, picture=half)
    make.video(folder / "short.mp4", 5, picture=face_picture)
    make.video(folder / "nobody.mp4", 40)
    (folder / "cut.mp4").write_bytes((folder / "good.mp4").read_bytes()[:3000])
    (folder / "text.mp4").write_text("not a video\n" * 100)
    (folder / "zero.mp4").write_bytes(b"")
    head = cv2.resize(face_picture(0)[:160, 40:200], (256, 256))
    for name, picture in {"two": encode(np.hstack([head, head[:, ::-1]])), "bad": frames[0][:3000]}.items():
        (folder / name).mkdir()
        for t in range(10):
            (folder / name / f"{t}.jpg").write_bytes(picture)
    (folder / "empty").mkdir()
    return folder


def test_rows_hold_the_scores_of_single_calls(server, mixed, tmp_path, weights_label):
    sources = [*find_sources(mixed), mixed / "gone.mp4", mixed / "empty", mixed / "good.mp4"]
    summary = asyncio.run(batch(server.url, sources, tmp_path / "t.jsonl", clips=2))
    rows = {Path(row["path"]).name: row for row in rows_of(tmp_path / "t.jsonl")}
    assert list(rows) == [each.name for each in sources[:-1]], "in order; a source named twice has one row"
    with Client(server.url) as client:
        for name in ("good.mp4", "half.mp4", "two"):
            alone, row = client.score(mixed / name, clips=2), rows[name]
            assert row["liveness"] == pytest.approx(alone.liveness, abs=1e-5)
            assert row["clip_liveness"] == pytest.approx([f.liveness for f in alone.frames[3::4]], abs=1e-5)
            assert row["box"] == pytest.approx(alone.frames[3].box, abs=0.01)
            assert row["warnings"] == list(alone.warnings)
            assert (row["verdict"], row["frames"]) == (alone.verdict, alone.frames_used)
            assert row["weights"] == weights_label
            assert row["seconds"] > 0
            assert row["error"] is None
    assert not set(rows["good.mp4"]["status"].split("|")) - {"OK", "SMALL_FACE", "DEGRADED"}
    assert "NO_FACE" in rows["half.mp4"]["status"].split("|")
    assert "SEVERAL_FACES" in rows["two"]["status"].split("|")
    assert "1 of 2 clips" in rows["half.mp4"]["warnings"][0]
    bad = {name: (row["error_type"], row["status"]) for name, row in rows.items() if row["error"]}
    assert bad == {
        "short.mp4": ("TooFewFramesError", None),
        "nobody.mp4": ("NoFaceError", "NO_FACE"),
        "cut.mp4": ("TruncatedVideoError", None),
        "text.mp4": ("NotAVideoError", None),
        "zero.mp4": ("NotAVideoError", None),
        "bad": ("UndecodableError", "UNDECODABLE"),
        "empty": ("EmptyFolderError", None),
        "gone.mp4": ("MissingFileError", None),
    }
    for name in bad:
        assert name in rows[name]["error"]
        assert [rows[name][column] for column in ("verdict", "liveness", "box")] == [None] * 3
    assert summary.not_scored == len(bad) == sum(summary.errors.values())
    assert (summary.live + summary.attack, summary.frames_now) == (3, 8 + 4 + 4)


def test_unexpected_error_of_one_file_becomes_its_row(server, archive, tmp_path):
    """A name with a zero byte: the system calls raise a ValueError, which is not in the error tree."""
    sources = [*archive(2), Path("a\0b.mp4")]
    score(server.url, sources, tmp_path / "t.parquet")
    *good, bad = rows_of(tmp_path / "t.parquet")
    assert [row["error"] for row in good] == [None, None]
    assert bad["error_type"] == "ValueError"
    assert "ValueError" in bad["error"]


def test_only_new_and_changed_sources_are_scored_again(server, archive, make, tmp_path, face_picture):
    sources, out = archive(4), tmp_path / "t.jsonl"
    score(server.url, sources, out)
    first, journal = out.read_bytes(), journal_path(out)
    lines = journal.read_bytes()
    assert score(server.url, sources, out).scored_now == 0
    assert (out.read_bytes(), journal.read_bytes()) == (first, lines)
    out.unlink()
    os.utime(sources[0] / "7.jpg", ns=(1, 1))  # another time, the same bytes
    (sources[1] / "10.jpg").write_bytes((sources[1] / "9.jpg").read_bytes())
    shutil.rmtree(sources[2])
    new = make.video(tmp_path / "archive" / "new.mp4", 12, picture=face_picture)
    found = [new, sources[0], sources[1], sources[3]]
    assert score(server.url, found, out).scored_now == 3
    assert sorted(keys_in(journal)[4:]) == sorted(map(str, found[:3]))
    rows = rows_of(out)
    assert [row["path"] for row in rows] == [str(each) for each in found]
    assert rows[1]["liveness"] == pytest.approx(json.loads(first.splitlines()[0])["liveness"], abs=1e-5)


def test_a_batch_continues_from_another_folder_under_other_names(server, archive, tmp_path, monkeypatch):
    sources, out = archive(2), tmp_path / "t.jsonl"
    score(server.url, sources, out)
    monkeypatch.chdir(tmp_path)
    assert score(server.url, find_sources("archive"), out).scored_now == 0
    assert [row["path"] for row in rows_of(out)] == ["archive/clip00", "archive/clip01"]


def test_killed_runs_continue_without_losing_or_repeating(server, archive, tmp_path):
    sources, out = archive(60), tmp_path / "t.parquet"
    journal = journal_path(out)
    command = [*EULERNET, "score", str(tmp_path / "archive"), "--out", str(out)]
    command += ["--url", server.url, "--jobs", "1", "--concurrency", "1"]

    def clips_served():
        with InferenceServerClient(server.url) as client:
            return client.get_inference_statistics("antispoof_clip").model_stats[0].inference_stats.success.count

    before, kept = clips_served(), b""
    for goal in (4, 9):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and (not journal.exists() or journal.read_bytes().count(b"\n") <= goal):
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "killed before its end"
        assert not out.exists()
        now = journal.read_bytes()
        assert now.startswith(kept)
        kept = now[: now.rindex(b"\n") + 1]
        with journal.open("ab") as file:
            file.write(b'{"key": "half a li')  # the rest of a write that a kill interrupted
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert journal.read_bytes().startswith(kept)
    assert sorted(keys_in(journal)) == sorted(map(str, sources)), "each source once"
    assert json.loads(done.stdout)["scored_now"] == 60 - (kept.count(b"\n") - 1)
    rows = rows_of(out)
    assert [row["path"] for row in rows] == list(map(str, sources))
    assert all(row["liveness"] is not None for row in rows)
    assert clips_served() - before <= 60 + 2, "only clips in flight at a kill are scored again"


def test_clips_at_keyframes_have_the_scores_of_single_calls(server, make, face_picture, tmp_path):
    video = make.video(tmp_path / "keyed.mp4", 40, picture=face_picture, options={"g": "10", "sc_threshold": "0"})
    out = tmp_path / "t.jsonl"
    asyncio.run(batch(server.url, [video], out, at_keyframes=True))
    with Client(server.url) as client:
        plain, keyed = (client.score(video, at_keyframes=each) for each in (False, True))
    assert [frame.name for frame in plain.frames] == ["frame 15", "frame 18", "frame 21", "frame 24"]
    assert [frame.name for frame in keyed.frames] == ["frame 10", "frame 13", "frame 16", "frame 19"]
    (row,) = rows_of(out)
    assert row["liveness"] == pytest.approx(keyed.liveness, abs=1e-5)
    command = [*EULERNET, "score", str(video), "--url", server.url]
    done = subprocess.run([*command, "--json", "--at-keyframes"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["clips"][0]["liveness"] == pytest.approx(keyed.liveness, abs=1e-5)
    assert plain.liveness != pytest.approx(keyed.liveness, abs=1e-5)
    other = subprocess.run([*command, "--out", str(out)], capture_output=True, text=True)
    assert other.returncode == 1
    assert "--at-keyframes" in other.stderr


def test_sources_are_read_ahead_of_the_server_within_bounds(server, archive, tmp_path, monkeypatch):
    alive, most = [], 0

    def counted(path, clips, threads, at_keyframes):
        nonlocal most
        for clip in read(path, clips, threads, at_keyframes):
            alive.extend(weakref.ref(frame) for frame in clip.frames)
            most = max(most, sum(ref() is not None for ref in alive))
            yield clip

    read = pipeline.iter_clips
    monkeypatch.setattr(pipeline, "iter_clips", counted)
    summary = asyncio.run(batch(server.url, archive(30), tmp_path / "t.jsonl", jobs=2, concurrency=2))
    assert summary.scored_now == 30
    assert len(alive) == 120
    clips = most / 4
    assert clips >= 4, "two at the server, two waiting"
    assert clips <= 6, "and two being read"


def test_command_writes_the_table_and_prints_a_summary(server, mixed, tmp_path, weights_label):
    command = [*EULERNET, "score", str(mixed), "--out", str(tmp_path / "t.parquet")]
    done = subprocess.run([*command, "--url", server.url], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1, "some were not scored"
    assert done.stdout.startswith(f"weights: {weights_label}")
    assert "9 rows" in done.stdout
    assert "not scored: 2 NotAVideoError" in done.stdout
    assert "sources/s" in done.stdout
    assert done.stderr == ""
    rows = rows_of(tmp_path / "t.parquet")
    assert list(rows[0]) == list(COLUMNS)
    assert sum(row["verdict"] is not None for row in rows) == 3


def test_interrupted_command_names_the_remedy(server, archive, tmp_path):
    archive(60)  # longer than a busy machine may delay the signal
    out = tmp_path / "t.csv"
    # A shell starts what runs in the background with SIGINT ignored, and the tests may run there.
    command = ["env", "--default-signal=INT", *EULERNET, "score", str(tmp_path / "archive"), "--out", str(out)]
    process = subprocess.Popen(
        [*command, "--url", server.url, "--concurrency", "1"], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    while process.poll() is None and (
        not journal_path(out).exists() or journal_path(out).read_bytes().count(b"\n") < 3
    ):
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert said.startswith("Error: interrupted")
    assert "start again" in said
    assert said.count("\n") == 1
