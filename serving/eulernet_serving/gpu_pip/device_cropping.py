# SPDX-License-Identifier: Apache-2.0
"""Crops faces into device memory: DALI decodes the face's region and resizes it on the GPU, or the CPU's way.

DALI fails a batch whole. Such a batch is cropped the CPU's way, frame by frame where that fails too, so that a bad
frame costs the others nothing but time. Meanwhile a thread builds the pipeline again. For a while every frame is then
decoded at an eighth of its size before it enters a batch, so that further broken pictures break no further batch.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence

import numpy as np
import simplejpeg
import torch
import torch.utils.dlpack
from numpy.typing import NDArray
from nvidia.dali import Pipeline
from torch import Tensor

from eulernet_core.jpeg import cheap_to_decode
from eulernet_core.status import NOT_SCORED
from eulernet_core.tensors import FACE_SIDE_PX
from eulernet_serving.crop_pipelines import faces
from eulernet_serving.face_cropping import Cropper, CropSettings, box_fits, undecodable
from eulernet_serving.jpeg_decoding import decodes
from eulernet_serving.structured_logging import log_caught

CAUTIOUS_S = 60.0  # after a batch that failed
# Largest and mean difference in grey levels from the CPU's crop: other filters, and nvJPEG's other inverse DCT.
MOST_GREY_LEVELS, MEAN_GREY_LEVELS = 8, 1.0
_LOG = logging.getLogger(__name__)


class DeviceCropper:
    """Crops batches of frames into device memory.

    Args:
        settings: limits of a JPEG, DALI's threads and largest batch.
        device: of the crops.
        clock: seconds, monotonic.
    Attributes: `way`: a text that says how it crops.
    """

    def __init__(
        self, settings: CropSettings, device: torch.device, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings, self._device, self._clock = settings, device, clock
        self._on_host = Cropper(settings)
        self._pipeline: Pipeline | None = None
        self._building: threading.Thread | None = None
        self._cautious_until_s = 0.0
        self.way = self._begin()

    def _begin(self) -> str:
        """Builds the pipeline and compares its crop of a picture with the CPU's."""
        where = "nvJPEG" if self._device.type == "cuda" else "DALI's CPU operators"
        try:
            self._pipeline = self._build()
            most, mean = self._difference()
        except Exception as error:
            self._pipeline = None
            return f"crop on the CPU ({where} failed: {type(error).__name__}: {str(error).strip().splitlines()[0]})"
        levels = f"at most {most} grey levels from the crop on the CPU, {mean:.2f} in the mean"
        if most > MOST_GREY_LEVELS or mean > MEAN_GREY_LEVELS:
            self._pipeline = None
            return f"crop on the CPU ({where} differs: {levels})"
        return f"crop by DALI on {self._device} ({where}), {levels}"

    def _build(self) -> Pipeline:
        on_gpu = self._device.type == "cuda"
        pipeline = faces(
            decoder="mixed" if on_gpu else "cpu",
            batch_size=self._settings.max_frames,
            num_threads=self._settings.threads,
            device_id=(self._device.index or 0) if on_gpu else None,
            prefetch_queue_depth=1,
            exec_async=False,
            exec_pipelined=False,
        )
        pipeline.build()
        return pipeline

    def _difference(self) -> tuple[int, float]:
        """Largest and mean difference of the two ways on smooth pictures that shrink and grow."""
        y, x = np.mgrid[0:480, 0:640]
        waves = [128 + 90 * np.sin(x / (17 + 6 * c)) * np.cos(y / (23 - 4 * c)) for c in range(3)]
        encoded = np.frombuffer(simplejpeg.encode_jpeg(np.stack(waves, axis=-1).astype(np.uint8), quality=95), np.uint8)
        boxes = [np.array(box, np.float32) for box in ((40, 30, 470, 460), (101, 77, 301, 277))]
        pictures = [encoded] * len(boxes)
        other = self._on_host(pictures, boxes, np.zeros(len(boxes), np.int32)).astype(np.int32)
        here = self._crop(self._pipeline, pictures, boxes).cpu().numpy().astype(np.int32)
        difference = np.abs(here - other)
        return int(difference.max()), float(difference.mean())

    def __call__(
        self, encoded: Sequence[NDArray[np.uint8]], boxes: Sequence[NDArray[np.float32]], status: NDArray[np.int32]
    ) -> Tensor:
        """Crops each frame with a usable STATUS; writes UNDECODABLE into `status` where that fails.

        Args:
            encoded: n times uint8 (bytes,), a JPEG.
            boxes: n times float32 (4,), x0, y0, x1, y1 px inside the upright picture.
            status: int32 (n,), changed in place.
        Returns: uint8 (n, 256, 256, 3) RGB in device memory, black where there is nothing to score. Valid until the
            next call.
        """
        wanted = np.flatnonzero((status & NOT_SCORED) == 0)
        usable = np.array([self._usable(encoded[i], boxes[i]) for i in wanted], bool)
        status[wanted[~usable]] = undecodable(status[wanted[~usable]])
        wanted = wanted[usable]
        pipeline = self._pipeline
        if pipeline is None or not len(wanted):
            return self._cpu_way(encoded, boxes, status)
        try:
            parts = [
                # Copies: the next run of the pipeline writes into the same memory.
                self._crop(pipeline, [encoded[i] for i in part], [boxes[i] for i in part]).clone()
                for part in np.split(wanted, range(self._settings.max_frames, len(wanted), self._settings.max_frames))
            ]
        except Exception as error:
            log_caught(_LOG, "batch of crops failed, it is cropped on the CPU", error)
            self._rebuild()
            return self._cpu_way(encoded, boxes, status)
        if len(wanted) == len(encoded) and len(parts) == 1:
            return parts[0]
        made = torch.zeros((len(encoded), FACE_SIDE_PX, FACE_SIDE_PX, 3), dtype=torch.uint8, device=self._device)
        made.index_copy_(0, torch.from_numpy(wanted).to(self._device), torch.cat(parts))
        return made

    def _usable(self, encoded: NDArray[np.uint8], box: NDArray[np.float32]) -> bool:
        """Whether a frame may enter a batch."""
        if not box_fits(box) or not cheap_to_decode(encoded, self._settings):
            return False
        return self._clock() >= self._cautious_until_s or decodes(encoded)

    def _crop(
        self, pipeline: Pipeline, encoded: Sequence[NDArray[np.uint8]], boxes: Sequence[NDArray[np.float32]]
    ) -> Tensor:
        pipeline.feed_input("ENCODED", list(encoded))
        pipeline.feed_input("BOX", [box.astype(np.int32) for box in boxes])
        (crops,) = pipeline.run()
        made: Tensor = torch.utils.dlpack.from_dlpack(crops.as_tensor())
        if made.device.type == "cuda":
            torch.cuda.synchronize(made.device)  # DALI works in a stream of its own
        return made

    def _cpu_way(
        self, encoded: Sequence[NDArray[np.uint8]], boxes: Sequence[NDArray[np.float32]], status: NDArray[np.int32]
    ) -> Tensor:
        return torch.from_numpy(self._on_host(encoded, boxes, status)).to(self._device)

    def _rebuild(self) -> None:
        """Goes on without the pipeline until a thread has built another one: a failed one can't be used again."""
        self._cautious_until_s = self._clock() + CAUTIOUS_S
        self._pipeline = None
        if self._building is None or not self._building.is_alive():
            self._building = threading.Thread(target=self._replace, daemon=True)
            self._building.start()

    def _replace(self) -> None:
        try:
            self._pipeline = self._build()
        except Exception as error:
            log_caught(_LOG, "the crop's pipeline can't be built again, crops stay on the CPU", error)
