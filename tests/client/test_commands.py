# SPDX-License-Identifier: Apache-2.0
"""`eulernet score` and `eulernet status` without a server: errors, exit statuses, table, JSON and progress."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from eulernet_client import AsyncClient, Client, FrameResult, Status, VideoResult, errors
from eulernet_client.command_options import connect
from eulernet_client.score_command import _as_json, score
from eulernet_client.status_command import status
from eulernet_client.terminal_output import details, results_table, shown
from eulernet_core.command_root import main

NOWHERE = "127.0.0.1:9"  # the discard port: closed


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (["score"], "FILE_OR_FOLDER"),
        (["score", "a.mp4", "--clips", "0"], "--clips"),
        (["score", "a.mp4", "--timeout-s", "0"], "--timeout-s"),
        (["score", "a.mp4", "--url", "http://x"], "host:port"),
        (["score", "a.mp4", "--header", "token"], "NAME=VALUE"),
        (["score", "a.mp4", "--report", "no/such/folder/r.html"], "--report"),
        (["status", "--wait-s", "-1"], "--wait-s"),
        (["status", "--wait-s", "inf"], "--wait-s"),
        (["status", "--wait-s", "nan"], "--wait-s"),
        (["--no-such-option"], "--no-such-option"),
    ],
)
def test_wrong_usage_is_exit_status_2(arguments: list[str], field: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert field in result.output


def test_missing_file_is_exit_status_1(tmp_path: Path) -> None:
    result = run("score", str(tmp_path / "gone.mp4"), "--url", NOWHERE)
    assert result.exit_code == 1
    assert "gone.mp4" in "".join(result.stdout.split())
    assert "not scored" in result.stdout


def test_unreachable_server_fails_quickly(make, tmp_path: Path) -> None:
    videos = [str(make.video(tmp_path / f"{i}.mp4", 12)) for i in range(3)]
    begun = time.monotonic()
    result = run("score", *videos, str(tmp_path / "gone.mp4"), "--url", NOWHERE, "--json")
    assert time.monotonic() - begun < 8
    assert result.exit_code == 1
    rows = json.loads(result.stdout)
    assert rows["weights"] == "unknown"
    assert [row["path"] for row in rows["clips"]] == [*videos, str(tmp_path / "gone.mp4")]
    kinds = [row["error"]["type"] for row in rows["clips"]]
    assert kinds == ["ServerUnavailableError"] * 3 + ["MissingFileError"]
    assert rows["clips"][0]["error"]["message"].startswith(f"{NOWHERE}: ")


def test_status_of_no_server() -> None:
    begun = time.monotonic()
    result = run("status", "--url", NOWHERE)
    assert time.monotonic() - begun < 8
    assert result.exit_code == 1
    assert result.stdout == ""
    assert f"not healthy: {NOWHERE}: " in result.stderr
    assert "eulernet serve" in result.stderr


def test_status_waits() -> None:
    begun = time.monotonic()
    assert run("status", "--url", NOWHERE, "--wait-s", "1.5").exit_code == 1
    assert 1.5 <= time.monotonic() - begun < 8


def test_report_of_a_source_without_a_score(tmp_path: Path) -> None:
    page = tmp_path / "r.html"
    assert run("score", str(tmp_path / "gone.mp4"), "--url", NOWHERE, "--report", str(page)).exit_code == 1
    assert "MissingFileError" in page.read_text(encoding="utf-8")


def test_report_that_cannot_be_written_is_named_after_the_table(tmp_path: Path) -> None:
    full = Path("/dev/full")  # can be opened, but not written
    if not full.exists():
        pytest.skip("no /dev/full on this system")
    result = run("score", str(tmp_path / "gone.mp4"), "--url", NOWHERE, "--report", str(full))
    assert result.exit_code == 1
    assert "not scored" in result.stdout
    assert "/dev/full: " in result.stderr
    assert "No space left on device" in result.stderr
    assert full.is_char_device(), "the device was not replaced by a file"


def rows(*paths: str) -> list:
    frame = FrameResult(0, 0.9, np.zeros((32, 32), np.float32), (0, 0, 1, 1), 4, Status.OK)
    good = [VideoResult(p, 0.9, (frame,) * 4, "untrained", 0.0123, ("several faces",)) for p in paths]
    bad = errors.NoFaceError("d/empty.mp4: frame 45: no face found; the face must be at least 15 % of the width")
    return [
        *((r.path, r) for r in good),
        ("d/empty.mp4", bad),
        ("x.mp4", VideoResult("x.mp4", 0.1, (frame,) * 4, "u", 1)),
    ]


def test_json_rows() -> None:
    found = json.loads(json.dumps(_as_json("untrained", rows("a.mp4")), allow_nan=False))
    assert found["weights"] == "untrained"
    assert [row.get("verdict") for row in found["clips"]] == ["live", None, "attack"]
    assert found["clips"][1] == {
        "path": "d/empty.mp4",
        "error": {
            "type": "NoFaceError",
            "message": "d/empty.mp4: frame 45: no face found; the face must be at least 15 % of the width",
        },
    }


@pytest.mark.parametrize(
    "path", ["a.mp4", "archive/" + "long-" * 40 + "name.mp4", "esc\x1b[31m\nred.mp4", "bad\udcff.mp4"]
)
def test_table_fits_80_columns_without_colours(path: str) -> None:
    console = Console(width=80, force_terminal=False, highlight=False)
    with console.capture() as captured:
        console.print(results_table(rows(path), console))
    text = captured.get()
    text.encode("utf-8")
    assert "\x1b" not in text
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    assert [
        word for word in ("clip", "verdict", "liveness", "frames", "ms/frame") if word not in lines[1] + lines[0]
    ] == []
    assert "several faces" in text
    words = " ".join(text.split())
    assert "frame 45: no face found; the face must" in words
    assert "d/empty.mp4: frame" not in words, "the row already names the file"
    (live,) = (line for line in lines if " live " in line)
    assert live.split()[-4:] == ["live", "0.900", "4", "3.1"]
    (attack,) = (line for line in lines if " attack " in line)
    assert attack.split() == ["x.mp4", "attack", "0.100", "4", "250.0"]
    (bad,) = (line for line in lines if "not scored" in line)
    assert bad.split() == ["d/empty.mp4", "not", "scored", "-", "-", "-"]


NAMES = ["Größe 顔.mp4", "bad\udcff.mp4", "esc\x1b[31m.mp4", "-line\nbreak.mp4"]
SHOWN = {
    "ascii": ["Gr\\xf6\\xdfe \\u9854.mp4", "bad\\udcff.mp4", "esc\\x1b[31m.mp4", "-line\\nbreak.mp4"],
    "latin-1": ["Größe \\u9854.mp4", "bad\\udcff.mp4", "esc\\x1b[31m.mp4", "-line\\nbreak.mp4"],
    "utf-8": ["Größe 顔.mp4", "bad\\udcff.mp4", "esc\\x1b[31m.mp4", "-line\\nbreak.mp4"],
}


@pytest.mark.parametrize("encoding", SHOWN)
def test_names_that_can_not_be_printed_stay_readable(encoding: str) -> None:
    assert [shown(name, encoding) for name in NAMES] == SHOWN[encoding]


@pytest.mark.parametrize(
    ("encoding", "options"),
    [
        ("ascii", []),
        ("latin-1", []),
        ("utf-8", []),
        ("ascii", ["--json"]),
        ("ascii", ["--out", "t.csv"]),
        ("ascii", ["--report", "r.html"]),
    ],
)
def test_no_terminal_costs_a_result(encoding: str, options: list[str], tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "COLUMNS": "100"}
    environment.pop("PYTHONUTF8", None)
    command = [sys.executable, "-m", "eulernet_client", "score", "--url", NOWHERE, *options, "--", *NAMES]
    for name in NAMES:
        (tmp_path / name).touch()
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, timeout=60, check=False)
    text = done.stdout.decode(encoding)
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
    if options == ["--json"]:
        assert [row["path"] for row in json.loads(text)["clips"]] == NAMES
    elif "--out" in options:
        assert NOWHERE.encode() in done.stderr
    else:
        assert all(name in text for name in SHOWN[encoding])
        assert (tmp_path / "r.html").exists() == bool(options)


@pytest.mark.parametrize("width", [30, 59, 60])
def test_names_and_verdicts_fit_every_width(width: int, tmp_path: Path) -> None:
    names = ["a-name-that-is-longer-than-thirty-columns.mp4", "b.mp4"]
    for name in names:
        (tmp_path / name).touch()
    command = [sys.executable, "-m", "eulernet_client", "score", "--url", NOWHERE, *names]
    environment = {**os.environ, "COLUMNS": str(width)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, timeout=60, check=False)
    lines = done.stdout.decode().splitlines()
    assert max(map(len, lines)) <= width
    together = "".join("".join(lines).split())
    assert "b.mp4" in together
    assert together.count("notscored") == 2
    assert "file" in together
    if width < 60:
        assert lines[1] == "a-name-that-is-longer-than-thirty-columns.mp4"[:width]


def test_details_of_a_narrow_terminal() -> None:
    live, bad, _ = rows("a.mp4")
    assert details(live, "utf-8").plain == "live 0.900, 4 frames, 3.1 ms/frame\nseveral faces"
    assert details(bad, "utf-8").plain.startswith("not scored\nframe 45: no face found")


@pytest.mark.parametrize("options", [["--json"], ["--report", "r.html"]])
def test_a_reader_that_goes_away_costs_no_report_and_no_traceback(options: list[str], tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    command = [sys.executable, "-m", "eulernet_client", "score", "--url", NOWHERE, *options, *["empty.mp4"] * 3]
    receive, send = os.pipe()
    os.close(receive)
    done = subprocess.run(command, cwd=tmp_path, stdout=send, stderr=subprocess.PIPE, timeout=60, check=False)
    os.close(send)
    assert done.returncode == 1, "a source has no score"
    assert b"rror" not in done.stderr
    assert (tmp_path / "r.html").exists() == ("--report" in options)


@pytest.mark.parametrize("options", [[], ["--json", "--report", "r.html"]])
def test_a_full_disk_behind_standard_output_is_named(options: list[str], tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    command = [sys.executable, "-m", "eulernet_client", "score", "--url", NOWHERE, *options, "gone.mp4"]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(b"Error: standard output can't be written (No space left on device)")
    assert (tmp_path / "r.html").exists() == ("--report" in options)


def test_help_is_printed_on_every_terminal() -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    command = [sys.executable, "-m", "eulernet_client", "loadtest", "--help"]
    done = subprocess.run(command, env=environment, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"N,N,\\u2026" in done.stdout


GOES_ON = """
import sys
from eulernet_client.batch.progress import BatchProgress
from eulernet_client.terminal_output import PatientConsole
with BatchProgress(PatientConsole(stderr=True), line_every_s=0) as progress:
    progress.begin(9, 3)
    for _ in range(6):
        progress.advance(failed=False)
sys.exit(7)
"""


def test_a_batch_goes_on_when_the_reader_of_its_progress_goes_away() -> None:
    receive, send = os.pipe()
    os.close(receive)
    done = subprocess.run([sys.executable, "-c", GOES_ON], stderr=send, timeout=60, check=False)
    os.close(send)
    assert done.returncode == 7


def test_output_in_a_pipe_has_no_colours(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "eulernet_client", "score", str(tmp_path / "gone.mp4"), "--url", NOWHERE]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stdout.decode().startswith("weights: unknown\n")
    assert b"\x1b" not in done.stdout + done.stderr
    assert done.stderr == b""


def test_progress_is_drawn_on_a_terminal_only(tmp_path: Path) -> None:
    terminal, end = os.openpty()
    gone = [str(tmp_path / f"{i}.mp4") for i in range(3)]
    command = [sys.executable, "-m", "eulernet_client", "score", *gone, "--url", NOWHERE, "--json"]
    environment = {**os.environ, "TERM": "xterm"}
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=end, env=environment, timeout=60, check=False)
    drawn = os.read(terminal, 1 << 16).decode()
    for descriptor in (terminal, end):
        os.close(descriptor)
    assert "scoring" in drawn
    assert "100%" in drawn
    assert len(json.loads(done.stdout)["clips"]) == 3


@pytest.mark.parametrize("command", [score, status])
def test_every_command_and_option_is_documented(command: click.Command) -> None:
    assert command.help
    for parameter in command.params:
        assert isinstance(parameter, click.Argument) or parameter.help, f"{command.name} {parameter.name}"


def test_connect_makes_both_clients() -> None:
    server = {"urls": [NOWHERE, "b:8001"], "timeout_s": 2.5, "tls": False, "tls_ca": None, "headers": {"A": "b"}}
    with connect("Client", **server) as client:
        assert type(client) is Client
        assert (client.urls, client.timeout_s) == ((NOWHERE, "b:8001"), 2.5)
        connection = client._session.connection
        assert (connection.tls, connection.headers, connection.retry) == (None, {"a": "b"}, True)
    other = connect("AsyncClient", urls=[NOWHERE], timeout_s=1.0, tls=True, retry=False)
    assert type(other) is AsyncClient
    assert other._session.connection.tls is not None
    assert not other._session.connection.retry
    with pytest.raises(click.BadParameter, match="http://x"):
        connect("Client", urls=["http://x"], timeout_s=1.0)
