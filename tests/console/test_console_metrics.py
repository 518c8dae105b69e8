# SPDX-License-Identifier: Apache-2.0
"""What the page Server is told: sums over several servers, servers that count less or do not answer, own latencies."""

from __future__ import annotations

import pytest

from eulernet_client.console.recent_samples import WINDOW_S, RecentSamples
from eulernet_client.console.server_metrics import Reading, merged, metrics_addresses
from eulernet_core.status import Status
from eulernet_serving.embedded_server import EmbeddedServer
from tests.console.conftest import Console

OLD = """# TYPE nv_inference_request_success counter
nv_inference_request_success{model="antispoof",version="1"} 7
nv_inference_request_success{model="face_locate",version="1"} 7
# TYPE nv_inference_queue_duration_us counter
nv_inference_queue_duration_us{model="face_locate",version="1"} 900
# TYPE eulernet_open_sequences gauge
eulernet_open_sequences{model="face_locate"} 2
eulernet_open_sequences{model="eulernet"} 3
"""
NEW = f"""{OLD}# TYPE eulernet_open_streams gauge
eulernet_open_streams 5
# TYPE eulernet_frames_total counter
eulernet_frames_total{{model="antispoof",status="ok"}} 6
eulernet_frames_total{{model="antispoof_clip",status="ok"}} 4
eulernet_frames_total{{model="antispoof",status="no_face"}} 1
"""
PLACES = [("a", 1), ("b", 2), ("c", 3)]


def test_servers_are_summed_and_missing_ones_named() -> None:
    found = merged(PLACES, [OLD, NEW, None]).to_dict()
    assert found["open_streams"] == 2 + 5, "the gauge of streams comes before the one of sequences"
    assert found["statuses"] == {"ok": 10, "no_face": 1}
    assert found["streams"]["answered"] == 14
    assert found["missing"] == ["c:3"]
    (stage,) = found["stages"]
    assert (stage["name"], stage["answered"], stage["queue_us"]) == ("face_locate", 14, 1800)


def test_a_server_that_counts_nothing_is_no_error() -> None:
    found = merged(PLACES[:1], [OLD]).to_dict()
    assert found["statuses"] is None
    assert merged(PLACES[:1], ["# TYPE a counter\n"]).to_dict()["open_streams"] is None
    assert merged(PLACES[:1], ["no metrics at all {"]).to_dict()["missing"] == ["a:1"]


def test_addresses_follow_the_servers() -> None:
    assert metrics_addresses([], ["gpu1:8001", "[::1]:9001"], 8002) == [("::1", 8002), ("gpu1", 8002)]
    assert metrics_addresses(["localhost:37365"], ["gpu1:8001"], 8002) == [("localhost", 37365)]
    for wrong in ("localhost", "http://localhost:8002/metrics", "localhost:x"):
        with pytest.raises(ValueError, match="HOST:PORT"):
            metrics_addresses([wrong], ["gpu1:8001"], 8002)


def test_latencies_are_those_of_the_last_minute() -> None:
    now = [0.0]
    samples = RecentSamples(lambda: now[0])
    assert samples.summary()["p50_ms"] is None
    samples.add(9.0, Status.OK)
    now[0] = WINDOW_S + 1
    for number in range(1, 101):
        samples.add(number / 1000, Status.NO_FACE)
    found = samples.summary()
    assert found["frames"] == 100
    assert found["p50_ms"] == pytest.approx(50.5)
    assert found["p99_ms"] == pytest.approx(99.01)
    assert found["statuses"] == {"OK": 1, "NO_FACE": 100}


def test_a_server_with_one_stage_shows_it() -> None:
    reading = Reading()
    reading.add(
        "\n".join(
            f'nv_inference_exec_count{{model="{name}",version="1"}} 3' for name in ("antispoof_clip", "antispoof")
        )
    )
    assert [(stage["name"], stage["executions"]) for stage in reading.to_dict()["stages"]] == [
        ("antispoof", 3),
        ("antispoof_clip", 3),
    ]


@pytest.mark.triton
def test_the_real_server_has_every_stage(console: Console, server: EmbeddedServer) -> None:
    found = console.json("/api/metrics")
    names = [stage["name"] for stage in found["stages"]]
    assert names == ["face_crop", "clip_crop", "eulernet", "eulernet_clip"]
    assert all(stage["answered"] > 0 and stage["queue_us"] >= 0 for stage in found["stages"])
    assert found["missing"] == []
    assert found["open_streams"] is not None
    assert found["addresses"] == [f"127.0.0.1:{server.ports.metrics}"]


def test_a_server_that_is_down_is_named(lonely_console: Console) -> None:
    assert lonely_console.json("/api/metrics")["missing"] == ["127.0.0.1:9"]
    state = lonely_console.json("/api/server")
    assert state["error"]["type"] == "ServerUnavailableError"
    assert state["weights"] is None
