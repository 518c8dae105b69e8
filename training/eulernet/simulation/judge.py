# SPDX-License-Identifier: Apache-2.0
"""Asks a network that was trained on real attacks (MiniFASNet) about the videos of a data set.

A simulator is near to cameras if such a network tells its living faces from its attacks.
`python -m eulernet.simulation.judge --data DIR --weights DIR --out CSV` writes a row per video and prints the figures.
"""

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from eulernet.command_options import EXISTING_FOLDER, FILE, data_option, face_models_option
from eulernet.datasets.oulu import INSTRUMENTS, read_oulu_split
from eulernet.datasets.records import BONA_FIDE, SPLITS, Video
from eulernet_core.attack_detection_metrics import Sample, auc

Picture = NDArray[np.uint8]
FRAMES = 3  # of each video, evenly spaced


@dataclass(frozen=True)
class Verdict:
    """The judge's answer for one video.

    Attributes:
        name: of the video.
        split: of the data set.
        subject: the person.
        instrument: see `INSTRUMENTS`.
        phone: number of the phone.
        session: number of the session.
        height: of the picture, pixels.
        face_height: of the face, hairline to chin, share of the picture's height; 0 without a face.
        liveness: share of the class "real", mean of the frames; NaN without a face.
        class_0, class_2: shares of the attack classes.
    """

    name: str
    split: str
    subject: str
    instrument: str
    phone: int
    session: int
    height: int
    face_height: float
    liveness: float
    class_0: float
    class_2: float

    @property
    def real(self) -> bool:
        """Whether "real" has the largest share."""
        return self.liveness > max(self.class_0, self.class_2)


class VideoJudge:
    """Finds faces with the served detector and asks MiniFASNet.

    Args:
        weights: folder of MiniFASNet's weights.
        face_models: folder of the face models.

    Raises:
        WeightsError, FaceModelsError: a file is missing or is another model.
    """

    def __init__(self, weights: Path, face_models: Path) -> None:
        import torch

        from eulernet.faces import FaceFinder
        from eulernet.peers.minifasnet import Judge

        torch.set_num_threads(1)
        self._finder, self._judge = FaceFinder(face_models), Judge(weights)

    def shares(self, pictures: Iterable[Picture]) -> tuple[NDArray[np.float32], float]:
        """The classes' mean shares, float32 (3,), over pictures uint8 (H, W, 3) RGB, and the first face's height as a
        share of the picture's; NaN and 0 if there is no face in any."""
        from eulernet.peers.minifasnet import face_box

        seen, boxes = [], []
        for picture in pictures:
            face = self._finder.find(picture)
            if face is not None:
                seen.append(picture)
                boxes.append(face_box(face.keypoints_px[:2], face.keypoints_px[3]))
        if not seen:
            return np.full(3, np.nan, np.float32), 0.0
        height = float(boxes[0][3] - boxes[0][1]) / seen[0].shape[0]
        return np.asarray(self._judge(seen, boxes).mean(0), np.float32), height

    def __call__(self, video: Video) -> Verdict:
        """The verdict on a video's evenly spaced frames. Raises: MediaError."""
        from eulernet.datasets.clip_pictures import picture_frames

        pictures = list(picture_frames(video.path))
        chosen = sorted({round(index) for index in np.linspace(0, len(pictures) - 1, FRAMES)})
        shares, face_height = self.shares(pictures[index] for index in chosen)
        return Verdict(
            name=video.name,
            split=str(video.split),
            subject=video.subject,
            instrument=video.instrument,
            phone=int(video.phone or 0),
            session=int(video.session or 0),
            height=pictures[0].shape[0],
            face_height=round(face_height, 4),
            liveness=round(float(shares[1]), 5),
            class_0=round(float(shares[0]), 5),
            class_2=round(float(shares[2]), 5),
        )


def write_verdicts(path: Path, verdicts: Iterable[Verdict]) -> None:
    """Writes a row per video."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, [field.name for field in fields(Verdict)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(verdict) for verdict in verdicts)


def summary(verdicts: Sequence[Verdict]) -> dict[str, float]:
    """Figures of videos with a face: "auc", "lowest auc" of a person, "auc SUBJECT" and "real INSTRUMENT" of each.

    Raises:
        ValueError: there are no bona fide videos, or no attacks.
    """
    seen = [verdict for verdict in verdicts if not np.isnan(verdict.liveness)]
    figures = {"videos": float(len(seen)), "without a face": float(len(verdicts) - len(seen)), "auc": _auc(seen)}
    people = {subject: _auc([each for each in seen if each.subject == subject]) for subject in _judged(seen)}
    if people:
        figures["lowest auc of a person"] = min(people.values())
    for instrument in INSTRUMENTS.values():
        of_it = [verdict.real for verdict in seen if verdict.instrument == instrument]
        if of_it:
            figures[f"called real: {instrument}"] = float(np.mean(of_it))
    figures |= {f"auc of person {subject}": value for subject, value in people.items()}
    return figures


def _judged(verdicts: Sequence[Verdict]) -> list[str]:
    """People with bona fide videos and attacks."""
    live, attacked = (
        {each.subject for each in verdicts if (each.instrument == BONA_FIDE) == bona_fide}
        for bona_fide in (True, False)
    )
    return sorted(live & attacked)


def _auc(verdicts: Sequence[Verdict]) -> float:
    living = [verdict.liveness for verdict in verdicts if verdict.instrument == BONA_FIDE]
    attacks = [verdict.liveness for verdict in verdicts if verdict.instrument != BONA_FIDE]
    return auc(Sample(np.array(living), {"attacks": np.array(attacks)}))


def _videos(root: Path) -> Iterator[Video]:
    for split in SPLITS:
        yield from read_oulu_split(root, split).videos


@click.command()
@data_option
@click.option("--weights", type=EXISTING_FOLDER, required=True, help="Folder of MiniFASNet's published weights (.pth).")
@click.option("--out", type=FILE, required=True, help="CSV file with a row per video.")
@face_models_option
def judge(data: Path, weights: Path, out: Path, face_models: Path) -> None:
    """Judge a data set's videos with MiniFASNet, a network trained on real attacks."""
    of_video = VideoJudge(weights, face_models)
    verdicts = [of_video(video) for video in _videos(data)]
    write_verdicts(out, verdicts)
    for name, value in summary(verdicts).items():
        click.echo(f"{name:<28}{value:.3f}")


if __name__ == "__main__":
    judge()
