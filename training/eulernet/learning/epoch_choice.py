# SPDX-License-Identifier: Apache-2.0
"""Which epoch of a run is kept: the one with the lowest equal error rate on the development set."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eulernet_core.attack_detection_metrics import Sample, eer

EpochRow = Mapping[str, float]
Scores = NDArray[np.floating[Any]]


def clip_sample(scores: Scores, live: NDArray[np.bool_]) -> Sample:
    """Scores by class, with a clip as the presentation and all attacks pooled.

    Args:
        scores: float (M,), higher for bona fide.
        live: bool (M,).
    Raises:
        MetricsError: a class is empty or a score is not finite.
    """
    return Sample(scores[live].astype(np.float64), {"attacks": scores[~live].astype(np.float64)})


def clip_eer(scores: Scores, live: NDArray[np.bool_]) -> float:
    """Equal error rate, 0 to 1, of the clips of `clip_sample`. The order of the clips has no effect."""
    return eer(clip_sample(scores, live))


def best_epoch(history: Sequence[EpochRow]) -> EpochRow:
    """The row with the lowest `dev_eer`; of equal ones the lowest `dev_loss`, then the earliest epoch."""
    return min(history, key=lambda row: (row["dev_eer"], row["dev_loss"]))
