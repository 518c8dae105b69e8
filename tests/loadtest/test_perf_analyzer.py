# SPDX-License-Identifier: Apache-2.0
"""perf_analyzer: its input data, the real binary on the real server, its CSV in the report."""

from __future__ import annotations

import base64
import csv
import json
import re
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from eulernet_client.errors import PerfAnalyzerError
from eulernet_loadtest import perf_analyzer
from eulernet_loadtest.compare import agreement
from eulernet_loadtest.metrics import Both, Latency
from eulernet_loadtest.perf_analyzer import Job, read_csv
from eulernet_loadtest.perf_command import perf, perf_data
from eulernet_loadtest.plan import Mode
from eulernet_loadtest.results import OURS, Run
from eulernet_serving.embedded_server import EmbeddedServer

JOB = Job(Mode.CLIPS, 4, 9.0, "localhost:8001", Path("data.json"))
HEADER = (
    "Concurrency,Inferences/Second,Client Send,Network+Server Send/Recv,Server Queue,Server Compute Input,"
    "Server Compute Infer,Server Compute Output,Client Recv,p50 latency,p90 latency,p95 latency,p99 latency\n"
)
ROWS = "2,60.5,1,2,3,4,5,6,7,8,9,10,11\n4,80.25,134,278773,2,573,1028070,6499,5,1316477,1379805,1640004,1740004\n"


@pytest.fixture(scope="module")
def measured_s(clip_s: float) -> str:
    """Seconds of a run; in a third of it, one window of perf_analyzer, this machine answers several clips."""
    return str(max(3.0, min(20.0, 24 * clip_s)))


def document(faces: Path, tmp_path: Path, *options: str) -> tuple[dict, str]:
    out = tmp_path / "new" / "data.json"
    result = CliRunner().invoke(perf_data, [str(faces), "--out", str(out), *options])
    assert result.exit_code == 0, result.output
    return json.loads(out.read_text()), result.stdout


def jpeg(tensor: dict) -> bytes:
    content = base64.b64decode(tensor["content"]["b64"], validate=True)
    assert tensor["shape"] == [len(content)]
    return content


def test_a_video_is_a_sequence_of_every_third_frame(faces: Path, tmp_path: Path) -> None:
    written, printed = document(faces, tmp_path)
    (stream,) = written["data"]
    expected = [(faces / f"{number:02}.jpg").read_bytes() for number in range(0, 39, 3)]
    assert [jpeg(step["ENCODED"]) for step in stream] == expected
    assert all(set(step) == {"ENCODED"} for step in stream)
    assert printed.startswith("perf_analyzer -m antispoof -i grpc")


def test_the_clip_call_gets_four_frames_a_request(faces: Path, tmp_path: Path) -> None:
    written, printed = document(faces, tmp_path, "--mode", "clips")
    frames = [(faces / f"{number:02}.jpg").read_bytes() for number in range(0, 39, 3)]
    requests = [[jpeg(step[f"ENCODED_{t}"]) for t in range(4)] for step in written["data"]]
    assert requests == [frames[0:4], frames[4:8], frames[8:12]], "the frame left over is in no clip"
    assert printed.startswith("perf_analyzer -m antispoof_clip -i grpc")


def test_perf_data_of_a_missing_video(tmp_path: Path) -> None:
    result = CliRunner().invoke(perf_data, [str(tmp_path / "gone.mp4"), "--out", str(tmp_path / "data.json")])
    assert result.exit_code == 1
    assert "gone.mp4" in result.stderr
    assert not (tmp_path / "data.json").exists()


def test_a_csv_becomes_a_run() -> None:
    run = read_csv(HEADER + ROWS, JOB)
    assert (run.tool, run.load, run.concurrency) == ("perf_analyzer", "4 clips", 4)
    assert run.throughput_fps == 321.0
    latency = run.clip.uncorrected
    assert latency.mean_ms == pytest.approx(1314.056)
    assert (latency.p50_ms, latency.p90_ms, latency.p95_ms, latency.p99_ms) == (
        1316.477,
        1379.805,
        1640.004,
        1740.004,
    )
    assert run.frame.uncorrected.p99_ms == pytest.approx(435.001)
    assert run.frame.corrected is None, "perf_analyzer has no schedule"
    frames = read_csv(HEADER + ROWS, Job(Mode.STREAMS, 2, 9.0, "localhost:8001", Path("data.json")))
    assert frames.throughput_fps == 60.5
    assert frames.frame.uncorrected.p99_ms == 0.011


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (HEADER, "concurrency 4"),
        ("", "concurrency 4"),
        (HEADER + ROWS.splitlines()[0] + "\n", "concurrency 4"),
        (HEADER + "4,x,1,2,3,4,5,6,7,8,9,10,11\n", "'x'"),
        (HEADER + "4,80\n", "Concurrency,Inferences/Second"),
        ("Concurrency,Inferences/Second\n4,80\n", "'p50 latency'"),
    ],
)
def test_an_unusable_csv_is_refused(text: str, named: str) -> None:
    with pytest.raises(PerfAnalyzerError, match=named):
        read_csv(text, JOB)


def test_a_given_program_comes_first(tmp_path: Path) -> None:
    program = tmp_path / "perf_analyzer"
    program.write_text("#!/bin/sh\necho 'error: failed to get model metadata' >&2\nexit 99\n")
    with pytest.raises(PerfAnalyzerError, match=str(program)):
        perf_analyzer.find(program, tmp_path / "kept")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    assert perf_analyzer.find(program, tmp_path / "kept") == program
    with pytest.raises(PerfAnalyzerError, match="error: failed to get model metadata"):
        perf_analyzer.measure(program, JOB, tmp_path / "out.csv")


def test_a_program_on_the_path_comes_before_the_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "perf_analyzer"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert perf_analyzer.find(None, tmp_path / "kept") == program


def test_libraries_are_found_under_plain_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", "/opt/own")
    with perf_analyzer.libraries() as environment:
        own, added = environment["LD_LIBRARY_PATH"].split(":")
        assert own == "/opt/own"
        assert sorted(path.name for path in Path(added).iterdir()) == ["libb64.so.0d", "libcudart.so.12"]
        assert all(path.resolve(strict=True).is_file() for path in Path(added).iterdir())
    assert not Path(added).exists()


@pytest.mark.parametrize(
    ("url", "proxied"),
    [("localhost:8001", False), ("127.0.0.9:8001", False), ("[::1]:8001", False), ("gpu.example:8001", True)],
)
def test_no_proxy_stands_between_perf_analyzer_and_loopback(
    url: str, proxied: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "perf_analyzer"
    program.write_text(f"#!/bin/sh\nenv > {tmp_path}/environment\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("grpc_proxy", "http://proxy.example:3128")
    with pytest.raises(PerfAnalyzerError):
        perf_analyzer.measure(program, replace(JOB, url=url), tmp_path / "out.csv")
    assert ("proxy.example" in (tmp_path / "environment").read_text()) is proxied


def run_of(tool: str, load: str, fps: float) -> Run:
    latency = Latency(None, 1, 1, 1, 1, 1, None, None, ())
    return Run(tool, load, "clips", 1, 9.0, fps, fps, Both(None, latency), None)


def test_agreement_is_judged_at_the_worst_load() -> None:
    """Loads are not averaged; the rounds of a load are compared by their median."""
    fps = {"1 clip": ([99.0], [100.0]), "2 clips": ([240.0], [200.0]), "4 clips": ([150, 10, 151], [200, 201, 50])}
    runs = [
        run_of(tool, load, each)
        for load, both in fps.items()
        for tool, rounds in zip((OURS, "perf_analyzer"), both, strict=True)
        for each in rounds
    ]
    compared = agreement(runs)
    assert compared.worst_percent == pytest.approx(-25)
    assert compared.lines[1:3] == (
        "2 clips: 240.0 and 200.0 frames/s, +20.0 %",
        "4 clips: 150.0 and 200.0 frames/s, -25.0 %",
    )
    assert len(compared.lines) == 4
    with pytest.raises(ValueError, match="both"):
        agreement(runs[:1])


@pytest.mark.slow
@pytest.mark.triton
def test_both_tools_measure_the_real_server(
    server: EmbeddedServer, measured_s: str, faces: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real perf_analyzer reads the sequences and the clips; one report has the rows of both tools. A busy machine
    allows only a coarse comparison; `eulernet perf --agree-percent` does the precise one."""
    monkeypatch.chdir(root)  # the binary is kept under out/
    out = tmp_path / "perf"
    options = ["--url", server.url, "--mode", "clips", "--mode", "streams", "--concurrency", "2"]
    result = CliRunner().invoke(
        perf, [str(faces), *options, "--duration-s", measured_s, "--timeout-s", "100", "--out", str(out)]
    )
    assert result.exit_code == 0, result.output
    with (out / "report.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["tool"], row["load"]) for row in rows] == [
        ("eulernet", "2 clips"),
        ("perf_analyzer", "2 clips"),
        ("eulernet", "2 streams"),
        ("perf_analyzer", "2 streams"),
    ]
    for ours, theirs in (rows[:2], rows[2:]):
        assert 1 / 4 < float(ours["throughput_fps"]) / float(theirs["throughput_fps"]) < 4
        assert float(theirs["frame_uncorrected_p99_ms"]) > 0
        assert theirs["frame_corrected_p99_ms"] == ""
    for mode in ("clips", "streams"):
        kept = (out / f"perf_analyzer.{mode}.2.1.csv").read_text()
        assert kept.startswith("Concurrency,Inferences/Second")
    for load in ("2 clips", "2 streams"):
        assert re.search(rf"^{load}: [\d.]+ and [\d.]+ frames/s, [+-][\d.]+ %$", result.output, re.MULTILINE)
    assert (out / "report.html").read_text().count("<img") >= 5


@pytest.mark.slow
@pytest.mark.triton
def test_disagreement_fails_the_command(
    server: EmbeddedServer, measured_s: str, faces: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    options = ["--url", server.url, "--mode", "clips", "--concurrency", "1", "--duration-s", measured_s]
    result = CliRunner().invoke(
        perf, [str(faces), *options, "--agree-percent", "1e-9", "--out", str(tmp_path / "perf")]
    )
    assert result.exit_code == 1
    assert "1e-09 %" in result.stderr
