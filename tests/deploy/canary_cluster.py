# SPDX-License-Identifier: Apache-2.0
"""For tests: a cluster with a second version of the service, which the gateway finds under a name of its own."""

from __future__ import annotations

import copy
import time
from pathlib import Path
from typing import Any

from dnslib import DNSRecord
from dnslib.server import DNSHandler

from deploy.gateway.haproxy_process import NAMESPACE, RELEASE, Gateway
from deploy.gateway.local_cluster import REPLICAS, SERVICE, free_ports
from deploy.gateway.replica_zone import ReplicaZone
from tests.deploy.gateway_cluster import Cluster

CANARY_SERVICE = f"{RELEASE}-canary-replicas.{NAMESPACE}.svc.cluster.local"


class VersionZone(ReplicaZone):
    """Answers for both Services. `canary`: addresses of the canary's replicas."""

    def __init__(self, port: int) -> None:
        super().__init__(SERVICE, port)
        self.canary: tuple[str, ...] = ()

    def resolve(self, request: DNSRecord, handler: DNSHandler) -> DNSRecord:
        """The answer to one query."""
        if not str(request.q.qname).rstrip(".").lower().endswith(CANARY_SERVICE):
            return super().resolve(request, handler)
        of_canary = copy.copy(self)
        of_canary.service, of_canary.replicas = CANARY_SERVICE, self.canary
        return ReplicaZone.resolve(of_canary, request, handler)


class CanaryCluster(Cluster):
    """Replica 0 is of the stable version, replica 1 is the canary."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.zone._server.server.server_close()
        self.zone = VersionZone(self.values["ports"]["grpc"])
        self.values["gateway"]["discovery"]["nameservers"] = [self.zone.nameserver]
        self.shadow_ports = dict(zip(("relay", "back", "metrics"), free_ports(3), strict=True))

    def list_both(self) -> None:
        """DNS names both versions."""
        self.zone.replicas, self.zone.canary = REPLICAS[:1], REPLICAS[1:2]

    def versions(self, number: int = 0, percent: int = 0, **canary: Any) -> Gateway:
        """Starts a gateway with these values of the chart's canary, and waits until it may call what they name.

        Args:
            number: of the gateway.
            percent: of the clips that are shadowed.
            canary: values such as `weight`; none at all: the canary is not enabled.
        """
        shadow = {"percent": percent, "ports": self.shadow_ports}
        self.values["canary"] = {"enabled": True, **canary, "shadow": shadow} if canary else {"enabled": False}
        gateway = self.gateway(number)
        if canary:
            wait_up(gateway, "canary")
        return gateway


def wait_up(gateway: Gateway, proxy: str, up: bool = True, timeout_s: float = 30) -> None:
    """Waits until a backend has a server that passes its check, or none."""
    deadline_s = time.monotonic() + timeout_s
    while (gateway.metric("haproxy_backend_active_servers", proxy=proxy) > 0) != up:
        assert time.monotonic() < deadline_s, gateway.log
        time.sleep(0.1)
