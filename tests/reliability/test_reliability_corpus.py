# SPDX-License-Identifier: Apache-2.0
"""Pictures that once misbehaved, or stand at the edge: read the same way twice, and answered with a STATUS."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.reliability.attempts import attempt
from benchmarks.reliability.guided_target import check_one
from benchmarks.reliability.jpeg_mutations import base_pictures
from benchmarks.reliability.wire import (
    Endpoints,
    Wire,
    clip_request,
    frame_request,
    judge_frames,
    judged,
    tensors,
)
from eulernet_core.jpeg import inspect
from eulernet_core.jpeg_segments import walk
from eulernet_core.limits import MAX_SCANS
from eulernet_core.status import Status
from eulernet_core.tensors import FRAME_COUNT, LIVENESS, STATUS
from eulernet_serving.embedded_server import EmbeddedServer

CORPUS = sorted(Path(__file__).with_name("corpus").glob("*.jpg"))
MOST_BYTES = 20_000


@pytest.fixture(scope="module")
def wire(server: EmbeddedServer):
    with Wire(Endpoints(server.url, server.ports.metrics)) as opened:
        yield opened


def test_the_corpus_is_small():
    assert len(CORPUS) >= 10
    assert max(path.stat().st_size for path in CORPUS) <= MOST_BYTES


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_what_decoders_get_is_read_as_the_picture_was(path):
    check_one(path.read_bytes())


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_decoders_get_no_more_scans_than_allowed(path):
    header, plain = inspect(np.frombuffer(path.read_bytes(), np.uint8))
    if header.status is Status.OK:
        assert walk(plain).scans <= MAX_SCANS


@pytest.mark.triton
@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_the_server_answers_and_its_filter_goes_on(wire, path):
    good, bad = base_pictures()["baseline"], path.read_bytes()
    outcome = judged(lambda: wire.infer(clip_request([good, bad, good, bad])), may_fail=False, check=judge_frames)
    assert outcome.fault is None
    expected = tensors(wire.infer(clip_request([good] * 4)))[LIVENESS][0]
    found = [
        tensors(wire.infer(frame_request(frame, 1 << 45, start=t == 0, end=t == 2)))
        for t, frame in enumerate((good, bad, good))
    ]
    status = [Status(int(each[STATUS].item())) for each in found]
    assert status[0].usable
    if not status[1].usable:
        assert [int(each[FRAME_COUNT].item()) for each in found] == [1, 1, 2]
        assert found[2][LIVENESS].item() == pytest.approx(expected[1], abs=1e-5)


@pytest.mark.slow
@pytest.mark.triton
def test_a_few_inputs_of_each_family(wire):
    """Those that once found a defect of the fuzz run itself are among them."""
    made = [attempt(1, number) for number in range(40)]
    assert {each.family for each in made} == {"jpeg", "protocol", "sequence", "connection"}
    assert [(each.kind, fault) for each in made if (fault := each.send(wire).fault) is not None] == []
