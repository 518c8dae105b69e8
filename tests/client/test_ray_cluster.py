# SPDX-License-Identifier: Apache-2.0
"""Archives on a real Ray cluster and the real server: equal rows; actors, the command and servers killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eulernet_client.batch.archive_run import journal_path
from eulernet_client.sources import find_sources
from eulernet_serving.embedded_server import EmbeddedServer, Ports
from tests.client.ray_network import RayNetwork
from tests.client.tcp_relay import Relay

pytestmark = [pytest.mark.triton, pytest.mark.slow, pytest.mark.timeout(900)]

Row = dict[str, Any]
WAIT_S = 240


@pytest.fixture(scope="module")
def network() -> Iterator[RayNetwork]:
    folder = Path(tempfile.mkdtemp(prefix="eulernet-ray-"))  # pytest's paths are too long for Ray's sockets
    cluster = None
    try:
        cluster = RayNetwork(folder)
        yield cluster
    finally:
        if cluster is not None:
            cluster.close()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def relay(server: EmbeddedServer, network: RayNetwork) -> Iterator[Callable[..., Relay]]:
    """`relay(url)`: leads from the cluster's network to a server, by default to the session's."""
    opened: list[Relay] = []

    def lead(url: str = server.url) -> Relay:
        opened.append(Relay(url, network.folder / f"{len(opened)}-{time.monotonic_ns()}"))
        return opened[-1]

    yield lead
    for each in opened:
        each.close()


@pytest.fixture
def slow_archive(archive: Callable[[int], list[Path]]) -> Callable[[int], list[Path]]:
    """`slow_archive(n)`: n sources that take the cluster 0.4 s each to read."""

    def fill(count: int) -> list[Path]:
        return [path.rename(path.with_name(f"slow{path.name}")) for path in archive(count)]

    return fill


def command(paths: Path | str, out: Path, *urls: str, address: str | None) -> list[str]:
    """`address`: of the cluster; None: without Ray."""
    score = [sys.executable, "-m", "eulernet_client", "score", str(paths), "--out", str(out), "--json"]
    score += [each for url in urls for each in ("--url", url)]
    return score if address is None else [*score, "--ray", "--ray-address", address]


def rows_of(out: Path) -> list[Row]:
    return [json.loads(line) for line in out.read_text().splitlines()]


def keys_in(journal: Path) -> list[str]:
    return [json.loads(line)["key"] for line in journal.read_bytes().splitlines()[1:]]


def wait_for_lines(journal: Path, count: int, process: subprocess.Popen[str]) -> None:
    """Waits for that many scored sources."""
    until = time.monotonic() + WAIT_S
    while not journal.exists() or journal.read_bytes().count(b"\n") <= count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.005)


def test_rows_are_those_of_the_local_run(
    network: RayNetwork, server: EmbeddedServer, relay: Callable[..., Relay], archive: Any, make: Any, tmp_path: Path
) -> None:
    good = archive(5)
    folder = good[0].parent
    make.video(folder / "nobody.mp4", 40)
    make.video(folder / "short.mp4", 5)
    (folder / "text.mp4").write_text("not a video\n" * 100)
    shutil.copytree(good[0], folder / os.fsdecode(b"name \xff \xc3\xa9"))
    there, here = tmp_path / "ray.jsonl", tmp_path / "local.jsonl"
    on_ray = network.run(*command("archive", there, relay().url, address=network.address), cwd=tmp_path)
    local = subprocess.run(
        command("archive", here, server.url, address=None), cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert on_ray.returncode == local.returncode == 1, on_ray.stderr + local.stderr
    assert json.loads(on_ray.stdout)["errors"] == json.loads(local.stdout)["errors"]
    rows, expected = rows_of(there), rows_of(here)
    assert len(rows) == 9
    for row, local_row in zip(rows, expected, strict=True):
        assert row.pop("seconds") >= 0
        local_row.pop("seconds")
        for column in ("liveness", "clip_liveness", "box"):
            values = [np.float32(each.pop(column) or []) for each in (row, local_row)]
            np.testing.assert_allclose(*values, atol=0.01 if column == "box" else 1e-5)
        assert row == local_row
    again = subprocess.run(
        command("archive", there, server.url, address=None), cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert json.loads(again.stdout)["scored_now"] == 0, "the local run continues Ray's journal"


def test_actor_and_command_killed(
    network: RayNetwork, relay: Callable[..., Relay], slow_archive: Any, tmp_path: Path
) -> None:
    sources, out = slow_archive(24), tmp_path / "t.jsonl"
    journal, score = journal_path(out), command(tmp_path / "archive", out, relay().url, address=network.address)
    with network.start(*score) as process:
        wait_for_lines(journal, 3, process)
        os.kill(network.actors()[0], signal.SIGKILL)
        scored = len(keys_in(journal))
        wait_for_lines(journal, scored + 4, process)
        (inner,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(inner), signal.SIGKILL)  # nsenter waits for it
        process.communicate(timeout=WAIT_S)
    assert not out.exists(), "killed before its end"
    kept = journal.read_bytes()
    kept = kept[: kept.rindex(b"\n") + 1]
    with network.start(*score) as process:
        wait_for_lines(journal, kept.count(b"\n") + 1, process)
        os.kill(network.actors()[-1], signal.SIGKILL)
        printed, said = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, said
    assert journal.read_bytes().startswith(kept)
    assert sorted(keys_in(journal)) == sorted(map(str, sources)), "each source once"
    assert json.loads(printed)["scored_now"] == 24 - (kept.count(b"\n") - 1)
    rows = rows_of(out)
    assert [row["path"] for row in rows] == list(map(str, sources))
    assert all(row["verdict"] for row in rows)


def test_server_killed(
    network: RayNetwork,
    server: EmbeddedServer,
    relay: Callable[..., Relay],
    slow_archive: Any,
    repository: Path,
    tmp_path: Path,
) -> None:
    """One of two is killed: nothing is lost. No server is left: the run stops, and continues without Ray."""
    sources, out = slow_archive(24), tmp_path / "t.jsonl"
    journal, last = journal_path(out), relay()
    with EmbeddedServer(repository, Ports(grpc=0, metrics=0), tmp_path / "server.log") as other:
        other.wait_ready(WAIT_S)
        score = [
            *command(tmp_path / "archive", out, last.url, relay(other.url).url, address=network.address),
            "--timeout-s",
            "6",
        ]
        with network.start(*score) as process:
            wait_for_lines(journal, 4, process)
            other.kill()
            wait_for_lines(journal, 12, process)
            last.cut()
            _, said = process.communicate(timeout=WAIT_S)
    assert process.returncode == 1
    assert "tart again to continue" in said
    kept = len(keys_in(journal))
    assert 12 <= kept < 24
    done = subprocess.run(
        command(tmp_path / "archive", out, server.url, address=None), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["scored_now"] == 24 - kept
    assert sorted(keys_in(journal)) == sorted(map(str, sources)), "each source once"
    assert all(row["verdict"] for row in rows_of(out))


def test_source_that_kills_its_actor_is_flagged_and_the_others_are_scored(
    network: RayNetwork, relay: Callable[..., Relay], archive: Any, make: Any, tmp_path: Path
) -> None:
    crash = make.video(archive(20)[0].parent / "crash.mp4", 12)
    out = tmp_path / "t.jsonl"
    done = network.run(*command(tmp_path / "archive", out, relay().url, address=network.address))
    assert done.returncode == 1, done.stderr
    rows = {row["path"]: row for row in rows_of(out)}
    bad = rows.pop(str(crash))
    assert (bad["verdict"], bad["error_type"]) == (None, "WorkerDiedError")
    assert len(rows) == 20
    assert all(row["verdict"] for row in rows.values())
    assert network.actors() == [], "the run leaves no actor"
    assert [each for each in find_sources(tmp_path / "archive") if each != crash] == [Path(path) for path in rows]
    (entry,) = [json.loads(line) for line in journal_path(out).read_bytes().splitlines() if b"crash.mp4" in line]
    assert entry["final"] is False, "a later run tries again"


def test_interrupt(network: RayNetwork, relay: Callable[..., Relay], slow_archive: Any, tmp_path: Path) -> None:
    out = tmp_path / "t.jsonl"
    slow_archive(24)
    with network.start(*command(tmp_path / "archive", out, relay().url, address=network.address)) as process:
        wait_for_lines(journal_path(out), 2, process)
        (inner,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(inner), signal.SIGINT)
        _, said = process.communicate(timeout=WAIT_S)
    assert process.returncode == 1
    assert "Error: interrupted; the scores so far are kept" in said
    assert network.actors() == []
