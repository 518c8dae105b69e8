# SPDX-License-Identifier: Apache-2.0
"""The decoder of regions compared with the public interface of DALI, which it does without."""

import subprocess
import sys

import numpy as np
import pytest
import simplejpeg
from numpy.typing import NDArray

from eulernet_serving.region_decoding import RegionDecoder

Picture = NDArray[np.uint8]
BOXES = ([0, 0, 64, 48], [7, 3, 40, 36], [31, 15, 32, 16])
ALONE = """
import sys
{first}
from eulernet_serving.region_decoding import RegionDecoder
decoder = RegionDecoder(1, 1)
print("nvidia.dali.fn" in sys.modules)
from nvidia.dali import fn, pipeline_def
decoder = RegionDecoder(1, 1)
"""


def jpegs(subsampling: str) -> list[Picture]:
    random = np.random.default_rng(0)
    pictures = [random.integers(0, 256, (48, 64, 3), np.uint8) for _ in BOXES]
    encoded = [simplejpeg.encode_jpeg(each, quality=90, colorsubsampling=subsampling) for each in pictures]
    return [np.frombuffer(each, np.uint8) for each in encoded]


def by_the_package(encoded: list[Picture], boxes: list[NDArray[np.int32]]) -> list[Picture]:
    from nvidia.dali import fn, pipeline_def, types

    @pipeline_def(batch_size=len(encoded), num_threads=1, device_id=None, prefetch_queue_depth=1)
    def regions():
        picture, box = (fn.external_source(name=name) for name in ("ENCODED", "BOX"))
        return fn.decoders.image_slice(
            picture, start=box[0:2], end=box[2:4], axis_names="WH", output_type=types.RGB, device="cpu"
        )

    pipeline = regions()
    pipeline.build()
    pipeline.feed_input("ENCODED", encoded)
    pipeline.feed_input("BOX", boxes)
    (found,) = pipeline.run()
    return [np.asarray(found[i]).copy() for i in range(len(encoded))]


@pytest.mark.parametrize("subsampling", ["444", "420"])
@pytest.mark.parametrize("threads", [1, 2])
def test_regions_are_those_of_the_package(subsampling: str, threads: int) -> None:
    encoded, boxes = jpegs(subsampling), [np.array(box, np.int32) for box in BOXES]
    decoder = RegionDecoder(len(encoded), threads)
    for expected, found in zip(by_the_package(encoded, boxes), decoder(encoded, boxes), strict=True):
        np.testing.assert_array_equal(found, expected)
    (again,) = decoder(encoded[1:2], boxes[1:2])  # a smaller batch after it
    assert again.shape == (33, 33, 3)


def test_a_picture_that_can_not_be_decoded_is_an_error() -> None:
    decoder = RegionDecoder(2, 1)
    with pytest.raises(RuntimeError, match="decoders"):
        decoder([np.zeros(100, np.uint8)], [np.array(BOXES[0], np.int32)])


@pytest.mark.parametrize("first", ["", "import nvidia.dali"])
def test_the_package_is_not_imported_but_can_be(first: str) -> None:
    code = [sys.executable, "-c", ALONE.format(first=first)]
    done = subprocess.run(code, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(bool(first))
