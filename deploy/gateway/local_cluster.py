# SPDX-License-Identifier: Apache-2.0
"""The gateway's parts on loopback. Each replica and each gateway has an address of its own, as a pod has."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deploy.gateway.haproxy_process import NAMESPACE, RELEASE, Door, Gateway
from deploy.gateway.replica_zone import ReplicaZone

SERVICE = f"{RELEASE}-replicas.{NAMESPACE}.svc.cluster.local"
GATEWAYS = ("127.0.1.1", "127.0.1.2")
REPLICAS = ("127.0.2.1", "127.0.2.2", "127.0.2.3")


def free_ports(count: int) -> list[int]:
    """Ports that are free on every address of this machine."""
    with contextlib.ExitStack() as stack:
        bound = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in bound:
            each.bind(("", 0))
        return [each.getsockname()[1] for each in bound]


class LocalCluster:
    """DNS, doors and gateways, from `__enter__` to `__exit__`.

    Args:
        folder: for the files of all parts.
        gateway: values of the chart's gateway that differ from values.yaml.
        files: certificates and tokens of the gateways.

    Raises:
        GatewayError, deploy.tools.ToolError: by `door` and `gateway`.
    """

    def __init__(self, folder: Path, gateway: Mapping[str, Any] | None = None, files: Path | None = None) -> None:
        self.folder, self.files = folder, files or folder
        names = ("grpc", "metrics", "health")
        ports = free_ports(6)
        self.zone = ReplicaZone(SERVICE, ports[0])
        self.values: dict[str, Any] = {
            "ports": dict(zip(names, ports[:3], strict=True)),
            "gateway": {
                "tls": {"enabled": False},
                **(gateway or {}),
                "ports": dict(zip(("grpc", "metrics", "peers"), ports[3:], strict=True)),
                "discovery": {"nameservers": [self.zone.nameserver], "maxReplicas": 4},
            },
        }
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> LocalCluster:
        self._stack.enter_context(self.zone)
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def door(self, number: int, grpc: int, metrics: int, health: int) -> Door:
        """Gives a server an address in the cluster; it is not in DNS yet."""
        targets = {"grpc": grpc, "metrics": metrics, "health": health}
        door = Door(self.values, REPLICAS[number], targets, self.folder / f"door-{number}-{grpc}")
        self._stack.enter_context(door)
        return door

    def gateway(self, number: int = 0, replicas: int = 1, gateway: Mapping[str, Any] | None = None) -> Gateway:
        """Starts a gateway and waits until it may call so many replicas."""
        values = {**self.values, "gateway": {**self.values["gateway"], **(gateway or {})}}
        started = Gateway(values, number, GATEWAYS, self.folder / f"gateway-{number}", self.files)
        started.check()
        self._stack.enter_context(started)
        started.wait_ready(replicas=replicas)
        return started

    def list(self, *numbers: int) -> None:
        """DNS names these replicas from now on, and no other."""
        self.zone.replicas = tuple(REPLICAS[number] for number in numbers)
