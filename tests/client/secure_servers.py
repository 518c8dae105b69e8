# SPDX-License-Identifier: Apache-2.0
"""Servers for tests of connections: Triton without models, with or without TLS; a gRPC server that records headers."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

from eulernet_serving.child_launcher import launched
from eulernet_serving.triton_wheel import install

START_TIMEOUT_S = 30.0
NAME = "gpu1"  # a host that the server's certificate names beside 127.0.0.1


@dataclass(frozen=True)
class Certificates:
    """Folder with PEM files of two authorities: `ca` signs `server` and `client`; `other` signs `stranger`."""

    folder: Path

    def pem(self, name: str) -> str:
        """Path of a certificate."""
        return str(self.folder / f"{name}.pem")

    def key(self, name: str) -> str:
        """Path of its key."""
        return str(self.folder / f"{name}.key")


def make_certificates(folder: Path) -> Certificates:
    """Makes the files with the openssl command."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl command to make certificates with")
    new = ("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    for authority in ("ca", "other"):
        openssl(folder, *new, "-x509", "-keyout", f"{authority}.key", "-out", f"{authority}.pem", *subject(authority))
    for name, authority in (("server", "ca"), ("client", "ca"), ("stranger", "other")):
        names = f"subjectAltName=DNS:{NAME},IP:127.0.0.1"
        openssl(folder, *new, "-keyout", f"{name}.key", "-out", f"{name}.csr", *subject(name), "-addext", names)
        signed = ("-CA", f"{authority}.pem", "-CAkey", f"{authority}.key", "-CAcreateserial")
        copied = ("-copy_extensions", "copy", "-days", "2")
        openssl(folder, "x509", "-req", "-in", f"{name}.csr", *signed, "-out", f"{name}.pem", *copied)
    return Certificates(folder)


def subject(name: str) -> tuple[str, str]:
    return "-subj", f"/CN={name}"


def openssl(folder: Path, *arguments: str) -> None:
    """Runs the openssl command in a folder."""
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


@dataclass(frozen=True)
class BareServer:
    """A running Triton without models. Its ports are on 127.0.0.1."""

    grpc: int
    http: int
    metrics: int

    @property
    def url(self) -> str:
        """host:port of the gRPC endpoint."""
        return f"127.0.0.1:{self.grpc}"


@contextmanager
def bare_triton(folder: Path, *options: str) -> Iterator[BareServer]:
    """The real tritonserver on an empty repository: its ports and certificates are those of a full one."""
    triton = install(folder)
    (folder / "models").mkdir()
    server = BareServer(*free_ports(3))
    ports = [f"--{name}-port={port}" for name, port in vars(server).items()]
    hosts = [f"--{name}-address=127.0.0.1" for name in vars(server)]
    command = [str(triton.server), f"--model-repository={folder / 'models'}", *ports, *hosts, *options]
    log = folder / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            launched([*command, "--allow-http=true"], private=False),
            env=triton.environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not all(listens(port) for port in vars(server).values()):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield server
    finally:
        process.kill()  # it has no models to unload
        process.wait()


def listens(port: int) -> bool:
    """Whether something accepts connections on a port."""
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nothing listens on."""
    bound = [socket.socket() for _ in range(count)]
    try:
        for each in bound:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in bound]
    finally:
        for each in bound:
            each.close()


@contextmanager
def recording_server(certificates: Certificates | None = None) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """A gRPC server that refuses every call. Yields its address, and the headers of the calls so far.

    Args:
        certificates: for TLS with client certificates; plain text without them.
    """
    seen: list[dict[str, str]] = []

    class Records(grpc.GenericRpcHandler):
        def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
            seen.append({key: value for key, value in details.invocation_metadata if isinstance(value, str)})
            return grpc.unary_unary_rpc_method_handler(
                lambda _, context: context.abort(grpc.StatusCode.PERMISSION_DENIED, "not today")
            )

    server = grpc.server(futures.ThreadPoolExecutor(2), handlers=[Records()])
    if certificates is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        pair = (Path(certificates.key("server")).read_bytes(), Path(certificates.pem("server")).read_bytes())
        roots = Path(certificates.pem("ca")).read_bytes()
        port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair], roots, True))
    server.start()
    try:
        yield f"127.0.0.1:{port}", seen
    finally:
        server.stop(None).wait()
