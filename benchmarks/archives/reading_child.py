# SPDX-License-Identifier: Apache-2.0
"""A process that reads the clips of videos in one way, and measures itself. It takes a line of JSON for each turn.

Started as a script, so that PYTHONPATH chooses the version of this project that is measured.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

Read = Callable[[Path], list[bytes]]


def project(threads: int) -> Read:
    """`iter_clips`, with decoder threads where this version has the choice."""
    from eulernet_client.sources import iter_clips

    chosen: dict[str, Any] = {"threads": threads} if "threads" in inspect.signature(iter_clips).parameters else {}
    return lambda path: [jpeg for clip in iter_clips(path, 1, **chosen) for jpeg in clip.jpegs]


def at_keyframes(threads: int) -> Read:
    """`iter_clips` with clips that begin at keyframes."""
    from eulernet_client.sources import iter_clips

    return lambda path: [jpeg for clip in iter_clips(path, 1, threads, at_keyframes=True) for jpeg in clip.jpegs]


def plain_pyav(threads: int) -> Read:
    """Decodes with PyAV from the start of the video to the last wanted frame."""
    import av

    from eulernet_core.clip_geometry import clip_indices, clip_starts
    from eulernet_core.jpeg import encode_jpeg

    def read(path: Path) -> list[bytes]:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count = threads
            wanted = clip_indices(clip_starts(stream.frames)[0])
            found = []
            for number, frame in enumerate(container.decode(stream)):
                if number in wanted:
                    found.append(encode_jpeg(frame.to_ndarray(format="rgb24")))
                if number == wanted[-1]:
                    break
        return found

    return read


def torchcodec(threads: int) -> Read:
    """`VideoDecoder.get_frames_at` of torchcodec. Raises: ImportError, or what its import raises."""
    from torchcodec.decoders import VideoDecoder  # type: ignore[import-not-found]

    from eulernet_core.clip_geometry import clip_indices, clip_starts
    from eulernet_core.jpeg import encode_jpeg

    def read(path: Path) -> list[bytes]:
        decoder = VideoDecoder(str(path), dimension_order="NHWC", num_ffmpeg_threads=threads)
        wanted = clip_indices(clip_starts(len(decoder))[0])
        return [encode_jpeg(picture.numpy()) for picture in decoder.get_frames_at(wanted).data]

    return read


WAYS: dict[str, Callable[[int], Read]] = {
    "project": project,
    "at keyframes": at_keyframes,
    "PyAV": plain_pyav,
    "torchcodec": torchcodec,
}


def main() -> None:
    """Arguments: the way, and how many videos are read at once. Its first line is `null`, or why it can't run."""
    way, jobs = sys.argv[1], int(sys.argv[2])
    cores = len(os.sched_getaffinity(0))
    try:
        read = WAYS[way](max(1, cores // jobs))
    except (ImportError, OSError, RuntimeError) as error:
        print(json.dumps(f"{type(error).__name__}: {error}".splitlines()[0]), flush=True)
        return
    print("null", flush=True)
    with ThreadPoolExecutor(jobs) as threads:
        for line in sys.stdin:
            paths = [Path(each) for each in json.loads(line)]
            wall_s, cpu_s = time.perf_counter(), time.process_time()
            found = list(threads.map(read, paths))
            wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
            digest = hashlib.sha256(b"".join(jpeg for jpegs in found for jpeg in jpegs)).hexdigest()
            frames = sum(map(len, found))
            print(json.dumps({"wall_s": wall_s, "cpu_s": cpu_s, "frames": frames, "digest": digest}), flush=True)


if __name__ == "__main__":
    main()
