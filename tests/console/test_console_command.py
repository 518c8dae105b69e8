# SPDX-License-Identifier: Apache-2.0
"""`eulernet console`: its options, and how it ends."""

from __future__ import annotations

import os
import signal
import socket

import pytest
from click.testing import CliRunner

from eulernet_client.console.console_command import DEFAULT_PORT, METRICS_PORT, console
from tests.console.conftest import Console


@pytest.mark.parametrize("wanted", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_status_0(wanted: signal.Signals) -> None:
    running = Console("127.0.0.1:9", 9, timeout_s=1)
    os.kill(running.process.pid, wanted)
    _, printed = running.process.communicate(timeout=60)
    assert (running.process.returncode, printed) == (0, "")


def test_a_port_that_is_taken_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = CliRunner().invoke(console, ["--port", str(port)])
    assert done.exit_code == 1
    assert f"port {port}" in done.output


@pytest.mark.parametrize("arguments", [["--metrics", "localhost"], ["--url", "localhost"], ["--port", "70000"]])
def test_wrong_addresses_are_wrong_usage(arguments: list[str]) -> None:
    assert CliRunner().invoke(console, arguments).exit_code == 2


def test_default_ports_follow_those_of_the_server() -> None:
    from eulernet_serving.embedded_server import Ports

    assert Ports().metrics == METRICS_PORT
    assert DEFAULT_PORT not in vars(Ports()).values()
