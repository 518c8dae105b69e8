# SPDX-License-Identifier: Apache-2.0
"""HAProxy as a process of this machine, configured by the chart: a gateway, or the door of a replica."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml

from deploy.tools import HAPROXY, HELM, ROOT
from eulernet_serving.child_launcher import launched

CHART = ROOT / "deploy" / "helm" / "eulernet"
RELEASE, NAMESPACE = "eulernet", "default"
START_TIMEOUT_S = 20.0


class GatewayError(RuntimeError):
    """The chart can't be rendered, or HAProxy can't run."""


def rendered(template: str, values: Mapping[str, Any]) -> dict[str, str]:
    """The files of a ConfigMap of the chart, by name.

    Args:
        template: name of the chart's template that holds the ConfigMap alone.
        values: the chart's values that differ from values.yaml.

    Raises:
        GatewayError: helm refuses them.
        deploy.tools.ToolError: helm can't be fetched.
    """
    command = [str(HELM.fetch()), "template", RELEASE, str(CHART), "--namespace", NAMESPACE]
    command += ["--show-only", f"templates/{template}", "--values", "-"]
    done = subprocess.run(command, input=json.dumps(values), capture_output=True, text=True, check=False)
    if done.returncode:
        raise GatewayError(f"helm template: {done.stderr.strip()}")
    files: dict[str, str] = yaml.safe_load(done.stdout)["data"]
    return files


def gateway_files(values: Mapping[str, Any]) -> dict[str, str]:
    """The files of the gateway's configuration. Raises: see `rendered`."""
    return rendered("gateway-configmap.yaml", values)


class HaproxyProcess:
    """HAProxy from `__enter__` to `__exit__`.

    Args:
        files: of its configuration; the one that ends in .cfg is read first.
        folder: for the configuration and the log, one for each process.
        environment: variables that the configuration reads, beside GATEWAY_CONFIG, which is the folder.
    """

    def __init__(self, files: Mapping[str, str], folder: Path, environment: Mapping[str, str] | None = None) -> None:
        self.folder, self.environment = folder, {"GATEWAY_CONFIG": str(folder), **(environment or {})}
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name).write_text(text)
        (self._config,) = (folder / name for name in files if name.endswith(".cfg"))
        self._log = folder / "haproxy.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        """Its output so far."""
        return self._log.read_text(errors="replace")

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The running process."""
        assert self._process is not None, "not started"
        return self._process

    def check(self) -> None:
        """Lets HAProxy read the configuration. Raises: GatewayError for an error or a warning."""
        command = [str(HAPROXY.fetch()), "-c", "-dW", "-f", str(self._config)]
        environment = {**os.environ, **self.environment}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise GatewayError(f"{self._config}: {done.stderr.strip()}")

    def __enter__(self) -> HaproxyProcess:
        """Raises: GatewayError, deploy.tools.ToolError."""
        command = [str(HAPROXY.fetch()), "-db", "-f", str(self._config)]
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                launched(command, private=False),
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        return self

    def drain(self) -> None:
        """Takes no new connections, ends the open ones as they fall silent, then ends."""
        self.process.send_signal(signal.SIGUSR1)

    def kill(self) -> None:
        """Ends it at once."""
        self.process.kill()
        self.process.wait()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.kill()


@dataclass(frozen=True)
class Place:
    """Where a gateway listens: an address of loopback, and the ports of the chart's values."""

    address: str
    grpc: int
    metrics: int

    @property
    def url(self) -> str:
        """host:port for clients."""
        return f"{self.address}:{self.grpc}"


class Gateway(HaproxyProcess):
    """One of the gateways.

    Args:
        values: of the chart, with ports that are free on all addresses.
        number: of this gateway, from 0.
        addresses: of all gateways.
        folder: for its files.
        files: folder with tls/tls.crt, tls/tls.key, client-ca/ca.crt and tokens/tokens.map, as far as the values
            ask for them.

    Raises:
        GatewayError, deploy.tools.ToolError: see `rendered`.
    """

    def __init__(
        self, values: Mapping[str, Any], number: int, addresses: Sequence[str], folder: Path, files: Path
    ) -> None:
        ports = values["gateway"]["ports"]
        self.place = Place(addresses[number], ports["grpc"], ports["metrics"])
        environment = {
            "GATEWAY_ADDRESS": addresses[number],
            "GATEWAY_NAME": f"{RELEASE}-gateway-{number}",
            "GATEWAY_FILES": str(files),
            **{f"GATEWAY_PEER_{i}": address for i, address in enumerate(addresses)},
        }
        super().__init__(gateway_files(values), folder, environment)

    @property
    def url(self) -> str:
        """host:port for clients."""
        return self.place.url

    def page(self, path: str) -> tuple[int, str]:
        """Status and body of a page of the metrics port. Raises: OSError."""
        request = f"http://{self.place.address}:{self.place.metrics}{path}"
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def metric(self, name: str, **labels: str) -> float:
        """Sum of a metric's samples with these labels."""
        wanted = {f'{key}="{value}"' for key, value in labels.items()}
        total = 0.0
        for line in self.page("/metrics")[1].splitlines():
            found = re.fullmatch(rf"{name}(?:\{{(.*)\}})? (\S+)", line)
            if found and wanted <= set((found[1] or "").split(",")):
                total += float(found[2])
        return total

    def wait_ready(self, timeout_s: float = START_TIMEOUT_S, replicas: int = 1) -> None:
        """Waits until so many replicas may be called. Raises: GatewayError with the log."""
        deadline_s = time.monotonic() + timeout_s
        while True:
            if self.process.poll() is not None:
                raise GatewayError(f"haproxy ended with status {self.process.returncode}: {self.log}")
            try:
                if self.metric("haproxy_server_check_status", proxy="replicas", state="L7OK") >= replicas:
                    return
            except OSError:
                pass
            if time.monotonic() > deadline_s:
                raise GatewayError(f"fewer than {replicas} replicas after {timeout_s:g} s: {self.log}")
            time.sleep(0.1)


class Door(HaproxyProcess):
    """A replica's door, with the chart's configuration: the replica's address leads to a server on loopback.

    A pod has a loopback of its own; here all replicas share one, so ports and address are put in their places.

    Args:
        values: of the chart; `ports` are those of the replica.
        address: of the replica.
        targets: the server's ports on loopback, by the names in `ports`.
        folder: for its files.
    """

    def __init__(self, values: Mapping[str, Any], address: str, targets: Mapping[str, int], folder: Path) -> None:
        ((file, config),) = rendered("door-configmap.yaml", values).items()
        for name, target in targets.items():
            pattern = rf"(listen {name}\n\s+bind )(:\d+\n\s+server \S+ 127\.0\.0\.1:)\d+"
            config, found = re.subn(pattern, rf"\g<1>{address}\g<2>{target}", config)
            if found != 1:
                raise GatewayError(f"the door of the chart has no section {name!r}")
        super().__init__({file: config}, folder)
        self._listens = [(address, port) for port in values["ports"].values()]

    def __enter__(self) -> Door:
        """Waits until it listens. Raises: GatewayError with the log."""
        super().__enter__()
        deadline_s = time.monotonic() + START_TIMEOUT_S
        for place in self._listens:
            while not _answers(place):
                if self.process.poll() is not None or time.monotonic() > deadline_s:
                    self.__exit__(None, None, None)
                    raise GatewayError(f"the door does not listen on {place[0]}:{place[1]}: {self.log}")
                time.sleep(0.02)
        return self


def _answers(place: tuple[str, int]) -> bool:
    with socket.socket() as caller:
        return caller.connect_ex(place) == 0
