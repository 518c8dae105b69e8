# SPDX-License-Identifier: Apache-2.0
"""Checks whether trivial statistics of a video distinguish attacks, by a logistic regression.

If file size, bit rate, size of the face, mean colour or sharpness separate the classes, a network learns only these.
`python -m eulernet.simulation.shortcuts DIR TABLE.csv` writes the statistics of a data set's training and test users,
and prints the AUC on the test users for each attack instrument.
"""

import csv
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eulernet.datasets.oulu import INSTRUMENTS, read_eyes, read_oulu_split
from eulernet.datasets.records import BONA_FIDE, Split, Video
from eulernet_core.attack_detection_metrics import Sample, auc

Values = NDArray[np.float64]
LIMIT_AUC = 0.75
SPLITS: tuple[Split, Split] = ("train", "test")
NAMES = (
    "log_bytes",
    "log_bits_per_s",
    "log_bits_per_pixel",
    "height",
    "width",
    "eyes_px",
    "eyes_share",
    "mean_r",
    "mean_g",
    "mean_b",
    "spread_r",
    "spread_g",
    "spread_b",
    "saturation",
    "brightness_change",
    "brightness_trend",
    "flicker",
    "log_sharpness",
    "log_sharpness_middle",
)


def statistics(path: Path) -> Values:
    """One value for each of NAMES; `eyes_px` and `eyes_share` (of the width) are the distance between the eyes."""
    import av
    import cv2

    with av.open(str(path)) as container:
        rate = float(container.streams.video[0].average_rate or 30)
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    size = path.stat().st_size
    height, width = frames[0].shape[:2]
    small = np.stack([cv2.resize(frame, (48, 64), interpolation=cv2.INTER_AREA) for frame in frames]) / 255.0
    brightness = small.mean((1, 2, 3))
    trend = np.polyfit(np.arange(len(brightness)), brightness, 1)[0] if len(brightness) > 1 else 0.0
    steps = np.abs(np.diff(brightness)).mean() if len(brightness) > 1 else 0.0
    grey = cv2.cvtColor(frames[len(frames) // 2], cv2.COLOR_RGB2GRAY).astype(np.float32)
    middle = grey[height // 4 : 3 * height // 4, width // 4 : 3 * width // 4]
    right, left = read_eyes(path.with_suffix(".txt"))[0, 1:].reshape(2, 2)
    eyes_px = float(np.hypot(*(left - right)))
    values = [np.log(size), np.log(8 * size / (len(frames) / rate)), np.log(8 * size / (len(frames) * height * width))]
    values += [height, width, eyes_px, eyes_px / width]
    values += [*small.mean((0, 1, 2)), *small.std((0, 1, 2))]
    values += [(small.max(-1) - small.min(-1)).mean(), brightness.std(), abs(trend), steps]
    values += [np.log(cv2.Laplacian(part, cv2.CV_32F).var() + 1e-6) for part in (grey, middle)]
    return np.array(values, np.float64)


@dataclass(frozen=True)
class Logistic:
    """A fitted logistic regression: scores are higher for live."""

    mean: Values
    scale: Values
    weights: Values

    def __call__(self, features: Values) -> Values:
        whitened = (features - self.mean) / self.scale
        return np.asarray(whitened @ self.weights[:-1] + self.weights[-1], np.float64)


def fit(features: Values, live: NDArray[np.bool_], ridge: float = 0.02) -> Logistic:
    """Fits float64 (n, d) features to the classes, with equal weights; constant features have no effect."""
    from scipy.optimize import minimize

    mean, scale = features.mean(0), features.std(0)
    scale = np.where(scale > 1e-12, scale, 1.0)
    x = np.column_stack([(features - mean) / scale, np.ones(len(features))])
    sign = np.where(live, 1.0, -1.0)
    weight = np.where(live, 0.5 / max(live.sum(), 1), 0.5 / max((~live).sum(), 1))

    def loss(w: Values) -> tuple[float, Values]:
        margin = sign * (x @ w)
        pull = -weight * sign / (1 + np.exp(np.clip(margin, -50, 50)))
        regular = np.append(ridge * w[:-1], 0)
        return float((weight * np.logaddexp(0, -margin)).sum() + 0.5 * regular @ w), x.T @ pull + regular

    return Logistic(mean, scale, minimize(loss, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B").x)


def write_table(root: Path, path: Path) -> None:
    """Writes a row per video of the data set's training and test users: split, name, instrument and statistics."""
    videos: list[Video] = [video for split in SPLITS for video in read_oulu_split(root, split).require()]
    with ProcessPoolExecutor(os.cpu_count()) as pool, path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("split", "name", "instrument", *NAMES))
        rows = pool.map(statistics, [video.path for video in videos], chunksize=16)
        for video, values in zip(videos, rows, strict=True):
            writer.writerow((video.split, video.name, video.instrument, *(f"{value:.5g}" for value in values)))


def columns(path: Path) -> list[str]:
    """The statistics in a table, in the order of NAMES; a table can lack some."""
    with path.open(newline="", encoding="utf-8") as stream:
        header = next(csv.reader(stream))
    return [name for name in NAMES if name in header]


def read_table(path: Path) -> dict[str, dict[str, dict[str, Values]]]:
    """Reads a table of `write_table`: statistics, float64 (len(columns),), by split, instrument and name."""
    found: dict[str, dict[str, dict[str, Values]]] = {}
    names = columns(path)
    with path.open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            of_split = found.setdefault(row["split"], {})
            of_split.setdefault(row["instrument"], {})[row["name"]] = np.array([float(row[name]) for name in names])
    return found


def check(path: Path) -> dict[str, float]:
    """AUC on a table's test users, by instrument, of regressions fitted on its training users."""
    train, test = (
        {instrument: np.stack(list(videos.values())) for instrument, videos in of_split.items()}
        for of_split in map(read_table(path).__getitem__, SPLITS)
    )
    return compare(train, test)


def compare(train: dict[str, Values], test: dict[str, Values]) -> dict[str, float]:
    """`check` on statistics float64 (n, d) by instrument.

    There is a regression for each instrument, fitted on its training videos and the live ones."""
    result = {}
    for instrument in INSTRUMENTS.values():
        if instrument == BONA_FIDE or instrument not in train or instrument not in test:
            continue
        features = np.concatenate([train[BONA_FIDE], train[instrument]])
        model = fit(features, np.arange(len(features)) < len(train[BONA_FIDE]))
        result[instrument] = auc(Sample(model(test[BONA_FIDE]), {instrument: model(test[instrument])}))
    return result


if __name__ == "__main__":
    write_table(Path(sys.argv[1]), Path(sys.argv[2]))
    for each, value in check(Path(sys.argv[2])).items():
        print(f"{each:<10}{value:.3f}  {'a shortcut' if value >= LIMIT_AUC else 'no shortcut'} (limit {LIMIT_AUC})")
