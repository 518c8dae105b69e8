# SPDX-License-Identifier: Apache-2.0
"""The inputs of the fuzz run: reproducible, bounded, and made of real JPEGs."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from benchmarks.reliability.attempts import attempt
from benchmarks.reliability.costly_pictures import with_empty_refinements
from benchmarks.reliability.jpeg_mutations import BLIND, STRUCTURED, base_pictures, structured
from benchmarks.reliability.jpeg_parts import join, split
from benchmarks.reliability.request_mutations import FIELDS, mutated_request
from benchmarks.reliability.wire import clip_request
from eulernet_core.jpeg import inspect
from eulernet_core.jpeg_segments import walk
from eulernet_core.limits import MAX_SCANS
from eulernet_core.status import Status

MOST_BYTES = 8 << 20


def as_array(jpeg: bytes) -> np.ndarray:
    return np.frombuffer(jpeg, np.uint8)


def test_an_input_is_the_same_in_each_run():
    for number in range(60):
        one, other = attempt(3, number), attempt(3, number)
        assert (one.family, one.kind, one.payload) == (other.family, other.kind, other.payload)
    kinds = {attempt(3, number).kind for number in range(60)}
    assert len(kinds) > 40
    assert {attempt(4, number).payload for number in range(20)}.isdisjoint(
        {each.payload for each in (attempt(3, number) for number in range(20)) if len(each.payload) > 100}
    )


def test_every_family_comes():
    families = [attempt(1, number).family for number in range(200)]
    assert set(families) == {"jpeg", "protocol", "sequence", "connection"}
    assert families.count("jpeg") > 100


@pytest.mark.parametrize("name", base_pictures())
def test_a_base_picture_survives_taking_apart(name):
    jpeg = base_pictures()[name]
    assert join(split(jpeg)) == jpeg
    assert inspect(as_array(jpeg))[0].status is Status.OK
    assert cv2.imdecode(as_array(jpeg), cv2.IMREAD_COLOR) is not None


@pytest.mark.parametrize("kind", STRUCTURED)
def test_a_structured_mutation(kind):
    parts = split(base_pictures()["progressive"])
    made = {join(STRUCTURED[kind](parts, np.random.default_rng(seed))) for seed in range(20)}
    assert made != {join(parts)}
    assert max(map(len, made)) < MOST_BYTES
    assert join(STRUCTURED[kind]([], np.random.default_rng(0)))


@pytest.mark.parametrize("kind", BLIND)
def test_a_blind_mutation(kind):
    jpeg = base_pictures()["baseline"]
    made = {BLIND[kind](jpeg, np.random.default_rng(seed)) for seed in range(20)}
    assert made != {jpeg}


def test_some_mutations_pass_the_walk_and_some_do_not():
    made = [structured(np.random.default_rng([5, number])).jpeg for number in range(80)]
    statuses = [inspect(as_array(jpeg))[0].status for jpeg in made]
    assert min(statuses.count(Status.OK), statuses.count(Status.UNDECODABLE)) > 10
    assert statuses.count(Status.TOO_LARGE) > 0


@pytest.mark.parametrize("kind", FIELDS)
def test_a_request_mutation(kind):
    frame = base_pictures()["grey"]
    good = clip_request([frame] * 4).SerializeToString()
    made = set()
    for seed in range(10):
        request = clip_request([frame] * 4)
        FIELDS[kind](request, np.random.default_rng(seed))
        made.add(request.SerializeToString())
    assert made != {good}


def test_requests_of_every_way_come():
    kinds = {mutated_request(np.random.default_rng(seed)).kind.split()[0].rstrip(":") for seed in range(150)}
    assert kinds >= {"request", "inner", "outputs", "deadline", "cancelled", "bidirectional", "closed", "interface"}


def test_empty_refinements_reach_the_limit_and_change_no_pixel():
    stored = base_pictures()["grey"]
    grey = cv2.imdecode(as_array(stored), cv2.IMREAD_GRAYSCALE)[:64, :64]
    progressive = bytes(
        cv2.imencode(
            ".jpg",
            np.repeat(grey[..., None], 3, 2),
            [cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111],
        )[1]
    )
    made = with_empty_refinements(progressive, 64)
    assert walk(as_array(made)).scans == MAX_SCANS
    before, after = (cv2.imdecode(as_array(each), cv2.IMREAD_COLOR) for each in (progressive, made))
    np.testing.assert_array_equal(after, before)
