# SPDX-License-Identifier: Apache-2.0
"""A real Prometheus and a real Alertmanager watch a real server: every query has data, and a killed stage raises
an alert."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tritonclient.grpc as triton
import yaml

from deploy.monitoring.live_monitoring import LiveMonitoring, filled_in
from deploy.monitoring.panels import BOARDS
from deploy.tools import ALERTMANAGER, ROOT, ToolError
from eulernet_core.tensors import CLIP_ENCODED, CLIP_MODEL
from eulernet_serving.embedded_server import HOST
from tests.conftest import FACE_MODELS
from tests.deploy.gateway_cluster import Cluster
from tests.deploy.test_monitoring_metrics import jpeg_input
from tests.serving.served_process import Serving, Stream

pytestmark = [pytest.mark.triton, pytest.mark.slow, pytest.mark.timeout(600)]
WINDOW_S = 60.0
RULES = ROOT / "deploy" / "monitoring" / "alert_rules.yaml"


@pytest.fixture(scope="module")
def serving(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """The server under its supervisor."""
    options = ("--repository", str(repository), "--face-models", str(FACE_MODELS))
    running = Serving(*options, cwd=tmp_path_factory.mktemp("serving"))
    running.wait_line("^ready after", 180)
    running.wait_ready()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def monitoring(
    serving: Serving, moving_faces: Callable[[int, int], list[bytes]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiveMonitoring]:
    """Both programs, after traffic of all kinds."""
    targets = [f"{HOST}:{port}" for port in (serving.metrics, serving.health)]
    with contextlib.ExitStack() as stack:
        cluster = stack.enter_context(Cluster(tmp_path_factory.mktemp("cluster")))
        cluster.door(0, serving.grpc, serving.metrics, serving.health)
        cluster.list(0)
        gateway = cluster.gateway()
        targets.append(f"{gateway.place.address}:{gateway.place.metrics}")
        try:
            trial = subprocess.run([*ALERTMANAGER.command(), "--version"], capture_output=True, text=True, check=False)
            if trial.returncode:  # it needs a mount namespace of its own
                pytest.skip(f"Alertmanager can't run here: {trial.stderr.strip()}")
            running = stack.enter_context(LiveMonitoring(targets, tmp_path_factory.mktemp("monitoring")))
        except ToolError as error:
            pytest.skip(f"no Prometheus: {error}")
        wait_for(lambda: len(running.query("up == 1")) == len(targets))
        for turn in range(8):
            faces = moving_faces(4, turn)
            call_clips(serving.url, faces)
            call_clips(gateway.url, faces)
            call_streams(serving.url, faces[0], turn)
            time.sleep(1)
        yield running


def call_clips(url: str, faces: list[bytes]) -> None:
    """A clip with a score, and one without."""
    with triton.InferenceServerClient(url) as client:
        for frames in (faces, [faces[0], b"no picture", faces[1], faces[2]]):
            inputs = [jpeg_input(name, frame) for name, frame in zip(CLIP_ENCODED, frames, strict=True)]
            client.infer(CLIP_MODEL, inputs, client_timeout=30)


def call_streams(url: str, jpeg: bytes, turn: int) -> None:
    """A whole stream, and a frame of one that never began."""
    stream = Stream(url, 100 + turn, jpeg)
    for last in (False, False, True):
        stream.send(last=last)
    lost = Stream(url, 900 + turn, jpeg)
    lost.begun = True
    with pytest.raises(triton.InferenceServerException):
        lost.send()


def wait_for(condition: Callable[[], bool], timeout_s: float = 60) -> None:
    """Raises: AssertionError where it does not come true."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.5)


def numbers(monitoring: LiveMonitoring, expr: str) -> list[float]:
    """The values of a query that are numbers."""
    values = [float(series["value"][1]) for series in monitoring.query(expr)]
    return [value for value in values if math.isfinite(value)]


def test_every_query_of_the_dashboards_has_data(monitoring: LiveMonitoring) -> None:
    queries = [query.expr for board in BOARDS for row in board.rows for panel in row.panels for query in panel.queries]
    empty = [expr for expr in queries if not numbers(monitoring, filled_in(expr, WINDOW_S))]
    assert empty == []
    wrong = filled_in("sum by (model) (rate(eulernet_frames[$__rate_interval]))", WINDOW_S)
    assert numbers(monitoring, wrong) == []


def test_every_recorded_share_has_data(monitoring: LiveMonitoring) -> None:
    rules = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    recorded = [rule["record"] for rule in rules if "record" in rule]
    assert len(recorded) > 3
    for name in recorded:
        assert numbers(monitoring, name), name
    (frames,) = {
        round(value, 6) for value in numbers(monitoring, 'sum(eulernet:frames:share5m{model="antispoof_clip"})')
    }
    assert frames == 1


def test_the_weights_are_told(monitoring: LiveMonitoring) -> None:
    (info,) = monitoring.query("eulernet_model_info")
    assert len(info["metric"]["sha256"]) == 16
    assert info["metric"]["precision"] == "fp32"


def test_a_killed_stage_raises_an_alert(
    serving: Serving, monitoring: LiveMonitoring, moving_faces: Callable[[int, int], list[bytes]]
) -> None:
    assert not [each for each in monitoring.alerts() if each["labels"]["alertname"] == "EulerNetStageDied"]
    lost = Stream(serving.url, 5000, moving_faces(1, 0)[0])
    deadline_s = time.monotonic() + 30
    while numbers(monitoring, "eulernet_open_streams") != [1] and time.monotonic() < deadline_s:
        lost.send()
        time.sleep(0.5)
    time.sleep(6)  # the supervisor looks every five seconds
    os.kill(serving.pid_of("face_crop"), signal.SIGKILL)

    def raised() -> set[str]:
        return {each["labels"]["alertname"] for each in monitoring.alerts()}

    wait_for(lambda: {"EulerNetStageDied", "EulerNetStreamsLost"} <= raised(), 90)
    (alert,) = [each for each in monitoring.alerts() if each["labels"]["alertname"] == "EulerNetStageDied"]
    assert alert["labels"]["stage"] == "face_crop"
    assert alert["labels"]["severity"] == "warning"
    assert alert["annotations"]["summary"].startswith("face_crop died on 127.0.0.1:")
    assert numbers(monitoring, 'eulernet_supervisor_restarts_total{reason="died"}') == [1]
    assert numbers(monitoring, 'eulernet_streams_lost_total{reason="restart"}') == [1]
    serving.wait_status("/readyz", 200, 120)
    wait_for(lambda: numbers(monitoring, 'eulernet_supervisor_state{state="serving"}') == [1])
