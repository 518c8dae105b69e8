# SPDX-License-Identifier: Apache-2.0
"""LitServe with dynamic batching and the same scorer: POST /score with a clip's four JPEGs as one body.

python -m benchmarks.peers.litserve_server --detector FILE --network FILE --port N --workers W --batch B …
"""

import argparse
from pathlib import Path
from typing import Annotated, Any

import litserve
import numpy as np
from fastapi import Body
from numpy.typing import NDArray

from benchmarks.peers.body import Clip, unpack
from benchmarks.peers.scorer import Scorer, Threads
from eulernet_serving.embedded_server import HOST

BATCH_TIMEOUT_S = 0.002  # at 0 its workers poll without a pause and use a core each


class Antispoof(litserve.LitAPI):  # type: ignore[misc]  # the package is untyped
    """One worker process. A batch is a list of clips."""

    def __init__(self, detector: Path, network: Path, threads: Threads, batch: int) -> None:
        super().__init__(max_batch_size=batch, batch_timeout=BATCH_TIMEOUT_S, api_path="/score")
        self._detector, self._network, self._threads = detector, network, threads

    def setup(self, device: str) -> None:
        """Called once in each worker."""
        self._scorer = Scorer(self._detector, self._network, self._threads)

    def decode_request(self, request: Annotated[bytes, Body(media_type="application/octet-stream")]) -> Clip:
        """One request of a batch."""
        return unpack(request)

    def batch(self, inputs: list[Clip]) -> list[Clip]:
        """Unchanged: the scorer decodes the pictures."""
        return inputs

    def predict(self, clips: list[Clip]) -> NDArray[np.float32]:
        """float32 (clips, 4)."""
        return self._scorer(clips)

    def unbatch(self, output: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """A row for each clip."""
        return list(output)

    def encode_response(self, output: NDArray[np.float32]) -> dict[str, Any]:
        """For JSON."""
        return {"liveness": output.tolist()}


def main() -> None:
    """Serves until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("detector", "network"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    for name in ("port", "workers", "batch", "pool", "onnxruntime", "fast-queue"):
        parser.add_argument(f"--{name}", type=int, required=True)
    given = parser.parse_args()
    api = Antispoof(given.detector, given.network, Threads(given.pool, given.onnxruntime), given.batch)
    server = litserve.LitServer(
        api, accelerator="cpu", workers_per_device=given.workers, fast_queue=bool(given.fast_queue)
    )
    server.run(
        host=HOST,
        port=given.port,
        num_api_servers=1,
        log_level="warning",
        generate_client_file=False,
        access_log=False,
    )


if __name__ == "__main__":
    main()
