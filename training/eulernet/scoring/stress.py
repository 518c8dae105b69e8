# SPDX-License-Identifier: Apache-2.0
"""Stress instruments: attacks made from bona fide clips that only time can tell, and resampled bona fide copies.

They are made in whole pictures, around the face, as a camera would record them, so that a checkpoint, a graph and a
server get the same. A video's name and the clip's start determine them.
"""

import dataclasses
import zlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from eulernet.datasets.clip_pictures import PictureClip, picture_clips
from eulernet.datasets.records import Problems, Video
from eulernet.evaluation.scores import Score
from eulernet.evaluation.stress_figures import FROZEN, INSTRUMENTS, RESAMPLED
from eulernet.faces import Face, FaceFinder, crop
from eulernet.planar_motion import moving, placed
from eulernet.scoring.scorers import CropModel
from eulernet.scoring.server import Server
from eulernet_core.errors import MediaError
from eulernet_core.face_box import BOX_SCALE, Floats, square_box

MOVED = "moved_pace"
ALL = (*INSTRUMENTS, RESAMPLED)
WIDENING = (FROZEN, RESAMPLED)  # of a development set
SPEEDS_PX = {"moved_slow": (0.5, 3.0), MOVED: (3.5, 4.1), "moved_fast": (3.0, 6.0), "moved_flicker": (0.5, 6.0)}
FLICKERING = ("moved_flicker",)
NOISY = ("frozen_noise", RESAMPLED)
NOISE = 0.01  # standard deviation, a share of white
REACH_PX = 3.0  # of the view of moved and resampled clips
_MARGIN = 1.0  # around the box, a share of its side; some systems see more than the served crop
Frames = NDArray[np.float32]  # (T, H, W, 3), 0 to 255


def stressed(name: str, clip: PictureClip, box_px: Floats, seed: str) -> PictureClip:
    """A clip of the instrument `name`, one of ALL.

    Args:
        clip: of a living face; frames of one size.
        box_px: float (4,), the square around the face, in px.
        seed: any text; it determines the instrument's motion, noise and light.
    """
    random = np.random.default_rng(zlib.crc32(f"{name} {seed}".encode()))
    items = clip.items if name == RESAMPLED else clip.items[:1] * len(clip.items)
    left, top, right, bottom = _surroundings(box_px, items[0].shape)
    frames = np.stack([item[top:bottom, left:right] for item in items]).astype(np.float32)
    if name in SPEEDS_PX or name == RESAMPLED:
        frames = _seen(frames, _matrices(name, len(items), random), box_px - np.array([left, top, left, top]))
    if name in FLICKERING:
        frames *= _light(len(items), bottom - top, random)
    if name in NOISY:
        frames += 255.0 * NOISE * random.standard_normal(frames.shape, np.float32)
    pictures = []
    for item, frame in zip(items, np.clip(np.rint(frames), 0, 255).astype(np.uint8), strict=True):
        pictures.append(item.copy())
        pictures[-1][top:bottom, left:right] = frame
    return dataclasses.replace(clip, items=tuple(pictures))


def score_stressed(
    scorer: CropModel | Server,
    videos: Collection[Video],
    names: Sequence[str],
    clips: tuple[int, int],
    models: Path,
    problems: Problems,
) -> Iterator[tuple[str, Score]]:
    """The names and scores of instruments made from bona fide videos. The scores' videos are the originals.

    `clips`: number for each video, and frames of each. A clip without a face has no scores; a video that can't be read
    is added to `problems` if it is not there yet.

    Raises:
        FaceModelsError: the face models are missing.
        ScorerError: the server fails.
    """
    finder = FaceFinder(models)
    known = {problem.where for problem in problems}
    for video in videos:
        try:
            for clip in picture_clips(video.path, *clips):
                face = finder.find(clip.items[0])
                if face is not None and len({picture.shape for picture in clip.items}) == 1:
                    seed = f"{video.name} {clip.indices[0]}"
                    made = [stressed(name, clip, face.box_px, seed) for name in names]
                    box_px = _scored_box(scorer, face, clip.items[0].shape)
                    for name, liveness in zip(names, _liveness(scorer, made, box_px), strict=True):
                        yield name, Score(video, liveness, clip.indices[0])
        except (MediaError, cv2.error) as error:
            if video.name not in known:
                problems.add("unreadable video", video.name, str(error))


def tables_of(
    scores: Iterable[tuple[str, Score]], videos: Collection[Video], names: Sequence[str], root: Path
) -> Mapping[Path, list[Score]]:
    """By original video, the rows of a score table: each instrument has videos of its own in folders of its name."""
    rows: dict[Path, list[Score]] = defaultdict(list)
    scored = set()
    for name, score in scores:
        rows[score.video.path].append(dataclasses.replace(score, video=_copy(score.video, name, root)))
        scored.add(score.video.path)
    for video in videos:
        if video.path not in scored:
            rows[video.path] += [Score(_copy(video, name, root), None) for name in names]
    return rows


def _copy(video: Video, name: str, root: Path) -> Video:
    """The video of an instrument made from `video`."""
    inside = video.path.relative_to(root) if video.path.is_relative_to(root) else Path(*video.path.parts[1:])
    path = root / name / inside
    if name == RESAMPLED:
        return dataclasses.replace(video, path=path)
    return dataclasses.replace(video, path=path, label="attack", instrument=name)


def _liveness(scorer: CropModel | Server, clips: Sequence[PictureClip], box_px: Floats) -> Iterable[float | None]:
    """The liveness of each clip; None if a server did not score it. At most BATCH_SIZE clips."""
    if isinstance(scorer, Server):
        return [scorer.answer(clip)[1] for clip in clips]
    crops = np.stack([[crop(picture, box_px, scorer.size_px) for picture in clip.items] for clip in clips])
    return [float(each) for each in scorer.infer(crops)]


def _scored_box(scorer: CropModel | Server, face: Face, shape: Sequence[int]) -> Floats:
    """The square that the scorer sees, in px of a picture of this shape; other systems than EulerNet have their own."""
    if isinstance(scorer, Server) or scorer.box_scale == BOX_SCALE:
        return face.box_px
    height, width = shape[:2]
    share = face.found_px / np.array([width, height, width, height], np.float32)
    return square_box(share, width, height, scorer.box_scale)


def _surroundings(box_px: Floats, shape: Sequence[int]) -> tuple[int, int, int, int]:
    """left, top, right, bottom of the part of a picture that an instrument changes."""
    margin = _MARGIN * (box_px[2] - box_px[0])
    left, top = (max(0, int(edge - margin)) for edge in box_px[:2])
    right, bottom = (min(size, int(edge + margin)) for edge, size in zip(box_px[2:], shape[1::-1], strict=True))
    return left, top, right, bottom


def _matrices(name: str, frames: int, random: np.random.Generator) -> NDArray[np.float64]:
    """From places at rest to places in each frame, -1 to 1 over the face's box: float64 (T, 3, 3)."""
    generator = torch.Generator().manual_seed(int(random.integers(2**62)))
    matrices = placed(1, REACH_PX, generator)
    if name in SPEEDS_PX:
        speed = torch.tensor([random.uniform(*SPEEDS_PX[name])], dtype=torch.float32)
        matrices = moving(speed, frames, generator) @ matrices
    return np.asarray(matrices[0].double().expand(frames, 3, 3).numpy(), np.float64)


def _seen(frames: Frames, matrices: NDArray[np.float64], box_px: Any) -> Frames:
    """Frames moved by matrices over the box, float32 (T, H, W, 3)."""
    side = (box_px[2] - box_px[0]) / 2
    # In OpenCV's coordinates the pixel centres are whole numbers.
    x, y = (box_px[:2] + box_px[2:]) / 2 - 0.5
    to_px = np.array([[side, 0, x], [0, side, y], [0, 0, 1]])
    size = frames.shape[2], frames.shape[1]
    moves = to_px @ matrices @ np.linalg.inv(to_px)
    seen = [
        cv2.warpPerspective(frame, move, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        for frame, move in zip(frames, moves, strict=True)
    ]
    return np.asarray(seen, np.float32)


def _light(frames: int, rows: int, random: np.random.Generator) -> Frames:
    """Brightness of each frame and row, float32 (T, rows, 1, 1): of a lamp on the mains, or of automatic exposure.

    A lamp's light reaches a rolling shutter's rows at other phases, so it makes bands; their phase drifts, since no
    camera is locked to the mains. Automatic exposure goes towards another brightness step by step.
    """
    if random.random() < 0.5:
        depth, periods = random.uniform(0.02, 0.1), random.uniform(0.5, 3.0)
        phase = random.random() + np.arange(frames)[:, None] * random.random()
        waves = np.sin(2 * np.pi * (phase + periods * np.arange(rows) / rows))
        light = 1.0 + depth * waves
    else:
        change, rate = random.choice([-1, 1]) * random.uniform(0.05, 0.25), random.uniform(0.3, 1.5)
        light = (1.0 + change * (1.0 - np.exp(-rate * np.arange(frames))))[:, None].repeat(rows, axis=1)
    return np.asarray(light[:, :, None, None], np.float32)
