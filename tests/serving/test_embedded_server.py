# SPDX-License-Identifier: Apache-2.0
"""The embedded server: start, stop, failures, and no leftovers."""

import contextlib
import http.client
import os
import shutil
import signal
import socket
import stat
import sys
import time
from pathlib import Path

import onnx
import psutil
import pytest

from eulernet_core.face_box import BOX_SCALE_PARAMETER
from eulernet_serving import triton_wheel as triton
from eulernet_serving.backend_folder import backend_folders
from eulernet_serving.cpu_precision import FP32
from eulernet_serving.cpu_repository import RepositoryError, assemble
from eulernet_serving.embedded_server import HOST, EmbeddedServer, Ports, ServerError
from eulernet_serving.inference_probe import probe
from eulernet_serving.triton_metrics import read_metrics
from tests.serving.served_process import Serving, Stream, await_no_backend_folder, shared_memory

ROOT = Path(__file__).parents[2]


@pytest.mark.triton
@pytest.mark.parametrize(
    "number",
    [signal.SIGTERM, *(pytest.param(each, marks=pytest.mark.slow) for each in (signal.SIGINT, signal.SIGHUP))],
)
def test_signal_stops_everything(repository, tmp_path, number):
    before, begun_s = backend_folders(), time.time()
    serving = Serving("--repository", str(repository), "--log", "log/server.log", cwd=tmp_path)
    running = serving.wait_ready()
    assert shared_memory(running)
    assert backend_folders() - before
    serving.process.send_signal(number)
    status, _, err = serving.end()
    assert status == 0
    assert err.endswith("stopped\n")
    assert serving.leftovers() == set()
    assert not shared_memory(running)
    await_no_backend_folder(before, begun_s)
    assert "Started GRPCInferenceService" in (tmp_path / "log" / "server.log").read_text()


@pytest.mark.slow
@pytest.mark.triton
def test_server_goes_when_its_parent_is_killed(repository, tmp_path):
    serving = Serving("--repository", str(repository), cwd=tmp_path)
    serving.wait_ready()
    serving.process.kill()
    serving.end()
    assert serving.leftovers(20) == set()


@pytest.mark.triton
@pytest.mark.parametrize(("code", "expected"), [("raise SystemExit(7)", 7)])
def test_command_runs_beside_the_server(repository, tmp_path, code, expected):
    script = f"import os; print(os.environ['EULERNET_URL']); {code}"
    serving = Serving("--repository", str(repository), "--", sys.executable, "-c", script, cwd=tmp_path)
    status, out, err = serving.end()
    assert status == expected
    assert out.startswith(f"{HOST}:")
    assert "ready after" in err
    assert serving.leftovers() == set()


DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(300)"


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.triton
def test_command_goes_when_its_parent_is_killed(repository, tmp_path):
    script = "import time; print('up', flush=True); time.sleep(300)"
    serving = Serving("--repository", str(repository), "--", sys.executable, "-c", script, cwd=tmp_path)
    assert serving.process.stdout is not None
    assert serving.process.stdout.readline() == "up\n"
    serving.process.kill()
    serving.end()
    assert serving.leftovers(20) == set()


@pytest.mark.slow
@pytest.mark.triton
def test_command_that_does_not_exist(repository, tmp_path):
    serving = Serving("--repository", str(repository), "--", "no-such-command", cwd=tmp_path)
    status, _, err = serving.end()
    assert status == 1
    assert "no-such-command: no such command" in err
    assert serving.leftovers() == set()


@pytest.mark.parametrize("name", ["http", "grpc", "metrics", "health"])
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
    with pytest.raises(ServerError, match=f"port {port} .* --metrics-port"):
        Ports(port, port).resolved()


@pytest.mark.slow
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
def test_metrics_show_inferences_and_open_streams(server, moving_faces):
    def wait(holds):
        deadline_s = time.monotonic() + 10
        while not holds(seen := read_metrics(HOST, server.ports.metrics, 5)):
            assert time.monotonic() < deadline_s, seen
            time.sleep(0.1)
        return seen

    assert probe(server.url)
    before = wait(lambda seen: {"face_crop", "clip_crop", "eulernet", "eulernet_clip"} <= set(seen.inferences))
    stream = Stream(server.url, 77, moving_faces(1, 1)[0])
    stream.send()
    opened = wait(lambda seen: seen.open_streams == before.open_streams + 1)
    assert not opened.idle
    stream.send(last=True)
    after = wait(lambda seen: seen.open_streams == before.open_streams)
    assert after.inferences["face_crop"] >= before.inferences["face_crop"] + 2


def test_metrics_of_nobody_are_none():
    with socket.socket() as free:
        free.bind((HOST, 0))
        assert read_metrics(HOST, free.getsockname()[1], 1) is None


def listening(server):
    """The addresses that tritonserver listens on."""
    return {
        (each.laddr.ip.removeprefix("::ffff:"), each.laddr.port)
        for each in psutil.Process(server.pid).net_connections("tcp")
        if each.status == psutil.CONN_LISTEN
    }


@pytest.mark.triton
def test_server_listens_on_loopback_only_and_not_for_http(server):
    assert server.ports.http is None
    assert listening(server) == {(HOST, server.ports.grpc), (HOST, server.ports.metrics)}


@pytest.mark.slow
@pytest.mark.triton
def test_http_is_opened_where_it_is_asked_for(repository, tmp_path):
    with EmbeddedServer(repository, Ports(0, 0, 0), tmp_path / "server.log") as opened:
        opened.wait_ready(120)
        assert (HOST, opened.ports.http) in listening(opened)
        connection = http.client.HTTPConnection(HOST, opened.ports.http, timeout=5)
        with contextlib.closing(connection):
            connection.request("GET", "/v2/health/ready")
            assert connection.getresponse().status == 200


@pytest.mark.triton
def test_shared_memory_is_for_this_user_only(server):
    files = list(Path("/dev/shm").glob(f"eulernet_{os.getpid()}_*"))
    assert len(files) >= 4  # one a stage
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_assembling_replaces_what_was_there(repository, tmp_path):
    out = tmp_path / "served"
    out.mkdir()
    (out / "stale").touch()
    assemble(out, face_models=ROOT / "out" / "face_models")
    assert not (out / "stale").exists()
    assert sorted(path.name for path in out.iterdir()) == sorted(path.name for path in repository.iterdir())
    assert (out / "face_crop" / "1" / "face_detector.onnx").stat().st_size > 100_000
    source = (ROOT / "model_repository" / "antispoof" / "configs" / "cpu.pbtxt").read_text()
    assert (out / "antispoof" / "configs" / "cpu.pbtxt").read_text().startswith(source)
    assert (out / "antispoof" / "1").is_dir()


def test_assembling_without_the_graph_is_refused(tmp_path):
    source = tmp_path / "source"
    for model in ("face_detector", "eulernet", "eulernet_clip"):
        (source / model / "1").mkdir(parents=True)
    with pytest.raises(RepositoryError, match="eulernet/1/model.onnx is missing: eulernet export writes it"):
        assemble(tmp_path / "out", source, ROOT / "out" / "face_models")
    assert not (tmp_path / "out").exists()


def test_assembling_graphs_of_other_crops_is_refused(tmp_path):
    """Their scores would be wrong without a sign of it."""
    source = shutil.copytree(ROOT / "model_repository", tmp_path / "source")
    path = source / "eulernet" / "1" / "model.onnx"
    graph = onnx.load(path)
    kept = [each for each in graph.metadata_props if each.key != BOX_SCALE_PARAMETER]
    del graph.metadata_props[:]
    graph.metadata_props.extend(kept)
    onnx.save(graph, path)
    with pytest.raises(RepositoryError, match=r"eulernet/1/model\.onnx: learned from crops of 1\.6 times"):
        assemble(tmp_path / "out", source, ROOT / "out" / "face_models", FP32)
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
