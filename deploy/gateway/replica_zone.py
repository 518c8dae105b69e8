# SPDX-License-Identifier: Apache-2.0
"""A DNS server on loopback that names replicas as a cluster's DNS names the pods of a headless Service."""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Sequence
from types import TracebackType

from dnslib import QTYPE, RCODE, RR, SRV, A, DNSRecord
from dnslib.server import BaseResolver, DNSHandler, DNSLogger, DNSServer

TTL_S = 1


class ReplicaZone(BaseResolver):  # type: ignore[misc]
    """Answers SRV queries with all replicas, in random order, from `__enter__` to `__exit__`.

    Args:
        service: name of the Service in the cluster's DNS.
        port: of the replicas.
        shuffled: keep the order of `replicas` if False.

    Attributes:
        replicas: addresses; change them to let a replica come or go.
    """

    def __init__(self, service: str, port: int, replicas: Sequence[str] = (), *, shuffled: bool = True) -> None:
        self.service, self.port, self.replicas, self.shuffled = service, port, tuple(replicas), shuffled
        quiet = DNSLogger("-request,-reply,-truncated,-error,-recv,-send,-data")
        self._server = DNSServer(self, port=0, address="127.0.0.1", logger=quiet)

    @property
    def nameserver(self) -> str:
        """address:port of the DNS server."""
        host, port = self._server.server.server_address
        return f"{host}:{port}"

    def __enter__(self) -> ReplicaZone:
        self._server.start_thread()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.server.shutdown()
        self._server.server.server_close()
        self._server.thread.join()

    def resolve(self, request: DNSRecord, handler: DNSHandler) -> DNSRecord:
        """The answer to one query: SRV of the Service, A of a replica, nothing else."""
        reply = request.reply()
        name = str(request.q.qname).rstrip(".").lower()
        replicas = random.sample(self.replicas, len(self.replicas)) if self.shuffled else self.replicas
        hosts = {self._host(each): each for each in replicas}
        if name == f"_grpc._tcp.{self.service}" and hosts:
            if request.q.qtype == QTYPE.SRV:
                for host, address in hosts.items():
                    reply.add_answer(RR(name, QTYPE.SRV, ttl=TTL_S, rdata=SRV(0, 10, self.port, host)))
                    reply.add_ar(RR(host, QTYPE.A, ttl=TTL_S, rdata=A(address)))
        elif name in hosts:
            if request.q.qtype == QTYPE.A:
                reply.add_answer(RR(name, QTYPE.A, ttl=TTL_S, rdata=A(hosts[name])))
        else:
            reply.header.rcode = RCODE.NXDOMAIN
        return reply

    def _host(self, address: str) -> str:
        return f"{str(ipaddress.ip_address(address)).replace('.', '-')}.{self.service}"
