# SPDX-License-Identifier: Apache-2.0
"""The served resizing compared with the area filter, by which training's crops are resized."""

from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from eulernet.faces.geometry import crop
from eulernet_core.clip_geometry import CLIP_FRAMES, FRAME_INTERVAL
from eulernet_core.tensors import FACE_SIDE_PX, LIVENESS, usable_clips
from eulernet_serving.face_resizing import resize_face
from eulernet_serving.runtime import RuntimeSettings, make_runtime

Picture = NDArray[np.uint8]
ROOT = Path(__file__).parents[2]
SIDES = (100, 256, 257, 300, 320, 321, 384, 486, 512, 513, 600, 640, 641, 700, 900, 960, 1024, 1080, 1900)
GREY_LEVELS = 1.0  # in the mean
GREY_LEVELS_AT_MOST = 30  # where noise and a sharp edge meet


def served(region: Picture) -> Picture:
    face = np.empty((FACE_SIDE_PX, FACE_SIDE_PX, 3), np.uint8)
    resize_face(region, face)
    return face


def trained(region: Picture) -> Picture:
    return crop(region, np.array([0, 0, *region.shape[1::-1]], np.float32), FACE_SIDE_PX)


def at_side(region: Picture, side: int) -> Picture:
    return np.asarray(cv2.resize(region, (side, side), interpolation=cv2.INTER_CUBIC), np.uint8)


@pytest.mark.parametrize("side", SIDES)
def test_a_face_is_resized_as_in_training(portrait: Picture, side: int) -> None:
    noise = np.random.default_rng(side).normal(0, 4, (side, side, 3))
    region = np.clip(at_side(portrait[20:220, 120:320], side) + noise, 0, 255).astype(np.uint8)
    difference = np.abs(served(region).astype(int) - trained(region))
    if side < FACE_SIDE_PX or side in (256, 512, 1024):
        assert difference.max() == 0
    assert difference.mean() < GREY_LEVELS
    assert difference.max() <= GREY_LEVELS_AT_MOST
    assert np.abs(served(region).astype(int) - trained(np.roll(region, 1, axis=1))).mean() > 2 * difference.mean()


@pytest.mark.slow
def test_liveness_does_not_depend_on_the_way_of_resizing(demo_clips: Path) -> None:
    network = make_runtime(ROOT / "model_repository" / "eulernet_clip" / "1" / "model.onnx", RuntimeSettings(threads=1))
    for path in demo_clips.glob("*.mp4"):
        with av.open(str(path)) as video:
            frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
        regions = [frame[: frame.shape[1]] for frame in frames[: CLIP_FRAMES * FRAME_INTERVAL : FRAME_INTERVAL]]
        for side in (257, 320, 321, 384, 486, 511, 600, 640, 720):
            sized = [at_side(region, side) for region in regions]
            both = np.array([[way(region) for region in sized] for way in (served, trained)])
            difference = np.abs(both[0].astype(int) - both[1])
            scores = network(usable_clips(both))[LIVENESS]
            assert difference.mean() < GREY_LEVELS, (path, side)
            assert difference.max() <= GREY_LEVELS_AT_MOST, (path, side)
            assert np.abs(scores[0] - scores[1]).max() < 0.02, (path, side)
