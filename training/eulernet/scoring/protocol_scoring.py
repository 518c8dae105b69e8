# SPDX-License-Identifier: Apache-2.0
"""Scores the videos of protocols, each once per model, and writes score tables for every protocol and fold."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.progress import Progress

from eulernet.datasets import DatasetError, Problems, Reading, Split, Video, read_manifest, read_oulu
from eulernet.datasets.clips import ClipDataset
from eulernet.datasets.crops import CropSettings, build_crop_cache
from eulernet.datasets.oulu import FOLDS
from eulernet.evaluation import folder as tables
from eulernet.evaluation.folder import Part
from eulernet.evaluation.report import About
from eulernet.evaluation.scores import Score, write_scores
from eulernet.faces import FaceSettings
from eulernet.scoring.scorers import CropModel, ScorerError, open_checkpoint, open_graph, score_crops, without_time
from eulernet.scoring.server import PREFIX, Server, open_server
from eulernet.scoring.stress import ALL, WIDENING, score_stressed, tables_of
from eulernet.simulation.origin import is_simulated
from eulernet_core.attack_detection_metrics import EqualErrors
from eulernet_core.clip_geometry import CLIP_FRAMES
from eulernet_core.weights_label import LIVE_THRESHOLD, WEIGHTS_UNTRAINED

SPLITS: tuple[Split, ...] = ("dev", "test")
STILL = "every clip repeats its first frame four times, so the figures measure the network without motion"
WIDENED = (
    "the dev scores include a frozen copy (an attack) and a resampled copy (bona fide) of each bona fide clip, so the "
    "threshold is not that of the protocol alone"
)
KEPT_SHOWN = 5  # problems of kept videos in the report
T = TypeVar("T")
Videos = Mapping[tuple[Part, Split], Sequence[Video]]
Rows = Mapping[Path, Sequence[Score]]  # by the path of a video
_PLACEHOLDER = re.compile(r"\{(.*?)\}")


@dataclass(frozen=True)
class Settings:
    """How to score.

    Attributes:
        clips: per video.
        crops, models: folders of the cached crops and of the face models.
        jobs: processes.
        still: repeat each clip's first frame.
        stress: also score stress instruments.
        widen_dev: add copies of the bona fide dev clips to the dev scores.
        frames: per clip; the last one's score counts.
        equal: where the dev scores set the threshold, see `eer_threshold`.
    """

    clips: int
    crops: Path
    models: Path
    jobs: int
    still: bool = False
    stress: bool = False
    widen_dev: bool = False
    frames: int = CLIP_FRAMES
    equal: EqualErrors = "pooled"


@dataclass(frozen=True)
class Job:
    """A protocol and fold, and the model to evaluate on it: a path, or a server's address."""

    part: Part
    model: str


def plan(model: str, data: Path, protocols: Sequence[int], folds: Sequence[int] = FOLDS) -> list[Job]:
    """The evaluations to do.

    Args:
        model: a path or a server's address; `{protocol}` and `{fold}` in a path are replaced by the job's numbers,
            `{fold}` by nothing in a protocol without folds.
        data: a manifest, which has no protocols, or a folder.
        protocols, folds: of OULU-NPU; the folds are for protocols 3 and 4.
    Raises:
        ScorerError: a model's file is missing, or the path has another name in braces.
    """
    parts = [Part()]
    if not data.is_file():
        having = {protocol: sorted(set(folds)) if protocol in (3, 4) else [None] for protocol in sorted(set(protocols))}
        parts = [Part(protocol, fold) for protocol, its in having.items() for fold in its]
    jobs = [Job(part, _filled(model, part)) for part in parts]
    files = dict.fromkeys(job.model for job in jobs if not job.model.startswith(PREFIX))
    missing = [file for file in files if not Path(file).is_file()]
    if missing:
        more = f" ({len(missing)} of {len(files)} are missing)" if len(files) > 1 else ""
        raise ScorerError(f"{missing[0]}: no such file{more}; give a .pt, an .onnx or {PREFIX}host:port")
    return jobs


def score(jobs: Sequence[Job], data: Path, out: Path, settings: Settings) -> Problems:
    """Writes the folder of score tables for `evaluate_folder`. A video without a score has a row with an empty cell.

    A manifest whose dev rows are missing or have one class gives no threshold; LIVE_THRESHOLD is used then.

    Returns: the problems of the data set and of scoring.

    Raises:
        DatasetError: a split has no usable video, the test split has one class, or the crops or the tables can't be
            written.
        FaceModelsError, ScorerError: the models can't be used.
    """
    readings = {(job.part, split): _read(data, job.part, split) for job, split in product(jobs, SPLITS)}
    videos = {key: _required(key, reading, data) for key, reading in readings.items()}
    problems = Problems(list(dict.fromkeys(each for reading in readings.values() for each in reading.problems)))
    without_threshold = next(filter(None, (_without_threshold(videos, job.part) for job in jobs)), "")
    notes = [without_threshold] if without_threshold else []
    notes += _doubtful_data(problems)
    notes += [STILL] if settings.still else []
    notes += [WIDENED] if settings.widen_dev and not without_threshold else []
    labels = []
    try:
        tables.clear(out)
        for model in dict.fromkeys(job.model for job in jobs):
            scorer = _opened(model, settings)
            parts = [job.part for job in jobs if job.model == model]
            its = {key: videos[key] for key in product(parts, SPLITS)}
            scores = _score({video.path: video for each in its.values() for video in each}, scorer, settings, problems)
            root = data.parent if data.is_file() else data
            copies = _copies(scorer, its, root, settings, problems)
            _write_tables(out, its, scores, copies, root)
            labels.append(scorer.weights)
            notes += _doubts(model, scorer, parts)
        models = list(dict.fromkeys(job.model for job in jobs))
        facts = _facts(models, labels) | {"data": data.resolve().name, "clips a video": str(settings.clips)}
        if settings.frames != CLIP_FRAMES:
            facts["frames a clip"] = f"{settings.frames}, the last one's score"
        one_per_folder = {video.path.parent: video.path for each in videos.values() for video in each}
        simulated = any(map(is_simulated, one_per_folder.values()))
        threshold = LIVE_THRESHOLD if without_threshold else None
        tables.write_about(
            out, About(f"weights {facts['weights']}", simulated, facts, tuple(notes), threshold, settings.equal)
        )
    except OSError as error:
        raise DatasetError(
            f"{error.filename2 or error.filename or out}: can't be written or read ({error.strerror})"
        ) from error
    return problems


def open_model(model: str) -> CropModel | Server:
    """The scorer for a server's address, for an .onnx file, or for a checkpoint. Raises: ScorerError."""
    if model.startswith(PREFIX):
        return open_server(model)
    return (open_graph if model.endswith(".onnx") else open_checkpoint)(Path(model))


def _opened(model: str, settings: Settings) -> CropModel | Server:
    if settings.frames != CLIP_FRAMES and not model.endswith(".pt"):
        raise ScorerError(f"{model}: takes {CLIP_FRAMES} frames; give a checkpoint (.pt) with --frames")
    scorer = open_model(model)
    if settings.still and isinstance(scorer, Server):
        raise ScorerError(f"{model}: --still needs a file; give a .pt or an .onnx")
    return without_time(scorer) if settings.still and isinstance(scorer, CropModel) else scorer


def _filled(model: str, part: Part) -> str:
    if model.startswith(PREFIX):
        return model
    for name in _PLACEHOLDER.findall(model):
        if name not in Part._fields or part.protocol is None:
            known = "{protocol} and {fold} are the known names, for data in OULU-NPU's layout"
            raise ScorerError(f"{model}: no value for {{{name}}}; {known}")
    values = {name: "" if value is None else str(value) for name, value in part._asdict().items()}
    return str(Path(_PLACEHOLDER.sub(lambda match: values[match[1]], model)))


def _read(data: Path, part: Part, split: Split) -> Reading:
    if part.protocol is None:
        return read_manifest(data, split)
    return read_oulu(data, part.protocol, part.fold, split)


def _score(videos: Mapping[Path, Video], scorer: CropModel | Server, settings: Settings, problems: Problems) -> Rows:
    """The scores of each video that has at least one."""
    if isinstance(scorer, Server):
        total = len(videos) * settings.clips
        found = scorer.score(videos.values(), settings.clips, problems)
    else:
        # The same crop settings as in `eulernet train`, so that its cache is used.
        size = scorer.size_px
        face = FaceSettings(box_scale=scorer.box_scale)
        cut = CropSettings(settings.clips, settings.frames, size_px=size, label_side=size // 8, face=face)
        cache = build_crop_cache(videos.values(), settings.crops, settings.models, cut, processes=settings.jobs)
        problems.extend(cache.problems)
        dataset = ClipDataset(cache, labelled=False)
        total, found = len(dataset), score_crops(scorer, dataset)
    scores = defaultdict(list)
    for each in _shown(found, total, "scoring"):
        scores[each.video.path].append(each)
    return scores


def _write_tables(out: Path, videos: Videos, scores: Rows, copies: Mapping[Split, Rows], root: Path) -> None:
    """Writes the tables of one model. `copies`: by split, rows to add to the dev scores or for the stress table."""
    for (part, split), its in videos.items():
        rows = [row for video in its for row in scores.get(video.path) or [Score(video, None)]]
        made = [row for video in its for row in copies[split].get(video.path, ())]
        if split == "dev":
            rows += made
        elif made:
            write_scores(out / part.file("stress"), made, root)
        if rows:
            write_scores(out / part.file(split), rows, root)


def _copies(
    scorer: CropModel | Server, videos: Videos, root: Path, settings: Settings, problems: Problems
) -> Mapping[Split, Rows]:
    """By split, the score rows of stress instruments by the path of the bona fide video that they are made from."""
    wanted: dict[Split, tuple[str, ...]] = dict.fromkeys(SPLITS, ())
    wanted |= {"dev": WIDENING} if settings.widen_dev else {}
    wanted |= {"test": ALL} if settings.stress else {}
    rows: dict[Split, Rows] = {split: {} for split in SPLITS}
    for split, names in wanted.items():
        lives = {video.path: video for key, its in videos.items() if key[1] == split for video in its if video.live}
        if names and lives:
            shape = settings.clips, settings.frames
            found = score_stressed(scorer, lives.values(), names, shape, settings.models, problems)
            total = len(lives) * settings.clips * len(names)
            shown = _shown(found, total, "scoring stress instruments" if split == "test" else "scoring dev copies")
            rows[split] = tables_of(shown, lives.values(), names, root)
    return rows


def _shown(found: Iterable[T], total: int, what: str) -> Iterator[T]:
    """The same, with a progress bar on a terminal."""
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as bar:
        yield from bar.track(found, total=total, description=what)


def first_model(fact: str) -> str:
    """The path of the first model of a report, from its fact `model`."""
    several = re.fullmatch(r"\d+ models, (.*?) to .*", fact)
    return several[1] if several else fact


def _facts(models: Sequence[str], labels: Sequence[str]) -> dict[str, str]:
    name = models[0] if len(models) == 1 else f"{len(models)} models, {models[0]} to {models[-1]}"
    return {"model": name, "weights": ", ".join(f'"{label}"' for label in dict.fromkeys(labels))}


def _required(key: tuple[Part, Split], reading: Reading, data: Path) -> list[Video]:
    """The videos of a split. Only a manifest without a dev row may have none. Raises: DatasetError."""
    part, split = key
    if part.protocol is None and split == "dev" and reading.lacking:
        return []
    videos = reading.require()
    lacking = _lacking_class(videos)
    if split == "test" and lacking:
        raise DatasetError(
            f"{data}: the {len(videos)} usable test videos have no {lacking}, and the figures need both classes; "
            f"add some\n{reading.problems.summary()}".rstrip()
        )
    return videos


def _without_threshold(videos: Mapping[tuple[Part, Split], Sequence[Video]], part: Part) -> str:
    """Why a manifest gives no threshold; empty if it does."""
    lacking = _lacking_class(videos[part, "dev"])
    if part.protocol is not None or not lacking:
        return ""
    return (
        f"the data has no dev {lacking} to set a threshold on; {LIVE_THRESHOLD} is used, to which `eulernet train` "
        "calibrates weights.pt (other checkpoints are not calibrated)"
    )


def _lacking_class(videos: Sequence[Video]) -> str:
    found = {video.live for video in videos}
    return "" if len(found) == 2 else "attacks" if True in found else "bona fide videos" if found else "videos"


def _doubtful_data(problems: Problems) -> list[str]:
    """What was left out of the data set, and what was kept in spite of a problem."""
    counts = Counter(each.kind for each in problems if not each.kept)
    listed = ", ".join(f"{kind}: {count}" for kind, count in counts.items())
    notes = [f"problems of the data set; these rows are left out: {listed}"] if listed else []
    kept = [each for each in problems if each.kept]
    notes += [f"{each.kind}: {each.what}" for each in kept[:KEPT_SHOWN]]
    return notes + ([f"and {len(kept) - KEPT_SHOWN} more such problems"] if len(kept) > KEPT_SHOWN else [])


def _doubts(model: str, scorer: CropModel | Server, parts: Sequence[Part]) -> list[str]:
    """Reasons to doubt a model's figures."""
    if scorer.weights == WEIGHTS_UNTRAINED:
        return [f"{model}: untrained, random weights; the figures say nothing about the method"]
    if isinstance(scorer, Server) or scorer.trained_by is None:
        return []
    its = Part(scorer.trained_by[0], scorer.trained_by[1] or None)
    others = [part if part.protocol == its.protocol else Part(part.protocol) for part in parts if part != its]
    names = ", ".join(dict.fromkeys(str(part) for part in others if part.protocol))
    doubt = f"{model}: trained for {its} by its settings; its figures for {names} are not results of that protocol"
    return [doubt] if names else []
