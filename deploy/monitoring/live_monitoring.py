# SPDX-License-Identifier: Apache-2.0
"""Prometheus and Alertmanager as processes of this machine, with the shipped rules and configurations."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml

from deploy.tools import ALERTMANAGER, PROMETHEUS
from eulernet_serving.child_launcher import launched
from eulernet_serving.embedded_server import HOST

FOLDER = Path(__file__).parent
RULES = "*_rules.yaml"
START_TIMEOUT_S = 60.0
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # loopback is asked without a proxy


class MonitoringError(RuntimeError):
    """A program can't run, or refuses a question."""


class LiveMonitoring:
    """Both programs from `__enter__` to `__exit__`.

    Args:
        targets: host:port of the scraped pages, Triton's and the supervisor's of each server.
        folder: for configurations, data and logs.
        interval_s: between scrapes, and between evaluations of the rules.
    """

    def __init__(self, targets: Sequence[str], folder: Path, interval_s: float = 1.0) -> None:
        self.folder, self._targets, self._interval = folder, list(targets), f"{round(1000 * interval_s)}ms"
        self._prometheus, self._alertmanager = (f"{HOST}:{port}" for port in _free_ports(2))
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> LiveMonitoring:
        """Raises: MonitoringError, deploy.tools.ToolError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in (*FOLDER.glob(RULES), FOLDER / "alertmanager.yaml"):
            shutil.copy(path, self.folder)
        (self.folder / "prometheus.yaml").write_text(yaml.safe_dump(self._configuration()))
        alertmanager = ["--config.file=alertmanager.yaml", "--storage.path=alerts", "--cluster.listen-address="]
        prometheus = ["--config.file=prometheus.yaml", "--storage.tsdb.path=series", "--storage.tsdb.retention.time=1h"]
        try:
            self._start("alertmanager", [*ALERTMANAGER.command(), *alertmanager], self._alertmanager)
            self._start("prometheus", [*PROMETHEUS.command(), *prometheus], self._prometheus)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _configuration(self) -> dict[str, Any]:
        """The shipped configuration with these targets and intervals."""
        shipped: dict[str, Any] = yaml.safe_load((FOLDER / "prometheus.yaml").read_text())
        shipped["global"] = dict.fromkeys(shipped["global"], self._interval)
        (alertmanager,) = shipped["alerting"]["alertmanagers"]
        alertmanager["static_configs"] = [{"targets": [self._alertmanager]}]
        (job,) = shipped["scrape_configs"]
        job["static_configs"] = [{"targets": self._targets}]
        return shipped

    def _start(self, name: str, command: Sequence[str], address: str) -> None:
        log = self.folder / f"{name}.log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                launched([*command, f"--web.listen-address={address}"], private=False),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self._processes.append(process)
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                _get(f"http://{address}/-/ready")
                return
            except (OSError, MonitoringError) as error:
                if process.poll() is not None or time.monotonic() > deadline_s:
                    said = log.read_text(errors="replace")[-800:]
                    raise MonitoringError(f"{name} is not ready ({error}); {log} ends:\n{said}") from error
                time.sleep(0.1)

    def _end(self) -> None:
        for each in reversed(self._processes):
            each.terminate()
        for each in self._processes:
            try:
                each.wait(10)
            except subprocess.TimeoutExpired:
                each.kill()
                each.wait()
        self._processes.clear()

    def query(self, expr: str) -> list[dict[str, Any]]:
        """The series of an instant query, with `metric` and `value`. Raises: MonitoringError."""
        return self._result("query", query=expr)

    def query_range(self, expr: str, begin_s: float, end_s: float, step_s: float) -> list[dict[str, Any]]:
        """The series of a range query, with `metric` and `values`; times in seconds since 1970."""
        return self._result("query_range", query=expr, start=str(begin_s), end=str(end_s), step=str(step_s))

    def _result(self, kind: str, **parameters: str) -> list[dict[str, Any]]:
        answer = _get(f"http://{self._prometheus}/api/v1/{kind}?{urllib.parse.urlencode(parameters)}")
        result: list[dict[str, Any]] = json.loads(answer)["data"]["result"]
        return result

    def alerts(self) -> list[dict[str, Any]]:
        """The alerts that Alertmanager holds, with `labels` and `annotations`."""
        alerts: list[dict[str, Any]] = json.loads(_get(f"http://{self._alertmanager}/api/v2/alerts"))
        return alerts


def filled_in(expr: str, rate_interval_s: float, chosen: Mapping[str, str] | None = None) -> str:
    """A dashboard's expression with its variables replaced; those that are not given select everything."""
    values = {"__rate_interval": f"{round(rate_interval_s)}s", **(chosen or {})}
    return re.sub(r"\$(\w+)", lambda found: values.get(found[1], ".*"), expr)


def _get(url: str) -> str:
    try:
        with _OPENER.open(url, timeout=20) as answer:
            text: str = answer.read().decode()
            return text
    except urllib.error.HTTPError as error:
        raise MonitoringError(f"{url}: {error.code} {error.read().decode(errors='replace')[:500]}") from error


def _free_ports(count: int) -> list[int]:
    """Free TCP ports of loopback, all different."""
    listeners = [socket.create_server((HOST, 0)) for _ in range(count)]
    try:
        return [each.getsockname()[1] for each in listeners]
    finally:
        for each in listeners:
            each.close()
