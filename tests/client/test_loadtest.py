"""The load tester on the real server: closed and open loops, a server that stalls, one that is not there; its files."""

from __future__ import annotations

import base64
import contextlib
import csv
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from eulernet_build.server import EmbeddedServer
from eulernet_client import AsyncClient, Client
from eulernet_client.errors import EmptyFolderError, MissingFileError, TooFewFramesError, UnreadableFileError
from eulernet_client.loadtest.commands import loadtest
from eulernet_client.loadtest.plan import Arrivals, Mode, Plan
from eulernet_client.loadtest.runner import Runner
from eulernet_client.loadtest.traffic import Source, Traffic, load

NOWHERE = "127.0.0.1:9"  # the discard port: closed
TIMEOUT_S = 100.0


@pytest.fixture(scope="module")
def faces(tmp_path_factory, moving_faces) -> Path:
    """A folder of 36 JPEGs of a drifting face: a stream of 12 frames, 3 clips."""
    folder = tmp_path_factory.mktemp("faces")
    for number, jpeg in enumerate(moving_faces(36, 3)):
        (folder / f"{number:02}.jpg").write_bytes(jpeg)
    return folder


@pytest.fixture(scope="module")
def runner(server: EmbeddedServer, faces: Path) -> Runner:
    return Runner(lambda: AsyncClient(server.url, timeout_s=TIMEOUT_S), load([faces]), TIMEOUT_S)


@pytest.fixture(scope="module")
def calls_s(server: EmbeddedServer, faces: Path) -> float:
    """Seconds in which this machine, as busy as it is, answers several clip calls."""
    (clip, *_) = load([faces]).clips()
    with Client(server.url, timeout_s=TIMEOUT_S) as client:
        times_s = [client.score_frames(clip).latency_s for _ in range(3)]
    return max(2.0, min(10.0, 12 * sorted(times_s)[1]))


def open_sequences(server: EmbeddedServer) -> int:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://127.0.0.1:{server.ports.metrics}/metrics") as answer:
        text = answer.read().decode()
    return sum(int(number) for number in re.findall(r"^eulernet_open_sequences\{.*\} (\d+)", text, re.MULTILINE))


@contextlib.contextmanager
def stopped(server: EmbeddedServer, after_s: float, until_s: float) -> Iterator[None]:
    """SIGSTOPs tritonserver `after_s` into the block, and lets it go on `until_s` into it."""
    pid = server._process.pid
    timers = [threading.Timer(after_s, os.kill, (pid, signal.SIGSTOP))]
    timers.append(threading.Timer(until_s, os.kill, (pid, signal.SIGCONT)))
    for timer in timers:
        timer.start()
    try:
        yield
    finally:
        for timer in timers:
            timer.cancel()
            timer.join()
        os.kill(pid, signal.SIGCONT)


def on_terminal(command: list[str]) -> tuple[str, str, int]:
    """What a command writes to a terminal that is its standard error, what to a pipe that is its standard output, and
    its exit status."""
    terminal, end = os.openpty()
    shown = b""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=end, env={**os.environ, "TERM": "xterm"}) as process:
        os.close(end)
        with contextlib.suppress(OSError):  # EIO: the other side is closed
            while piece := os.read(terminal, 4096):
                shown += piece
        written = process.communicate(timeout=60)[0]
    os.close(terminal)
    return shown.decode(), written.decode(), process.returncode


@pytest.mark.triton
def test_clip_calls_in_a_closed_loop(runner: Runner, calls_s: float) -> None:
    (run,) = runner.run([Plan(mode=Mode.CLIPS, concurrency=2, duration_s=calls_s, warm_up_s=0.2)])
    assert run.failed == run.counts["unscored"] == run.counts["late"] == 0
    assert run.counts["ok"] > 0
    assert run.throughput_fps == run.answered_fps > 0
    assert run.throughput_fps * run.duration_s / 4 == pytest.approx(run.counts["ok"], abs=2)
    assert run.clip.uncorrected.count == run.counts["ok"]
    assert run.clip.uncorrected.p50_ms == pytest.approx(4 * run.frame.uncorrected.p50_ms)
    # Little's law holds for every closed loop: what is under way is rate times mean time.
    under_way = run.throughput_fps / 4 * run.clip.uncorrected.mean_ms / 1000
    assert 0.5 < under_way < 3
    assert 0 < run.client_cpu < 2


@pytest.mark.triton
def test_streams_end_and_leave_nothing_open(server: EmbeddedServer, runner: Runner, calls_s: float) -> None:
    before = open_sequences(server)
    (run,) = runner.run([Plan(concurrency=3, stream_frames=5, duration_s=calls_s, warm_up_s=0.2)])
    assert run.counts["ok"] > 0
    assert run.failed == run.counts["unscored"] == 0
    assert run.clip is not None
    assert open_sequences(server) == before


@pytest.mark.triton
def test_arrivals_do_not_wait_for_answers(server: EmbeddedServer, runner: Runner) -> None:
    """Eight clips are due in two seconds, and eight are counted, though the server hangs in the first of them."""
    plan = Plan(mode=Mode.CLIPS, rate_hz=4.0, arrivals=Arrivals.CONSTANT, duration_s=2, warm_up_s=0)
    with stopped(server, 0.0, 1.2):
        (run,) = runner.run([plan])
    assert sum(run.counts.values()) == 8
    assert run.counts["ok"] == 8
    assert run.clip.corrected.count == 8
    assert run.clip.corrected.max_ms > 900


@pytest.mark.triton
def test_arriving_streams_are_paced_to_their_end(runner: Runner) -> None:
    plan = Plan(rate_hz=2.0, arrivals=Arrivals.CONSTANT, fps=10.0, stream_frames=4, duration_s=2, warm_up_s=0)
    (run,) = runner.run([plan])
    # Streams begin at 0, 0.5, 1 and 1.5 s with frames every 0.1 s: all of them lie inside the window.
    assert sum(run.counts.values()) == 16
    assert run.counts["ok"] + run.counts["late"] == 16
    assert run.clip.corrected.count == 4
    assert run.clip.corrected.quantiles[0][1] >= 299, "four frames at 10 fps take 0.3 s at least"


@pytest.mark.triton
def test_a_stalled_server_shows_in_the_corrected_percentiles(server: EmbeddedServer, runner: Runner) -> None:
    """Two seconds of silence in four: a camera at 10 fps has one frame under way, and nineteen that wait behind it.
    A tester that counts from the actual send sees one slow frame."""
    with stopped(server, 1.0, 3.0):
        (run,) = runner.run([Plan(concurrency=1, fps=10.0, duration_s=4, warm_up_s=0)])
    corrected, uncorrected = run.frame.corrected, run.frame.uncorrected
    assert sum(run.counts.values()) == pytest.approx(40, abs=1)
    assert run.failed == 0
    assert run.counts["late"] >= 18
    assert corrected.p90_ms > 1000
    assert corrected.max_ms > 1500
    assert uncorrected.max_ms > 1500
    assert uncorrected.p90_ms < corrected.p90_ms / 2
    assert max(piece.max_ms or 0 for piece in run.timeline) > 1500
    with Client(server.url, timeout_s=TIMEOUT_S) as client:
        client.check()


@pytest.mark.triton
def test_frames_that_never_went_out_are_counted(server: EmbeddedServer, faces: Path) -> None:
    """The server hangs beyond the end of the run: the frame under way, and all that wait behind it, are unanswered."""
    patience_s = 1.0
    timeout_s = 50.0
    runner = Runner(lambda: AsyncClient(server.url, timeout_s=timeout_s), load([faces]), patience_s)
    with stopped(server, 0.7, 6.0):
        begun_s = time.monotonic()
        (run,) = runner.run([Plan(concurrency=1, fps=10.0, duration_s=2, warm_up_s=0)])
        assert time.monotonic() - begun_s < timeout_s
    assert sum(run.counts.values()) == pytest.approx(20, abs=1)
    assert run.counts["unanswered"] >= 10
    assert run.frame.corrected.count > run.frame.uncorrected.count
    assert run.frame.corrected.max_ms > 2000
    with Client(server.url, timeout_s=TIMEOUT_S) as client:
        client.check()


@pytest.mark.triton
def test_pictures_without_a_score_are_no_throughput(server: EmbeddedServer, calls_s: float, encode) -> None:
    blank = encode(np.full((120, 160, 3), 90, np.uint8))
    runner = Runner(
        lambda: AsyncClient(server.url, timeout_s=TIMEOUT_S), Traffic((Source("blank", (blank,) * 4),)), TIMEOUT_S
    )
    runs = runner.run([Plan(mode=mode, concurrency=1, duration_s=calls_s, warm_up_s=0) for mode in Mode])
    for run in runs:
        assert run.throughput_fps == run.counts["ok"] == 0
        assert run.answered_fps > 0
        assert run.counts["unscored"] > 0
        assert "answered without a score" in run.notes[0]


@pytest.mark.triton
def test_search_for_the_most_streams(runner: Runner) -> None:
    plan = Plan(concurrency=1, fps=2.0, duration_s=1, warm_up_s=0)
    found, runs = runner.find_max_streams(plan, p99_ms=60_000.0, most=2)
    assert (found, [run.concurrency for run in runs], [run.holds for run in runs]) == (2, [1, 2], [True, True])
    found, runs = runner.find_max_streams(plan, p99_ms=0.01, most=2)
    assert (found, [run.holds for run in runs]) == (0, [False])


@pytest.mark.parametrize("mode", Mode)
def test_a_server_that_is_not_there(faces: Path, mode: Mode) -> None:
    """Every refusal is counted; and a closed loop does not ask as fast as it is refused."""
    runner = Runner(lambda: AsyncClient(NOWHERE, timeout_s=1), load([faces]), 1.0)
    (run,) = runner.run([Plan(mode=mode, concurrency=2, duration_s=1, warm_up_s=0)])
    assert run.throughput_fps == run.answered_fps == 0
    assert run.frame.uncorrected is None
    assert 2 <= run.failed <= 22
    assert set(run.errors) <= {"ServerUnavailableError", "RequestTimeoutError"}


def test_commands_say_that_no_server_answers(faces: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(loadtest, [str(faces), "--url", NOWHERE, "--out", str(tmp_path)])
    assert result.exit_code == 1
    assert "127.0.0.1:9: no server answers" in result.stderr
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--concurrency", "1", "--rate", "1"], "give one of them"),
        (["--concurrency", "1,x"], "'1,x': give whole numbers above 0"),
        (["--concurrency", "0"], "'0': give whole numbers above 0"),
        (["--rate", "nan"], "'nan': give numbers above 0"),
        (["--mode", "clips", "--fps", "10"], "are of streams"),
        (["--find-max-streams"], "needs --fps"),
        (["--find-max-streams", "--fps", "10", "--concurrency", "1,2"], "at most one --concurrency"),
        (["--url", "http://x"], "give the server's gRPC address"),
    ],
)
def test_wrong_usage(faces: Path, options: list[str], text: str) -> None:
    result = CliRunner().invoke(loadtest, [str(faces), *options])
    assert result.exit_code == 2
    assert text in " ".join(result.stderr.split())


@pytest.mark.triton
def test_command_writes_table_json_csv_and_page(
    server: EmbeddedServer, calls_s: float, faces: Path, tmp_path: Path
) -> None:
    """In a program of its own, on a terminal: progress goes there, the table to standard output."""
    options = ["--url", server.url, "--mode=clips", "--concurrency=1,2", f"--timeout-s={TIMEOUT_S}"]
    options += [f"--duration-s={calls_s}", "--warm-up-s=0.5", f"--out={tmp_path / 'out'}"]
    code = "from eulernet_client.loadtest.commands import loadtest; loadtest()"
    shown, table, status = on_terminal([sys.executable, "-W", "error", "-c", code, str(faces), *options])
    assert status == 0, shown
    assert "1 clip" in shown
    assert "frames/s, 0 late, 0 failed" in shown
    assert "\x1b" not in table
    assert "2 clips" in table

    out = tmp_path / "out"
    document = json.loads((out / "report.json").read_text())
    assert [run["load"] for run in document["runs"]] == ["1 clip", "2 clips"]
    assert document["server_version"].startswith("2.")
    assert document["weights"] != "unknown"
    assert document["machine"]["cores"] > 0
    with (out / "report.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["concurrency"] for row in rows] == ["1", "2"]
    for row, run in zip(rows, document["runs"], strict=True):
        assert float(row["throughput_fps"]) == pytest.approx(run["throughput_fps"], abs=1e-3)
        assert float(row["clip_corrected_p99_ms"]) == pytest.approx(run["clip"]["corrected"]["p99_ms"], abs=1e-3)
        assert int(row["ok"]) == run["counts"]["ok"] > 0
    page = (out / "report.html").read_text()
    for plot in ("frames a second and p99 latency against concurrency", "by percentile, 2 clips", "over time, 1 clip"):
        assert plot in page
    plots = [base64.b64decode(each) for each in re.findall(r'<img src="data:image/svg\+xml;base64,([^"]+)', page)]
    assert len(plots) == 5
    assert not any(b"mathdefault" in plot for plot in plots)  # axes are labelled with numbers, not with TeX
    assert not re.search(r"<script|https?://(?!www\.w3\.org)", page)


def test_streams_play_forwards_and_backwards() -> None:
    source = Source("a", (b"0", b"1", b"2", b"3"))
    assert [source.frame(number) for number in range(14)] == [
        b"%d" % n for n in (0, 1, 2, 3, 2, 1, 0, 1, 2, 3, 2, 1, 0, 1)
    ]
    traffic = Traffic((source, Source("b", tuple(b"%d" % n for n in range(9)))))
    assert traffic.clips() == ((b"0", b"1", b"2", b"3"), (b"0", b"1", b"2", b"3"), (b"4", b"5", b"6", b"7"))
    assert [traffic.source(number).path for number in range(3)] == ["a", "b", "a"]


def test_traffic_is_every_third_frame_of_a_source(make, tmp_path: Path) -> None:
    make.video(tmp_path / "v.mp4", 20)
    make.folder(tmp_path / "f", [f"{number}.jpg" for number in range(14)])
    traffic = load([tmp_path / "v.mp4", tmp_path / "f"])
    assert [[make.number(jpeg) for jpeg in source.jpegs] for source in traffic.sources] == [
        [0, 3, 6, 9, 12, 15, 18],
        [0, 3, 6, 9, 12],
    ]
    assert [len(source.jpegs) for source in load([tmp_path], most_frames=5).sources] == [5, 5]


def test_traffic_that_can_t_be_sent(make, tmp_path: Path) -> None:
    make.video(tmp_path / "short.mp4", 9)
    (tmp_path / "empty").mkdir()
    for path, kind, text in (
        ("short.mp4", TooFewFramesError, "9 frames, needs at least 10"),
        ("empty", EmptyFolderError, "no JPEG and no video"),
        ("gone.mp4", MissingFileError, "no such file or folder"),
        ("x" * 300, UnreadableFileError, "can't be read"),
    ):
        with pytest.raises(kind, match=text):
            load([tmp_path / path])
