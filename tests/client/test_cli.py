"""The `eulernet` command: listing, errors, exit statuses, table and JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from importlib.metadata import EntryPoint
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result
from eulernet_client import ClipResult, FrameResult, Status, errors
from eulernet_client.cli import LazyGroup, main, needs_extra
from eulernet_client.commands import _as_json, _table
from rich.console import Console

NOWHERE = "127.0.0.1:9"  # the discard port: closed


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def group_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **modules: str) -> LazyGroup:
    """A group over an installed distribution whose entry points are `name = module_NAME:command [extra]`."""
    info = tmp_path / "lazy_demo-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lazy-demo\nVersion: 1\n")
    lines = [f"{name} = lazy_demo_{name}:command [train]" for name in modules]
    (info / "entry_points.txt").write_text("[lazy.demo]\n" + "\n".join(lines) + "\n")
    for name, text in modules.items():
        (tmp_path / f"lazy_demo_{name}.py").write_text(text)
        monkeypatch.delitem(sys.modules, f"lazy_demo_{name}", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    return LazyGroup("demo", entry_point_group="lazy.demo")


FINE = "import click\n@click.command()\ndef command():\n    '''Does {0}.'''\n    click.echo('did {0}')\n"
LATE = "import click\n@click.command()\ndef command():\n    '''Comes late.'''\n    import no_such_module.inside\n"


def test_commands_are_listed() -> None:
    result = run("--help")
    assert result.exit_code == 0
    assert "Score videos and folders: live or attack." in result.output
    assert "status" in result.output


def test_only_the_called_command_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    group = group_of(tmp_path, monkeypatch, one=FINE.format("one"), two="raise SystemError('must not be loaded')")
    result = CliRunner().invoke(group, ["one"])
    assert (result.exit_code, result.output) == (0, "did one\n")
    assert "lazy_demo_two" not in sys.modules


def test_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    group = group_of(
        tmp_path, monkeypatch, early="import no_such_module\n", late=LATE, hollow="", fine=FINE.format("it")
    )
    for name in ("early", "late"):
        result = CliRunner().invoke(group, [name])
        assert result.exit_code == 1
        assert result.output == f"Error: `eulernet {name}` needs no_such_module: run  pip install 'eulernet[train]'\n"
    assert "`eulernet hollow` cannot be loaded" in CliRunner().invoke(group, ["hollow"]).output
    listing = CliRunner().invoke(group, ["--help"])
    assert listing.exit_code == 0, "a command that cannot be loaded does not spoil the list"
    assert "Does it." in listing.output
    assert "pip install" in listing.output


@pytest.mark.parametrize(
    ("value", "extra"),
    [
        ("eulernet_client.commands:score", "client"),
        ("eulernet_build.commands:export", "build"),
        ("eulernet_build.commands:serve [serve]", "serve"),
        ("eulernet.summary:summary", "train"),
    ],
)
def test_extra_of_a_package(value: str, extra: str) -> None:
    point = EntryPoint("x", value, "eulernet.commands")
    assert f"eulernet[{extra}]" in str(needs_extra(point, ModuleNotFoundError("no", name="torch.nn")))
    own = ModuleNotFoundError("no", name="eulernet_build.gone")
    assert needs_extra(point, own) is own, "a hole in this project is a bug, not a missing extra"


def test_unknown_command_suggests() -> None:
    result = run("scroe", "x.mp4")
    assert result.exit_code == 2
    assert "No such command 'scroe'. Did you mean 'score'?" in result.output


def test_version() -> None:
    result = run("--version")
    assert result.exit_code == 0
    assert result.output.startswith("eulernet, version ") or "version" in result.output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["score"], "Missing argument"),
        (["score", "a.mp4", "--clips", "0"], "--clips"),
        (["score", "a.mp4", "--timeout-s", "0"], "--timeout-s"),
        (["score", "a.mp4", "--url", "http://x"], "host:port"),
        (["score", "a.mp4", "--header", "token"], "NAME=VALUE"),
        (["score", "a.mp4", "--report", "no/such/folder/r.html"], "its folder does not exist"),
        (["status", "--wait-s", "-1"], "--wait-s"),
        (["--no-such-option"], "No such option"),
    ],
)
def test_wrong_usage_is_exit_status_2(arguments: list[str], says: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert says in result.output


def test_missing_file_is_exit_status_1(tmp_path: Path) -> None:
    result = run("score", str(tmp_path / "gone.mp4"), "--url", NOWHERE)
    assert result.exit_code == 1
    assert "no such file or folder; check the path" in " ".join(result.stdout.split())
    assert "not scored" in result.stdout


def test_unreachable_server_is_told_quickly(make, tmp_path: Path) -> None:
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
    assert f"{NOWHERE}: no server answers" in rows["clips"][0]["error"]["message"]


def test_status_of_no_server() -> None:
    begun = time.monotonic()
    result = run("status", "--url", NOWHERE)
    assert time.monotonic() - begun < 8
    assert result.exit_code == 1
    assert result.stdout == ""
    assert f"not healthy: {NOWHERE}: no server answers" in result.stderr
    assert "start one with `eulernet serve`" in result.stderr


def test_status_waits() -> None:
    begun = time.monotonic()
    assert run("status", "--url", NOWHERE, "--wait-s", "1.5").exit_code == 1
    assert 1.5 <= time.monotonic() - begun < 8


def test_report_of_what_could_not_be_scored(tmp_path: Path) -> None:
    page = tmp_path / "r.html"
    assert run("score", str(tmp_path / "gone.mp4"), "--url", NOWHERE, "--report", str(page)).exit_code == 1
    assert "MissingFileError" in page.read_text(encoding="utf-8")


def test_report_that_cannot_be_written_is_named_after_the_table(tmp_path: Path) -> None:
    full = Path("/dev/full")  # takes the opening, refuses the writing
    if not full.exists():
        pytest.skip("no /dev/full on this system")
    result = run("score", str(tmp_path / "gone.mp4"), "--url", NOWHERE, "--report", str(full))
    assert result.exit_code == 1
    assert "not scored" in result.stdout
    assert "/dev/full: cannot be written (No space left on device); choose another file" in result.stderr


def rows(*paths: str) -> list:
    frame = FrameResult(0, 0.9, np.zeros((32, 32), np.float32), (0, 0, 1, 1), 4, Status.OK)
    good = [ClipResult(p, 0.9, (frame,) * 4, "untrained", 0.0123, ("several faces",)) for p in paths]
    bad = errors.NoFaceError("d/empty.mp4: frame 45: no face found; the face must be at least 15 % of the width")
    return [
        *((r.path, r) for r in good),
        ("d/empty.mp4", bad),
        ("x.mp4", ClipResult("x.mp4", 0.1, (frame,) * 4, "u", 1)),
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
        console.print(_table(rows(path), console))
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
    assert "d/empty.mp4: frame" not in words, "the row names the file already"
    (live,) = (line for line in lines if " live " in line)
    assert live.split()[-4:] == ["live", "0.900", "4", "3.1"]
    (attack,) = (line for line in lines if " attack " in line)
    assert attack.split() == ["x.mp4", "attack", "0.100", "4", "250.0"]
    (bad,) = (line for line in lines if "not scored" in line)
    assert bad.split() == ["d/empty.mp4", "not", "scored", "-", "-", "-"]


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


def test_every_command_says_what_it_does() -> None:
    from eulernet_client import commands

    for command in (commands.score, commands.status):
        assert isinstance(command, click.Command)
        assert command.help
        for parameter in command.params:
            assert isinstance(parameter, click.Argument) or parameter.help, f"{command.name} {parameter.name}"
