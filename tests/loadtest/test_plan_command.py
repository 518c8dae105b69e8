# SPDX-License-Identifier: Apache-2.0
"""`eulernet plan` on reports of the load tester, as files and from a real server."""

from __future__ import annotations

import functools
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from eulernet_core.command_root import main
from eulernet_loadtest.metrics import Metrics, Outcome, Sample, Window
from eulernet_loadtest.plan import Arrivals, Mode, Plan
from eulernet_loadtest.planning.measured_service import MeasuredLoadError, read_services
from eulernet_loadtest.planning.plan_result import Asked, make_plan
from eulernet_loadtest.results import Run, Session, summarised
from eulernet_loadtest.runner import Runner

WINDOW_S = 4.0
CLOSED_MS = {1: 10.0, 2: 14.0, 4: 20.0, 8: 34.0, 16: 64.0}


@functools.cache  # a histogram takes a while
def run_of(plan: Plan, requests_per_s: float, latency_ms: float, failed: int = 0) -> Run:
    """A run as the load tester would report it: even requests, latencies of 80 to 120 %."""
    metrics = Metrics(plan, Window(0.0, WINDOW_S))
    count = round(requests_per_s * WINDOW_S)
    for number in range(count):
        at_s = (number + 0.5) / requests_per_s
        took_s = latency_ms / 1000 * (0.8 + 0.4 * ((number * 37) % 100) / 100)
        outcome = Outcome.FAILED if number < failed else Outcome.OK
        # Answered within the window, so that the throughput is exact.
        metrics.record(Sample(at_s, at_s, at_s + took_s, outcome, "X" if failed else ""))
    found = summarised(metrics, client_cpu=0.1)
    return replace(found, answered_fps=(count - failed) / WINDOW_S * plan.mode.frames_per_request)


def closed(mode: Mode) -> list[Run]:
    return [run_of(Plan(mode, concurrency=n), 1000 * n / ms, ms) for n, ms in CLOSED_MS.items()]


def paced(streams: int, latency_ms: float) -> Run:
    return run_of(Plan(concurrency=streams, fps=10), 10 * streams, latency_ms)


def report(folder: Path, *runs: Run) -> Path:
    """report.json as `eulernet loadtest` writes it, without the plots beside it."""
    folder.mkdir(exist_ok=True)
    session = Session("loadtest", ("server:8001",), "2.51.0", "some", 1, 70_000.0, runs)
    (folder / "report.json").write_text(json.dumps(session.to_dict()))
    return folder / "report.json"


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Closed loops of both modes and a stream alone, colder than the closed loop."""
    folder = tmp_path_factory.mktemp("measured")
    return report(folder, *closed(Mode.STREAMS), *closed(Mode.CLIPS), paced(1, 12.0))


def call(*arguments: str | Path) -> tuple[int, str]:
    """Exit status and output; the terminal is wide."""
    done = CliRunner().invoke(main, ["plan", *map(str, arguments)], env={"COLUMNS": "160"})
    return done.exit_code, done.output


class TestReading:
    def test_times_come_from_throughput_and_spread_from_latency(self, measured: Path):
        services = read_services([measured])
        for mode in Mode:
            assert services[mode].populations == tuple(CLOSED_MS)
            times_ms = [1000 * each.time_s for each in services[mode].services]
            assert times_ms == pytest.approx(list(CLOSED_MS.values()), rel=0.01)
            spread = services[mode].services[0].spread
            assert min(spread) == pytest.approx(0.8, abs=0.01)
            assert max(spread) == pytest.approx(1.2, abs=0.01)
            assert sum(spread) / len(spread) == pytest.approx(1)
        assert services[Mode.STREAMS].lone.time_s == pytest.approx(0.012, rel=0.01)
        assert services[Mode.CLIPS].lone is services[Mode.CLIPS].services[0]

    def test_runs_of_several_reports_are_averaged(self, tmp_path: Path):
        slower = [run_of(Plan(concurrency=1), 50, 20.0)]
        paths = [report(tmp_path / "a", *closed(Mode.STREAMS)), report(tmp_path / "b", *slower)]
        assert read_services(paths)[Mode.STREAMS].services[0].time_s == pytest.approx(0.015, rel=0.01)

    @pytest.mark.parametrize(
        ("content", "named"),
        [
            (None, "measure first"),
            ("no JSON", "not a report.json"),
            ('{"runs": [{"tool": "eulernet"}]}', "not a report.json"),
            ("[]", "not a report.json"),
        ],
    )
    def test_a_file_that_is_no_report(self, tmp_path: Path, content: str | None, named: str):
        path = tmp_path / "report.json"
        if content is not None:
            path.write_text(content)
        with pytest.raises(MeasuredLoadError, match=named) as raised:
            read_services([path])
        assert str(path) in str(raised.value)

    def test_a_run_with_failures_is_refused(self, tmp_path: Path):
        with pytest.raises(MeasuredLoadError, match="16 stream.*without an answer"):
            read_services([report(tmp_path, *closed(Mode.STREAMS), run_of(Plan(concurrency=16), 250, 64.0, failed=40))])

    @pytest.mark.parametrize("option", ["chunk_frames", "frames_in_flight"])
    def test_a_run_with_several_frames_in_a_request_is_refused(self, tmp_path: Path, option: str):
        shared = run_of(Plan(concurrency=8, **{option: 4}), 250, 64.0)
        with pytest.raises(MeasuredLoadError, match="8 stream.*several frames in a request"):
            read_services([report(tmp_path, *closed(Mode.STREAMS), shared)])

    def test_one_request_alone_and_more_of_them_are_needed(self, tmp_path: Path):
        for runs in (closed(Mode.STREAMS)[1:], closed(Mode.STREAMS)[:1]):
            with pytest.raises(MeasuredLoadError, match="--concurrency 1,2,4,8,16,32"):
                read_services([report(tmp_path, *runs)])

    def test_only_a_mode_that_was_measured_is_planned(self, tmp_path: Path):
        path = report(tmp_path, *closed(Mode.STREAMS))
        assert set(read_services([path])) == {Mode.STREAMS}
        with pytest.raises(MeasuredLoadError, match="--mode clips"):
            make_plan([path], Asked(100, clips_per_s=3))


class TestPlan:
    def test_streams_with_gpus_and_price(self, measured: Path, tmp_path: Path):
        out = tmp_path / "plan.json"
        options = ["--streams", "200", "--fps", "10", "--p99-ms", "60", "--replicas-per-gpu", "2"]
        status, text = call("--measured", measured, *options, "--price-per-hour", "2", "--out", out)
        assert status == 0, text
        plan = json.loads(out.read_text())
        each = int(plan["streams"]["load"])
        assert 5 < each <= 20  # 20 is the reserve's bound
        assert plan["replicas"] == plan["stream_replicas"] == -(-200 // each)
        assert plan["gpus"] == -(-plan["replicas"] // 2)
        assert plan["million_clips"] == pytest.approx(2 * plan["gpus"] / (200 * 10 / 4 * 3600) * 1e6)
        assert re.search(rf"^replicas +{plan['replicas']}$", text, re.MULTILINE)
        assert re.search(rf"^GPUs +{plan['gpus']}$", text, re.MULTILINE)
        assert f"{plan['million_clips']:.2f}" in text

    def test_a_price_alone_gives_the_cost_at_full_use(self, measured: Path, tmp_path: Path):
        out = tmp_path / "plan.json"
        status, text = call("--measured", measured, "--price-per-hour", "0.9", "--out", out)
        assert status == 0, text
        plan = json.loads(out.read_text())
        # 16 clips in 64 ms are 250 clips/s, 900,000 an hour; a stream's frames count by four.
        assert plan["least_million_clips"] == pytest.approx({"clips": 1.0, "streams": 4.0}, rel=0.01)
        assert (plan["million_clips"], plan["replicas"]) == (None, 0)
        assert re.search(r"sent as clips +1\.0\d$", text, re.MULTILINE)
        assert "replicas" not in text
        shared = make_plan([measured], Asked(price_per_hour=0.9, replicas_per_gpu=2))
        assert shared.least_million_clips[Mode.CLIPS] == pytest.approx(0.5, rel=0.01)

    def test_clips_and_streams_have_replicas_of_their_own(self, measured: Path):
        both = make_plan([measured], Asked(100, streams=50, clips_per_s=300))
        assert both.streams is not None
        assert both.clips is not None
        assert both.replicas == both.stream_replicas + both.clip_replicas
        assert both.clip_replicas == -(-300 // both.clips.load)
        assert both.gpus is None

    def test_nothing_holds(self, measured: Path):
        status, text = call("--measured", measured, "--streams", "10", "--p99-ms", "5")
        assert status == 1
        assert "none holds" in text

    def test_the_simulation_is_a_table(self, measured: Path, tmp_path: Path):
        out = tmp_path / "plan.json"
        options = ["--streams", "60", "--p99-ms", "100", "--reserve", "0.5", "--zones", "2", "--simulate"]
        status, text = call("--measured", measured, *options, "--out", out)
        plan = json.loads(out.read_text())
        assert [each["scenario"] for each in plan["fleet"]] == ["even", "gateway", "zone lost"]
        assert status == (0 if all(each["p99_s"] <= 0.1 for each in plan["fleet"]) else 1)
        for each in plan["fleet"]:
            assert re.search(rf"^ *{each['scenario']} +{each['replicas']} +{each['mean']:.1f} ", text, re.MULTILINE)
        assert plan["table"]["wanted"] == 60 + 6 * 600
        assert "streams are replayed" in text

    def test_more_than_a_thousand_replicas_are_not_simulated(self, measured: Path):
        status, text = call("--measured", measured, "--streams", "50000", "--p99-ms", "60", "--simulate")
        assert status == 1
        assert "1000 at most" in text

    @pytest.mark.parametrize(
        ("arguments", "named"),
        [
            (["--p99-ms", "50"], "--streams"),
            (["--streams", "5"], "--p99-ms"),
            (["--clips-per-s", "5", "--p99-ms", "50", "--simulate"], "--streams"),
            (["--streams", "0", "--p99-ms", "50"], "--streams"),
            (["--streams", "5", "--p99-ms", "50", "--reserve", "1"], "--reserve"),
        ],
    )
    def test_wrong_usage(self, arguments: list[str], named: str):
        status, text = call(*arguments)
        assert status == 2
        assert named in text

    def test_a_missing_report_says_how_to_measure(self, tmp_path: Path):
        status, text = call("--measured", tmp_path / "gone.json", "--streams", "5", "--p99-ms", "50")
        assert status == 1
        assert "eulernet loadtest" in text


class TestCheck:
    def test_paced_runs_are_compared(self, measured: Path, tmp_path: Path):
        other = report(tmp_path / "paced", paced(4, 16.0), paced(5, 200.0))
        plan = make_plan([measured, other], Asked(60, streams=20))
        good, bad = plan.checked
        assert good.load == "4 streams at 10 fps"
        assert good.measured_p99_s == pytest.approx(0.0191, rel=0.02)
        assert good.agrees
        assert not bad.agrees
        assert bad.p99_error < -0.5
        _, text = call("--measured", measured, "--measured", other, "--streams", "20", "--p99-ms", "60")
        assert "5 streams at 10 fps: the model's p99 differs" in text
        assert "4 streams at 10 fps: the model's" not in text

    def test_random_clips_are_compared_and_regular_ones_are_not(self, measured: Path, tmp_path: Path):
        random = run_of(Plan(Mode.CLIPS, rate_hz=50), 50, 14.0)
        regular = run_of(Plan(Mode.CLIPS, rate_hz=150, arrivals=Arrivals.CONSTANT), 150, 14.0)
        plan = make_plan([measured, report(tmp_path / "open", random, regular)], Asked(60, clips_per_s=100))
        assert [each.load for each in plan.checked] == ["50 clips/s, poisson"]


@pytest.mark.triton
def test_a_real_servers_report_is_planned_with(runner: Runner, tmp_path: Path):
    plans = [Plan(concurrency=n, duration_s=1.5, warm_up_s=0.2, stream_frames=12) for n in (1, 4)]
    plans += [Plan(concurrency=n, fps=2, duration_s=2, warm_up_s=0.2, stream_frames=12) for n in (1, 2)]
    path = report(tmp_path, *runner.run(plans))
    services = read_services([path])
    measured = services[Mode.STREAMS]
    assert measured.populations == (1, 4)
    assert measured.services[1].time_s > measured.services[0].time_s * 0.5
    plan = make_plan([path], Asked(p99_ms=60_000, streams=100, fps=1, simulate=True))
    assert plan.streams is not None
    assert plan.stream_replicas == -(-100 // int(plan.streams.load))
    assert plan.fleet[0].p99_s > 0
    assert len(plan.checked) == 1 + (measured.lone is measured.services[0])
