# SPDX-License-Identifier: Apache-2.0
"""How many requests of streams a server has answered."""

import time

from eulernet_client import Client
from eulernet_serving.embedded_server import EmbeddedServer


def requests_of(server: EmbeddedServer) -> int:
    """Triton counts a request after its answer has left, so the count is read until it stays."""
    counts = [-1]
    with Client(server.url) as client:
        while len(counts) < 3 or counts[-1] != counts[-2]:
            time.sleep(0.2)
            statistics = client._channels._client(0).get_inference_statistics("antispoof")
            counts.append(int(statistics.model_stats[0].inference_stats.success.count))
    return counts[-1]
