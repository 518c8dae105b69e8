# SPDX-License-Identifier: Apache-2.0
"""A server or a console that dies under an open page: the page says so, goes on by itself, and says that too."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from eulernet_serving.embedded_server import EmbeddedServer, Ports
from tests.console.conftest import BROWSER_MS, Open, running_console

pytestmark = [pytest.mark.triton, pytest.mark.slow, pytest.mark.timeout(900)]
READY_S = 240


def test_a_killed_server_shows_and_recovers(
    repository: Path, tmp_path: Path, open_page: Open, portrait_camera: Path
) -> None:
    with EmbeddedServer(repository, Ports(0, 0), tmp_path / "first.log") as first:
        first.wait_ready(READY_S)
        with running_console(first) as console:
            watched = open_page(console, portrait_camera)
            watched.start_camera(frames=4)
            page = watched.page
            os.kill(first.pid or 0, signal.SIGKILL)
            page.wait_for_selector("#verdict-card[data-verdict=waiting]", timeout=BROWSER_MS)
            page.wait_for_selector("#notice[data-kind=problem]", timeout=BROWSER_MS)
            page.wait_for_selector("#server-state[data-state=down]", timeout=BROWSER_MS)
            assert page.inner_text("#weights").startswith("weights: "), "the label stays in sight"
            first.kill()
            ports = Ports(first.ports.grpc, first.ports.metrics)
            with EmbeddedServer(repository, ports, tmp_path / "second.log") as second:
                second.wait_ready(READY_S)
                said = "() => /replayed|started again/.test(document.querySelector('#notice').textContent)"
                page.wait_for_function(said, timeout=BROWSER_MS)
                page.wait_for_selector("#server-state[data-state=up]", timeout=BROWSER_MS)
                watched.wait_frames(6)
                assert page.get_attribute("#verdict-card", "data-verdict") != "waiting"
                (answers,) = watched.answers  # the socket stayed open
                replays = [
                    each for each in answers if each["type"] == "frame" and (each["replayed"] or each["started_anew"])
                ]
                assert len(replays) == 1
                page.click("#stop")


def test_a_killed_console_shows_and_recovers(server: EmbeddedServer, open_page: Open, portrait_camera: Path) -> None:
    with running_console(server) as console:
        watched = open_page(console, portrait_camera)
        watched.start_camera(frames=2)
    page = watched.page
    page.wait_for_selector("#server-state[data-state=gone]", timeout=BROWSER_MS)
    assert page.get_attribute("#verdict-card", "data-verdict") == "waiting"
    with running_console(server, console.port):
        page.wait_for_selector("#verdict-card:not([data-verdict=waiting])", timeout=BROWSER_MS)
        watched.wait_frames(2)
        assert len(watched.answers) >= 2, "a new stream"
        page.click("#stop")
    refused = [error for error in watched.errors if "ERR_CONNECTION_REFUSED" not in error]
    watched.errors[:] = [error for error in refused if "WebSocket" not in error]
