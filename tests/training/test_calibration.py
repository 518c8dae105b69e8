# SPDX-License-Identifier: Apache-2.0
"""Calibration: 0.5 is the threshold of equal errors on the development set, and scores keep their order."""

from pathlib import Path

import numpy as np
import pytest
import torch

from eulernet.datasets.records import Video
from eulernet.learning.calibration import STEEPEST_LOGIT, fit, map_means, publish
from eulernet.learning.checkpoint import Checkpoint, load, save
from eulernet.network import SCORE_OFFSET, NetworkConfig, create

SMALL = NetworkConfig(widths=(8, 8, 8, 8), pyramid_width=8, image_size=32)


class Faces:
    """Sixteen clips, every second of them live and brighter."""

    def __len__(self) -> int:
        return 16

    def __getitem__(self, index: int):
        live = index % 2
        generator = torch.Generator().manual_seed(index)
        clip = torch.randint(0, 120, (4, 32, 32, 3), generator=generator) + 90 * live
        return clip.to(torch.uint8), torch.full((4, 4), float(live)), torch.tensor(float(live)), index

    def video(self, index: int) -> Video:
        label, instrument = ("live", "bona_fide") if index % 2 else ("attack", "print1")
        return Video(Path(str(index)), label, instrument, str(index), None, None, "dev", "v")


def clips_of(live, attacks: dict[str, int], clips: int = 1) -> list[Video]:
    """Videos with so many clips each: bona fide, then the attacks of each instrument."""
    names = ["bona_fide"] * live + [name for name, count in attacks.items() for _ in range(count)]
    videos = [
        Video(Path(str(i)), "live" if name == "bona_fide" else "attack", name, str(i), None, None, "dev", str(i))
        for i, name in enumerate(names)
    ]
    return [video for video in videos for _ in range(clips)]


def liveness(means, threshold, slope):
    return 1 / (1 + np.exp(-slope * (means - threshold)))


def test_overlapping_classes_are_cut_where_errors_are_equal():
    random = np.random.default_rng(0)
    live, attack = random.normal(0.30, 0.05, 400), random.normal(0.20, 0.05, 1600)
    means, lives = np.concatenate([live, attack]), np.arange(2000) < 400
    threshold, slope = fit(means, clips_of(400, {"print": 1600}))
    scores = liveness(means, threshold, slope)
    refused, accepted = (scores[lives] < 0.5).mean(), (scores[~lives] >= 0.5).mean()
    assert abs(refused - accepted) < 0.005
    # Two normal distributions of spread s, d apart: the likelihood ratio's slope is d / s^2, whatever their shares.
    assert slope == pytest.approx(0.10 / 0.05**2, rel=0.1)
    assert np.array_equal(np.argsort(scores, kind="stable"), np.argsort(means, kind="stable"))


def test_the_hardest_instrument_sets_the_threshold():
    """Many prints that are known at once would otherwise hide the displays that pass."""
    random = np.random.default_rng(1)
    means = np.concatenate([random.normal(0.3, 0.05, 400), np.zeros(2000), random.normal(0.2, 0.05, 400)])
    threshold, _ = fit(means, clips_of(400, {"print": 2000, "replay": 400}))
    refused, accepted = (means[:400] < threshold).mean(), (means[-400:] >= threshold).mean()
    assert accepted == pytest.approx(refused, abs=0.005)


def test_a_video_counts_with_the_mean_of_its_clips():
    # Clips of 0.1 and 0.9, of 0.5 and 0.7; attacks of 0.0 and 0.7, of 0.1 and 0.2: only the means are apart.
    means = np.array([0.1, 0.9, 0.5, 0.7, 0.0, 0.7, 0.1, 0.2])
    threshold, _ = fit(means, clips_of(2, {"print": 2}, clips=2))
    assert 0.35 < threshold <= 0.5


def test_classes_that_are_apart_get_a_finite_slope():
    means = np.array([0.31, 0.33, 0.01, 0.02, 0.03])
    threshold, slope = fit(means, clips_of(2, {"print": 3}))
    assert 0.03 < threshold < 0.31
    assert 0 < slope <= STEEPEST_LOGIT / np.abs(means - threshold).max()
    scores = liveness(means, threshold, slope).astype(np.float32)
    assert len(set(scores)) == 5


def test_published_weights_decide_at_one_half(tmp_path):
    network = create(3, SMALL)
    save(tmp_path / "best.pt", Checkpoint(network, 4, "a label", [{"epoch": 4.0}], {"seed": 3}, {"state": {}}))
    means = map_means(network, Faces())
    path = publish(tmp_path, Faces())
    published = load(path)
    assert (published.epoch, published.label, published.optimizer) == (4, "a label", {})
    again = map_means(published.network, Faces())
    assert np.array_equal(again, means)
    clips = torch.stack([Faces()[i][0] for i in range(16)])
    scores = published.network(clips).liveness[:, -1].detach().numpy()
    values = np.log(means + SCORE_OFFSET)
    threshold, slope = fit(values, [Faces().video(i) for i in range(16)])
    assert np.allclose(scores, liveness(values, threshold, slope), atol=1e-5)
    assert float(published.network.threshold) == pytest.approx(np.exp(threshold) - SCORE_OFFSET, rel=1e-5)
    # Calibration changes nothing else.
    before, after = network.state_dict(), published.network.state_dict()
    assert {name for name in before if not torch.equal(before[name], after[name])} == {"scale", "threshold"}
