# SPDX-License-Identifier: Apache-2.0
"""The judge of simulated videos: MiniFASNet's layers, crops and score, and the figures over a data set."""

import os
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from eulernet.peers import minifasnet
from eulernet.peers.minifasnet import MEMBERS, MiniFASNet, WeightsError, face_box, load
from eulernet.peers.minifasnet_window import window
from eulernet.simulation.judge import Verdict, VideoJudge, judge, summary

WEIGHTS = os.environ.get("MINIFASNET_WEIGHTS")  # a folder; weights of others are not part of this repository
VERDICT = Verdict("1_1_01_1", "train", "01", "bona_fide", 1, 1, 640, 0.4, 0.9, 0.05, 0.05)


@pytest.mark.parametrize(("widths", "parameters"), [(minifasnet.V2, 434_560), (minifasnet.V1SE, 433_586)])
def test_the_networks_are_of_the_published_size(widths, parameters):
    network = MiniFASNet(widths).eval()
    assert sum(each.numel() for each in network.parameters()) == parameters
    assert network.features(torch.zeros(1, 3, 80, 80)).shape == (1, 128, 10, 10)
    assert network(torch.zeros(2, 3, 80, 80)).shape == (2, 3)


@pytest.mark.parametrize(
    ("box", "scale", "expected"),
    [
        ((200, 300, 300, 400), 2.0, (150, 250, 350, 450)),  # inside
        ((0, 300, 100, 400), 2.0, (0, 250, 200, 450)),  # shifted into the picture, not cut
        ((200, 300, 300, 400), 9.0, (0, 110, 479, 589)),  # reduced to the picture's width
    ],
)
def test_crops_are_shifted_and_reduced_but_not_padded(box, scale, expected):
    left, top, right, bottom = window(np.array(box, np.float32), scale, 640, 480)
    assert np.abs(np.subtract((left, top, right, bottom), expected)).max() <= 1
    assert 0 <= left < right <= 480
    assert 0 <= top < bottom <= 640


def test_crops_are_bgr_and_the_face_is_in_the_middle():
    picture = np.zeros((640, 480, 3), np.uint8)
    picture[280:320, 220:260] = (255, 0, 0)
    seen = minifasnet.crop(picture, np.array([200, 250, 280, 350], np.float32), 2.7)
    assert seen.shape == (80, 80, 3)
    assert seen[40, 40].tolist() == [0, 0, 255]


def test_the_box_contains_eyes_and_mouth():
    x0, y0, x1, y1 = face_box(np.array([[200, 300], [280, 300]], np.float32), np.array([240, 390], np.float32))
    assert x0 < 200 < 280 < x1
    assert y0 < 300 - 60
    assert 390 < y1 < 390 + 90


def test_the_score_is_the_mean_share_of_the_class_real():
    logits = [torch.tensor([[0.0, 5.0, 0.0]]), torch.tensor([[5.0, 0.0, 0.0]])]
    real, attack = (float(each.softmax(1)[0, 1]) for each in logits)
    assert minifasnet.score(logits).item() == pytest.approx((real + attack) / 2)


def test_missing_and_foreign_weights_are_named(tmp_path):
    with pytest.raises(WeightsError, match="MiniFASNetV2"):
        load(tmp_path / MEMBERS[0].file, MEMBERS[0].widths)
    torch.save(MiniFASNet(minifasnet.V2).state_dict(), tmp_path / "v2.pth")
    with pytest.raises(WeightsError, match=r"v2\.pth"):
        load(tmp_path / "v2.pth", minifasnet.V1SE)
    load(tmp_path / "v2.pth", minifasnet.V2)


def test_the_figures_are_of_people_and_instruments():
    attack = replace(VERDICT, instrument="print1", liveness=0.1, class_0=0.8)
    other = replace(VERDICT, subject="02", liveness=0.4, class_2=0.5)
    faceless = replace(VERDICT, liveness=float("nan"), face_height=0.0)
    found = summary([VERDICT, attack, other, replace(attack, subject="02", liveness=0.6, class_0=0.2), faceless])
    assert found["videos"] == 4
    assert found["without a face"] == 1
    assert found["auc of person 01"] == 1
    assert found["auc of person 02"] == found["lowest auc of a person"] == 0
    assert found["called real: bona_fide"] == 0.5
    assert found["called real: print1"] == 0.5
    assert found["auc"] == 0.75


def test_the_published_weights_call_a_photograph_real_and_its_copy_less(face_models, portrait):
    if WEIGHTS is None:
        pytest.skip("MINIFASNET_WEIGHTS names no folder with the published weights")
    of_pictures = VideoJudge(Path(WEIGHTS), face_models)
    shares, face_height = of_pictures.shares([portrait])
    assert shares.sum() == pytest.approx(1, abs=1e-4)
    assert shares.argmax() == minifasnet.REAL
    assert 0.1 < face_height < 0.9
    soft = cv2.GaussianBlur(portrait, (0, 0), 6)
    assert of_pictures.shares([soft])[0][minifasnet.REAL] < shares[minifasnet.REAL]
    nothing, face_height = of_pictures.shares([np.zeros_like(portrait)])
    assert np.isnan(nothing).all()
    assert face_height == 0


def test_the_command_names_what_is_missing(tmp_path):
    result = CliRunner().invoke(judge, ["--data", str(tmp_path), "--weights", "nowhere", "--out", "out.csv"])
    assert result.exit_code == 2
    assert "nowhere" in result.output
