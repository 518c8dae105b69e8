# SPDX-License-Identifier: Apache-2.0
"""The health port on a real socket: answers, wrong requests, and callers that send slowly or nothing."""

import contextlib
import http.client
import socket
import time
from http import HTTPStatus

import pytest

from eulernet_serving.health_port import MAX_CONNECTIONS, MAX_REQUEST_BYTES, REQUEST_S, HealthPort, Page

HOST = "127.0.0.1"
PAGES = {"/readyz": Page(HTTPStatus.SERVICE_UNAVAILABLE, "starting\n"), "/livez": Page(HTTPStatus.OK, "alive\n")}


@pytest.fixture(scope="module")
def port():
    with socket.create_server((HOST, 0)) as free:
        number = free.getsockname()[1]
    with HealthPort(HOST, number, PAGES.get):
        yield number


def ask(port, method, path):
    with contextlib.closing(http.client.HTTPConnection(HOST, port, timeout=5)) as connection:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/livez", (200, "alive\n")),
        ("GET", "/livez?verbose=1", (200, "alive\n")),
        ("GET", "/readyz", (503, "starting\n")),
        ("HEAD", "/livez", (200, "")),
        ("GET", "/elsewhere", (404, "nothing here\n")),
        ("POST", "/livez", (405, "only GET\n")),
    ],
)
def test_answers(port, method, path, expected):
    assert ask(port, method, path) == expected


def test_silent_callers_keep_nobody_waiting(port):
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(socket.create_connection((HOST, port))) for _ in range(2 * MAX_CONNECTIONS)]
        silent[-1].sendall(b"GET /livez HTTP/1.1\r\nX: ")
        begun_s = time.monotonic()
        assert ask(port, "GET", "/livez")[0] == 200
        assert time.monotonic() - begun_s < REQUEST_S / 2
        silent[-1].settimeout(REQUEST_S + 5)
        with contextlib.suppress(ConnectionResetError):
            assert silent[-1].recv(1) == b""  # closed, though it had begun a request


def test_too_long_a_request_is_closed(port):
    with socket.create_connection((HOST, port), timeout=5) as caller, contextlib.suppress(ConnectionError):
        caller.sendall(b"GET /" + b"x" * 4 * MAX_REQUEST_BYTES)
        assert caller.recv(1) == b""
    assert ask(port, "GET", "/livez")[0] == 200


@pytest.mark.parametrize("junk", [b"\r\n\r\n", b"\x00\xff\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"])
def test_junk_is_refused(port, junk):
    with socket.create_connection((HOST, port), timeout=5) as caller:
        caller.sendall(junk)
        assert caller.recv(100).startswith(b"HTTP/1.1 405 ")


def test_a_taken_port_is_an_error(port):
    with pytest.raises(OSError, match="Address already in use"), HealthPort(HOST, port, PAGES.get):
        pass
