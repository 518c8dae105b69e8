# SPDX-License-Identifier: Apache-2.0
"""Scores clips of real videos, and clips made of one still of them, as the service does; a row for each clip.

A clip made of a still is what a held-up photograph shows the method: a face that is frozen, or moves as a plane.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.quality.degraded_scores import sent
from benchmarks.real_check.real_sources import Kind, Material, SourcesError
from eulernet.datasets.clip_pictures import PictureClip, picture_clips
from eulernet.evaluation.stress_figures import INSTRUMENTS, RESAMPLED
from eulernet.faces import FaceFinder, FaceSettings, crop
from eulernet.scoring.scorers import CropModel
from eulernet.scoring.stress import ALL, stressed
from eulernet.simulation.judge import VideoJudge
from eulernet_core.clip_geometry import CLIP_FRAMES, clip_indices
from eulernet_core.face_detail import MIN_DETAIL, face_detail
from eulernet_core.limits import MIN_FACE_PX
from eulernet_core.status import Status
from eulernet_core.weights_label import LIVE_THRESHOLD

CLIPS_PER_VIDEO = 6
RECORDED = "recorded"
BONA_FIDE = (RECORDED, RESAMPLED)  # presentations; every other one is an attack


@dataclass(frozen=True)
class Row:
    """One clip.

    Attributes:
        package, kind, file: of the material.
        presentation: RECORDED, RESAMPLED or one of INSTRUMENTS.
        bona_fide: whether it is; else an attack by construction.
        start: number of the clip's first frame in the video, 0 for a photograph.
        side_px: side of the square around the face in the picture; 0 without a face.
        status: flags that the service would set for at least one of its frames.
        liveness: of the clip's last frame; None without a face.
        judged: MiniFASNet's share of the class "real", mean of the frames; None if it was not asked.
        judged_real: whether that class has the largest share.
    """

    package: str
    kind: Kind
    file: str
    presentation: str
    bona_fide: bool
    start: int
    side_px: int = 0
    status: str = Status.NO_FACE.label
    liveness: float | None = None
    judged: float | None = None
    judged_real: bool | None = None

    @property
    def live(self) -> bool:
        """The verdict; False without a face."""
        return self.liveness is not None and self.liveness >= LIVE_THRESHOLD

    @property
    def flagged(self) -> bool:
        """Whether the service marks the clip."""
        return self.status != Status.OK.label


class RealScorer:
    """Scores clips of materials.

    Args:
        model: the weights.
        face_models: folder of the face models.
        judge: MiniFASNet with its published weights, or None.

    Raises:
        FaceModelsError: the face models are missing.
    """

    def __init__(self, model: CropModel, face_models: Path, judge: VideoJudge | None) -> None:
        self._model, self._judge = model, judge
        self._finder = FaceFinder(face_models)
        # Other systems than EulerNet may have a box of their own.
        self._scored = FaceFinder(face_models, FaceSettings(box_scale=model.box_scale))

    def rows(self, material: Material, clips_per_video: int = CLIPS_PER_VIDEO) -> Iterator[Row]:
        """Every presentation of every clip of a material. Raises: MediaError, SourcesError."""
        video = material.kind == "video"
        clips = picture_clips(material.path, clips_per_video) if video else [still(material.path)]
        for clip in clips:
            face = self._finder.find(clip.items[0])
            for name in (RECORDED, *ALL) if video else tuple(INSTRUMENTS):
                row = Row(material.package, material.kind, material.path.name, name, name in BONA_FIDE, clip.indices[0])
                if face is not None:
                    seed = f"{material.path.name} {clip.indices[0]}"
                    made = clip if name == RECORDED else stressed(name, clip, face.box_px, seed)
                    row = self._score(row, replace(made, items=tuple(sent(picture) for picture in made.items)))
                yield row

    def _score(self, row: Row, clip: PictureClip) -> Row:
        """The row with its scores, unless an instrument has moved the face out of the detector's reach."""
        face = self._scored.find(clip.items[0])
        if face is None:
            return row
        crops = np.stack([crop(picture, face.box_px, self._model.size_px) for picture in clip.items])
        side_px = int(face.box_px[2] - face.box_px[0])
        row = replace(
            row,
            side_px=side_px,
            status=status_of(clip.items, crops, side_px).label,
            liveness=round(float(self._model.infer(crops[None])[0]), 4),
        )
        if self._judge is None:
            return row
        shares, _ = self._judge.shares(clip.items)
        return replace(row, judged=round(float(shares[1]), 4), judged_real=bool(shares[1] > max(shares[0], shares[2])))


def still(path: Path) -> PictureClip:
    """A photograph as a clip of four equal frames. Raises: SourcesError if OpenCV can't read it."""
    encoded = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if encoded is None:
        raise SourcesError(f"{path}: not a picture that can be read; delete it and run the command again")
    picture = np.asarray(cv2.cvtColor(encoded, cv2.COLOR_BGR2RGB), np.uint8)
    return PictureClip(0, clip_indices(0), (picture,) * CLIP_FRAMES)


def status_of(pictures: Sequence[NDArray[np.uint8]], crops: NDArray[np.uint8], side_px: int) -> Status:
    """The notes of the service about a clip: SMALL_FACE, DEGRADED, REPEATED.

    Args:
        pictures: uint8 (H, W, 3) RGB, the clip's frames.
        crops: uint8 (T, S, S, 3), the network's input.
        side_px: side of the face's square in the pictures.
    """
    status = Status.OK
    if side_px < MIN_FACE_PX:
        status |= Status.SMALL_FACE
    if face_detail(crops).min() < MIN_DETAIL:
        status |= Status.DEGRADED
    if any(np.array_equal(a, b) for a, b in pairwise(pictures)):
        status |= Status.REPEATED
    return status
