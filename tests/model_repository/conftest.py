# SPDX-License-Identifier: Apache-2.0
"""A plain Triton client for the tests of the served models."""

import itertools
import queue
import re
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import tritonclient.grpc as triton
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException

from eulernet_core.limits import CALLER_HEADER
from eulernet_core.status import Status
from eulernet_serving.embedded_server import HOST, EmbeddedServer

TIMEOUT_S = 30.0


# Flags that the photograph of the tests may have: its face is small, and enlarging it takes its detail.
QUALITY = int(Status.SMALL_FACE | Status.DEGRADED)


@dataclass
class Answer:
    """Outputs of one request without the batch dimension; `quality` has the flags of QUALITY, `status` the others."""

    liveness: NDArray[np.float32]
    location_map: NDArray[np.float32]
    box: NDArray[np.float32]
    count: NDArray[np.int32]
    status: NDArray[np.int32]
    quality: NDArray[np.int32]

    @classmethod
    def of(cls, result: triton.InferResult) -> "Answer":
        names = ("LIVENESS", "LOCATION_MAP", "FACE_BOX", "FRAME_COUNT", "STATUS")
        *values, status = (result.as_numpy(name)[0] for name in names)
        return cls(*values, status & ~QUALITY, status & QUALITY)


def jpeg_input(name: str, encoded: bytes) -> triton.InferInput:
    """One JPEG as an input uint8 (1, bytes)."""
    tensor = triton.InferInput(name, [1, len(encoded)], "UINT8")
    tensor.set_data_from_numpy(np.frombuffer(encoded, np.uint8)[None])
    return tensor


class Raw:
    """Calls the ensembles of one server without the project's own client."""

    ids = itertools.count(1000)

    def __init__(self, server: EmbeddedServer) -> None:
        self.server = server
        self.client = triton.InferenceServerClient(server.url)

    def clip(self, frames: Sequence[bytes], request_id: str = "", timeout_s: float = TIMEOUT_S) -> Answer:
        """One request to antispoof_clip."""
        inputs = [jpeg_input(f"ENCODED_{t}", frame) for t, frame in enumerate(frames)]
        return Answer.of(self.client.infer("antispoof_clip", inputs, request_id=request_id, client_timeout=timeout_s))

    def frame(
        self, frame: bytes, sequence_id: int | str, start: bool = False, end: bool = False, caller: str = ""
    ) -> Answer:
        """One request to antispoof; `caller`: as a gateway names it."""
        return Answer.of(
            self.client.infer(
                "antispoof",
                [jpeg_input("ENCODED", frame)],
                sequence_id=sequence_id,
                sequence_start=start,
                sequence_end=end,
                client_timeout=TIMEOUT_S,
                headers={CALLER_HEADER: caller} if caller else None,
            )
        )

    def network(
        self, face: NDArray[np.uint8], status: int, sequence_id: int, start: bool = False, end: bool = False
    ) -> triton.InferResult:
        """One request to the network's model alone; face: uint8 (1, 256, 256, 3)."""
        values = {"FACE": face, "STATUS": np.array([[status]], np.int32), "FACE_BOX": np.zeros((1, 4), np.float32)}
        inputs = []
        for name, value in values.items():
            dtype = {"uint8": "UINT8", "int32": "INT32", "float32": "FP32"}[value.dtype.name]
            inputs.append(triton.InferInput(name, list(value.shape), dtype))
            inputs[-1].set_data_from_numpy(value)
        return self.client.infer(
            "eulernet",
            inputs,
            sequence_id=sequence_id,
            sequence_start=start,
            sequence_end=end,
            client_timeout=TIMEOUT_S,
        )

    def sequence(self, frames: Sequence[bytes], sequence_id: int | str | None = None) -> list[Answer]:
        """A whole sequence, a request after the other."""
        sequence_id = next(self.ids) if sequence_id is None else sequence_id
        last = len(frames) - 1
        return [self.frame(frame, sequence_id, start=t == 0, end=t == last) for t, frame in enumerate(frames)]

    def pipelined(self, sequences: dict[int, Sequence[bytes]]) -> dict[int, list[Answer | InferenceServerException]]:
        """Several sequences at once over one gRPC stream, no request waiting for an answer, frames interleaved."""
        answers: queue.Queue[tuple[triton.InferResult | None, InferenceServerException | None]] = queue.Queue()
        sent = 0
        with triton.InferenceServerClient(self.server.url) as client:
            client.start_stream(lambda result, error: answers.put((result, error)))
            for t in range(max(len(frames) for frames in sequences.values())):
                for sequence_id, frames in sequences.items():
                    if t < len(frames):
                        client.async_stream_infer(
                            "antispoof",
                            [jpeg_input("ENCODED", frames[t])],
                            request_id=f"{sequence_id}:{t}",
                            sequence_id=sequence_id,
                            sequence_start=t == 0,
                            sequence_end=t == len(frames) - 1,
                        )
                        sent += 1
            collected = [answers.get(timeout=TIMEOUT_S) for _ in range(sent)]
            client.stop_stream()
        results: dict[int, list[Answer | InferenceServerException]] = {sequence_id: [] for sequence_id in sequences}
        for result, error in collected:
            assert error is None, str(error)
            assert result is not None
            sequence_id, t = map(int, result.get_response().id.split(":"))
            assert len(results[sequence_id]) == t, f"sequence {sequence_id}: answer {t} out of order"
            results[sequence_id].append(Answer.of(result))
        return results

    def open_sequences(self) -> dict[str, int]:
        """The gauge eulernet_open_sequences, by model."""
        with urllib.request.urlopen(f"http://{HOST}:{self.server.ports.metrics}/metrics") as answer:
            text = answer.read().decode()
        rows = re.findall(r'^eulernet_open_sequences\{model="(\w+)"\} (\d+)', text, re.MULTILINE)
        return {model: int(count) for model, count in rows}

    def batch_sizes(self, model: str) -> dict[int, int]:
        """How many batches of each size a model has inferred so far."""
        stats = self.client.get_inference_statistics(model).model_stats[0].batch_stats
        return {each.batch_size: each.compute_infer.count for each in stats}


@pytest.fixture(scope="session")
def raw(server: EmbeddedServer) -> Raw:
    """Calls the server that is configured as it ships."""
    return Raw(server)


@pytest.fixture(scope="session")
def tight(tight_server: EmbeddedServer) -> Raw:
    """Calls the server with 16 slots and 5 s of patience."""
    return Raw(tight_server)
