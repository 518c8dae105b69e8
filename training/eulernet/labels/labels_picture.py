# SPDX-License-Identifier: Apache-2.0
"""A picture of the three kinds of labels beside their faces, and the time that each takes."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from eulernet.faces import FaceFinder, crop
from eulernet.labels.maps import LABEL_KINDS, label_map, label_maps
from eulernet_core.whole_files import replacing

Picture = NDArray[np.uint8]
Floats = NDArray[np.float32]
_CROP_PX = 256
_TITLES = {"location": "face location map", "mask": "binary mask", "depth": "depth map"}


def photographs() -> dict[str, Picture]:
    """Two public-domain portraits: uint8 (H, W, 3) RGB, from scikit-image (NASA) and matplotlib (U.S. Navy)."""
    import skimage.data
    from matplotlib import cbook

    path = cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)
    hopper = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
    load: Any = skimage.data
    return {"astronaut": np.asarray(load.astronaut(), np.uint8), "grace hopper": np.asarray(hopper, np.uint8)}


def variants() -> dict[str, Picture]:
    """The portraits, plain, rotated, mirrored, small, sheared, and partly outside the picture."""
    plain = photographs()
    astronaut, hopper = plain["astronaut"], plain["grace hopper"]
    return plain | {
        "turned 25°": _warped(astronaut, cv2.getRotationMatrix2D((225, 130), 25, 1.0)),
        "mirrored, turned": _warped(hopper[:, ::-1], cv2.getRotationMatrix2D((250, 250), -20, 1.0)),
        "small": _warped(hopper, np.array([[0.45, 0, 150], [0, 0.45, 150]])),
        "slanted": _warped(astronaut, np.array([[0.7, 0, 70], [0.15, 1, -40]])),
        "at the edge": astronaut[60:, 195:],
    }


def _warped(picture: Picture, matrix: Any) -> Picture:
    size = picture.shape[1], picture.shape[0]
    return np.asarray(cv2.warpAffine(np.ascontiguousarray(picture), matrix, size, borderMode=cv2.BORDER_REPLICATE))


def draw_labels(pictures: dict[str, Picture], finder: FaceFinder, out: Path) -> list[str]:
    """Writes a picture with a row for each face: crop, landmarks and the three maps.

    Args:
        pictures: uint8 (H, W, 3) RGB, by name.
        out: .png, .svg or another format of matplotlib.
    Returns: the names of the pictures without a face.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows, missed = [], []
    for name, picture in pictures.items():
        face = finder.find(picture)
        points = None if face is None else finder.landmarks(picture, face)
        if face is None or points is None:
            missed.append(name)
        else:
            rows.append((name, crop(picture, face.box_px, _CROP_PX), points, face.box_px))
    if not rows:
        return missed
    figure = Figure(figsize=(11, 2.2 * len(rows) + 0.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(rows), 5, squeeze=False)
    for (name, face_crop, points, box), line in zip(rows, axes, strict=True):
        in_crop = (points[:, :2] - box[:2]) * _CROP_PX / (box[2] - box[0])
        for panel in line[:2]:
            panel.imshow(face_crop, extent=(0, _CROP_PX, _CROP_PX, 0))
        line[0].set_ylabel(name)
        line[1].scatter(in_crop[:, 0], in_crop[:, 1], s=0.6, c="cyan")
        line[1].set(xlim=(0, _CROP_PX), ylim=(_CROP_PX, 0))
        for panel, values in zip(line[2:], label_maps(points, box), strict=True):
            shown = panel.imshow(values, vmin=0, vmax=1, cmap="magma")
        for panel in line:
            panel.set(xticks=[], yticks=[])
    for panel, title in zip(axes[0], ("crop", "468 landmarks", *(_TITLES[kind] for kind in LABEL_KINDS)), strict=True):
        panel.set_title(title, fontsize=10)
    figure.colorbar(shown, ax=axes[:, 4], shrink=0.6)
    with replacing(out) as temporary:
        figure.savefig(temporary, dpi=110)
    return missed


def times_ms(picture: Picture, finder: FaceFinder, repeats: int = 100) -> dict[str, float]:
    """Median milliseconds for the face in a picture: detection, landmarks and each kind of label."""
    face = finder.find(picture)
    points = None if face is None else finder.landmarks(picture, face)
    if face is None or points is None:
        raise ValueError("times_ms: no face in the picture; use another picture")
    jobs: dict[str, Callable[[], object]] = {
        "face detection": partial(finder.find, picture),
        "landmarks": partial(finder.landmarks, picture, face),
    }
    for kind in LABEL_KINDS:
        jobs[_TITLES[kind]] = partial(label_map, kind, points, face.box_px)
    jobs["all three maps at once"] = partial(label_maps, points, face.box_px)
    return {name: _median_ms(job, repeats) for name, job in jobs.items()}


def _median_ms(job: Callable[[], object], repeats: int) -> float:
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        job()
        taken.append(time.perf_counter() - start)
    return float(np.median(taken)) * 1000
