# SPDX-License-Identifier: Apache-2.0
"""What the network does with single pixels, outside of its graph: the stem's input, and DEGRADED.

OpenVINO moves a picture of three channels through memory once for each operator; OpenCV and NumPy take a quarter of
that time. The numbers are those of `eulernet.network` and `eulernet_core.face_detail`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from eulernet_core.face_detail import COARSE, LEAST_STRUCTURE, MIN_DETAIL
from eulernet_core.status import NOT_SCORED, Status
from eulernet_core.tensors import FACE, FACE_SIDE_PX, STATUS, STATUS_OUT
from eulernet_serving.core_shares import OPENCV_THREADS
from eulernet_serving.prepared_graph import GREEN, STEM_CHANNELS, PixelPart

_RESTART, _UNUSABLE = int(Status.RELOCATED), int(NOT_SCORED)
_UNMARKED = _UNUSABLE | int(Status.DEGRADED)

Plane = NDArray[np.uint8]  # (FACE_SIDE_PX, FACE_SIDE_PX)
Rows = Mapping[str, NDArray[Any]]  # tensors of one row, with a first dimension of 1


class StemInput:
    """Makes the stem's input of one row at a time, for one thread. All its memory is its own and used again.

    Attributes:
        value: float32 (1, T, FACE_SIDE_PX, FACE_SIDE_PX, STEM_CHANNELS), of the latest row.
    """

    def __init__(self, part: PixelPart) -> None:
        cv2.setNumThreads(OPENCV_THREADS)
        self._part = part
        self._centre = np.float32(part.centre)
        side = (FACE_SIDE_PX, FACE_SIDE_PX)
        self.value = np.zeros((1, part.frames, *side, STEM_CHANNELS), np.float32)
        self._four = np.zeros((*side, STEM_CHANNELS), np.uint8)
        self._planes = [np.zeros(side, np.uint8) for _ in range(3)]
        self._before = np.zeros(side, np.uint8)
        self._change = np.zeros(side, np.float32)
        self._detail = DetailMeter()

    def fill(self, inputs: Rows, outputs: Rows) -> None:
        """Sets `value`, and of the outputs STATUS_OUT and the state that is the frame before.

        A frame without a score leaves the state as it is. What the stem sees of it has no meaning.
        """
        part = self._part
        faces = inputs[FACE].reshape(part.frames, FACE_SIDE_PX, FACE_SIDE_PX, 3)
        statuses = inputs[STATUS].reshape(-1).tolist()
        marked = outputs[STATUS_OUT].reshape(-1)
        marked[:] = statuses
        if part.previous:
            self._before[:] = inputs[part.previous][0, 0]
        count = int(inputs[part.count].item()) if part.count else 0
        for t, status in enumerate(statuses):
            usable = not status & _UNUSABLE
            if status & _RESTART or (usable and 0 < part.longest_sequence <= count):
                count = 0
            if not usable:
                continue
            cv2.split(faces[t], self._planes)
            self._fill_frame(self.value[0, t], faces[t], begins=count == 0)
            if not status & _UNMARKED and self._detail.lacks(self._planes):
                marked[t] |= Status.DEGRADED
            self._before[:] = self._planes[GREEN]
            count += 1
        if part.previous:
            outputs[part.previous_out][0, 0] = self._before

    def _fill_frame(self, frame: NDArray[np.float32], face: NDArray[np.uint8], begins: bool) -> None:
        cv2.cvtColor(face, cv2.COLOR_RGB2RGBA, dst=self._four)
        np.subtract(self._four, self._centre, out=frame)
        if begins:
            self._change[:] = 0.0
        else:
            np.subtract(self._planes[GREEN], self._before, out=self._change, dtype=np.float32)
        cv2.insertChannel(self._change, frame, STEM_CHANNELS - 1)


class DetailMeter:
    """Compares the detail of crops with MIN_DETAIL, for one thread: `eulernet_core.face_detail` in whole numbers."""

    def __init__(self) -> None:
        side, coarse = FACE_SIDE_PX, FACE_SIDE_PX // COARSE
        self._fine = np.zeros((side, side), np.int16)  # the largest sum, of 27 pixels of 255, fits
        self._floats = np.zeros((side, side), np.float32)
        self._coarse = np.zeros((coarse, coarse), np.float32)
        self._rows = {each.shape[0]: (np.zeros_like(each[2:]), np.zeros_like(each[2:])) for each in self._pictures}

    @property
    def _pictures(self) -> tuple[NDArray[Any], NDArray[Any]]:
        return self._fine, self._coarse

    def lacks(self, planes: Sequence[Plane]) -> bool:
        """Whether the detail is below MIN_DETAIL. `planes`: red, green and blue."""
        red, green, blue = planes
        np.add(red, green, out=self._fine, dtype=np.int16)
        np.add(self._fine, blue, out=self._fine)
        np.copyto(self._floats, self._fine)
        cv2.resize(self._floats, self._coarse.shape[::-1], dst=self._coarse, interpolation=cv2.INTER_AREA)
        fine, coarse = map(self._structure, self._pictures)
        return fine < MIN_DETAIL * max(coarse, LEAST_STRUCTURE)

    def _structure(self, picture: NDArray[Any]) -> float:
        """Mean of |9 x - sum of the 3x3 px around x| over the px whose neighbours are all inside."""
        rows, sums = self._rows[len(picture)]
        np.add(picture[:-2], picture[1:-1], out=rows)
        rows += picture[2:]
        # In one piece, as that is faster: the last two sums of a row reach into the next one and are left out.
        flat, into = rows.reshape(-1), sums.reshape(-1)[:-2]
        np.add(flat[:-2], flat[1:-1], out=into)
        into += flat[2:]
        np.multiply(picture[1:-1], picture.dtype.type(9), out=rows)
        inside = rows[:, 1:-1], sums[:, :-2]
        return float(cv2.norm(*inside, cv2.NORM_L1)) / inside[0].size
