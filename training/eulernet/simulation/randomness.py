# SPDX-License-Identifier: Apache-2.0
"""Random streams that depend only on names, so that every process has the same draws for the same object."""

import hashlib

import numpy as np
from numpy.typing import NDArray

from eulernet.simulation.opencv import cv2

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]


def stream(seed: int, *names: object) -> np.random.Generator:
    """A generator for the object with these names, e.g. `stream(1, "subject", 12)`."""
    digest = hashlib.sha256("/".join(str(name) for name in (seed, *names)).encode()).digest()
    return np.random.default_rng(np.frombuffer(digest[:16], np.uint32))


def smooth_noise(rng: np.random.Generator, height: int, width: int, cells: float) -> Floats:
    """Value noise, float32 (height, width), with about unit variance and `cells` features along the longer side."""
    longest = max(height, width)
    rows, columns = max(round(cells * height / longest), 2) + 2, max(round(cells * width / longest), 2) + 2
    coarse = rng.standard_normal((rows, columns)).astype(np.float32)
    fine = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(fine * 1.35, np.float32)
