# SPDX-License-Identifier: Apache-2.0
"""Structure of JPEGs: size, orientation, limits, end marker, and any bytes at all."""

import io

import numpy as np
import pytest
import simplejpeg
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from eulernet_core.jpeg import Header, encode_jpeg, inspect
from eulernet_core.limits import MAX_PIXELS
from eulernet_core.status import Status


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
    assert header == Header(Status.OK, *size)


def test_end_marker_of_an_embedded_thumbnail_does_not_count():
    whole = with_exif(1, thumbnail_bytes=simplejpeg.encode_jpeg(picture(16, 16)))
    assert inspect(as_array(whole), MAX_PIXELS).status == Status.OK
    assert inspect(as_array(whole[:-100]), MAX_PIXELS).status == Status.UNDECODABLE


def test_bytes_after_the_end_marker_are_allowed():
    assert inspect(as_array(simplejpeg.encode_jpeg(picture(64, 64)) + bytes(50)), MAX_PIXELS).status == Status.OK


def test_limit_on_pixels():
    encoded = as_array(simplejpeg.encode_jpeg(picture(100, 100)))
    assert inspect(encoded, 10_000).status == Status.OK
    assert inspect(encoded, 9_999).status == Status.TOO_LARGE


@given(st.binary(max_size=400), st.sampled_from([b"", b"\xff\xd8\xff", b"\xff\xd8\xff\xe1\x00\x20Exif\x00\x00"]))
def test_any_bytes_get_a_verdict(data, start):
    assert inspect(as_array(start + data), MAX_PIXELS).status in (Status.OK, Status.UNDECODABLE, Status.TOO_LARGE)


def test_encoded_pictures_are_whole():
    encoded = encode_jpeg(picture(48, 64))
    assert inspect(as_array(encoded)) == Header(Status.OK, 64, 48)
    assert np.abs(simplejpeg.decode_jpeg(encoded).astype(int) - picture(48, 64)).mean() < 8
