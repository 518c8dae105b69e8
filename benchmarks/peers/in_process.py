# SPDX-License-Identifier: Apache-2.0
"""The bound: calls the served stages directly, without a server, with batches of clips on all cores.

    python -m benchmarks.peers.in_process --repository DIR --clips DIR --kind threads --workers W --runtime-threads T

Reads commands from standard input, one JSON object for each line, and answers each with a line.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.bench_clips import read_clips
from eulernet_core.clip_geometry import CLIP_FRAMES
from eulernet_core.tensors import CLIP_NETWORK_MODEL, FACE, FACE_BOX, LIVENESS, STATUS
from eulernet_serving.face_cropping import Cropper, CropSettings
from eulernet_serving.face_detecting import DETECTOR_GRAPH, make_detector
from eulernet_serving.face_locating import LocateSettings, Locator, Lock
from eulernet_serving.model_parameters import read_parameters
from eulernet_serving.row_runtime import RowRuntime
from eulernet_serving.runtime import RuntimeSettings, make_runtime
from eulernet_serving.triton_config import read_config

Settings = TypeVar("Settings")
CROP_MODEL = "clip_crop"  # locates and crops


@dataclass(frozen=True)
class LocateAndCropSettings(LocateSettings, CropSettings):
    """`parameters` of CROP_MODEL. Its own class needs Triton's Python backend."""


@dataclass(frozen=True)
class Batch:
    """One batch of clips; times in s of the machine's monotonic clock."""

    begun_s: float
    done_s: float
    clips: int


class Stages:
    """`antispoof_clip` as a function, with the embedded server's configuration.

    Args:
        repository: a complete model repository.
        threads: threads of one inference and of decoding, 0 for all cores.
    """

    def __init__(self, repository: Path, threads: int) -> None:
        self._repository = repository
        self._network = self._runtime(threads)
        settings = self._settings(CROP_MODEL, LocateAndCropSettings)
        settings = replace(settings, threads=threads or multiprocessing.cpu_count())
        detector = repository / CROP_MODEL / "1" / DETECTOR_GRAPH
        self._locate = Locator(settings, make_detector(detector))
        self._crop = Cropper(settings, inspected=True)

    def _settings(self, model: str, kind: type[Settings]) -> Settings:
        config = read_config(self._repository / model / "configs" / "cpu.pbtxt")
        given = {name: {"string_value": value.string_value} for name, value in config.parameters.items()}
        return read_parameters(json.dumps({"parameters": given}), kind)

    def _runtime(self, threads: int) -> RowRuntime:
        settings = replace(self._settings(CLIP_NETWORK_MODEL, RuntimeSettings), threads=threads)
        return make_runtime(self._repository / CLIP_NETWORK_MODEL / "1" / "model.onnx", settings)

    def __call__(self, clips: Sequence[Sequence[bytes]]) -> NDArray[np.float32]:
        """Scores a batch of clips of four JPEGs. Returns: float32 (clips, 4), LIVENESS after each frame."""
        locks = [Lock() for _ in clips]
        encoded = [[np.frombuffer(clip[t], np.uint8) for clip in clips] for t in range(CLIP_FRAMES)]
        located = [self._locate(frames, locks) for frames in encoded]
        in_order = [located[t][i] for i in range(len(clips)) for t in range(CLIP_FRAMES)]
        status = np.array([each.status for each in in_order], np.int32)
        faces = self._crop([each.checked for each in in_order], [each.box for each in in_order], status)
        inputs: dict[str, NDArray[np.generic]] = {
            FACE: faces.reshape(-1, CLIP_FRAMES, *faces.shape[1:]),
            STATUS: status.reshape(-1, CLIP_FRAMES),
            FACE_BOX: np.stack([each.box for each in in_order]).reshape(-1, CLIP_FRAMES, 4),
        }
        return np.asarray(self._network(inputs)[LIVENESS], np.float32)


class Worker:
    """The clips and stages of one thread or process."""

    def __init__(self, repository: Path, clips: Path, threads: int) -> None:
        self._stages, self._clips = Stages(repository, threads), read_clips(clips)

    def ready(self) -> bool:
        """Scores a clip and returns True."""
        return bool(len(self._stages(self._clips[:1])))

    def scores(self) -> list[list[float]]:
        """Scores of all clips, one call each, as a client asks a server."""
        return [self._stages([clip])[0].tolist() for clip in self._clips]

    def run(self, end_s: float, batch: int) -> list[dict[str, Any]]:
        """Batches of `batch` clips, one after the other, until `end_s`."""
        done, at = [], 0
        while (begun_s := time.monotonic()) < end_s:
            clips = [self._clips[(at + i) % len(self._clips)] for i in range(batch)]
            at += batch
            self._stages(clips)
            done.append(asdict(Batch(begun_s, time.monotonic(), batch)))
        return done


_worker: Worker | None = None  # of a worker process


def _start(repository: Path, clips: Path, threads: int) -> None:
    global _worker
    _worker = Worker(repository, clips, threads)


def _call(method: str, arguments: dict[str, Any]) -> Any:
    return getattr(_worker, method)(**arguments)


class Workers:
    """Several workers, each with a separate executor, so that each receives a part of every command."""

    def __init__(self, kind: str, workers: int, repository: Path, clips: Path, threads: int) -> None:
        self._threads: list[Worker] = []
        self._executors: list[Executor]
        if kind == "threads":
            self._threads = [Worker(repository, clips, threads) for _ in range(workers)]
            self._executors = [ThreadPoolExecutor(1) for _ in range(workers)]
        else:
            context = multiprocessing.get_context("spawn")
            self._executors = [
                ProcessPoolExecutor(1, context, _start, (repository, clips, threads)) for _ in range(workers)
            ]

    def ready(self) -> bool:
        """Returns True when every worker has scored a clip."""
        return all(self._each("ready", {}))

    def scores(self) -> list[list[float]]:
        """Scores of all clips; every worker computes them."""
        return self._each("scores", {})[0]  # type: ignore[no-any-return]

    def run(self, end_s: float, concurrency: int) -> list[dict[str, Any]]:
        """Runs with `concurrency` clips in progress, distributed over the workers."""
        batch = max(1, round(concurrency / len(self._executors)))
        return [each for part in self._each("run", {"end_s": end_s, "batch": batch}) for each in part]

    def _each(self, method: str, arguments: dict[str, Any]) -> list[Any]:
        if self._threads:
            futures = [
                executor.submit(getattr(worker, method), **arguments)
                for executor, worker in zip(self._executors, self._threads, strict=True)
            ]
        else:
            futures = [executor.submit(_call, method, arguments) for executor in self._executors]
        return [future.result() for future in futures]


def main() -> None:
    """Executes commands until standard input ends; a command names a method of Workers: {"scores": {}}."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("repository", "clips"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--kind", choices=("threads", "processes"), required=True)
    for name in ("workers", "runtime-threads"):
        parser.add_argument(f"--{name}", type=int, required=True)
    given = parser.parse_args()
    workers = Workers(given.kind, given.workers, given.repository, given.clips, given.runtime_threads)
    for line in sys.stdin:
        ((command, arguments),) = json.loads(line).items()
        print(json.dumps(getattr(workers, command)(**arguments)), flush=True)


if __name__ == "__main__":
    main()
