# SPDX-License-Identifier: Apache-2.0
"""Videos as archives hold them: a moving face with much grain, in H.264 with and without B-frames."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
import simplejpeg

from benchmarks.moving_pictures import traffic
from eulernet_core.clip_geometry import NOMINAL_FPS
from eulernet_core.whole_files import replacing

GRAIN = 6.0  # grey levels of sensor noise, which most of the bits encode


@dataclass(frozen=True)
class Kind:
    """One way of encoding. `options`: of libx264."""

    name: str
    suffix: str
    options: dict[str, str] = field(default_factory=dict)
    width: int = 384
    height: int = 512
    frames: int = 90


# Named by what matters: the distance of keyframes, and B-frames, most of which no other frame refers to.
KINDS = (
    Kind("simulator: AVI, a keyframe a second, no B-frames", "avi", {"g": "30", "bf": "0"}),
    Kind("MP4, a keyframe a second, no B-frames", "mp4", {"g": "30", "bf": "0"}),
    Kind("MP4, a keyframe a second, three B-frames", "mp4", {"g": "30", "bf": "3", "b-adapt": "0"}),
    Kind("MP4, a keyframe every 250 frames, B-frames as the encoder likes", "mp4", {"g": "250", "bf": "3"}),
    Kind("MP4, 1280x720, a keyframe a second, no B-frames", "mp4", {"g": "30", "bf": "0"}, 1280, 720, 60),
)


def write_videos(folder: Path, kind: Kind, count: int) -> list[Path]:
    """Writes `count` videos of a kind that differ in their grain; keeps those that are there."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number}.{kind.suffix}" for number in range(count)]
    for number, path in enumerate(paths):
        if not path.exists():
            _write(path, kind, number)
    return paths


def _write(path: Path, kind: Kind, seed: int) -> None:
    (source,) = traffic(kind.width, kind.height, 16, seed).sources
    random = np.random.default_rng(seed)
    with replacing(path) as fresh, av.open(str(fresh), "w", format=kind.suffix) as container:
        options = {"crf": "23", "preset": "veryfast", "threads": "1", **kind.options}
        stream = container.add_stream("libx264", rate=NOMINAL_FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = kind.width, kind.height, "yuv420p"
        for number in range(kind.frames):
            face = simplejpeg.decode_jpeg(source.frame(number))
            noise = GRAIN * random.standard_normal((kind.height, kind.width, 1), np.float32)
            picture = np.clip(face + noise, 0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
