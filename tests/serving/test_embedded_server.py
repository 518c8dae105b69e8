# SPDX-License-Identifier: Apache-2.0
"""The embedded server: start, stop, failures, and no leftovers."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path

import psutil
import pytest

from eulernet_serving import triton_wheel as triton
from eulernet_serving.cpu_repository import RepositoryError, assemble
from eulernet_serving.embedded_server import HOST, Ports, ServerError, probe

ROOT = Path(__file__).parents[2]
SERVE = [sys.executable, "-c", "from eulernet_serving.serve_command import serve; serve()"]
FREE_PORTS = ["--http-port=0", "--grpc-port=0", "--metrics-port=0"]


def shared_memory(pids: set[int]) -> set[str]:
    """Of servers that these processes run; other servers of this machine have their own."""
    return {path.name for path in Path("/dev/shm").glob("eulernet_*") if int(path.name.split("_")[1]) in pids}


def _hears_hangups() -> None:
    """In the child: tests that run under nohup hand down that SIGHUP is ignored."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


class Serving:
    """`eulernet serve` as a user runs it, ready or ended; a mark in the environment tells its processes from others."""

    def __init__(self, *arguments: str, cwd: Path) -> None:
        self.mark = uuid.uuid4().hex
        self.process = subprocess.Popen(
            [*SERVE, *FREE_PORTS, *arguments],
            cwd=cwd,
            env={**os.environ, "EULERNET_TEST_MARK": self.mark},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=_hears_hangups,
        )

    def processes(self) -> set[int]:
        """All that was started, whoever its parent is by now."""
        found = set()
        for each in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if each.environ().get("EULERNET_TEST_MARK") == self.mark and each.status() != psutil.STATUS_ZOMBIE:
                    found.add(each.pid)
        return found

    def wait_ready(self) -> set[int]:
        """Returns the processes that run then."""
        assert self.process.stderr is not None
        line = self.process.stderr.readline()
        assert line.startswith("ready after"), line + self.process.stderr.read()
        running = self.processes()
        assert len(running) > 5
        return running

    def end(self, timeout_s: float = 40) -> tuple[int, str, str]:
        """Exit status, stdout, stderr."""
        out, err = self.process.communicate(timeout=timeout_s)
        return self.process.returncode, out, err

    def leftovers(self, timeout_s: float = 5) -> set[int]:
        """What still runs in the end."""
        deadline_s = time.monotonic() + timeout_s
        while (left := self.processes()) and time.monotonic() < deadline_s:
            time.sleep(0.1)
        return left


@pytest.mark.triton
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_stops_everything(repository, tmp_path, number):
    serving = Serving("--repository", str(repository), "--log", "log/server.log", cwd=tmp_path)
    running = serving.wait_ready()
    assert shared_memory(running)
    serving.process.send_signal(number)
    status, _, err = serving.end()
    assert (status, err) == (0, "stopped\n")
    assert serving.leftovers() == set()
    assert not shared_memory(running)
    assert "Started GRPCInferenceService" in (tmp_path / "log" / "server.log").read_text()


@pytest.mark.triton
def test_server_goes_when_its_parent_is_killed(repository, tmp_path):
    serving = Serving("--repository", str(repository), cwd=tmp_path)
    serving.wait_ready()
    serving.process.kill()
    serving.end()
    assert serving.leftovers(20) == set()


@pytest.mark.triton
def test_death_of_the_server_is_told(repository, tmp_path):
    serving = Serving("--repository", str(repository), cwd=tmp_path)
    for pid in serving.wait_ready():
        if "tritonserver" in psutil.Process(pid).name():
            os.kill(pid, signal.SIGKILL)
    status, _, err = serving.end()
    assert status == 1
    assert "tritonserver ended with status -9; the end of out/server.log:" in err
    assert serving.leftovers() == set()


@pytest.mark.triton
@pytest.mark.parametrize(("code", "expected"), [("raise SystemExit(0)", 0), ("raise SystemExit(7)", 7)])
def test_command_runs_beside_the_server(repository, tmp_path, code, expected):
    script = f"import os; print(os.environ['EULERNET_URL']); {code}"
    serving = Serving("--repository", str(repository), "--", sys.executable, "-c", script, cwd=tmp_path)
    status, out, err = serving.end()
    assert status == expected
    assert out.startswith(f"{HOST}:")
    assert "ready after" in err
    assert serving.leftovers() == set()


DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(300)"


@pytest.mark.triton
def test_command_that_will_not_go_is_made_to(repository, tmp_path):
    serving = Serving("--repository", str(repository), "--", sys.executable, "-c", DEAF, cwd=tmp_path)
    assert serving.process.stdout is not None
    assert serving.process.stdout.readline() == "deaf\n"
    for _ in range(2):  # a second signal must not cut the stopping short
        serving.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
    status, _, err = serving.end()
    assert status == 0
    assert err.endswith("stopped\n")
    assert serving.leftovers() == set()


@pytest.mark.triton
def test_command_goes_when_its_parent_is_killed(repository, tmp_path):
    script = "import time; print('up', flush=True); time.sleep(300)"
    serving = Serving("--repository", str(repository), "--", sys.executable, "-c", script, cwd=tmp_path)
    assert serving.process.stdout is not None
    assert serving.process.stdout.readline() == "up\n"
    serving.process.kill()
    serving.end()
    assert serving.leftovers(20) == set()


@pytest.mark.triton
def test_command_that_does_not_exist(repository, tmp_path):
    serving = Serving("--repository", str(repository), "--", "no-such-command", cwd=tmp_path)
    status, _, err = serving.end()
    assert status == 1
    assert "no-such-command: No such file or directory" in err
    assert serving.leftovers() == set()


@pytest.mark.parametrize("name", ["http", "grpc", "metrics"])
def test_taken_port_is_named(repository, tmp_path, name):
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        serving = Serving("--repository", str(repository), f"--{name}-port={port}", cwd=tmp_path)
        status, _, err = serving.end()
    assert status == 1
    assert f"port {port} can't be used (Address already in use): choose another with --{name}-port" in err


def test_same_port_twice_is_refused():
    with socket.socket() as free:
        free.bind((HOST, 0))
        port = free.getsockname()[1]
    with pytest.raises(ServerError, match=f"port {port} .* --grpc-port"):
        Ports(port, port, 0).resolved()


@pytest.mark.triton
def test_empty_repository(tmp_path):
    (tmp_path / "empty").mkdir()
    serving = Serving("--repository", "empty", "--ready-timeout-s", "5", cwd=tmp_path)
    status, _, err = serving.end()
    assert status == 1
    assert "not ready after 5 s" in err


def test_missing_repository_is_named(tmp_path):
    serving = Serving("--repository", "nowhere", cwd=tmp_path)
    status, _, err = serving.end()
    assert status == 1
    assert "nowhere: no such folder" in err


def test_probe_of_nothing_is_false():
    with socket.socket() as free:
        free.bind((HOST, 0))
        assert not probe(f"{HOST}:{free.getsockname()[1]}")


@pytest.mark.triton
def test_probe_asks_no_proxy(server, monkeypatch):
    monkeypatch.setenv("http_proxy", f"http://{HOST}:9")
    assert probe(server.url)


@pytest.mark.triton
def test_server_listens_on_loopback_only(server):
    process = psutil.Process(server.pid)
    addresses = {
        each.laddr.ip.removeprefix("::ffff:")
        for each in process.net_connections("tcp")
        if each.status == psutil.CONN_LISTEN
    }
    assert addresses == {HOST}


def test_assembling_replaces_what_was_there(repository, tmp_path):
    out = tmp_path / "served"
    out.mkdir()
    (out / "stale").touch()
    assemble(out, face_models=ROOT / "out" / "face_models")
    assert not (out / "stale").exists()
    assert sorted(path.name for path in out.iterdir()) == sorted(path.name for path in repository.iterdir())
    assert (out / "face_detector" / "1" / "model.onnx").stat().st_size > 100_000
    assert (out / "antispoof" / "configs" / "cpu.pbtxt").read_text() == (out / "antispoof" / "config.pbtxt").read_text()
    assert (out / "antispoof" / "1").is_dir()


def test_assembling_without_the_graph_is_refused(tmp_path):
    source = tmp_path / "source"
    for model in ("face_detector", "eulernet", "eulernet_clip"):
        (source / model / "1").mkdir(parents=True)
    with pytest.raises(RepositoryError, match="eulernet/1/model.onnx is missing: eulernet export writes it"):
        assemble(tmp_path / "out", source, ROOT / "out" / "face_models")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("machine", lambda: "aarch64", "for Linux on x86_64"),
        ("libc_ver", lambda: ("glibc", "2.31"), r"glibc 2.31: .* needs 2.35"),
    ],
)
def test_host_that_cannot_run_the_server_is_told_why(monkeypatch, name, value, message):
    monkeypatch.setattr(triton.platform, name, value)
    with pytest.raises(triton.TritonMissingError, match=message):
        triton.check_host()
