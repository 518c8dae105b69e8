# SPDX-License-Identifier: Apache-2.0
"""The load tester on the real server: closed and open loops, a server that stalls, no server, the files it writes."""

from __future__ import annotations

import asyncio
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

from eulernet_client import AsyncClient, Client
from eulernet_loadtest.loadtest_command import loadtest
from eulernet_loadtest.plan import Arrivals, Mode, Plan
from eulernet_loadtest.runner import Runner
from eulernet_loadtest.target import Target
from eulernet_loadtest.traffic import Source, Traffic, load
from eulernet_serving.embedded_server import EmbeddedServer
from tests.request_counts import requests_of

NOWHERE = "127.0.0.1:9"  # the discard port: closed


@pytest.fixture(scope="module")
def calls_s(clip_s: float) -> float:
    """Seconds for several clip calls on this machine."""
    return max(2.0, min(10.0, 12 * clip_s))


def open_sequences(server: EmbeddedServer) -> int:
    time.sleep(1.5)  # the server sets the metric each second
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://127.0.0.1:{server.ports.metrics}/metrics") as answer:
        text = answer.read().decode()
    return sum(int(number) for number in re.findall(r"^eulernet_open_sequences\{.*\} (\d+)", text, re.MULTILINE))


@contextlib.contextmanager
def stopped(server: EmbeddedServer, after_s: float, until_s: float) -> Iterator[None]:
    """Sends SIGSTOP to tritonserver `after_s` into the block and SIGCONT `until_s` into it."""
    pid = server.pid
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
    """Runs a command with a terminal as standard error and a pipe as standard output.

    Returns: the output of the terminal, the output of the pipe, and the exit status.
    """
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
    # Little's law: requests in progress = rate x mean time.
    in_progress = run.throughput_fps / 4 * run.clip.uncorrected.mean_ms / 1000
    assert 0.5 < in_progress < 3
    assert 0 < run.client_cpu < 2


@pytest.mark.triton
def test_streams_in_chunks_send_fewer_requests(server: EmbeddedServer, runner: Runner, calls_s: float) -> None:
    before = open_sequences(server)
    plan = Plan(concurrency=2, chunk_frames=3, stream_frames=7, duration_s=calls_s, warm_up_s=0.0)
    (run,) = runner.run([plan])
    assert run.failed == run.counts["unscored"] == 0
    # Each stream has requests of 3, 3 and 1 frames.
    assert run.answered_fps * run.duration_s / run.counts["ok"] == pytest.approx(7 / 3, rel=0.25)
    assert run.clip is not None
    assert open_sequences(server) == before


@pytest.mark.triton
def test_frames_in_flight_share_requests(server: EmbeddedServer, runner: Runner, calls_s: float) -> None:
    open_before, before = open_sequences(server), requests_of(server)
    plan = Plan(concurrency=2, frames_in_flight=4, stream_frames=9, duration_s=calls_s, warm_up_s=0.0)
    (run,) = runner.run([plan])
    assert run.failed == run.counts["unscored"] == 0
    assert run.clip is not None
    # A stream's 9 frames are in three to five requests; a stream after it begins before its last answer.
    assert run.counts["ok"] / (requests_of(server) - before) > 1.5
    assert open_sequences(server) == open_before


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
    """Sixteen clips are due within 4 s and sixteen are counted, although the server hangs in between."""
    plan = Plan(mode=Mode.CLIPS, rate_hz=4.0, arrivals=Arrivals.CONSTANT, duration_s=4, warm_up_s=0)
    with stopped(server, 1.5, 3.5):
        (run,) = runner.run([plan])
    assert sum(run.counts.values()) == 16
    assert run.counts["ok"] == 16
    assert run.clip.corrected.count == 16
    assert run.clip.corrected.max_ms > 900


@pytest.mark.triton
def test_arriving_streams_are_paced_to_their_end(runner: Runner) -> None:
    plan = Plan(rate_hz=2.0, arrivals=Arrivals.CONSTANT, fps=10.0, stream_frames=4, duration_s=2, warm_up_s=0)
    (run,) = runner.run([plan])
    # Streams start at 0, 0.5, 1 and 1.5 s with a frame every 0.1 s: all frames lie within the window.
    assert sum(run.counts.values()) == 16
    assert run.counts["ok"] + run.counts["late"] == 16
    assert run.clip.corrected.count == 4
    assert run.clip.corrected.quantiles[0][1] >= 299, "four frames at 10 fps take 0.3 s at least"


@pytest.mark.slow
@pytest.mark.triton
def test_a_stalled_server_shows_in_the_corrected_percentiles(
    server: EmbeddedServer, runner: Runner, timeout_s: float
) -> None:
    """The server hangs for 2 of 5 s: a camera at 10 fps has one frame in flight and 19 waiting. Latency from the
    actual send shows one slow frame."""
    with stopped(server, 1.5, 3.5):
        (run,) = runner.run([Plan(concurrency=1, fps=10.0, duration_s=5, warm_up_s=0)])
    corrected, uncorrected = run.frame.corrected, run.frame.uncorrected
    assert sum(run.counts.values()) == pytest.approx(50, abs=1)
    assert run.failed == 0
    assert run.counts["late"] >= 18
    assert corrected.p90_ms > 1000
    assert corrected.max_ms > 1500
    assert uncorrected.max_ms > 1500
    assert uncorrected.p90_ms < corrected.p90_ms / 2
    assert max(piece.max_ms or 0 for piece in run.timeline) > 1500
    with Client(server.url, timeout_s=timeout_s) as client:
        client.check()


@pytest.mark.slow
@pytest.mark.triton
@pytest.mark.parametrize("in_flight", [1, 4])
def test_unsent_frames_are_counted(server: EmbeddedServer, faces: Path, timeout_s: float, in_flight: int) -> None:
    """The server hangs beyond the end of the run: the frame in flight and all waiting frames are unanswered."""
    drain_s = 1.0
    runner = Runner(lambda: AsyncClient(server.url, timeout_s=timeout_s, retry=False), load([faces]), drain_s)
    with stopped(server, 1.5, 10.0):
        begun_s = time.monotonic()
        (run,) = runner.run([Plan(concurrency=1, fps=10.0, frames_in_flight=in_flight, duration_s=3, warm_up_s=0)])
        assert time.monotonic() - begun_s < timeout_s / 2, "a run does not wait for a request's own time limit"
    assert sum(run.counts.values()) == pytest.approx(30, abs=1)
    assert run.counts["unanswered"] >= 10
    assert run.frame.corrected.count > run.frame.uncorrected.count
    assert run.frame.corrected.max_ms > 2000
    with Client(server.url, timeout_s=timeout_s) as client:
        client.check()


@pytest.mark.slow
@pytest.mark.triton
@pytest.mark.parametrize("in_flight", [1, 4])
def test_a_lost_stream_counts_by_its_cause(server: EmbeddedServer, faces: Path, in_flight: int) -> None:
    """The client reports a time-out within a stream as a lost stream; the load tester records the time-out."""
    runner = Runner(lambda: AsyncClient(server.url, timeout_s=2, retry=False), load([faces]), 20.0)
    with stopped(server, 1.5, 5.0):
        (run,) = runner.run([Plan(concurrency=1, fps=10.0, frames_in_flight=in_flight, duration_s=6, warm_up_s=0)])
    assert sum(run.counts.values()) == pytest.approx(60, abs=1)
    assert run.counts["ok"] + run.counts["late"] > 0
    assert run.counts["unanswered"] > 0
    assert "RequestTimeoutError" in run.errors
    assert "StreamLostError" not in run.errors


@pytest.mark.triton
async def test_no_client_asks_for_the_weights_during_the_load(server: EmbeddedServer, timeout_s: float) -> None:
    """With the server stopped, each client knows the label already."""
    clients: list[AsyncClient] = []

    def connect() -> AsyncClient:
        clients.append(AsyncClient(server.url, timeout_s=timeout_s, retry=False))
        return clients[-1]

    async with Target(connect, calls=12):
        assert len(clients) == 2
        with stopped(server, 0.0, timeout_s):
            await asyncio.sleep(0.2)
            labels = [await asyncio.wait_for(client.weights(), 10) for client in clients]
    assert "unknown" not in labels


@pytest.mark.slow
@pytest.mark.triton
def test_unscored_frames_are_not_throughput(server: EmbeddedServer, calls_s: float, timeout_s: float, encode) -> None:
    blank = encode(np.full((120, 160, 3), 90, np.uint8))
    runner = Runner(
        lambda: AsyncClient(server.url, timeout_s=timeout_s, retry=False),
        Traffic((Source("blank", (blank,) * 4),)),
        timeout_s,
    )
    runs = runner.run([Plan(mode=mode, concurrency=1, duration_s=calls_s, warm_up_s=0) for mode in Mode])
    for run in runs:
        assert run.throughput_fps == run.counts["ok"] == 0
        assert run.answered_fps > 0
        assert run.counts["unscored"] > 0
        assert str(run.counts["unscored"]) in run.notes[0]


@pytest.mark.triton
def test_search_for_the_most_streams(runner: Runner) -> None:
    plan = Plan(concurrency=1, fps=2.0, duration_s=1, warm_up_s=0)
    found, runs = runner.find_max_streams(plan, p99_ms=60_000.0, most=2)
    assert (found, [run.concurrency for run in runs], [run.holds for run in runs]) == (2, [1, 2], [True, True])
    found, runs = runner.find_max_streams(plan, p99_ms=0.01, most=2)
    assert (found, [run.holds for run in runs]) == (0, [False])


@pytest.mark.parametrize("mode", Mode)
def test_no_server(faces: Path, mode: Mode) -> None:
    """Every refusal is counted, and a closed loop pauses after a refusal."""
    runner = Runner(lambda: AsyncClient(NOWHERE, timeout_s=1, retry=False), load([faces]), 1.0)
    (run,) = runner.run([Plan(mode=mode, concurrency=2, duration_s=1, warm_up_s=0)])
    assert run.throughput_fps == run.answered_fps == 0
    assert run.frame.uncorrected is None
    assert 2 <= run.failed <= 22
    assert set(run.errors) <= {"ServerUnavailableError", "RequestTimeoutError"}


def test_the_command_names_the_server_that_does_not_answer(faces: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(loadtest, [str(faces), "--url", NOWHERE, "--out", str(tmp_path)])
    assert result.exit_code == 1
    assert NOWHERE in result.stderr
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--concurrency", "1", "--rate", "1"], "--rate"),
        (["--concurrency", "1,x"], "1,x"),
        (["--concurrency", "0"], "'0'"),
        (["--rate", "nan"], "nan"),
        (["--mode", "clips", "--fps", "10"], "--fps"),
        (["--mode", "clips", "--frames-in-flight", "4"], "--frames-in-flight"),
        (["--chunk-frames", "4", "--frames-in-flight", "4"], "--frames-in-flight"),
        (["--find-max-streams"], "--fps"),
        (["--find-max-streams", "--fps", "10", "--concurrency", "1,2"], "--concurrency"),
        (["--url", "http://x"], "--url"),
    ],
)
def test_wrong_usage_names_the_option_or_value(faces: Path, options: list[str], named: str) -> None:
    result = CliRunner().invoke(loadtest, [str(faces), *options])
    assert result.exit_code == 2
    assert named in result.stderr.rpartition("Error:")[2]


@pytest.mark.triton
def test_command_writes_table_json_csv_and_page(
    server: EmbeddedServer, calls_s: float, timeout_s: float, faces: Path, tmp_path: Path
) -> None:
    """In a separate process: progress goes to the terminal, the table to standard output."""
    options = ["--url", server.url, "--mode=clips", "--concurrency=1,2", f"--timeout-s={timeout_s}"]
    options += [f"--duration-s={calls_s}", "--warm-up-s=0.5", f"--out={tmp_path / 'out'}"]
    code = "from eulernet_loadtest.loadtest_command import loadtest; loadtest()"
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
    for plot in ("frames/s and p99 latency over concurrency", "by percentile, 2 clips", "over time, 1 clip"):
        assert plot in page
    plots = [base64.b64decode(each) for each in re.findall(r'<img src="data:image/svg\+xml;base64,([^"]+)', page)]
    assert len(plots) == 5
    assert not any(b"mathdefault" in plot for plot in plots)  # axis labels are numbers, not TeX
    assert not re.search(r"<script|https?://(?!www\.w3\.org)", page)
