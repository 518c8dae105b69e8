# SPDX-License-Identifier: Apache-2.0
"""The step network on the real server: what STATUS does to the state that the server keeps between requests."""

import numpy as np
import pytest
import tritonclient.grpc as triton

from eulernet_core.face_detail import MIN_DETAIL, face_detail
from eulernet_core.shipped import model_repository
from eulernet_core.status import Status
from eulernet_core.tensors import FACE_BOX_OUT, FRAME_COUNT, LIVENESS, STATUS_OUT, STEP_NETWORK_MODEL
from tests.model_repository.conftest import TIMEOUT_S, Raw

pytestmark = pytest.mark.triton

GOLDEN = np.load(model_repository() / "eulernet_clip" / "1" / "golden.npz")
FACES = GOLDEN["FACE"].reshape(-1, 256, 256, 3)


def play(raw: Raw, statuses: list[int], first: int = 0) -> list[triton.InferResult]:
    """A sequence of golden faces from number `first` on, with these statuses."""
    key, last = next(raw.ids), len(statuses) - 1
    results = []
    for t, status in enumerate(statuses):
        box = np.float32([[t, 1, t + 64, 65]])
        given = {"FACE": FACES[first + t][None], "STATUS": np.int32([[status]]), "FACE_BOX": box}
        inputs = []
        for (name, value), kind in zip(given.items(), ("UINT8", "INT32", "FP32"), strict=True):
            inputs.append(triton.InferInput(name, list(value.shape), kind))
            inputs[-1].set_data_from_numpy(value)
        flags = {"sequence_id": key, "sequence_start": t == 0, "sequence_end": t == last}
        results.append(raw.client.infer(STEP_NETWORK_MODEL, inputs, client_timeout=TIMEOUT_S, **flags))
        lacking = face_detail(given["FACE"])[0] < MIN_DETAIL and Status(status).usable
        assert results[-1].as_numpy(STATUS_OUT).tolist() == [[status | (Status.DEGRADED if lacking else 0)]]
        np.testing.assert_array_equal(results[-1].as_numpy(FACE_BOX_OUT), box)
    return results


def counts(results: list[triton.InferResult]) -> list[int]:
    return [int(each.as_numpy(FRAME_COUNT).item()) for each in results]


def liveness(results: list[triton.InferResult]) -> list[float]:
    return [float(each.as_numpy(LIVENESS).item()) for each in results]


def test_notes_change_nothing(raw):
    plain, noted = play(raw, [0, 0, 0, 0]), play(raw, [Status.SMALL_FACE, 64, 129, 225])
    assert counts(noted) == [1, 2, 3, 4]
    np.testing.assert_allclose(liveness(noted), liveness(plain), atol=1e-6)


@pytest.mark.parametrize("lost", [Status.RELOCATED | Status.UNDECODABLE, Status.RELOCATED | Status.NO_FACE])
def test_a_restart_at_a_frame_that_is_not_scored(raw, lost):
    """Two faces never share a filter, even if the first frame of the second can't be cropped."""
    interrupted = play(raw, [0, 0, lost, 0, 32])
    assert counts(interrupted) == [1, 2, 0, 1, 2]
    assert liveness(interrupted)[2] == 0
    np.testing.assert_allclose(liveness(interrupted)[3:], liveness(play(raw, [0, 0], first=3)), atol=1e-6)


def test_a_frame_that_is_not_scored_leaves_the_state(raw):
    results = play(raw, [0, 0, Status.NO_FACE | Status.REPEATED, Status.UNDECODABLE, 0])
    assert counts(results) == [1, 2, 2, 2, 3]
