"""The cache of face crops: what training reads instead of videos, made once for each set of parameters.

ROOT/<hash of the parameters>/ holds for each video NAME-<hash of path, size and time>.npy, a record a clip that can be
memory-mapped, and a .json beside it, written last: a video with one is finished. index.csv lists all of them.
"""

import csv
import fcntl
import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from eulernet.datasets import parallel
from eulernet.datasets.records import DatasetError, Problems, Video
from eulernet.datasets.video import FRAMES, INTERVAL, Clip, VideoError, map_clips
from eulernet.faces import DETECTOR_NAME, MESH_NAME, FaceFinder, FaceSettings, crop
from eulernet.faces.models import POINTS
from eulernet.labels import LABEL_KINDS, LABEL_SIDE, label_maps

VERSION = 1  # of what is kept: a cache of another version is another cache
INDEX = "index.csv"
_LOG = logging.getLogger(__name__)
_VIDEO_COLUMNS = ("path", "name", "label", "instrument", "subject", "phone", "session", "split")
_CLIP_COLUMNS = ("clips", "clips_without_face", "problem")
_INDEX_COLUMNS = (*_VIDEO_COLUMNS, *_CLIP_COLUMNS, "file")


@dataclass(frozen=True)
class CropSettings:
    """What a cache holds. `size_px`: side of a crop; `label_side`: cells a side of a label."""

    clips_per_video: int = 8
    frames: int = FRAMES
    interval: int = INTERVAL
    size_px: int = 256
    label_side: int = LABEL_SIDE
    face: FaceSettings = field(default_factory=FaceSettings)

    def key(self, models: Path) -> str:
        """16 hexadecimal digits that differ wherever what is kept differs, the face models included."""
        prints = [hashlib.sha256((models / name).read_bytes()).hexdigest() for name in (DETECTOR_NAME, MESH_NAME)]
        text = json.dumps([VERSION, asdict(self), prints], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def record(self) -> np.dtype[np.void]:
        """A clip as it is kept.

        crops: (T, size_px, size_px, 3), RGB; landmarks: (468, 3), x, y, z of its first frame in px of the crop, NaN
        where the mesh saw no face; labels: (3, side, side) in the order of LABEL_KINDS, of the face as it is seen, so
        for attacks too, 0 where there are no landmarks; box: x0, y0, x1, y1 px of the video; start: first frame.
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
    """One video of a cache. `file`: its clips, None without any; `problem`: why it has none, else empty."""

    video: Video
    file: Path | None
    clips: int
    clips_without_face: int
    problem: str


@dataclass(frozen=True)
class CropCache:
    """A cache's folder, and its entries for the videos that it was asked for, in their order."""

    folder: Path
    settings: CropSettings
    entries: list[Entry]
    problems: Problems


@dataclass(frozen=True)
class _Job:
    """A video to be cached: `stem` is the path of its files in the cache, without suffix."""

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
    """Makes what the cache lacks of these videos; finished ones are not redone, also not after a kill.

    Args:
        videos: to be cached; one that can't be read or shows no face is named in the index and in `problems`.
        root: folder of all caches.
        models: folder of the face models.
        settings: what is kept; other settings make another cache.
        processes: that work at once, each on one thread.
        progress: show a bar on the terminal.
    Raises:
        FaceModelsError: the face models are missing.
        DatasetError: the cache can't be written.
    """
    settings = settings or CropSettings()
    FaceFinder(models, settings.face)  # fails here, before any process is started
    folder = root / settings.key(models)
    videos = list(videos)
    try:
        with _locked(folder):
            jobs = [_Job(video.path, folder / _file_name(video), settings) for video in videos]
            missing = {job.stem: job for job in jobs if not job.stem.with_suffix(".json").is_file()}
            _write_whole(folder / "parameters.json", lambda stream: stream.write(_pretty(asdict(settings))))
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
    """Changes with the file: a video made anew is cached anew. No dots, so that a suffix can be put on it."""
    try:
        stat = video.path.stat()
        state = f"{stat.st_size} {stat.st_mtime_ns}"
    except OSError:
        state = "missing"
    digest = hashlib.sha256(f"{video.path.resolve()} {state}".encode()).hexdigest()[:12]
    return f"{video.name[:40].replace('.', '-')}-{digest}"


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One builder at a time; another one waits, and then finds the work done. A killed builder's lock is gone."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _LOG.warning("%s: another process is filling this cache; waiting for it", folder)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _finder(models: Path, settings: FaceSettings) -> FaceFinder:
    return FaceFinder(models, settings)


def _cache_video(job: _Job, finder: FaceFinder) -> None:
    """Writes a video's two files. Runs in a process of its own."""
    settings = job.settings
    result: dict[str, Any] = {"path": str(job.path), "clips": 0, "clips_without_face": 0, "problem": ""}
    try:
        made = map_clips(
            job.path,
            settings.clips_per_video,
            lambda clip: _record(clip, finder, settings),
            settings.frames,
            settings.interval,
        )
    except VideoError as error:
        result["problem"] = f"unreadable video: {error}"
    except (cv2.error, ValueError) as error:  # what some damaged videos decode to
        result["problem"] = f"unreadable video: {job.path}: its pictures can't be used ({error}); record it again"
    else:
        clips = [each for each in made if each is not None]
        result |= {"clips": len(clips), "clips_without_face": len(made) - len(clips)}
        if clips:
            array = np.stack(clips)
            _write_whole(job.stem.with_suffix(".npy"), lambda stream: np.save(stream, array, allow_pickle=False))
        else:
            share = "the face must take 15 % of the frame's width"
            result["problem"] = f"no face: {job.path}: none found in {len(made)} clips; {share}"
    if job.path.exists():  # a file that is not there may come
        _write_whole(job.stem.with_suffix(".json"), lambda stream: stream.write(_pretty(result)))


def _record(clip: Clip, finder: FaceFinder, settings: CropSettings) -> NDArray[np.void] | None:
    """A clip as it is kept, of dtype settings.record(); None where its first frame shows no face."""
    first = clip.pictures[0]
    face = finder.find(first)
    if face is None:
        return None
    record = np.zeros((), settings.record())
    record["crops"] = [crop(picture, face.box_px, settings.size_px) for picture in clip.pictures]
    record["box"], record["start"] = face.box_px, clip.start
    points = finder.landmarks(first, face)
    if points is None:
        record["landmarks"] = np.nan
    else:
        corner = np.array([face.box_px[0], face.box_px[1], 0], np.float32)
        record["landmarks"] = (points - corner) * (settings.size_px / (face.box_px[2] - face.box_px[0]))
        record["labels"] = label_maps(points, face.box_px, settings.label_side)
    return record


def _pretty(value: object) -> bytes:
    return (json.dumps(value, indent=1) + "\n").encode()


def _write_whole(path: Path, write: Callable[[Any], object]) -> None:
    """The file appears complete or not at all. What a kill leaves behind is overwritten by the next try."""
    temporary = path.with_name(f".{path.name}.part")
    with temporary.open("wb") as stream:
        write(stream)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)


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
            problems.add("no face in some clips", entry.video.name, f"{entry.clips_without_face} of {total}; left out")
    return problems


def _write_index(folder: Path, entries: list[Entry]) -> None:
    """Adds to the index or replaces in it a row for each of these videos."""
    rows: dict[str, dict[str, Any]] = {}
    if (folder / INDEX).is_file():
        with (folder / INDEX).open(newline="", encoding="utf-8") as stream:
            rows = {row["path"]: row for row in csv.DictReader(stream)}
    for entry in entries:
        row = {column: getattr(entry.video, column) for column in _VIDEO_COLUMNS}
        row |= {column: getattr(entry, column) for column in _CLIP_COLUMNS}
        row["file"] = entry.file.name if entry.file else ""
        rows[str(entry.video.path)] = row
    temporary = folder / f".{INDEX}.part"
    with temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, _INDEX_COLUMNS)
        writer.writeheader()
        writer.writerows(rows.values())
    temporary.replace(folder / INDEX)
