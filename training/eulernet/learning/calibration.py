# SPDX-License-Identifier: Apache-2.0
"""Calibration of the score on a development set: LIVENESS 0.5 becomes the threshold of equal errors, where BPCER equals
the highest APCER of the instruments, and a video's score is the mean of its clips.

The slope is Platt's ("Probabilistic outputs for support vector machines", 1999) with his targets, which keep it finite
for separable classes. Both classes have the same weight, because the share of attacks in a data set is arbitrary.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from eulernet.datasets.records import Video
from eulernet.device import compute_device
from eulernet.evaluation.scores import Score
from eulernet.evaluation.table import Table
from eulernet.learning.augmentation import to_float
from eulernet.learning.checkpoint import AnyCheckpoint, load_any, save
from eulernet.learning.feed import Clips, batches, gather
from eulernet.learning.trainer import BEST
from eulernet.network import SCORE_OFFSET, EulerNet
from eulernet.peers.peer_network import PeerNetwork
from eulernet_core.attack_detection_metrics import eer_threshold

WEIGHTS = "weights.pt"
# sigmoid(12) differs from 1 in float32 by a hundred roundings, so that scores keep their order.
STEEPEST_LOGIT = 12.0
Values = NDArray[np.float64]


@torch.inference_mode()
def map_means(network: EulerNet, clips: Clips, batch_size: int = 8) -> Values:
    """Mean of each clip's last location map, float64 (M,)."""
    device = network.scale.device
    means = []
    for indices in batches(len(clips), batch_size):
        frames, _, _ = gather(clips, indices)
        # With TF32, cuDNN's default on a GPU, the means would differ from the exported graph's.
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            maps = network(frames.to(device)).location_map[:, -1]
        means.append(maps.mean(dim=(1, 2)).double().cpu().numpy())
    return np.concatenate(means)


@torch.inference_mode()
def clip_values(network: PeerNetwork, clips: Clips, batch_size: int = 4) -> Values:
    """Each clip's published score by a system other than EulerNet, float64 (M,)."""
    device = network.scale.device
    values = []
    for indices in batches(len(clips), batch_size):
        frames, _, _ = gather(clips, indices)
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            values.append(network.clip_values(to_float(frames.to(device))).double().cpu().numpy())
    return np.concatenate(values)


def videos_of(clips: Clips) -> list[Video]:
    """The video of each clip."""
    return [clips.video(index) for index in range(len(clips))]


def fit(values: Values, videos: Sequence[Video]) -> tuple[float, float]:
    """Threshold and slope of the score: liveness = sigmoid(slope * (value - threshold)).

    The threshold is of videos and the slope of clips, since a verdict is given to both.

    Args:
        values: float64 (M,) of a development set's clips, such as `EulerNet.score_value` of the maps' means.
        videos: (M,), of each clip, with both classes.
    Raises: MetricsError, if a class is missing.
    """
    live = np.array([video.live for video in videos])
    scores = [Score(video, float(value)) for video, value in zip(videos, values, strict=True)]
    threshold = eer_threshold(Table.of(scores).sample(), "highest")
    offset = values - threshold
    counts = np.where(live, live.sum(), (~live).sum())
    target = np.where(live, (counts + 1) / (counts + 2), 1 / (counts + 2))

    def loss(slope: float) -> float:
        logits = slope * offset
        return float(((np.logaddexp(0, logits) - target * logits) / counts).sum())

    steepest = STEEPEST_LOGIT / max(float(np.abs(offset).max()), 1e-6)
    return threshold, float(minimize_scalar(loss, bounds=(0.0, steepest), method="bounded").x)


def calibrate(network: EulerNet, means: Values, videos: Sequence[Video]) -> None:
    """Sets threshold and slope of the network's score from means of a development set's maps, as `map_means`, and the
    video of each."""
    value, slope = fit(network.score_value(torch.from_numpy(means)).numpy(), videos)
    inverse = math.exp(value) - SCORE_OFFSET if network.config.score == "log" else value
    set_score(network, inverse, slope)


@torch.no_grad()
def set_score(network: EulerNet | PeerNetwork, threshold: float, slope: float) -> None:
    """Sets the buffers of the score."""
    network.threshold.fill_(threshold)
    network.scale.fill_(slope)


def publish(out: Path, dev_set: Clips) -> Path:
    """Writes OUT/weights.pt: the best epoch of the run in OUT, calibrated, without the optimizer's state."""
    best = load_any(out / BEST)
    network = best.network.to(compute_device())
    if isinstance(network, EulerNet):
        calibrate(network, map_means(network, dev_set), videos_of(dev_set))
    else:
        set_score(network, *fit(clip_values(network, dev_set), videos_of(dev_set)))
    save(out / WEIGHTS, AnyCheckpoint(best.network, best.epoch, best.label, best.history, best.settings))
    return out / WEIGHTS
