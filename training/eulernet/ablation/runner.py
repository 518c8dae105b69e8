"""Trains and scores what is planned, one run after another, each in its own folder, and keeps the figures."""

import dataclasses
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from eulernet.ablation.identity import crop_settings, data_identity, recipe_digest
from eulernet.ablation.plan import BY_TAG, Run
from eulernet.ablation.results import Row, append_row, locked, read_rows
from eulernet.datasets import DatasetError, Problems, Split, Video, read_oulu
from eulernet.datasets.clips import ClipDataset
from eulernet.datasets.crops import CropCache, build_crop_cache
from eulernet.evaluation.metrics import MetricsError, eer_threshold, figures
from eulernet.evaluation.scores import Score, write_scores
from eulernet.evaluation.table import Table
from eulernet.learning.calibration import map_means
from eulernet.learning.settings import Settings
from eulernet.learning.trainer import Trainer, TrainingError, best_network

SPLITS: tuple[Split, ...] = ("train", "dev", "test")
LABEL = "ablation"
Report = Callable[[str], None]


@dataclass(frozen=True)
class Places:
    """Folders. `out`: of the runs; `crops`: of cached face crops; `models`: of the face models."""

    data: Path
    out: Path
    crops: Path
    models: Path


class OutOfTimeError(Exception):
    """The time is up; the run that was under way goes on from its last epoch another time."""


class Clock:
    """Time that may be used; None for as much as it takes."""

    def __init__(self, minutes: float | None) -> None:
        self._end = None if minutes is None else time.monotonic() + 60.0 * minutes

    def has(self, seconds: float = 0.0) -> bool:
        """Whether so many seconds are left."""
        return self._end is None or time.monotonic() + seconds <= self._end


class Bench:
    """Trains and scores runs of one recipe on one data set; all of them see the same crops."""

    def __init__(self, recipe: Settings, places: Places, runs: Collection[Run], jobs: int) -> None:
        """Cuts out the faces that the runs need and that are not cached yet.

        Raises:
            DatasetError: a run has no videos, or the crops can't be written.
            FaceModelsError: the face models are missing.
        """
        self.recipe, self.places = recipe, places
        self.identity = data_identity(places.data)
        self.recipe_digest = recipe_digest(recipe)
        self.problems = Problems()
        self._videos: dict[tuple[int, int], dict[Split, list[Path]]] = {}
        videos: dict[Path, Video] = {}
        for protocol, fold in dict.fromkeys((run.protocol, run.fold) for run in runs):
            for split in SPLITS:
                reading = read_oulu(places.data, protocol, fold or None, split)
                if not reading.videos:
                    where = f"protocol {protocol}, fold {fold or 1}, {split}"
                    raise DatasetError(f"{where}: no video can be used\n{reading.problems.summary()}".rstrip())
                self._videos.setdefault((protocol, fold), {})[split] = [video.path for video in reading.videos]
                videos |= {video.path: video for video in reading.videos}
                # Protocols share videos; one that is missing is named once.
                self.problems.found += [each for each in reading.problems if each not in self.problems.found]
        self.cache = build_crop_cache(videos.values(), places.crops, places.models, crop_settings(recipe), jobs)
        self.problems.extend(self.cache.problems)
        self._entries = {entry.video.path: entry for entry in self.cache.entries}

    @property
    def origin(self) -> tuple[str, str]:
        """As of the rows that `execute` gives."""
        return self.recipe_digest, self.identity.digest

    def folder(self, run: Run) -> Path:
        """Where a run's checkpoints and scores lie; those of another recipe or data set lie elsewhere."""
        return self.places.out / "-".join(self.origin) / run.name

    def clips(self, run: Run, split: Split) -> CropCache:
        """The crops of one split of the run's protocol and fold, whatever its variant."""
        entries = [self._entries[path] for path in self._videos[run.protocol, run.fold][split]]
        return dataclasses.replace(self.cache, entries=entries)

    def trainer(self, run: Run) -> Trainer:
        """Goes on where the run's folder says that it was. Raises: TrainingError."""
        settings = run.settings(self.recipe)
        # Live clips without landmarks have no map of any kind and are left out for all of them alike.
        kind = BY_TAG[run.variant].label
        train_set, dev_set = (ClipDataset(self.clips(run, split), kind) for split in ("train", "dev"))
        return Trainer(settings, train_set, dev_set, self.folder(run), LABEL)

    def execute(self, run: Run, clock: Clock, report: Report, trainer: Trainer, step: Callable[[], object]) -> Row:
        """Trains what is left of a run and scores its best epoch.

        Raises:
            OutOfTimeError: another epoch would not fit.
            TrainingError, MetricsError: as training and scoring have them.
        """

        def after_epoch(line: str) -> None:
            report(f"{run}: {line}")
            if trainer.steps_left and not clock.has(trainer.checkpoint.history[-1]["seconds"]):
                raise OutOfTimeError

        history = trainer.run(after_epoch, step).history
        best = min(history, key=lambda row: (row["dev_eer"], row["dev_loss"]))
        dev, test = self._score(run, trainer.device)
        return Row(
            **dataclasses.asdict(run),
            recipe=self.recipe_digest,
            data=self.identity.digest,
            simulated=self.identity.simulated,
            **measure(dev, test),
            epochs=len(history),
            best_epoch=int(best["epoch"]),
            seconds=round(sum(row["seconds"] for row in history), 1),
            dev_eer_by_epoch=tuple(row["dev_eer"] for row in history),
        )

    def _score(self, run: Run, device: torch.device) -> list[list[Score]]:
        """The dev and test scores of the best epoch, kept beside it: the mean of each clip's last map, 0 to 1.

        Not the liveness: its sigmoid is steepest where a location map's mean lies and flattens the larger means of
        masks, so that a video's score, the mean over its clips, would weigh clips by the label's kind. The threshold
        comes from the dev scores, so that different means alone do no harm.
        """
        folder = self.folder(run)
        network = best_network(folder).to(device)
        scores = []
        for split in SPLITS[1:]:
            clips = ClipDataset(self.clips(run, split), labelled=False)
            means, _ = map_means(network, clips)
            scores.append([Score(clips.video(i), float(mean)) for i, mean in enumerate(means)])
            write_scores(folder / f"scores_{split}.csv", scores[-1])
        return scores


def measure(dev: Sequence[Score], test: Sequence[Score]) -> dict[str, Any]:
    """The rates of a `Row`, by video: the threshold from the dev scores, where both error rates are equal."""
    dev_sample, test_sample = (Table.of(scores, "video").sample() for scores in (dev, test))
    threshold = eer_threshold(dev_sample)
    at_dev, at_test = figures(dev_sample, threshold), figures(test_sample, threshold)
    return {
        "dev_eer": at_dev["eer"],
        "threshold": threshold,
        "dev_acer": at_dev["acer"],
        "apcer": at_test["apcer_max"],
        "apcer_kind": at_test["apcer_kind_max"],
        **{name: at_test[name] for name in ("bpcer", "acer", "acer_kind", "hter", "eer", "auc")},
    }


@dataclass
class Watcher:
    """Is told what goes on. `begin`: a run, and how many batches it still takes; `step`: a batch; `end`: of a run."""

    report: Report
    begin: Callable[[Run, int], object] = lambda run, steps: None
    step: Callable[[], object] = lambda: None
    end: Callable[[], object] = lambda: None


def missing(bench: Bench, runs: Iterable[Run], results: Path) -> list[Run]:
    """The runs that the results file lacks for this recipe and data, in their order."""
    done = {row.run for row in read_rows(results) if row.origin == bench.origin}
    return [run for run in runs if run not in done]


def sweep(
    bench: Bench, runs: Sequence[Run], results: Path, watcher: Watcher, clock: Clock, limit: int | None = None
) -> int:
    """Does the runs that the results file lacks, in their order, and adds a row for each as soon as it is done.

    Several processes may do this at once with the same folders: a run that another one holds is left to it.

    Args:
        limit: stop after so many runs.

    Returns:
        How many were done now.
    """
    wanted = missing(bench, runs, results)
    begun, done = time.monotonic(), 0
    for number, run in enumerate(wanted, 1):
        if done == limit or not clock.has():
            break
        try:
            row = _claim(bench, run, results, watcher, clock)
        except OutOfTimeError:
            break
        watcher.end()
        if row is not None:
            done += 1
            left = len(wanted) - number
            minutes = left * (time.monotonic() - begun) / done / 60
            watcher.report(
                f"{run}: dev EER {100 * row.dev_eer:.2f} %, dev ACER {100 * row.dev_acer:.2f} %, "
                f"test ACER {100 * row.acer:.2f} %; {left} to go, about {minutes:.0f} min"
            )
    return done


def _claim(bench: Bench, run: Run, results: Path, watcher: Watcher, clock: Clock) -> Row | None:
    """Does one run; None where another process has it or had it."""
    folder = bench.folder(run)
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder, wait=False) as ours:
        if not ours:
            watcher.report(f"{run}: left to the process that is at it")
            return None
        if not missing(bench, [run], results):
            return None
        try:
            trainer = bench.trainer(run)
            watcher.begin(run, trainer.steps_left)
            row = bench.execute(run, clock, watcher.report, trainer, watcher.step)
        except OutOfTimeError:
            watcher.report(f"{run}: out of time after epoch {trainer.checkpoint.epoch}; it goes on from there")
            raise
        except (TrainingError, MetricsError) as error:
            raise type(error)(f"{run}: {error}") from error
        append_row(results, row)
        return row
