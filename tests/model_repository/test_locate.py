"""face_locate's parts without a server: headers of JPEGs, the held box, the square around a face."""

import io

import cv2
import numpy as np
import pytest
import simplejpeg
from hypothesis import given
from hypothesis import strategies as st
from jpeg import (
    NO_FACE,
    OK,
    RELOCATED,
    SEVERAL_FACES,
    TOO_LARGE,
    UNDECODABLE,
    Header,
    decodes,
    inspect,
    thumbnail,
    tiny,
)
from locate import DETECTOR_SIDE_PX, Locator, Lock, Settings, iou, letterbox, square_box, unletterbox
from PIL import Image

MAX_PIXELS = 64_000_000


def as_array(data: bytes):
    return np.frombuffer(data, np.uint8)


def picture(height: int, width: int):
    ramp = np.add.outer(np.arange(height), np.arange(width)) % 256
    return np.repeat(ramp[..., None].astype(np.uint8), 3, axis=2)


def with_exif(orientation: int, height: int = 60, width: int = 100, thumbnail_bytes: bytes = b"") -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    out = io.BytesIO()
    Image.fromarray(picture(height, width)).save(out, "JPEG", exif=exif.tobytes() + thumbnail_bytes)
    return out.getvalue()


@pytest.mark.parametrize(("orientation", "size"), [(1, (100, 60)), (3, (100, 60)), (6, (60, 100)), (8, (60, 100))])
def test_size_is_that_of_the_upright_picture(orientation, size):
    header = inspect(as_array(with_exif(orientation)), MAX_PIXELS)
    assert header == Header(OK, *size)
    small = thumbnail(as_array(with_exif(orientation)), header, 10)
    assert (small.shape[1] > small.shape[0]) == (size[0] > size[1])


def test_end_marker_of_an_embedded_thumbnail_does_not_count():
    whole = with_exif(1, thumbnail_bytes=simplejpeg.encode_jpeg(picture(16, 16)))
    assert inspect(as_array(whole), MAX_PIXELS).status == OK
    assert inspect(as_array(whole[:-100]), MAX_PIXELS).status == UNDECODABLE


def test_bytes_after_the_end_marker_are_allowed():
    assert inspect(as_array(simplejpeg.encode_jpeg(picture(64, 64)) + bytes(50)), MAX_PIXELS).status == OK


def test_limit_on_pixels():
    encoded = as_array(simplejpeg.encode_jpeg(picture(100, 100)))
    assert inspect(encoded, 10_000).status == OK
    assert inspect(encoded, 9_999).status == TOO_LARGE


@given(st.binary(max_size=400), st.sampled_from([b"", b"\xff\xd8\xff", b"\xff\xd8\xff\xe1\x00\x20Exif\x00\x00"]))
def test_any_bytes_get_a_verdict(data, start):
    assert inspect(as_array(start + data), MAX_PIXELS).status in (OK, UNDECODABLE, TOO_LARGE)


def test_tiny_is_a_jpeg():
    assert inspect(tiny(), MAX_PIXELS) == Header(OK, 16, 16)
    assert decodes(tiny())


@pytest.mark.parametrize(("size", "least"), [((480, 640), 128), ((1080, 1920), 128), ((100, 130), 128), ((64, 64), 64)])
def test_thumbnail_is_as_small_as_it_may_be(size, least):
    encoded = as_array(simplejpeg.encode_jpeg(picture(*size)))
    small = thumbnail(encoded, inspect(encoded, MAX_PIXELS), 128)
    assert least <= max(small.shape) < max(2 * 128 + 2, max(size) // 8 + 2)


@given(st.integers(8, 400), st.integers(8, 400), st.lists(st.floats(0.1, 0.9), min_size=4, max_size=4))
def test_letterbox_and_back(width, height, corners):
    """A box drawn in the picture, seen by the detector in its square, comes back to where it was."""
    x0, x1, y0, y1 = *sorted(corners[:2]), *sorted(corners[2:])
    image, square = letterbox(np.zeros((height, width, 3), np.uint8))
    assert image.shape == (DETECTOR_SIDE_PX, DETECTOR_SIDE_PX, 3)
    scale = DETECTOR_SIDE_PX / max(width, height)
    w, h = max(1, round(width * scale)), max(1, round(height * scale))
    left, top = (DETECTOR_SIDE_PX - w) // 2, (DETECTOR_SIDE_PX - h) // 2
    seen = np.array([left + x0 * w, top + y0 * h, left + x1 * w, top + y1 * h], np.float32) / DETECTOR_SIDE_PX
    np.testing.assert_allclose(unletterbox(seen, square), [x0, y0, x1, y1], atol=1e-4)


@given(
    st.lists(st.floats(-0.5, 1.5), min_size=4, max_size=4),
    st.integers(2, 5000),
    st.integers(2, 5000),
    st.floats(0.5, 4),
)
def test_square_lies_inside_the_picture(corners, width, height, scale):
    x0, x1, y0, y1 = *sorted(corners[:2]), *sorted(corners[2:])
    box = square_box(np.array([x0, y0, x1, y1], np.float32), Header(OK, width, height), scale)
    assert (box == np.round(box)).all()
    assert 0 <= box[0] < box[2] <= width
    assert 0 <= box[1] < box[3] <= height
    assert box[2] - box[0] == box[3] - box[1]


def test_square_is_centred_on_the_face():
    box = square_box(np.array([0.4, 0.3, 0.6, 0.5], np.float32), Header(OK, 1000, 1000), 1.5)
    np.testing.assert_array_equal(box, [350, 250, 650, 550])


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


HERE, NEAR, FAR = (0.3, 0.3, 0.5, 0.5), (0.32, 0.3, 0.52, 0.5), (0.7, 0.7, 0.9, 0.9)
FRAME = as_array(simplejpeg.encode_jpeg(picture(200, 200)))


def statuses(locator, frames, lock):
    return [locator([frame], [lock])[0].status for frame in frames]


def test_detector_runs_once_and_then_as_often_as_set():
    detector = ScriptedDetector((HERE, 0), (NEAR, 0), (NEAR, 0))
    locator = Locator(Settings(redetect_frames=5), detector)
    lock = Lock()
    first = locator([FRAME], [lock])[0].box.copy()
    assert statuses(locator, [FRAME] * 11, lock) == [OK] * 11
    assert detector.batches == [1, 1, 1]
    np.testing.assert_array_equal(lock.box, first)  # near enough: the box stays where it is


def test_face_that_has_moved_away_starts_over():
    locator = Locator(Settings(redetect_frames=2), ScriptedDetector((HERE, 0), (FAR, 0)))
    assert statuses(locator, [FRAME] * 4, Lock()) == [OK, OK, RELOCATED, OK]


def test_face_that_is_lost_is_looked_for_in_every_frame():
    detector = ScriptedDetector((HERE, 0), (None, 0), (None, 0), (HERE, 0))
    locator = Locator(Settings(redetect_frames=1), detector)
    assert statuses(locator, [FRAME] * 4, Lock()) == [OK, NO_FACE, NO_FACE, RELOCATED]


def test_unscored_frames_hand_on_a_small_valid_jpeg():
    locator = Locator(Settings(), ScriptedDetector((None, 0)))
    for frame in (as_array(b"text"), FRAME):
        assert np.array_equal(locator([frame], [Lock()])[0].checked, locator.placeholder)


def test_several_faces_are_flagged_while_the_box_is_held():
    locator = Locator(Settings(), ScriptedDetector((HERE, 0.8)))
    assert statuses(locator, [FRAME] * 3, Lock()) == [SEVERAL_FACES] * 3


def test_full_check_finds_what_the_header_hides():
    broken = simplejpeg.encode_jpeg(picture(200, 200))
    at = broken.index(b"\xff\xda") + 14
    broken = as_array(broken[:at] + b"\xff\xd9")
    lock = Lock()
    locator = Locator(Settings(full_check=True), ScriptedDetector((HERE, 0)))
    assert statuses(locator, [FRAME], lock) == [OK]
    tables = FRAME.copy()
    at = FRAME.tobytes().index(b"\xff\xda") + 5
    tables[at + 1 : at + 2 * tables[at - 1] : 2] = 0x33  # the scan names Huffman tables that are not there
    assert inspect(tables, MAX_PIXELS).status == OK
    assert statuses(locator, [tables], lock) == [UNDECODABLE]
    assert cv2.imdecode(tables, cv2.IMREAD_COLOR) is None


def test_one_detector_call_for_all_that_need_it():
    detector = ScriptedDetector((HERE, 0), (FAR, 0), (None, 0))
    located = Locator(Settings(), detector)([FRAME, as_array(b"x"), FRAME, FRAME], [Lock() for _ in range(4)])
    assert detector.batches == [3]
    assert [each.status for each in located] == [OK, UNDECODABLE, OK, NO_FACE]
    assert located[0].box[0] < located[2].box[0]
