# SPDX-License-Identifier: Apache-2.0
"""Error rates compared with scikit-learn, with slow definitions including ties, and with cases by hand."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.stats import norm
from sklearn.metrics import det_curve, roc_auc_score, roc_curve

from eulernet_core import attack_detection_metrics as metrics
from eulernet_core.attack_detection_metrics import FIGURES, MetricsError, Sample, figures, kind_of

# Few distinct values, for ties within and between the classes; and any floats.
SCORES = st.one_of(
    st.lists(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 1.0]), min_size=1, max_size=12),
    st.lists(st.floats(0, 1, width=32), min_size=1, max_size=12),
)


def sample_of(live: list[float], *attacks: list[float]) -> Sample:
    return Sample(np.array(live), {f"print{number}": np.array(each) for number, each in enumerate(attacks, 1)})


@settings(deadline=None)
@given(live=SCORES, one=SCORES, other=SCORES)
@example(live=[0.5], one=[0.5], other=[0.5])
@example(live=[0.0, 0.0], one=[1.0], other=[1.0, 1.0])
@example(live=[1.0], one=[0.0], other=[0.0])
def test_curve_auc_and_eer_are_scikit_learn_s(live: list[float], one: list[float], other: list[float]) -> None:
    sample = sample_of(live, one, other)
    truth = [1] * len(live) + [0] * (len(one) + len(other))
    scores = live + one + other
    false_positive, true_positive, thresholds = roc_curve(truth, scores, drop_intermediate=False)
    found = metrics.curve(sample)
    np.testing.assert_array_equal(found.threshold, thresholds)
    np.testing.assert_allclose(found.roc[0], false_positive, atol=1e-15)
    np.testing.assert_allclose(found.roc[1], true_positive, atol=1e-15)
    assert metrics.auc(sample) == pytest.approx(roc_auc_score(truth, scores), abs=1e-12)
    # Where the polygon meets its falling diagonal.
    expected = brentq(lambda x: 1 - x - np.interp(x, false_positive, true_positive), 0, 1, xtol=1e-13)
    assert metrics.eer(sample) == pytest.approx(expected, abs=1e-9)


@settings(deadline=None)
@given(live=SCORES, attack=SCORES)
def test_det_is_scikit_learn_s_on_normal_deviates(live: list[float], attack: list[float]) -> None:
    apcer, bpcer, thresholds = det_curve([1] * len(live) + [0] * len(attack), live + attack)
    found = metrics.curve(sample_of(live, attack))
    at = {threshold: i for i, threshold in enumerate(found.threshold)}
    rows = [at[threshold] for threshold in thresholds if threshold in at]
    kept = [i for i, threshold in enumerate(thresholds) if threshold in at]
    assert kept
    np.testing.assert_allclose(found.det[0][rows], norm.ppf(apcer)[kept], atol=1e-9)
    np.testing.assert_allclose(found.det[1][rows], norm.ppf(bpcer)[kept], atol=1e-9)


@settings(deadline=None)
@given(live=SCORES, attack=SCORES)
def test_eer_threshold_is_the_best_of_all(live: list[float], attack: list[float]) -> None:
    """Compares with all thresholds that decide differently, in exact arithmetic."""

    def rates(threshold: float) -> tuple[Fraction, Fraction]:
        accepted = Fraction(sum(score >= threshold for score in attack), len(attack))
        return accepted, Fraction(sum(score < threshold for score in live), len(live))

    def order(threshold: float) -> tuple[Fraction, Fraction, float]:
        accepted, refused = rates(threshold)
        return abs(accepted - refused), accepted + refused, -threshold

    best = min([math.inf, *live, *attack], key=order)
    found = metrics.eer_threshold(sample_of(live, attack))
    assert math.isfinite(found)
    assert rates(found) == rates(best)


def test_the_highest_apcer_can_set_the_threshold() -> None:
    """An easy instrument does not hide a hard one; one of few presentations counts among the pooled attacks alone."""
    live = np.linspace(0.3, 1.0, 100)
    hard, easy = np.linspace(0.0, 0.6, 50), np.zeros(500)
    sample = Sample(live, {"print1": easy, "replay1": hard})
    pooled, highest = metrics.eer_threshold(sample), metrics.eer_threshold(sample, "highest")
    assert pooled < 0.35 < highest
    assert metrics.apcer(hard, highest) == pytest.approx(metrics.bpcer(live, highest), abs=0.02)
    assert metrics.eer_threshold(Sample(live, {"replay1": hard}), "highest") == highest
    few = Sample(live, {"print1": easy, "replay1": hard, "mask1": np.full(metrics.FEW_PRESENTATIONS - 1, 0.99)})
    enough = Sample(live, {"print1": easy, "replay1": hard, "mask1": np.full(metrics.FEW_PRESENTATIONS, 0.99)})
    assert metrics.eer_threshold(few, "highest") == highest
    assert metrics.eer_threshold(enough, "highest") > 0.95


@settings(deadline=None)
@given(live=SCORES, one=SCORES, other=SCORES)
def test_the_highest_apcer_of_small_instruments_is_the_pooled_one(
    live: list[float], one: list[float], other: list[float]
) -> None:
    sample = sample_of(live, one, other)
    assert metrics.eer_threshold(sample, "highest") == metrics.eer_threshold(sample)


def test_threshold_is_the_middle_of_the_gap() -> None:
    assert metrics.eer_threshold(sample_of([0.75, 1.0], [0.0, 0.25])) == 0.5
    assert metrics.eer_threshold(sample_of([0.5], [0.5])) > 0.5  # no gap: refusing everything comes first
    # Both rates are 1 from above 0.25 to 0.5: equal, though as bad as can be.
    assert metrics.eer_threshold(sample_of([0.25], [0.5])) == 0.375


@settings(deadline=None)
@given(live=SCORES, one=SCORES, other=SCORES, limit=st.sampled_from([0.0, 0.01, 0.05, 0.1, 0.5, 1.0]))
def test_bpcer_at_apcer_tries_every_threshold(
    live: list[float], one: list[float], other: list[float], limit: float
) -> None:
    allowed = [
        sum(score < threshold for score in live) / len(live)
        for threshold in (math.inf, *live, *one, *other)
        if all(sum(s >= threshold for s in attack) / len(attack) <= limit for attack in (one, other))
    ]
    assert metrics.bpcer_at_apcer(sample_of(live, one, other), limit) == min(allowed)


# Two printers and a display against ten people. At 0.5: print1 1 of 4, print2 0 of 2, replay 3 of 5 are accepted, and
# 2 of 10 people refused.
LIVE = [0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.4, 0.2]
ATTACKS = {"print1": [0.1, 0.2, 0.3, 0.55], "print2": [0.05, 0.45], "replay1": [0.15, 0.35, 0.5, 0.72, 0.88]}


def test_figures_by_hand() -> None:
    sample = Sample(np.array(LIVE), {name: np.array(scores) for name, scores in ATTACKS.items()})
    found = figures(sample, 0.5)
    assert list(found) == list(FIGURES)
    expected = {
        "apcer_max": 3 / 5,  # replay1: a score that equals the threshold is accepted
        "apcer_kind_max": 3 / 5,  # replays; prints have 1 of 6
        "apcer_pooled": 4 / 11,
        "bpcer": 2 / 10,
        "acer": (3 / 5 + 2 / 10) / 2,
        "acer_kind": (3 / 5 + 2 / 10) / 2,
        "hter": (4 / 11 + 2 / 10) / 2,
        # No instrument may have even one of its few attacks accepted: above 0.88, where 2 people are left of 10.
        "bpcer10": 8 / 10,
        "bpcer20": 8 / 10,
        "bpcer100": 8 / 10,
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected)


def test_kinds_pool_instruments_of_one_name() -> None:
    sample = Sample(
        np.array([0.9, 0.1]), {"print1": np.array([0.8] * 3 + [0.1]), "print2": np.zeros(4), "replay1": np.zeros(8)}
    )
    found = figures(sample, 0.5)
    assert (found["apcer_max"], found["apcer_kind_max"], found["apcer_pooled"]) == (3 / 4, 3 / 8, 3 / 16)
    assert (found["acer"], found["acer_kind"], found["hter"]) == (5 / 8, 7 / 16, 11 / 32)


def test_operating_points_by_hand() -> None:
    # 100 attacks at 0.00, 0.01 to 0.99. Over 0.90 lie 9, so that 10 % are accepted from 0.90 on, 5 % from 0.95 on and
    # 1 % from 0.99 on. Below these lie 1, 3 and 4 of the five people.
    attacks = np.arange(100) / 100
    sample = Sample(np.array([0.5, 0.92, 0.94, 0.97, 1.0]), {"print": attacks})
    found = figures(sample, 0.5)
    assert (found["bpcer10"], found["bpcer20"], found["bpcer100"]) == (1 / 5, 3 / 5, 4 / 5)


def test_every_instrument_counts_at_an_operating_point() -> None:
    # Pooled, 1 of 20 attacks above the people would be 5 %; it is all of the mask's.
    sample = Sample(np.array([0.5, 0.5, 0.9]), {"print": np.zeros(19), "mask": np.array([0.7])})
    assert figures(sample, 0.5)["bpcer20"] == 2 / 3


@pytest.mark.parametrize(
    ("instrument", "kind"),
    [("print1", "print"), ("print_2", "print"), ("mask", "mask"), ("3d mask", "3d mask"), ("42", "42")],
)
def test_kind_of(instrument: str, kind: str) -> None:
    assert kind_of(instrument) == kind


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: sample_of([0.5]), "no instrument"),
        (lambda: sample_of([], [0.5]), "bona fide: no score"),
        (lambda: sample_of([0.5], []), "instrument 'print1': no score"),
        (lambda: sample_of([0.5, math.nan], [0.5]), r"bona fide: score 1 is nan \(1 in all\)"),
        (lambda: Sample(np.zeros((2, 2)), {"print": np.zeros(1)}), "give a flat list of numbers"),
        (lambda: figures(sample_of([0.5], [0.5]), math.nan), "threshold nan"),
        (lambda: metrics.bpcer_at_apcer(sample_of([0.5], [0.5]), 5.0), "APCER limit 5.0"),
    ],
)
def test_what_no_rate_can_be_computed_from(build, message: str) -> None:
    with pytest.raises(MetricsError, match=message):
        build()
