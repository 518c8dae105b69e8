# SPDX-License-Identifier: Apache-2.0
"""Crops into device memory in this process, DALI's CPU operators in place of nvJPEG."""

import threading
from collections.abc import Callable

import numpy as np
import pytest
import torch

from eulernet_core.status import Status
from eulernet_serving.face_cropping import Cropper, CropSettings
from eulernet_serving.gpu_pip import device_cropping
from eulernet_serving.gpu_pip.device_cropping import CAUTIOUS_S, DeviceCropper
from tests.model_repository.test_bad_input import with_missing_tables

SETTINGS = CropSettings(threads=1, max_frames=8)
BOX = np.array([130, 40, 370, 280], np.float32)
WAIT_S = 60.0


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def crop(clock: Clock) -> DeviceCropper:
    return DeviceCropper(SETTINGS, torch.device("cpu"), clock)


@pytest.fixture(scope="module")
def jpegs(moving_faces: Callable[[int, int], list[bytes]]) -> list[np.ndarray]:
    return [np.frombuffer(each, np.uint8) for each in moving_faces(12, 3)]


def rebuilt(crop: DeviceCropper) -> None:
    assert crop._building is not None
    crop._building.join(WAIT_S)
    assert crop._pipeline is not None


def test_crops_are_those_of_the_cpu(crop: DeviceCropper, jpegs: list[np.ndarray]) -> None:
    assert crop.way.startswith("crop by DALI")
    status = np.array([0, int(Status.SMALL_FACE), int(Status.NO_FACE), 0], np.int32)
    other = status.copy()
    faces = crop(jpegs[:4], [BOX] * 4, status).numpy()
    wanted = Cropper(SETTINGS)(jpegs[:4], [BOX] * 4, other)
    np.testing.assert_array_equal(status, other)
    assert not faces[2].any()
    difference = np.abs(faces.astype(int) - wanted.astype(int))
    assert difference.max() <= 8
    assert difference.mean() < 0.5


def test_more_frames_than_a_batch_of_dali(crop: DeviceCropper, jpegs: list[np.ndarray]) -> None:
    together = crop(jpegs, [BOX] * 12, np.zeros(12, np.int32)).clone()
    for i, jpeg in enumerate(jpegs):
        np.testing.assert_array_equal(together[i : i + 1], crop([jpeg], [BOX], np.zeros(1, np.int32)))


def test_a_frame_that_breaks_the_batch_harms_no_other(
    crop: DeviceCropper, clock: Clock, jpegs: list[np.ndarray]
) -> None:
    """The header is sound, so that only the decoder finds the fault."""
    broken = np.frombuffer(with_missing_tables(jpegs[1].tobytes()), np.uint8)
    status = np.array([0, int(Status.RELOCATED), 0], np.int32)
    faces = crop([jpegs[0], broken, jpegs[2]], [BOX] * 3, status)
    assert status.tolist() == [0, Status.RELOCATED | Status.UNDECODABLE, 0]
    wanted = Cropper(SETTINGS)([jpegs[0], jpegs[2]], [BOX] * 2, np.zeros(2, np.int32))
    np.testing.assert_array_equal(faces[[0, 2]], wanted)
    rebuilt(crop)
    again = crop([jpegs[0]], [BOX], np.zeros(1, np.int32))
    assert np.abs(again.numpy().astype(int) - wanted[:1]).mean() < 0.5


def test_after_a_failure_broken_frames_enter_no_batch(
    crop: DeviceCropper, clock: Clock, jpegs: list[np.ndarray]
) -> None:
    broken = np.frombuffer(with_missing_tables(jpegs[1].tobytes()), np.uint8)

    def send() -> None:
        status = np.zeros(2, np.int32)
        crop([jpegs[0], broken], [BOX] * 2, status)
        assert status.tolist() == [0, Status.UNDECODABLE]

    send()
    rebuilt(crop)
    kept = crop._pipeline
    clock.now_s += CAUTIOUS_S - 1
    send()
    assert crop._pipeline is kept
    clock.now_s += 2
    send()
    assert crop._pipeline is not kept
    rebuilt(crop)


def test_while_the_pipeline_is_built_again_frames_are_cropped(
    crop: DeviceCropper, jpegs: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    build = crop._build

    def slow() -> object:
        assert go_on.wait(WAIT_S)
        return build()

    monkeypatch.setattr(crop, "_build", slow)
    crop._rebuild()
    status = np.zeros(1, np.int32)
    assert crop([jpegs[0]], [BOX], status).any()
    assert status.tolist() == [0]
    go_on.set()
    rebuilt(crop)


@pytest.mark.parametrize("box", [[0, 0, np.nan, 10], [-1, 0, 5, 5], [10, 10, 10, 20], [0, 0, 1e9, 5]])
def test_a_wrong_box_is_an_undecodable_frame(crop: DeviceCropper, jpegs: list[np.ndarray], box: list[float]) -> None:
    kept, status = crop._pipeline, np.zeros(2, np.int32)
    crop(jpegs[:2], [BOX, np.array(box, np.float32)], status)
    assert status.tolist() == [0, Status.UNDECODABLE]
    assert crop._pipeline is kept


def test_without_the_devices_decoder_the_cpu_crops(monkeypatch: pytest.MonkeyPatch, jpegs: list[np.ndarray]) -> None:
    monkeypatch.setattr(device_cropping, "faces", lambda **options: 1 / 0)
    crop = DeviceCropper(SETTINGS, torch.device("cpu"))
    assert crop.way.startswith("crop on the CPU")
    assert "ZeroDivisionError" in crop.way
    status = np.zeros(1, np.int32)
    np.testing.assert_array_equal(
        crop([jpegs[0]], [BOX], status), Cropper(SETTINGS)([jpegs[0]], [BOX], np.zeros(1, np.int32))
    )


def test_a_decoder_that_differs_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_cropping, "MEAN_GREY_LEVELS", 1e-9)
    crop = DeviceCropper(SETTINGS, torch.device("cpu"))
    assert crop.way.startswith("crop on the CPU")
    assert "differs" in crop.way
