# SPDX-License-Identifier: Apache-2.0
"""face_locate's parts without a server: headers of JPEGs, the held box, the square around a face."""

import io
from dataclasses import replace

import cv2
import numpy as np
import pytest
import simplejpeg
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from eulernet_core.face_box import DETECTOR_SIDE_PX, iou, unletterbox_box
from eulernet_core.jpeg import Header, inspect
from eulernet_core.status import Status
from eulernet_serving import face_locating
from eulernet_serving.face_locating import LocateSettings, Locator, Lock, letterbox
from eulernet_serving.jpeg_decoding import decodes, thumbnail, tiny_jpeg


def as_array(data: bytes):
    return np.frombuffer(data, np.uint8)


def picture(height: int, width: int):
    ramp = np.add.outer(np.arange(height), np.arange(width)) % 256
    return np.repeat(ramp[..., None].astype(np.uint8), 3, axis=2)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_thumbnail_is_upright(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    out = io.BytesIO()
    Image.fromarray(picture(60, 100)).save(out, "JPEG", exif=exif)
    header, plain = inspect(as_array(out.getvalue()))
    small = thumbnail(plain, header, 10)
    assert (small.shape[1] > small.shape[0]) == (header.width > header.height) == (orientation in (1, 3))


def test_tiny_is_a_jpeg():
    assert inspect(tiny_jpeg())[0] == Header(Status.OK, 16, 16)
    assert decodes(tiny_jpeg())


@pytest.mark.parametrize(("size", "least"), [((480, 640), 128), ((1080, 1920), 128), ((100, 130), 128), ((64, 64), 64)])
def test_thumbnail_is_as_small_as_it_may_be(size, least):
    encoded = as_array(simplejpeg.encode_jpeg(picture(*size)))
    small = thumbnail(encoded, inspect(encoded)[0], 128)
    assert least <= max(small.shape) < max(2 * 128 + 2, max(size) // 8 + 2)


@given(st.integers(8, 400), st.integers(8, 400), st.lists(st.floats(0.1, 0.9), min_size=4, max_size=4))
def test_letterbox_and_back(width, height, corners):
    """A box mapped into the detector's square and back is unchanged."""
    x0, x1, y0, y1 = *sorted(corners[:2]), *sorted(corners[2:])
    image, square = letterbox(np.zeros((height, width, 3), np.uint8))
    assert image.shape == (DETECTOR_SIDE_PX, DETECTOR_SIDE_PX, 3)
    scale = DETECTOR_SIDE_PX / max(width, height)
    w, h = max(1, round(width * scale)), max(1, round(height * scale))
    left, top = (DETECTOR_SIDE_PX - w) // 2, (DETECTOR_SIDE_PX - h) // 2
    seen = np.array([left + x0 * w, top + y0 * h, left + x1 * w, top + y1 * h], np.float32) / DETECTOR_SIDE_PX
    np.testing.assert_allclose(unletterbox_box(seen, square), [x0, y0, x1, y1], atol=1e-4)


def test_iou():
    a = np.array([0, 0, 2, 2], np.float32)
    assert iou(a, a) == 1
    assert iou(a, np.array([1, 0, 3, 2], np.float32)) == pytest.approx(1 / 3)
    assert iou(a, np.array([2, 2, 3, 3], np.float32)) == 0


class ScriptedDetector:
    """Stands in for BlazeFace, whose answers can't be chosen: gives the boxes that a test asks for."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.batches = []

    def __call__(self, images):
        self.batches.append(len(images))
        rows = [self.answers.pop(0) for _ in images]
        columns = zip(*[(box or (0, 0, 0, 0), [0.9 if box else 0.1], [second]) for box, second in rows], strict=True)
        return tuple(np.array(column, np.float32) for column in columns)


SETTINGS = LocateSettings(min_face_px=0)  # the pictures here are small
HERE, NEAR, FAR = (0.3, 0.3, 0.5, 0.5), (0.32, 0.3, 0.52, 0.5), (0.7, 0.7, 0.9, 0.9)
FRAME = as_array(simplejpeg.encode_jpeg(picture(200, 200)))


def statuses(locator, frames, lock):
    """Without the flag that a repeated picture gets."""
    return [locator([frame], [lock])[0].status & ~Status.REPEATED for frame in frames]


def test_detector_runs_once_and_then_as_often_as_set():
    detector = ScriptedDetector((HERE, 0), (NEAR, 0), (NEAR, 0))
    locator = Locator(replace(SETTINGS, redetect_frames=5), detector)
    lock = Lock()
    first = locator([FRAME], [lock])[0].box.copy()
    assert statuses(locator, [FRAME] * 11, lock) == [Status.OK] * 11
    assert detector.batches == [1, 1, 1]
    np.testing.assert_array_equal(lock.box, first)  # near enough: the box stays


def test_face_that_has_moved_away_starts_over():
    locator = Locator(replace(SETTINGS, redetect_frames=2), ScriptedDetector((HERE, 0), (FAR, 0)))
    assert statuses(locator, [FRAME] * 4, Lock()) == [Status.OK, Status.OK, Status.RELOCATED, Status.OK]


def test_face_that_is_lost_is_looked_for_in_every_frame():
    detector = ScriptedDetector((HERE, 0), (None, 0), (None, 0), (HERE, 0))
    locator = Locator(replace(SETTINGS, redetect_frames=1), detector)
    assert statuses(locator, [FRAME] * 4, Lock()) == [Status.OK, Status.NO_FACE, Status.NO_FACE, Status.RELOCATED]


def test_unscored_frames_hand_on_a_small_valid_jpeg():
    locator = Locator(SETTINGS, ScriptedDetector((None, 0)))
    for frame in (as_array(b"text"), FRAME):
        assert np.array_equal(locator([frame], [Lock()])[0].checked, locator.placeholder)


def test_several_faces_are_flagged_while_the_box_is_held():
    locator = Locator(SETTINGS, ScriptedDetector((HERE, 0.8)))
    assert statuses(locator, [FRAME] * 3, Lock()) == [Status.SEVERAL_FACES] * 3


def test_full_check_finds_what_the_header_hides():
    broken = simplejpeg.encode_jpeg(picture(200, 200))
    at = broken.index(b"\xff\xda") + 14
    broken = as_array(broken[:at] + b"\xff\xd9")
    lock = Lock()
    locator = Locator(replace(SETTINGS, full_check=True), ScriptedDetector((HERE, 0)))
    assert statuses(locator, [FRAME], lock) == [Status.OK]
    tables = FRAME.copy()
    at = FRAME.tobytes().index(b"\xff\xda") + 5
    tables[at + 1 : at + 2 * tables[at - 1] : 2] = 0x33  # the scan names Huffman tables that are not there
    assert inspect(tables)[0].status == Status.OK
    assert statuses(locator, [tables], lock) == [Status.UNDECODABLE]
    assert cv2.imdecode(tables, cv2.IMREAD_COLOR) is None


def test_one_detector_call_for_all_that_need_it():
    detector = ScriptedDetector((HERE, 0), (FAR, 0), (None, 0))
    located = Locator(SETTINGS, detector)([FRAME, as_array(b"x"), FRAME, FRAME], [Lock() for _ in range(4)])
    assert detector.batches == [3]
    assert [each.status for each in located] == [Status.OK, Status.UNDECODABLE, Status.OK, Status.NO_FACE]
    assert located[0].box[0] < located[2].box[0]


def test_a_repeated_picture_is_flagged():
    other = as_array(simplejpeg.encode_jpeg(picture(200, 200) // 2))
    locator, lock = Locator(SETTINGS, ScriptedDetector((HERE, 0))), Lock()
    flags = [locator([frame], [lock])[0].status for frame in (FRAME, FRAME, other, FRAME, as_array(b"x"), FRAME)]
    again = Status.REPEATED
    assert flags == [Status.OK, again, Status.OK, Status.OK, Status.UNDECODABLE, again]


def test_a_small_face_is_flagged_and_scored():
    for side, expected in ((96, Status.OK), (97, Status.SMALL_FACE)):
        locator = Locator(LocateSettings(min_face_px=side), ScriptedDetector((HERE, 0)))
        (located,) = locator([FRAME], [Lock()])
        assert (located.status, located.box[2] - located.box[0]) == (expected, 96)
        assert np.array_equal(located.checked, FRAME)


@pytest.mark.parametrize("stage", ["inspect", "decodes", "thumbnail"])
def test_any_exception_about_a_frame_stays_with_the_frame(stage, monkeypatch):
    """No known picture makes these raise any more; one that does must not harm the frames beside it."""
    real, odd = getattr(face_locating, stage), as_array(simplejpeg.encode_jpeg(picture(120, 80)))

    def fails(encoded, *arguments):
        if np.array_equal(encoded, odd):
            raise OverflowError("made up")
        return real(encoded, *arguments)

    monkeypatch.setattr(face_locating, stage, fails)
    detector = ScriptedDetector((HERE, 0), (FAR, 0))
    located = Locator(replace(SETTINGS, full_check=True), detector)([FRAME, odd, FRAME], [Lock() for _ in range(3)])
    assert [each.status for each in located] == [Status.OK, Status.UNDECODABLE, Status.OK]
    assert located[2].box[0] > located[0].box[0]
