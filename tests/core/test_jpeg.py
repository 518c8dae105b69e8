# SPDX-License-Identifier: Apache-2.0
"""Structure of JPEGs: size, orientation, limits, end marker, and any bytes at all."""

import io
import time

import cv2
import numpy as np
import pytest
import simplejpeg
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from eulernet_core.jpeg import Header, JpegLimits, cheap_to_decode, encode_jpeg, inspect
from eulernet_core.jpeg_segments import ORIENTATIONS, SIDEWAYS
from eulernet_core.status import Status
from tests.crafted_jpegs import SAME, TOO_LARGE, TURNED, UNDECODABLE, behind_start, empty_scans, exif, short, variants


def as_array(data: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(data, np.uint8)


def picture(height: int, width: int) -> NDArray[np.uint8]:
    ramp = np.add.outer(np.arange(height), np.arange(width)) % 256
    return np.repeat(ramp[..., None].astype(np.uint8), 3, axis=2)


PLAIN = simplejpeg.encode_jpeg(picture(60, 100))
VARIANTS = variants(PLAIN)


@pytest.mark.parametrize("name", VARIANTS)
def test_crafted_pictures_get_their_answer_in_bounded_time(name: str) -> None:
    data, right = VARIANTS[name]
    begun_s = time.process_time()
    header, plain = inspect(as_array(data))
    assert time.process_time() - begun_s < 0.5
    expected = {
        SAME: Header(Status.OK, 100, 60),
        TURNED: Header(Status.OK, 60, 100, 6),
        UNDECODABLE: Header(Status.UNDECODABLE),
        TOO_LARGE: Header(Status.TOO_LARGE),
    }
    assert header == expected[right]
    if right == SAME:
        assert cv2.imdecode(plain, cv2.IMREAD_COLOR).tolist() == decode(PLAIN).tolist()
    elif right == TURNED:
        turned = cv2.rotate(decode(PLAIN), cv2.ROTATE_90_CLOCKWISE)
        assert cv2.imdecode(plain, cv2.IMREAD_COLOR).tolist() == turned.tolist()
    else:
        assert not len(plain)


def decode(jpeg: bytes) -> NDArray[np.uint8]:
    return np.asarray(cv2.imdecode(as_array(jpeg), cv2.IMREAD_COLOR), np.uint8)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_every_orientation_is_read_as_pillow_and_opencv_read_it(orientation: int) -> None:
    made = Image.Exif()
    made[0x0112] = orientation
    out = io.BytesIO()
    Image.fromarray(picture(60, 100)).save(out, "JPEG", exif=made)
    header, plain = inspect(as_array(out.getvalue()))
    size = (60, 100) if orientation in SIDEWAYS else (100, 60)
    assert header == Header(Status.OK, *size, orientation)
    assert decode(plain.tobytes()).tolist() == decode(out.getvalue()).tolist()


def test_a_plain_picture_is_not_copied() -> None:
    encoded = as_array(encode_jpeg(picture(48, 64)))
    header, plain = inspect(encoded)
    assert header == Header(Status.OK, 64, 48)
    assert np.shares_memory(plain, encoded)
    assert len(plain) == len(encoded)


def test_metadata_is_left_out() -> None:
    data = behind_start(PLAIN, exif(short(1)), b"\xff\xfe\0\x06abcd", b"\xff\xe2\0\x06ICC_")
    _, plain = inspect(as_array(data))
    assert plain.tobytes() == PLAIN


def test_limits() -> None:
    encoded = as_array(simplejpeg.encode_jpeg(picture(100, 100)))
    out = io.BytesIO()
    Image.fromarray(picture(100, 100)).save(out, "JPEG", progressive=True)
    progressive = as_array(out.getvalue())
    for data, limits, fits in (
        (encoded, JpegLimits(max_pixels=10_000), True),
        (encoded, JpegLimits(max_pixels=9_999), False),
        (encoded, JpegLimits(max_encoded_bytes=len(encoded)), True),
        (encoded, JpegLimits(max_encoded_bytes=len(encoded) - 1), False),
        (encoded, JpegLimits(max_progressive_pixels=1), True),
        (progressive, JpegLimits(max_progressive_pixels=10_000), True),
        (progressive, JpegLimits(max_progressive_pixels=9_999), False),
        (progressive, JpegLimits(max_scans=10), True),
        (progressive, JpegLimits(max_scans=9), False),
    ):
        assert (inspect(data, limits)[0].status == Status.OK) == fits
        assert inspect(data, limits)[0].status in (Status.OK, Status.TOO_LARGE)
        if limits.max_encoded_bytes > len(data):
            assert cheap_to_decode(data, limits) == fits


@pytest.mark.parametrize("data", [b"", b"\xff", b"\xff\xd8\xff", PLAIN[:30], empty_scans(7900, 1)])
def test_a_later_stage_refuses_what_is_not_cheap(data: bytes) -> None:
    assert not cheap_to_decode(as_array(data), JpegLimits())


@given(st.binary(max_size=400), st.sampled_from([b"", b"\xff\xd8\xff", b"\xff\xd8\xff\xe1\x00\x20Exif\x00\x00"]))
def test_any_bytes_get_a_verdict(data: bytes, start: bytes) -> None:
    header, _ = inspect(as_array(start + data))
    assert header.status in (Status.OK, Status.UNDECODABLE, Status.TOO_LARGE)
    cheap_to_decode(as_array(start + data), JpegLimits())


@given(st.integers(2, len(PLAIN) - 1), st.binary(min_size=1, max_size=6))
def test_any_damage_gets_a_verdict(at: int, bytes_: bytes) -> None:
    header, plain = inspect(as_array(PLAIN[:at] + bytes_ + PLAIN[at + len(bytes_) :]))
    assert header.status in (Status.OK, Status.UNDECODABLE, Status.TOO_LARGE)
    if header.status == Status.OK:
        cv2.imdecode(plain, cv2.IMREAD_REDUCED_COLOR_8)


def test_encoded_pictures_are_whole() -> None:
    encoded = encode_jpeg(picture(48, 64))
    assert np.abs(simplejpeg.decode_jpeg(encoded).astype(int) - picture(48, 64)).mean() < 8
