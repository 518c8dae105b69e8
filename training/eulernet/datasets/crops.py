# SPDX-License-Identifier: Apache-2.0
"""The cache of face crops: training reads it instead of videos. It is made once for each set of parameters.

ROOT/<hash of the parameters>/ holds for each video NAME-<hash of path, size and time>.npy, with a record per clip, and
a .json beside it. The .npy can be memory-mapped; the .json is written last and marks a finished video. index.csv lists
all videos.
"""

import csv
import hashlib
import io
import json
import logging
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from eulernet.datasets import parallel
from eulernet.datasets.clip_pictures import PictureClip, picture_clips
from eulernet.datasets.records import DatasetError, Problems, Video
from eulernet.faces import DETECTOR_NAME, MESH_NAME, FaceFinder, FaceSettings, crop
from eulernet.faces.models import POINTS
from eulernet.labels import LABEL_KINDS, LABEL_SIDE, label_maps
from eulernet_core.clip_geometry import CLIP_FRAMES, FRAME_INTERVAL
from eulernet_core.errors import MediaError
from eulernet_core.limits import FACE_TOO_SMALL
from eulernet_core.tensors import FACE_SIDE_PX
from eulernet_core.whole_files import locked, replacing, sha256_of, write_whole_text

VERSION = 1  # of the records; part of the cache's key
INDEX = "index.csv"
_LOG = logging.getLogger(__name__)
_VIDEO_COLUMNS = ("path", "name", "label", "instrument", "subject", "phone", "session", "split")
_CLIP_COLUMNS = ("clips", "clips_without_face", "problem")
_INDEX_COLUMNS = (*_VIDEO_COLUMNS, *_CLIP_COLUMNS, "file")


@dataclass(frozen=True)
class CropSettings:
    """Parameters of a cache. `size_px`: side of a crop; `label_side`: side of a label in cells."""

    clips_per_video: int = 8
    frames: int = CLIP_FRAMES
    interval: int = FRAME_INTERVAL
    size_px: int = FACE_SIDE_PX
    label_side: int = LABEL_SIDE
    face: FaceSettings = field(default_factory=FaceSettings)

    def key(self, models: Path) -> str:
        """16 hexadecimal digits, a hash of these parameters and of the face models."""
        prints = [sha256_of(models / name) for name in (DETECTOR_NAME, MESH_NAME)]
        text = json.dumps([VERSION, asdict(self), prints], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def record(self) -> np.dtype[np.void]:
        """The record of a clip.

        crops: (T, size_px, size_px, 3), RGB; landmarks: (468, 3), x, y, z of the first frame in px of the crop, NaN if
        the mesh found no face; labels: (3, side, side) in the order of LABEL_KINDS, of the visible face, also for
        attacks, 0 without landmarks; box: x0, y0, x1, y1 px of the video; start: number of the first frame.
        """
        side = self.label_side
        return np.dtype(
            [
                ("crops", np.uint8, (self.frames, self.size_px, self.size_px, 3)),
                ("landmarks", np.float32, (POINTS, 3)),
                ("labels", np.float32, (len(LABEL_KINDS), side, side)),
                ("box", np.float32, (4,)),
                ("start", np.int32),
            ]
        )


@dataclass(frozen=True)
class Entry:
    """One video of a cache. `file`: its clips, None if there are none; `problem`: the reason for that, else empty."""

    video: Video
    file: Path | None
    clips: int
    clips_without_face: int
    problem: str


@dataclass(frozen=True)
class CropCache:
    """A cache's folder, and its entries for the requested videos, in their order."""

    folder: Path
    settings: CropSettings
    entries: list[Entry]
    problems: Problems


@dataclass(frozen=True)
class _Job:
    """A video to cache; `stem`: the path of its files in the cache, without suffix."""

    path: Path
    stem: Path
    settings: CropSettings


def build_crop_cache(
    videos: Iterable[Video],
    root: Path,
    models: Path,
    settings: CropSettings | None = None,
    processes: int = 2,
    progress: bool = True,
) -> CropCache:
    """Adds the missing videos to the cache. A build after a kill continues with the unfinished videos.

    Args:
        videos: the videos to cache; unreadable ones and ones without a face are listed in the index and in `problems`.
        root: folder of all caches.
        models: folder of the face models.
        settings: parameters of the cache; each set of parameters has a cache.
        processes: number of processes, each on one thread.
        progress: show a bar on the terminal.
    Raises:
        FaceModelsError: the face models are missing.
        DatasetError: the cache can't be written.
    """
    settings = settings or CropSettings()
    FaceFinder(models, settings.face)  # fails before any process is started
    folder = root / settings.key(models)
    videos = list(videos)
    try:
        with locked(
            folder / ".lock", lambda: _LOG.warning("%s: another process is filling this cache; waiting for it", folder)
        ):
            _remove_partial_files(folder)
            jobs = [_Job(video.path, folder / _file_name(video), settings) for video in videos]
            missing = {job.stem: job for job in jobs if not job.stem.with_suffix(".json").is_file()}
            write_whole_text(folder / "parameters.json", _pretty(asdict(settings)))
            failed = {}
            answers = parallel.run(_cache_video, list(missing.values()), _finder, (models, settings.face), processes)
            for job, error in parallel.shown(answers, len(missing), "face crops", progress):
                if error is not None:
                    failed[job.stem] = error
            entries = [_entry(video, job.stem, failed) for video, job in zip(videos, jobs, strict=True)]
            _write_index(folder, entries)
    except OSError as error:
        raise DatasetError(
            f"{folder}: the cache can't be written ({error}); make room or name another folder"
        ) from error
    return CropCache(folder, settings, entries, _problems(entries))


def _file_name(video: Video) -> str:
    """Changes with the file, so that a new version is cached again. It has no dots, so that suffixes can be added."""
    try:
        stat = video.path.stat()
        state = f"{stat.st_size} {stat.st_mtime_ns}"
    except OSError:
        state = "missing"
    digest = hashlib.sha256(f"{video.path.resolve()} {state}".encode()).hexdigest()[:12]
    return f"{video.name[:40].replace('.', '-')}-{digest}"


def _remove_partial_files(folder: Path) -> None:
    """Files that a killed process left; no other process writes here now."""
    for pattern in (".*.npy", ".*.json", ".*.csv"):
        for path in folder.glob(pattern):
            path.unlink()


def _finder(models: Path, settings: FaceSettings) -> FaceFinder:
    return FaceFinder(models, settings)


def _cache_video(job: _Job, finder: FaceFinder) -> None:
    """Writes a video's two files. Runs in a worker process."""
    settings = job.settings
    result: dict[str, Any] = {"path": str(job.path), "clips": 0, "clips_without_face": 0, "problem": ""}
    try:
        clips = picture_clips(job.path, settings.clips_per_video, settings.frames, settings.interval)
        records = [_record(clip, finder, settings) for clip in clips]
    except MediaError as error:
        result["problem"] = f"unreadable video: {error}"
    except (cv2.error, ValueError) as error:  # some damaged videos decode to such pictures
        result["problem"] = f"unreadable video: {job.path}: its pictures can't be used ({error}); record it again"
    else:
        found = [each for each in records if each is not None]
        result |= {"clips": len(found), "clips_without_face": len(records) - len(found)}
        if found:
            with replacing(job.stem.with_suffix(".npy")) as temporary, temporary.open("wb") as stream:
                np.save(stream, np.stack(found), allow_pickle=False)
        else:
            result["problem"] = f"no face: {job.path}: none found in {len(records)} clips; {FACE_TOO_SMALL}"
    if job.path.exists():  # a missing file may be copied later
        write_whole_text(job.stem.with_suffix(".json"), _pretty(result))


def _record(clip: PictureClip, finder: FaceFinder, settings: CropSettings) -> NDArray[np.void] | None:
    """The record of a clip, of dtype settings.record(); None if its first frame has no face."""
    first = clip.items[0]
    face = finder.find(first)
    if face is None:
        return None
    record = np.zeros((), settings.record())
    record["crops"] = [crop(picture, face.box_px, settings.size_px) for picture in clip.items]
    record["box"], record["start"] = face.box_px, clip.indices[0]
    points = finder.landmarks(first, face)
    if points is None:
        record["landmarks"] = np.nan
    else:
        corner = np.array([face.box_px[0], face.box_px[1], 0], np.float32)
        record["landmarks"] = (points - corner) * (settings.size_px / (face.box_px[2] - face.box_px[0]))
        record["labels"] = label_maps(points, face.box_px, settings.label_side)
    return record


def _pretty(value: object) -> str:
    return json.dumps(value, indent=1) + "\n"


def _entry(video: Video, stem: Path, failed: dict[Path, str]) -> Entry:
    marker = stem.with_suffix(".json")
    if stem in failed or not marker.is_file():
        return Entry(video, None, 0, 0, failed.get(stem, f"unreadable video: {video.path}: no such file"))
    result = json.loads(marker.read_bytes())
    file = stem.with_suffix(".npy") if result["clips"] else None
    return Entry(video, file, result["clips"], result["clips_without_face"], result["problem"])


def _problems(entries: list[Entry]) -> Problems:
    problems = Problems()
    for entry in entries:
        if entry.problem:
            kind, _, what = entry.problem.partition(": ")
            problems.add(kind, entry.video.name, what)
        elif entry.clips_without_face:
            total = entry.clips + entry.clips_without_face
            what = f"{entry.clips_without_face} of {total} clips; these are left out"
            problems.add("no face in some clips", entry.video.name, what, kept=True)
    return problems


def _write_index(folder: Path, entries: list[Entry]) -> None:
    """Adds or replaces the index rows of these videos."""
    rows: dict[str, dict[str, Any]] = {}
    if (folder / INDEX).is_file():
        with (folder / INDEX).open(newline="", encoding="utf-8") as stream:
            rows = {row["path"]: row for row in csv.DictReader(stream)}
    for entry in entries:
        row = {column: getattr(entry.video, column) for column in _VIDEO_COLUMNS}
        row |= {column: getattr(entry, column) for column in _CLIP_COLUMNS}
        row["file"] = entry.file.name if entry.file else ""
        rows[str(entry.video.path)] = row
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, _INDEX_COLUMNS)
    writer.writeheader()
    writer.writerows(rows.values())
    write_whole_text(folder / INDEX, text.getvalue())
