# SPDX-License-Identifier: Apache-2.0
"""Who may talk to the console: its own page on a loopback name, through any port. Every answer has a strict policy."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from starlette.datastructures import Headers
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from eulernet_client.console.page_guard import refusal
from eulernet_client.console.web_application import STATIC
from tests.console.conftest import Console

PORT_HOST = "127.0.0.1:8004"
FOREIGN = "http://evil.example"


@pytest.mark.parametrize(
    ("headers", "must_name_origin", "allowed"),
    [
        ({"host": PORT_HOST}, False, True),
        ({"host": "localhost:7777", "origin": "http://localhost:7777"}, True, True),  # an SSH tunnel
        ({"host": "[::1]:8004", "origin": "http://[::1]:8004"}, True, True),
        ({"host": PORT_HOST}, True, False),
        ({"host": PORT_HOST, "origin": "null"}, True, False),
        ({"host": PORT_HOST, "origin": FOREIGN}, True, False),
        ({"host": PORT_HOST, "origin": FOREIGN}, False, False),
        ({"host": PORT_HOST, "origin": "http://127.0.0.1:8005"}, True, False),  # another server of this machine
        ({"host": PORT_HOST, "origin": "http://localhost:8004"}, True, False),
        ({"host": "evil.example:8004", "origin": "http://evil.example:8004"}, True, False),  # DNS rebinding
        ({"host": "127.0.0.1.evil.example"}, False, False),
        ({"host": "[::1"}, False, False),
        ({}, False, False),
        ({"host": PORT_HOST, "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, False, True),
        ({"host": PORT_HOST, "sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}, False, False),
        ({"host": PORT_HOST, "sec-fetch-site": "same-site", "sec-fetch-mode": "cors"}, False, False),
        ({"host": PORT_HOST, "sec-fetch-site": "same-origin", "sec-fetch-mode": "cors"}, False, True),
    ],
)
def test_who_is_refused(headers: dict[str, str], must_name_origin: bool, allowed: bool) -> None:
    assert (refusal(Headers(headers), must_name_origin=must_name_origin) == "") == allowed


def policy(headers: dict[str, str]) -> dict[str, str]:
    """A Content-Security-Policy by its directives."""
    parts = (part.strip().partition(" ") for part in headers["content-security-policy"].split(";"))
    return {name: value for name, _, value in parts}


def test_answers_have_a_strict_policy(lonely_console: Console) -> None:
    for path in ("/", "/static/console.js", "/api/settings", "/nothing"):
        _, headers, _ = lonely_console.request(path)
        directives = policy(headers)
        assert directives["default-src"] == "'none'", path
        assert directives["script-src"] == directives["connect-src"] == directives["style-src"] == "'self'", path
        assert directives["frame-ancestors"] == "'none'"
        assert headers["x-content-type-options"] == "nosniff"


def test_foreign_requests_are_refused(lonely_console: Console) -> None:
    assert lonely_console.request("/api/reports", b"", "POST")[0] == 201
    assert lonely_console.request("/api/reports", b"", "POST", Origin=FOREIGN)[0] == 403
    assert lonely_console.request("/api/settings", Origin=FOREIGN)[0] == 403
    assert lonely_console.request("/", Host=f"evil.example:{lonely_console.port}")[0] == 403
    status, headers, _ = lonely_console.request("/", Host=f"localhost:{lonely_console.port}")
    assert status == 200
    assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize("origin", [FOREIGN, None])
def test_foreign_streams_are_refused(lonely_console: Console, origin: str | None) -> None:
    address = f"ws://127.0.0.1:{lonely_console.port}/api/stream"
    with pytest.raises(InvalidStatus) as refused:
        connect(address, origin=origin, proxy=None)  # type: ignore[arg-type]
    assert refused.value.response.status_code == 403


def test_it_listens_on_loopback_only(lonely_console: Console) -> None:
    import psutil

    listening = [
        each for each in psutil.Process(lonely_console.process.pid).net_connections() if each.status == "LISTEN"
    ]
    assert {each.laddr.ip for each in listening} == {"127.0.0.1"}


def test_the_page_loads_nothing_from_elsewhere() -> None:
    files = [path for path in STATIC.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".html", ".js", ".css", ".svg"}
    for path in files:
        addresses = set(re.findall(r"https?://[^\s\"'`<>]+", path.read_text()))
        assert addresses <= {"http://www.w3.org/2000/svg", "http://127.0.0.1"}, path


def test_each_script_names_its_licence_and_stays_short() -> None:
    for path in STATIC.glob("*.[jc]s*"):
        text = path.read_text()
        assert "SPDX-License-Identifier: Apache-2.0" in text.splitlines()[0], path
        assert len(text.splitlines()) <= 400, path


def test_the_static_files_lie_in_the_package(root: Path) -> None:
    assert STATIC.is_relative_to(root / "client" / "eulernet_client"), "the wheel carries the package's folder whole"
