# SPDX-License-Identifier: Apache-2.0
"""Regions of JPEGs, compared with DALI's, which a GPU server decodes, and at reduced size with the area filter."""

import cv2
import numpy as np
import pytest
import simplejpeg
from numpy.typing import NDArray

from eulernet_core.jpeg_segments import exif_segment
from eulernet_core.tensors import FACE_SIDE_PX
from eulernet_serving.face_resizing import resize_face
from eulernet_serving.region_decoding import DecodingError, decode_region, upright

Picture = NDArray[np.uint8]
GREY_LEVELS = 1.5  # in the mean, of a reduced region from the area filter's


def noise(height: int, width: int) -> Picture:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def as_jpeg(picture: Picture, orientation: int = 1, quality: int = 90, subsampling: str = "420") -> Picture:
    encoded = simplejpeg.encode_jpeg(picture, quality=quality, colorsubsampling=subsampling)
    if orientation != 1:
        encoded = encoded[:2] + exif_segment(orientation) + encoded[2:]
    return np.frombuffer(encoded, np.uint8)


def box_of(x0: float, y0: float, side: float) -> NDArray[np.float32]:
    return np.array([x0, y0, x0 + side, y0 + side], np.float32)


def by_dali(encoded: Picture, box: NDArray[np.float32]) -> Picture:
    from nvidia.dali import fn, pipeline_def, types

    @pipeline_def(batch_size=1, num_threads=1, device_id=None, prefetch_queue_depth=1)
    def regions():
        picture, corners = (fn.external_source(name=name) for name in ("ENCODED", "BOX"))
        return fn.decoders.image_slice(
            picture, start=corners[0:2], end=corners[2:4], axis_names="WH", output_type=types.RGB, device="cpu"
        )

    pipeline = regions()
    pipeline.build()
    pipeline.feed_input("ENCODED", [encoded])
    pipeline.feed_input("BOX", [box.astype(np.int32)])
    (found,) = pipeline.run()
    return np.asarray(found[0]).copy()


@pytest.mark.parametrize("subsampling", ["444", "420"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pixels_are_dali_s_in_every_orientation(orientation: int, subsampling: str) -> None:
    encoded = as_jpeg(noise(50, 70), orientation, subsampling=subsampling)
    for box in (box_of(0, 0, 50), box_of(7.9, 3.2, 33), box_of(31, 15, 1)):
        np.testing.assert_array_equal(decode_region(encoded, box), by_dali(encoded, box))


@pytest.mark.parametrize("damage", ["flipped bits", "zeros", "cut before the end marker"])
def test_a_damaged_scan_is_decoded_as_dali_decodes_it(damage: str) -> None:
    encoded = as_jpeg(noise(96, 96)).copy()
    middle = len(encoded) // 2
    if damage == "zeros":
        encoded[middle : middle + 40] = 0
    elif damage == "flipped bits":
        encoded[middle : middle + 200 : 20] ^= 0x15
    else:
        encoded = np.concatenate([encoded[:middle], encoded[-2:]])
    box = box_of(0, 0, 96)
    np.testing.assert_array_equal(decode_region(encoded, box), by_dali(encoded, box))


@pytest.mark.parametrize("quality", [75, 95])
def test_grey_and_cmyk_pictures(quality: int) -> None:
    grey = cv2.GaussianBlur(noise(80, 80)[..., 0], (9, 9), 3)
    (_, encoded) = cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, quality])
    region = decode_region(encoded.reshape(-1), box_of(8, 8, 64))
    assert region.shape == (64, 64, 3)
    assert (region[..., 0] == region[..., 2]).all()
    ink = np.full((80, 80, 4), 250, np.uint8)
    ink[..., 0] = 20  # little of the first: these files store inverted values, so this is much cyan, and no red
    whole = np.frombuffer(simplejpeg.encode_jpeg(ink, quality=quality, colorspace="CMYK"), np.uint8)
    colour = decode_region(whole, box_of(8, 8, 64)).mean(axis=(0, 1))
    assert colour.shape == (3,)
    assert colour[0] < colour[2] - 100 or colour[0] > colour[2] + 100
    large = np.frombuffer(simplejpeg.encode_jpeg(np.full((600, 600, 4), 99, np.uint8), colorspace="CMYK"), np.uint8)
    assert decode_region(large, box_of(8, 8, 520)).shape == (260, 260, 3)


@pytest.mark.parametrize(("side", "reduced"), [(511, 511), (512, 256), (1023, 511), (1024, 512), (2050, 512)])
def test_a_region_is_reduced_to_no_less_than_enough(side: int, reduced: int) -> None:
    encoded = as_jpeg(np.full((side + 11, side + 7, 3), 90, np.uint8))
    region = decode_region(encoded, box_of(5, 9, side))
    assert region.shape == (reduced, reduced, 3)
    assert np.abs(region.astype(int) - 90).max() <= 1


@pytest.mark.parametrize("side", [512, 700, 1022, 1024, 1500, 2048])
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_reduced_face_is_that_of_the_area_filter(portrait: Picture, side: int, orientation: int) -> None:
    grown = cv2.resize(portrait[20:220, 120:320], (side, side), interpolation=cv2.INTER_CUBIC)
    sensor = np.random.default_rng(side).normal(0, 4, grown.shape)
    picture = np.clip(cv2.copyMakeBorder(grown + sensor, 16, 32, 8, 24, cv2.BORDER_REFLECT), 0, 255).astype(np.uint8)
    encoded, box = as_jpeg(picture, orientation), box_of(32 if orientation == 6 else 8, 8, side)
    face = np.empty((FACE_SIDE_PX, FACE_SIDE_PX, 3), np.uint8)
    resize_face(decode_region(encoded, box), face)
    whole = upright(simplejpeg.decode_jpeg(encoded), orientation)[8 : 8 + side, int(box[0]) : int(box[2])]
    size = (FACE_SIDE_PX, FACE_SIDE_PX)
    expected = cv2.resize(np.ascontiguousarray(whole), size, interpolation=cv2.INTER_AREA)
    difference = np.abs(face.astype(int) - expected).mean()
    assert difference < GREY_LEVELS
    moved = cv2.resize(np.ascontiguousarray(np.roll(whole, side // 64, axis=1)), size, interpolation=cv2.INTER_AREA)
    assert np.abs(face.astype(int) - moved).mean() > 1.5 * difference, "a shift of 1/64 is seen"


def test_a_turned_picture_with_an_odd_side_is_reduced_without_a_shift(portrait: Picture) -> None:
    side, before = 600, 9
    grown = cv2.resize(portrait[20:220, 120:320], (side, side), interpolation=cv2.INTER_CUBIC)
    picture = cv2.copyMakeBorder(grown, before, 16, before, 16, cv2.BORDER_REFLECT)
    upside_down = as_jpeg(np.ascontiguousarray(picture[::-1, ::-1]), 3)
    region = decode_region(upside_down, box_of(before, before, side))
    expected = cv2.resize(picture[before:-16, before:-16], (side // 2, side // 2), interpolation=cv2.INTER_AREA)
    difference = [
        np.abs(np.roll(region, shift, axis=(0, 1)).astype(int) - expected)[4:-4, 4:-4].mean()
        for shift in ((0, 0), (1, 0), (0, 1), (-1, 0), (0, -1))
    ]
    assert difference[0] == min(difference)


def test_sampling_factors_that_simplejpeg_does_not_know() -> None:
    encoded = as_jpeg(cv2.GaussianBlur(noise(64, 64), (9, 9), 3)).copy()
    at = encoded.tobytes().index(b"\xff\xc0") + 11  # of the first component
    assert encoded[at] == 0x22
    encoded[at] = 0x42
    with pytest.raises(ValueError, match="subsampling"):
        simplejpeg.decode_jpeg(encoded, strict=False)
    assert decode_region(encoded, box_of(8, 8, 40)).shape == (40, 40, 3)


@pytest.mark.parametrize("box", [(-1, 0, 20), (0, -1, 20), (60, 0, 20), (0, 40, 20), (5, 5, 0)])
def test_a_box_outside_the_picture_is_an_error(box: tuple[int, int, int]) -> None:
    encoded = as_jpeg(noise(50, 70))
    with pytest.raises(DecodingError, match="not inside the picture of 70x50 px"):
        decode_region(encoded, box_of(*box))
