# SPDX-License-Identifier: Apache-2.0
"""Serves an earlier tree of this project with that tree's packages, from an interpreter that has them.

    …/earlier_environment/bin/python3 -m benchmarks.peers.earlier_server --repository DIR --face-models DIR --log FILE

It assembles the repository where it is missing, prints address, process id and time to readiness as JSON, and serves
until its standard input ends. It may use only what the earlier packages have.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from pathlib import Path

from eulernet_serving.cpu_repository import assemble
from eulernet_serving.embedded_server import EmbeddedServer, Ports

READY_TIMEOUT_S = 120.0


def main() -> None:
    """See above."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the server is stopped and its leftovers are removed
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("repository", "face-models", "log"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    given = parser.parse_args()
    if not given.repository.is_dir():
        assemble(given.repository, face_models=given.face_models)
    begun_s = time.monotonic()
    with EmbeddedServer(given.repository, Ports(0, 0), given.log) as server:
        server.wait_ready(READY_TIMEOUT_S)
        print(json.dumps({"url": server.url, "pid": server.pid, "ready_s": time.monotonic() - begun_s}), flush=True)
        sys.stdin.read()
        server.check_running()


if __name__ == "__main__":
    main()
