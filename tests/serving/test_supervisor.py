# SPDX-License-Identifier: Apache-2.0
"""The supervisor on the real server: kills, stops, drains, giving up, overload, and what is left afterwards."""

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest
from tritonclient.utils import InferenceServerException

from eulernet_core.status import Status
from eulernet_serving.backend_folder import backend_folders
from eulernet_serving.embedded_server import HOST
from eulernet_serving.inference_probe import probe, probe_ways
from eulernet_serving.process_watch import SERVER
from tests.serving.served_process import Serving, Stream, await_no_backend_folder, shared_memory

pytestmark = pytest.mark.triton

STAGES = ("face_crop", "eulernet", "clip_crop", "eulernet_clip")
DEATH_S, STOP_S = 2.0, 5.0  # within which a death and a stop must be noticed
RESTART_S = 120.0  # a busy machine starts a server slowly
EULERNET = [sys.executable, "-m", "eulernet_core"]


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    """Folder for the temporary files of the supervised server; empty in the end."""
    return tmp_path_factory.mktemp("scratch")


@pytest.fixture(scope="module")
def serving(repository, tmp_path_factory, scratch):
    """A supervised server that may be restarted often; in the end nothing of it is left."""
    limits = ["--max-restarts", "100", "--drain-timeout-s", "0", "--stall-timeout-s", "45"]
    arguments = ["--repository", str(repository), *limits]
    folders, begun_s = backend_folders(), time.time()
    running = Serving(*arguments, cwd=tmp_path_factory.mktemp("supervised"), scratch=scratch)
    try:
        running.wait_ready()
        yield running
        pids = running.processes()
        status, _, err = running.stop()
        assert (status, err.splitlines()[-1]) == (0, "stopped")
        assert running.leftovers() == set()
        assert not shared_memory(pids)
        assert list(scratch.iterdir()) == []
        await_no_backend_folder(folders, begun_s)
    finally:
        running.process.kill()


@contextlib.contextmanager
def light_load(url):
    """Two callers, one clip and one stream each after the other, whatever they get."""
    ended = threading.Event()

    def call():
        while not ended.is_set():
            with contextlib.suppress(InferenceServerException):
                probe_ways(url, timeout_s=2)

    callers = [threading.Thread(target=call) for _ in range(2)]
    for each in callers:
        each.start()
    try:
        yield
    finally:
        ended.set()
        for each in callers:
            each.join()


def disturb(serving, name, number):
    """Sends a signal to a process under load, and waits until the server works again. Returns: seconds to notice it."""
    pid, skip = serving.pid_of(name), len(serving.lines)
    with light_load(serving.url):
        sent_s = time.monotonic()
        os.kill(pid, number)
        word = "died" if number == signal.SIGKILL else "stopped"
        seen_s, found = serving.wait_line(rf"(\w+) \(process (\d+)\) {word}: (.*)", 20, skip)
        assert found.group(1, 2) == (name, str(pid))
        if number == signal.SIGKILL:
            assert found[3] in ("SIGKILL", "cause unknown")
        assert serving.get("/readyz")[0] == 503
        assert serving.get("/livez")[0] == 200
        serving.wait_line("serving again", RESTART_S, skip)
    serving.wait_status("/readyz", 200, 5)
    assert probe(serving.url)
    assert serving.pid_of(name) != pid
    print(
        f"{name}, signal {number}: noticed after {seen_s - sent_s:.2f} s, all after {time.monotonic() - sent_s:.1f} s"
    )
    return seen_s - sent_s


def test_health_port_of_a_ready_server(serving):
    assert serving.get("/livez")[0] == 200
    assert serving.get("/readyz")[0] == 200
    assert serving.get("/v2/health/live")[0] == 404
    assert "eulernet_ready 1.0" in serving.get("/metrics")[1]
    connections = psutil.Process(serving.process.pid).net_connections("tcp")
    addresses = {each.laddr.ip for each in connections if each.status == psutil.CONN_LISTEN}
    assert addresses == {HOST}


def test_killed_stage_is_noticed_and_replaced(serving, scratch):
    before = serving.processes() - {serving.process.pid}
    assert disturb(serving, "eulernet", signal.SIGKILL) < DEATH_S
    assert 'eulernet_supervisor_restarts_total{reason="died"} 1.0' in serving.get("/metrics")[1]
    assert not before & serving.processes()
    assert len(shared_memory({serving.process.pid})) == len(STAGES)  # one each: nothing of the run before
    assert len(list(scratch.iterdir())) == 2  # the control folder and the server's backends
    log = (serving.folder / "out" / "server.log").read_text()
    assert log.count("Started GRPCInferenceService") == 2  # the log goes on
    assert "eulernet (process" in log


@pytest.mark.slow
def test_stopped_server_is_noticed_and_replaced(serving):
    assert DEATH_S / 2 < disturb(serving, SERVER, signal.SIGSTOP) < STOP_S


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
@pytest.mark.parametrize("name", [SERVER, *STAGES])
def test_every_process_is_watched(serving, name, number):
    assert disturb(serving, name, number) < (DEATH_S if number == signal.SIGKILL else STOP_S)


PTRACE_ATTACH, WALL = 16, 0x40000000


@pytest.mark.slow
def test_a_stage_that_hangs_is_a_stall(serving):
    """The main thread of the stage is held by ptrace: the process is neither dead nor stopped by a signal."""
    pid, skip = serving.pid_of("face_crop"), len(serving.lines)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ptrace(PTRACE_ATTACH, pid, None, None):
        pytest.skip(f"ptrace is not allowed here: {os.strerror(ctypes.get_errno())}")
    held_s = time.monotonic()
    assert os.WIFSTOPPED(os.waitpid(pid, WALL)[1])
    serving.wait_status("/readyz", 503, 40)
    not_ready_s = time.monotonic() - held_s
    seen_s, found = serving.wait_line(r"restart \d+ of at most 100 .*: (.*)", 80, skip)
    assert os.WIFSIGNALED(os.waitpid(pid, WALL)[1])
    print(f"not ready after {not_ready_s:.1f} s, restart after {seen_s - held_s:.1f} s")
    assert found[1] == "stalled"
    serving.wait_line("serving again", RESTART_S, skip)
    assert probe(serving.url)


def drained(repository, folder, jpeg, *arguments):
    """A supervised server with an open stream that has just been asked to stop."""
    serving = Serving("--repository", str(repository), *arguments, cwd=folder)
    serving.wait_ready()
    stream = Stream(serving.url, 7, jpeg)
    assert Status(stream.send()).usable
    serving.process.terminate()
    serving.wait_status("/readyz", 404, 5)
    return serving, stream


@pytest.mark.slow
def test_drain_lets_an_open_stream_end(repository, tmp_path, moving_faces):
    (jpeg,) = moving_faces(1, 1)
    serving, stream = drained(repository, tmp_path, jpeg, "--drain-timeout-s", "60")
    with pytest.raises(InferenceServerException, match="draining") as refused:
        Stream(serving.url, 8, jpeg).send()
    assert "UNAVAILABLE" in str(refused.value.status())
    for _ in range(4):
        assert Status(stream.send()).usable
        assert serving.get("/livez")[0] == 200
        assert serving.get("/readyz")[0] == 404
        time.sleep(0.5)
    assert serving.process.poll() is None
    ended_s = time.monotonic()
    stream.send(last=True)
    status, _, err = serving.end()
    print(f"ended {time.monotonic() - ended_s:.1f} s after the last frame")
    assert status == 0
    assert err.endswith("stopped\n")
    assert serving.leftovers() == set()


@pytest.mark.slow
@pytest.mark.parametrize("again", [False, True])
def test_drain_ends_at_its_deadline_or_at_a_second_signal(repository, tmp_path, moving_faces, again):
    serving, stream = drained(repository, tmp_path, moving_faces(1, 1)[0], "--drain-timeout-s", "60" if again else "3")
    begun_s = time.monotonic()
    stream.send()
    if again:
        serving.process.send_signal(signal.SIGINT)
    status, _, err = serving.end()
    print(f"ended after {time.monotonic() - begun_s:.1f} s")
    assert status == 0
    assert err.endswith("stopped\n")
    assert time.monotonic() - begun_s < 25
    assert serving.leftovers() == set()


@pytest.mark.slow
def test_command_goes_on_over_a_restart_and_ends_when_the_supervisor_gives_up(repository, tmp_path):
    script = (
        "import os, sys; from eulernet_serving.inference_probe import probe; url = os.environ['EULERNET_URL']\n"
        "for line in sys.stdin: print(probe(url), flush=True)"
    )
    arguments = ["--repository", str(repository), "--max-restarts", "1", "--", sys.executable, "-c", script]
    serving = Serving(*arguments, cwd=tmp_path, stdin=subprocess.PIPE)
    pids = serving.wait_ready()
    serving.ask("probe")
    assert serving.process.stdout.readline() == "True\n"
    os.kill(serving.pid_of("clip_crop"), signal.SIGKILL)
    serving.wait_line("serving again", RESTART_S)
    serving.ask("probe")
    assert serving.process.stdout.readline() == "True\n"
    os.kill(serving.pid_of(SERVER), signal.SIGKILL)
    status, _, err = serving.end()
    serving.process.stdin.close()
    assert status == 3
    assert "tritonserver died after 1 restarts" in err
    assert serving.leftovers() == set()
    assert not shared_memory(pids)


@pytest.mark.slow
def test_overload_is_no_stall(serving, moving_faces, tmp_path):
    """A minute of clips and streams at twice the server's capacity each."""
    folder = tmp_path / "clip"
    folder.mkdir()
    for t, frame in enumerate(moving_faces(36, 1)):
        (folder / f"{t:03}.jpg").write_bytes(frame)
    tested = [*EULERNET, "loadtest", str(folder), "--url", serving.url]

    def run(name, *options):
        return subprocess.Popen(
            [*tested, "--out", str(tmp_path / name), *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    run("capacity", "--mode", "clips", "--concurrency", "8", "--duration-s", "8").communicate()
    report = json.loads((tmp_path / "capacity" / "report.json").read_text())
    clips_hz = report["runs"][0]["throughput_fps"] / 4
    skip = len(serving.lines)
    clips = run("clips", "--mode", "clips", "--rate", f"{2 * clips_hz:.2f}", "--duration-s", "58")
    streams = run("streams", "--mode", "streams", "--rate", f"{2 * clips_hz / 3:.2f}", "--duration-s", "58")
    codes = []
    while clips.poll() is None or streams.poll() is None:
        codes.append(serving.get("/readyz")[0])
        time.sleep(0.5)
    print(f"capacity {clips_hz:.1f} clips/s", clips.communicate()[0].decode(), streams.communicate()[0].decode())
    assert len(codes) > 60
    assert [line for _, line in serving.lines[skip:]] == []
    assert set(codes) == {200}
