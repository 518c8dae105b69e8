# SPDX-License-Identifier: Apache-2.0
"""Bytes on the server's ports that are no request, and connections that end in the middle of one."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence

import grpc
from numpy.random import Generator

from benchmarks.reliability.jpeg_mutations import base_pictures
from benchmarks.reliability.wire import Endpoints, Outcome, Wire, clip_request
from eulernet_core.clip_geometry import CLIP_FRAMES
from eulernet_serving.embedded_server import HOST

CONNECT_TIMEOUT_S, PAUSE_S, CUT_TIMEOUT_S = 5.0, 0.3, 2.0
MANY = 30  # connections of one input
RESET_ON_CLOSE = struct.pack("ii", 1, 0)
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
Abuse = tuple[str, Callable[[Wire], Outcome]]


def abuse_connection(random: Generator) -> Abuse:
    """A name, and what to do."""
    ways = (_garbage, _garbage, _cut, _cut, _flipped, _many, _slow)
    return ways[random.integers(len(ways))](random)


def _openings(random: Generator) -> Sequence[bytes]:
    frame = struct.pack(">I", int(random.integers(1 << 24)))[1:] + random.bytes(6) + random.bytes(300)
    settings = b"\0\0\0\4\0\0\0\0\0"
    return (
        random.bytes(2000),
        b"",
        b"\0",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /v2/models/antispoof/infer HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n{",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"\x16\3\1\2\0\1\0\1\xfc\3\3" + random.bytes(300),
        PREFACE,
        PREFACE + frame,
        PREFACE + settings + frame * 20,
        PREFACE + settings * 5000,
        PREFACE + settings + (b"\0\0\x08\6\0\0\0\0\0" + bytes(8)) * 2000,
        PREFACE + settings + b"\0\0\4\3\0\0\0\0\1\0\0\0\x08" * 1000,
    )


def _garbage(random: Generator) -> Abuse:
    opening = _openings(random)[random.integers(len(_openings(random)))]
    port_kind, reset = ("grpc", "grpc", "metrics", "health")[random.integers(4)], bool(random.integers(2))
    wait_s = float(random.choice([0, PAUSE_S]))

    def send(wire: Wire) -> Outcome:
        with _connected(_port(wire.endpoints, port_kind)) as connection:
            with contextlib.suppress(OSError):
                connection.sendall(opening)
                connection.settimeout(wait_s or 0.01)
                connection.recv(4096)
            if reset:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        return Outcome("sent")

    return f"garbage on the {port_kind} port: {opening[:12]!r}", send


def _port(endpoints: Endpoints, kind: str) -> int:
    grpc_port = int(endpoints.url.rpartition(":")[2])
    return {"grpc": grpc_port, "metrics": endpoints.metrics, "health": endpoints.health or endpoints.metrics}[kind]


def _connected(port: int) -> socket.socket:
    return socket.create_connection((HOST, port), CONNECT_TIMEOUT_S)


def _many(random: Generator) -> Abuse:
    """Connections that send nothing."""

    def send(wire: Wire) -> Outcome:
        with contextlib.ExitStack() as stack:
            for _ in range(MANY):
                stack.enter_context(_connected(_port(wire.endpoints, "grpc")))
            time.sleep(PAUSE_S)
        return Outcome("sent")

    return f"{MANY} idle connections", send


def _slow(random: Generator) -> Abuse:
    """A sender of one byte at a time, which then leaves."""
    port_kind = ("grpc", "health")[random.integers(2)]

    def send(wire: Wire) -> Outcome:
        with _connected(_port(wire.endpoints, port_kind)) as connection, contextlib.suppress(OSError):
            for each in (PREFACE if port_kind == "grpc" else b"GET /readyz HTTP/1.1\r\n")[:20]:
                connection.sendall(bytes([each]))
                time.sleep(0.02)
        return Outcome("sent")

    return f"a slow sender on the {port_kind} port", send


def _cut(random: Generator) -> Abuse:
    after = int(random.choice([0, 20, 80, 200, 500, 2000, 10_000, 30_000]))
    return f"connection reset after {after} bytes", lambda wire: _through_relay(wire, after, None)


def _flipped(random: Generator) -> Abuse:
    at = int(random.integers(0, 30_000))
    return f"bit flipped at byte {at} of a connection", lambda wire: _through_relay(wire, 10**9, at)


def _through_relay(wire: Wire, cut_after: int, flip_at: int | None) -> Outcome:
    """A good clip call whose bytes pass a relay that cuts or changes them."""
    request = clip_request([base_pictures()["baseline"]] * CLIP_FRAMES)
    with socket.create_server((HOST, 0)) as listener:
        listener.settimeout(CUT_TIMEOUT_S)
        relay = threading.Thread(
            target=_relay, args=(listener, _port(wire.endpoints, "grpc"), cut_after, flip_at), daemon=True
        )
        relay.start()
        there = Endpoints(f"{HOST}:{listener.getsockname()[1]}", wire.endpoints.metrics)
        with Wire(there) as relayed:
            try:
                relayed.infer(request, CUT_TIMEOUT_S)
                outcome = Outcome("answered")
            except grpc.RpcError as error:
                outcome = Outcome(error.code().name)
        relay.join(2 * CUT_TIMEOUT_S)
    return outcome


def _relay(listener: socket.socket, port: int, cut_after: int, flip_at: int | None) -> None:
    """Passes one connection's bytes on in both directions, until the cut."""
    with contextlib.suppress(OSError):
        client, _ = listener.accept()
        with client, _connected(port) as server:
            for each in (client, server):
                each.settimeout(CUT_TIMEOUT_S)
            back = threading.Thread(target=_pass_back, args=(server, client), daemon=True)
            back.start()
            passed = 0
            with contextlib.suppress(OSError):
                while passed < cut_after and (data := bytearray(client.recv(16_384))):
                    if flip_at is not None and passed <= flip_at < passed + len(data):
                        data[flip_at - passed] ^= 0x10
                    data = data[: cut_after - passed]
                    server.sendall(data)
                    passed += len(data)
            for each in (client, server):
                with contextlib.suppress(OSError):
                    each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
                    each.shutdown(socket.SHUT_RDWR)
            back.join(CUT_TIMEOUT_S)


def _pass_back(server: socket.socket, client: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := server.recv(16_384):
            client.sendall(data)
