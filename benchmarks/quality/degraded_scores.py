# SPDX-License-Identifier: Apache-2.0
"""Renders simulated test videos, degrades them, and scores one clip of each level; a line of JSON for each video."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx

from benchmarks.quality.degradations import X264_PRESET, Box, Degraded, Level, Picture, degrade
from eulernet.datasets.oulu import PHONES, SESSIONS, Name
from eulernet.faces import FaceFinder, crop
from eulernet.simulation import data_set_folder
from eulernet.simulation.demo_clips import CLIPS, make_demo_clips
from eulernet.simulation.presets import FPS, PRESETS, Preset, split_users
from eulernet.simulation.rendering import make_video
from eulernet_core.clip_geometry import clip_indices, clip_starts, timed_clips
from eulernet_core.face_detail import face_detail
from eulernet_core.jpeg import encode_jpeg
from eulernet_core.tensors import FACE_SIDE_PX, LIVENESS, usable_clips
from eulernet_core.video import read_frames, upright
from eulernet_core.whole_files import sha256_of
from eulernet_serving.runtime import RuntimeSettings, make_runtime

SEED, PRESET = 1, PRESETS["full"].with_frames(13)  # the model card's people, size of pictures and phones
# The same videos by cameras with 60 frames/s; leaving out frames gives the rates of other cameras.
FAST_FPS = 60
FAST = replace(PRESET, frames=26, fps=float(FAST_FPS))
FRAME_RATES = (60, 30, 20, 15)
SESSION = 3  # the test list of protocol 1; the weights were trained on sessions 1 and 2
FILES = (1, 2, 1, 4, 1, 3, 5)  # of one user in turn: three bona fide videos, and one of each attack instrument
FORMAT = 2  # of the lines, and of what is encoded
# Changes of the demo's videos that made attacks pass with earlier weights: half the size, and strong compression.
DEMO_CASES = (
    ("bona_fide", 1.0, None),
    ("print", 1.0, None),
    ("print", 0.5, 23),
    ("replay", 1.0, None),
    ("replay", 1.0, 38),
)


@dataclass(frozen=True)
class Measured:
    """One clip at one level.

    Attributes:
        level: its name.
        side_px: side of the face's square in px of the degraded video.
        liveness: of the clip's last frame.
        detail: of each frame, see `eulernet_core.face_detail`.
        found: whether the detector still finds a face in the degraded first frame.
        kbit_s: bit rate of the encoded video, None without encoding.
    """

    level: str
    side_px: int
    liveness: float
    detail: tuple[float, ...]
    found: bool
    kbit_s: float | None


def plan(rounds: int, users: int | None = None) -> list[Name]:
    """The videos to measure; every beginning of the list is as balanced as its length allows.

    Args:
        rounds: passes over FILES for each user, at most 2.
        users: of the preset's test users, None for all.
    """
    test = split_users(PRESET.users)["test"][:users]
    turns = range(rounds * len(FILES))
    return [Name((user + k) % len(PHONES) + 1, SESSION, user, FILES[k % len(FILES)]) for k in turns for user in test]


def plan_rates(users: int | None = None) -> list[Name]:
    """The videos for the frame rates: of every session and phone of a user a bona fide video and an attack, one
    instrument after the other. Frame rates differ by so little that SESSION has too few bona fide videos."""
    test = split_users(PRESET.users)["test"][:users]
    recordings = [(phone, session) for session in SESSIONS for phone in PHONES]
    return [
        Name(phone, session, user, file)
        for number, (phone, session) in enumerate(recordings)
        for user in test
        for file in (1, 2 + (user + number) % 4)
    ]


class Scorer:
    """Finds the face in the recorded video and scores clips of its degraded forms, on one thread.

    Args:
        graph: the exported clip graph.
        face_models: folder of the face models.
    """

    def __init__(self, graph: Path, face_models: Path) -> None:
        cv2.setNumThreads(1)
        self._finder = FaceFinder(face_models)
        self._runtime = make_runtime(graph, RuntimeSettings(threads=1))

    def locate(self, frames: Sequence[Picture]) -> Box | None:
        """The square of the face in the first frame of the clip, as the service finds it; None without a face."""
        face = self._finder.find(frames[clip_starts(len(frames))[0]])
        return None if face is None else face.box_px

    def measure(self, frames: Sequence[Picture], box: Box, level: Level) -> Measured:
        """Degrades a video, takes its middle clip and scores it. `frames`: uint8 (H, W, 3) RGB each."""
        degraded = degrade(frames, box, level, FPS)
        return self._measured(degraded, level.name, clip_indices(clip_starts(len(degraded.frames))[0]))

    def measure_rate(self, frames: Sequence[Picture], box: Box, rate: int) -> Measured:
        """Takes the middle clip of a video with FAST_FPS as of one with `rate` frames/s, and scores it."""
        slower = frames[:: FAST_FPS // rate]
        (chosen,) = timed_clips([number / rate for number in range(len(slower))])
        return self._measured(Degraded(slower, box, None), rate_name(rate), chosen)

    def _measured(self, degraded: Degraded, name: str, indices: Sequence[int]) -> Measured:
        clip = [degraded.frames[index] for index in indices]
        crops = np.stack([crop(sent(picture), degraded.box, FACE_SIDE_PX) for picture in clip])
        liveness = self._runtime(usable_clips(crops[None]))[LIVENESS]
        return Measured(
            level=name,
            side_px=int(degraded.box[2] - degraded.box[0]),
            liveness=float(liveness.reshape(-1)[-1]),
            detail=tuple(float(value) for value in face_detail(crops)),
            found=self._finder.find(clip[0]) is not None,
            kbit_s=degraded.kbit_s,
        )


def render(root: Path, name: Name, preset: Preset = PRESET) -> Path:
    """Path of a simulated test video, rendered where it is missing. The folder is a part of `eulernet simulate`'s."""
    data_set_folder.prepare(root, SEED, preset)
    path = data_set_folder.video_path(root, "test", name)
    return path if path.is_file() else make_video(root, "test", name, SEED, preset)


def measure_video(scorer: Scorer, path: Path, levels: Sequence[Level]) -> list[Measured]:
    """All levels of one video; none if its face is not found."""
    frames = list(read_frames(path, upright, threads=1))
    box = scorer.locate(frames)
    return [] if box is None else [scorer.measure(frames, box, level) for level in levels]


def measure_rates(scorer: Scorer, path: Path) -> list[Measured]:
    """All frame rates of one video with FAST_FPS; none if its face is not found."""
    frames = list(read_frames(path, upright, threads=1))
    box = scorer.locate(frames)
    return [] if box is None else [scorer.measure_rate(frames, box, rate) for rate in FRAME_RATES]


def rate_name(rate: int) -> str:
    """The level's name of a frame rate."""
    return f"{rate} frames/s"


def demo_cases(scorer: Scorer, folder: Path) -> list[dict[str, Any]]:
    """DEMO_CASES measured: the clip, the change in words, and the fields of Measured."""
    if not all((folder / f"{name}.mp4").is_file() for name in CLIPS):
        make_demo_clips(folder)
    found = []
    for name, scale, crf in DEMO_CASES:
        frames = list(read_frames(folder / f"{name}.mp4", upright, threads=1))
        box = scorer.locate(frames)
        if box is None:
            raise RuntimeError(f"{name}.mp4: no face; the detector finds one in every clip of the demo")
        height, width = (round(scale * length) for length in frames[0].shape[:2])
        side_px = None if scale == 1 else round(scale * float(box[2] - box[0]))
        measured = scorer.measure(frames, box, Level(side_px, crf))
        change = "none" if crf is None else f"{width}x{height}, crf {crf}"
        found.append({"clip": name, "change": change, **asdict(measured)})
    return found


def fingerprint(graph: Path, levels: Sequence[Level]) -> str:
    """8 hexadecimal digits that change with the weights, the levels and the rules of the measurement."""
    known = {each.key: each.value for each in onnx.load(graph).metadata_props}
    weights = known.get("parameters_sha256") or sha256_of(graph)
    rules = [FORMAT, weights, [level.name for level in levels], SEED, asdict(PRESET), X264_PRESET]
    return hashlib.sha256(json.dumps(rules).encode()).hexdigest()[:8]


def read_lines(path: Path) -> dict[str, list[dict[str, Any]]]:
    """The measured videos by name; a last line that was cut short is left out."""
    found: dict[str, list[dict[str, Any]]] = {}
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                record = json.loads(line)
            except ValueError:
                continue
            found[record["video"]] = record["levels"]
    return found


def append_line(path: Path, video: str, measured: Sequence[Measured]) -> None:
    """Adds one video to the file that `read_lines` reads."""
    line = json.dumps({"video": video, "levels": [asdict(each) for each in measured]}, allow_nan=False)
    with path.open("a+b") as file:
        size = file.seek(0, 2)
        file.seek(max(size - 1, 0))
        torn = size > 0 and file.read(1) != b"\n"
        file.write((b"\n" if torn else b"") + line.encode() + b"\n")


def sent(picture: Picture) -> Picture:
    """The picture after the JPEG that the client sends."""
    encoded = np.frombuffer(encode_jpeg(picture), np.uint8)
    return np.asarray(cv2.cvtColor(cv2.imdecode(encoded, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB), np.uint8)
