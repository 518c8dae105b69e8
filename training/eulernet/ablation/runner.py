# SPDX-License-Identifier: Apache-2.0
"""Trains and scores the planned runs one after another, each in a folder, and adds their figures to the results."""

import dataclasses
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from eulernet.ablation.identity import crop_settings, data_identity, recipe_digest
from eulernet.ablation.plan import BY_TAG, Run
from eulernet.ablation.results import Row, append_row, read_rows
from eulernet.datasets import DatasetError, Problems, Split, Video, read_oulu
from eulernet.datasets.clips import ClipDataset
from eulernet.datasets.crops import CropCache, build_crop_cache
from eulernet.evaluation.scores import Score, write_scores
from eulernet.evaluation.table import Table
from eulernet.learning.calibration import map_means
from eulernet.learning.epoch_choice import best_epoch
from eulernet.learning.settings import Settings
from eulernet.learning.trainer import Trainer, TrainingError, best_network
from eulernet_core.attack_detection_metrics import MetricsError, eer_threshold, figures
from eulernet_core.whole_files import locked

SPLITS: tuple[Split, ...] = ("train", "dev", "test")
LABEL = "ablation"
Report = Callable[[str], None]


@dataclass(frozen=True)
class Places:
    """Folders of the data set, the runs (`out`), the cached face crops and the face models."""

    data: Path
    out: Path
    crops: Path
    models: Path


class OutOfTimeError(Exception):
    """The time limit is reached; the unfinished run resumes from its last epoch when started again."""


class Clock:
    """A time limit in minutes; None for no limit."""

    def __init__(self, minutes: float | None) -> None:
        self._end = None if minutes is None else time.monotonic() + 60.0 * minutes

    def has(self, seconds: float = 0.0) -> bool:
        """Whether at least this number of seconds is left."""
        return self._end is None or time.monotonic() + seconds <= self._end


class Bench:
    """Trains and scores runs of one recipe on one data set, all with the same crops."""

    def __init__(self, recipe: Settings, places: Places, runs: Collection[Run], jobs: int) -> None:
        """Adds the missing face crops of the runs to the cache.

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
                    raise DatasetError(f"{where}: no usable video\n{reading.problems.summary()}".rstrip())
                self._videos.setdefault((protocol, fold), {})[split] = [video.path for video in reading.videos]
                videos |= {video.path: video for video in reading.videos}
                # Protocols share videos; each problem is reported once.
                self.problems.found += [each for each in reading.problems if each not in self.problems.found]
        self.cache = build_crop_cache(videos.values(), places.crops, places.models, crop_settings(recipe), jobs)
        self.problems.extend(self.cache.problems)
        self._entries = {entry.video.path: entry for entry in self.cache.entries}

    @property
    def origin(self) -> tuple[str, str]:
        """The origin of the rows of `execute`."""
        return self.recipe_digest, self.identity.digest

    def folder(self, run: Run) -> Path:
        """Folder of a run's checkpoints and scores; each recipe and data set has separate folders."""
        return self.places.out / "-".join(self.origin) / run.name

    def clips(self, run: Run, split: Split) -> CropCache:
        """The crops of one split of the run's protocol and fold, the same for all variants."""
        entries = [self._entries[path] for path in self._videos[run.protocol, run.fold][split]]
        return dataclasses.replace(self.cache, entries=entries)

    def trainer(self, run: Run) -> Trainer:
        """The trainer of a run, resumed from the checkpoint in the run's folder. Raises: TrainingError."""
        settings = run.settings(self.recipe)
        # Live clips without landmarks have no label of any kind and are left out for all variants.
        kind = BY_TAG[run.variant].label
        train_set, dev_set = (ClipDataset(self.clips(run, split), kind) for split in ("train", "dev"))
        return Trainer(settings, train_set, dev_set, self.folder(run), LABEL)

    def execute(self, run: Run, clock: Clock, report: Report, trainer: Trainer, step: Callable[[], object]) -> Row:
        """Trains the remaining epochs of a run and scores its best epoch.

        Raises:
            OutOfTimeError: the time limit is before the end of another epoch.
            TrainingError, MetricsError: training or scoring failed.
        """

        def after_epoch(line: str) -> None:
            report(f"{run}: {line}")
            if trainer.steps_left and not clock.has(trainer.checkpoint.history[-1]["seconds"]):
                raise OutOfTimeError

        history = trainer.run(after_epoch, step).history
        best = best_epoch(history)
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
        """Writes and returns the dev and test scores of the best epoch: the mean of each clip's last map, 0 to 1.

        The score is not the liveness, which is not calibrated before training ends: a sigmoid flattens the large means
        of masks, so that in a video's score, the mean over its clips, the weight of a clip would depend on the label's
        kind. Means of different size are comparable, because the threshold is set on the dev scores.
        """
        folder = self.folder(run)
        network = best_network(folder).to(device)
        scores = []
        for split in SPLITS[1:]:
            clips = ClipDataset(self.clips(run, split), labelled=False)
            means = map_means(network, clips)
            scores.append([Score(clips.video(i), float(mean)) for i, mean in enumerate(means)])
            write_scores(folder / f"scores_{split}.csv", scores[-1])
        return scores


def measure(dev: Sequence[Score], test: Sequence[Score]) -> dict[str, Any]:
    """The rates of a `Row`, by video, at the threshold of equal error rates of the dev scores."""
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
    """Callbacks for progress. `begin`: a run and its remaining batches; `step`: after a batch; `end`: after a run."""

    report: Report
    begin: Callable[[Run, int], object] = lambda run, steps: None
    step: Callable[[], object] = lambda: None
    end: Callable[[], object] = lambda: None


def missing(bench: Bench, runs: Iterable[Run], results: Path) -> list[Run]:
    """The runs without a row for this recipe and data in the results file, in their order."""
    done = {row.run for row in read_rows(results) if row.origin == bench.origin}
    return [run for run in runs if run not in done]


def sweep(
    bench: Bench, runs: Sequence[Run], results: Path, watcher: Watcher, clock: Clock, limit: int | None = None
) -> int:
    """Does the runs without a row in the results file, in their order, and adds a row for each finished run.

    Several processes can share the folders; a run that another process has locked is skipped.

    Args:
        limit: the number of runs after which to stop.

    Returns:
        The number of finished runs.
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
                f"test ACER {100 * row.acer:.2f} %; {left} left, about {minutes:.0f} min"
            )
    return done


def _claim(bench: Bench, run: Run, results: Path, watcher: Watcher, clock: Clock) -> Row | None:
    """Does one run; None if another process does it or has done it."""
    folder = bench.folder(run)
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder, wait=False) as ours:
        if not ours:
            watcher.report(f"{run}: skipped, another process is doing it")
            return None
        if not missing(bench, [run], results):
            return None
        try:
            trainer = bench.trainer(run)
            watcher.begin(run, trainer.steps_left)
            row = bench.execute(run, clock, watcher.report, trainer, watcher.step)
        except OutOfTimeError:
            watcher.report(f"{run}: out of time after epoch {trainer.checkpoint.epoch}; it resumes from there")
            raise
        except (TrainingError, MetricsError) as error:
            raise type(error)(f"{run}: {error}") from error
        append_row(results, row)
        return row
