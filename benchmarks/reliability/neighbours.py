# SPDX-License-Identifier: Apache-2.0
"""Good callers in a process of their own: each answer is compared bit by bit with the one before the attack began.

`python -m benchmarks.reliability.neighbours URL FILE` prints `ready` when it has these answers, and runs until its
standard input ends.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

import click
import psutil

from benchmarks.moving_pictures import traffic
from eulernet_client import Client, EulerNetError, FrameResult
from eulernet_core.clip_geometry import CLIP_FRAMES

WIDTH_PX, HEIGHT_PX = 320, 240
STREAMS, CLIP_CALLERS = 3, 2
STREAM_FRAMES = 12
FRAME_PAUSE_S, CLIP_PAUSE_S = 0.4, 0.8  # from one call of a caller to its next
TIMEOUT_S, PATIENT_TIMEOUT_S = 30.0, 240.0
REFERENCE_TIMEOUT_S = 300.0
ABANDON_EVERY, CANCEL_EVERY = 5, 4  # with --careless: streams never ended, calls given up
SHORT_TIMEOUT_S = 0.02
SAME, CHANGED, FAILED = "same", "changed", "failed"
Answer = tuple[float, bytes, tuple[float, ...], int, int]


@dataclass(frozen=True)
class Record:
    """One call of a good caller. `way`: clip or frame; `begun_s`: monotonic clock; `outcome`: same, changed, failed."""

    way: str
    begun_s: float
    latency_s: float
    outcome: str
    detail: str = ""


class Neighbours:
    """The process, from `__enter__` to `__exit__`.

    Args:
        url: gRPC address of the server.
        file: for the records.
        retry: repeat failed calls and replay lost streams, as the client does by default.
        careless: also abandon streams and give up calls.
    """

    def __init__(self, url: str, file: Path, *, retry: bool, careless: bool = False) -> None:
        self.file = file
        options = [*(["--retry"] if retry else []), *(["--careless"] if careless else [])]
        self._command = [sys.executable, "-m", "benchmarks.reliability.neighbours", url, str(file), *options]
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Neighbours:
        """Waits for the answers to compare with. Raises: RuntimeError where the server does not answer them."""
        process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        if process.stdout.readline().strip() != "ready":
            with process:  # closes its pipes
                process.kill()
            raise RuntimeError(f"the good callers got no answers: {' '.join(self._command)}")
        self._process = process
        return self

    @property
    def process(self) -> psutil.Process:
        """The client's process."""
        assert self._process is not None
        return psutil.Process(self._process.pid)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        self._process.communicate()  # ends its standard input
        if self._process.returncode and kind is None:
            raise RuntimeError(f"the good callers ended with status {self._process.returncode}")

    def records(self) -> list[Record]:
        """What was recorded so far."""
        lines = self.file.read_text().splitlines(keepends=True)
        return [Record(**json.loads(line)) for line in lines if line.endswith("\n")]


def _answer(frame: FrameResult) -> Answer:
    return frame.liveness, frame.location_map.tobytes(), frame.box, frame.frame_count, int(frame.status)


def _difference(expected: Answer, seen: Answer) -> str:
    names = ("liveness", "location map", "box", "frame count", "status")
    return "; ".join(
        f"{name} {str(a)[:60]} is now {str(b)[:60]}" for name, a, b in zip(names, expected, seen, strict=True) if a != b
    )


class _Callers:
    """The threads of the process."""

    def __init__(self, url: str, file: Path, retry: bool, careless: bool) -> None:
        self._url, self._careless = url, careless
        self._client = Client(url, retry=retry, timeout_s=PATIENT_TIMEOUT_S if retry else TIMEOUT_S)
        self._output, self._lock = file.open("w", buffering=1), threading.Lock()
        self._ended = threading.Event()
        self._frames = [
            traffic(WIDTH_PX, HEIGHT_PX, STREAM_FRAMES, seed=seed).sources[0].jpegs
            for seed in range(STREAMS + CLIP_CALLERS)
        ]

    def run(self) -> None:
        """Until standard input ends."""
        with self._client, self._output:
            streams = [self._stream_answers(self._frames[k]) for k in range(STREAMS)]
            clips = [self._clip_answers(frames[:CLIP_FRAMES]) for frames in self._frames[STREAMS:]]
            threads = [
                *(threading.Thread(target=self._stream_caller, args=(k, streams[k])) for k in range(STREAMS)),
                *(threading.Thread(target=self._clip_caller, args=(k, clips[k])) for k in range(CLIP_CALLERS)),
            ]
            for each in threads:
                each.start()
            print("ready", flush=True)
            sys.stdin.read()
            self._ended.set()
            for each in threads:
                each.join()

    def _stream_answers(self, frames: Sequence[bytes]) -> list[Answer]:
        with self._client.stream() as stream:
            return [_answer(stream.score(jpeg, last=t == len(frames) - 1)) for t, jpeg in enumerate(frames)]

    def _clip_answers(self, frames: Sequence[bytes]) -> list[Answer]:
        return [_answer(frame) for frame in self._client.score_frames(frames).frames]

    def _rounds(self, pause_s: float) -> Iterator[int]:
        number = 0
        while not self._ended.wait(pause_s):
            yield number
            number += 1

    def _stream_caller(self, k: int, expected: Sequence[Answer]) -> None:
        last = len(expected) - 1
        for number in self._rounds(FRAME_PAUSE_S):
            stream = self._client.stream()
            abandoned = self._careless and number % ABANDON_EVERY == 0
            for t, jpeg in enumerate(self._frames[k]):
                end = t == last and not abandoned
                if not self._recorded("frame", [expected[t]], lambda: [_answer(stream.score(jpeg, last=end))]):  # noqa: B023
                    break
                if self._ended.wait(FRAME_PAUSE_S):
                    break
            if not abandoned:
                stream.close()

    def _clip_caller(self, k: int, expected: Sequence[Answer]) -> None:
        frames = self._frames[STREAMS + k][:CLIP_FRAMES]
        for number in self._rounds(CLIP_PAUSE_S):
            if self._careless and number % CANCEL_EVERY == 0:
                with contextlib.suppress(EulerNetError), Client(self._url, timeout_s=SHORT_TIMEOUT_S) as hasty:
                    hasty.score_frames(frames)
            self._recorded("clip", expected, lambda: self._clip_answers(frames))

    def _recorded(self, way: str, expected: Sequence[Answer], call: Callable[[], list[Answer]]) -> bool:
        begun_s = time.monotonic()
        try:
            found = call()
            details = [_difference(*pair) for pair in zip(expected, found, strict=True)]
            outcome, detail = (CHANGED, " / ".join(details)) if any(details) else (SAME, "")
        except EulerNetError as error:
            outcome, detail = FAILED, f"{type(error).__name__}: {error}"[:500]
        record = Record(way, begun_s, time.monotonic() - begun_s, outcome, detail)
        with self._lock:
            self._output.write(json.dumps(asdict(record)) + "\n")
        return outcome != FAILED


@click.command()
@click.argument("url")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--retry", is_flag=True, help="Repeat failed calls and replay lost streams.")
@click.option("--careless", is_flag=True, help="Abandon some streams and give up some calls.")
def main(url: str, file: Path, retry: bool, careless: bool) -> None:
    """Call the server at URL until standard input ends; write a record of each call into FILE."""
    _Callers(url, file, retry, careless).run()


if __name__ == "__main__":
    main()
