"""The bound: the model repository's own stages called directly, no server, batches of clips on all cores.

    python -m benchmarks.peers.in_process --repository DIR --clips DIR --kind threads --workers W --engine-threads T

Reads commands from standard input, one JSON object a line, and answers each with one.
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
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from eulernet_build.triton_config import read_config
from numpy.typing import NDArray

from benchmarks.peers.body import FRAMES
from benchmarks.peers.pictures import read_clips


@dataclass(frozen=True)
class Batch:
    """One batch of clips; times in s of the machine's monotonic clock."""

    begun_s: float
    done_s: float
    clips: int


class Stages:
    """`antispoof_clip` as a function, with the settings of the embedded server's configuration.

    Args:
        repository: a complete model repository.
        threads: of one inference and of DALI's decoder, 0 for all cores.
    """

    def __init__(self, repository: Path, threads: int) -> None:
        self._repository = repository
        sys.path.extend(str(repository / name / "1") for name in ("face_locate", "face_crop", "eulernet"))
        locate, crop = import_module("locate"), import_module("crop")
        self._lock: Any = locate.Lock
        self._detector = self._engine("face_detector", 1)
        self._net = self._engine("eulernet_clip", threads)
        self._locate: Any = locate.Locator(self._settings("clip_locate", locate.Settings), self._detect)
        crop_settings = self._settings("clip_crop", crop.CropSettings)
        if threads != 1:
            crop_settings = replace(crop_settings, threads=threads or multiprocessing.cpu_count())
        self._crop: Any = crop.Cropper(crop_settings)

    def _settings(self, model: str, kind: Any) -> Any:
        config = read_config(self._repository / model / "configs" / "cpu.pbtxt")
        given = {name: {"string_value": value.string_value} for name, value in config.parameters.items()}
        return import_module("parameters").read_parameters(json.dumps({"parameters": given}), kind)

    def _engine(self, model: str, threads: int) -> Any:
        engine = import_module("engine")
        settings = replace(self._settings(model, engine.EngineSettings), threads=threads)
        return engine.make_engine(self._repository / model / "1" / "model.onnx", settings)

    def _detect(self, images: NDArray[np.uint8]) -> tuple[Any, Any, Any]:
        found = self._detector({"IMAGE": images})
        return found["BOX"], found["SCORE"], found["SECOND_SCORE"]

    def __call__(self, clips: Sequence[Sequence[bytes]]) -> NDArray[np.float32]:
        """Scores a batch of clips of four JPEGs. Returns: float32 (clips, 4), LIVENESS after each frame."""
        locks = [self._lock() for _ in clips]
        encoded = [[np.frombuffer(clip[t], np.uint8) for clip in clips] for t in range(FRAMES)]
        located = [self._locate(frames, locks) for frames in encoded]
        in_order = [located[t][i] for i in range(len(clips)) for t in range(FRAMES)]
        status = np.array([each.status for each in in_order], np.int32)
        faces = self._crop([each.checked for each in in_order], np.stack([each.box for each in in_order]), status)
        answer = self._net({"FACE": faces.reshape(-1, FRAMES, *faces.shape[1:]), "STATUS": status.reshape(-1, FRAMES)})
        liveness: NDArray[np.float32] = answer["LIVENESS"]
        return liveness


class Worker:
    """One thread's or one process's share of the work."""

    def __init__(self, repository: Path, clips: Path, threads: int) -> None:
        self._stages, self._clips = Stages(repository, threads), read_clips(clips)

    def ready(self) -> bool:
        """True when a clip has been scored."""
        return bool(len(self._stages(self._clips[:1])))

    def scores(self) -> list[list[float]]:
        """Of all clips, one by one, as a server is asked for them."""
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
    """So many workers, each with an executor of its own, so that each gets its part of every command."""

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
        """True when every worker is."""
        return all(self._each("ready", {}))

    def scores(self) -> list[list[float]]:
        """Of all clips, when every worker has computed them."""
        return self._each("scores", {})[0]  # type: ignore[no-any-return]

    def run(self, end_s: float, concurrency: int) -> list[dict[str, Any]]:
        """`concurrency` clips in all, shared out over the workers."""
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
    """Answers commands, a method of Workers and its arguments each, until standard input ends: {"scores": {}}."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("repository", "clips"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--kind", choices=("threads", "processes"), required=True)
    for name in ("workers", "engine-threads"):
        parser.add_argument(f"--{name}", type=int, required=True)
    given = parser.parse_args()
    workers = Workers(given.kind, given.workers, given.repository, given.clips, given.engine_threads)
    for line in sys.stdin:
        ((command, arguments),) = json.loads(line).items()
        print(json.dumps(getattr(workers, command)(**arguments)), flush=True)


if __name__ == "__main__":
    main()
