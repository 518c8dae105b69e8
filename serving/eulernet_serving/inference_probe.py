# SPDX-License-Identifier: Apache-2.0
"""Real inferences that show whether the server works: one clip and one stream of one frame, of a blank picture.

Triton's readiness stays true with a dead stage. A blank picture passes every stage: the detector finds no face in it,
and the crop and the network run on a placeholder.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from typing import Any

from eulernet_core.status import Status
from eulernet_core.tensors import CLIP_ENCODED, CLIP_MODEL, ENCODED, PROBE_REQUEST_ID, STATUS, STREAM_MODEL

PROBE_TIMEOUT_S = 10.0
WAYS = (CLIP_MODEL, STREAM_MODEL)
# A server under load refuses or lets wait; one that can't be reached looks the same.
_NO_ANSWER = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "CANCELLED")
_REFUSED = Status.UNDECODABLE | Status.TOO_LARGE


class Answer(Enum):
    """What a probe got: a result, nothing in time (or a refusal for now), or an error."""

    OK = "ok"
    NONE = "none"
    ERROR = "error"


def probe_ways(url: str, timeout_s: float = PROBE_TIMEOUT_S) -> Mapping[str, Answer]:
    """Probes both ways at once: the ensemble's name to its answer."""
    import tritonclient.grpc as triton

    with (
        triton.InferenceServerClient(url, channel_args=[("grpc.enable_http_proxy", 0)]) as client,
        ThreadPoolExecutor(len(WAYS)) as pool,
    ):
        answers = pool.map(lambda way: _answer(client, way, timeout_s), WAYS)
        return dict(zip(WAYS, answers, strict=True))


def probe(url: str) -> bool:
    """Whether both ways answer."""
    return all(answer is Answer.OK for answer in probe_ways(url).values())


def _answer(client: Any, way: str, timeout_s: float) -> Answer:
    from tritonclient.utils import InferenceServerException

    # START and END in one request: the stream leaves nothing open.
    stream = {"sequence_id": secrets.randbits(62) + 1, "sequence_start": True, "sequence_end": True}
    try:
        result = client.infer(
            way,
            _inputs(way),
            request_id=PROBE_REQUEST_ID,
            client_timeout=timeout_s,
            **(stream if way == STREAM_MODEL else {}),
        )
    except InferenceServerException as error:
        return Answer.NONE if any(name in str(error.status()) for name in _NO_ANSWER) else Answer.ERROR
    status = result.as_numpy(STATUS)
    return Answer.OK if status is not None and not (status & int(_REFUSED)).any() else Answer.ERROR


def _inputs(way: str) -> list[Any]:
    import numpy as np
    import simplejpeg
    import tritonclient.grpc as triton

    blank = np.frombuffer(simplejpeg.encode_jpeg(np.zeros((64, 64, 3), np.uint8)), np.uint8)[None]
    names = CLIP_ENCODED if way == CLIP_MODEL else (ENCODED,)
    inputs = [triton.InferInput(name, list(blank.shape), "UINT8") for name in names]
    for each in inputs:
        each.set_data_from_numpy(blank)
    return inputs
