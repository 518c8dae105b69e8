# SPDX-License-Identifier: Apache-2.0
"""`eulernet train` and `eulernet evaluate` for another system, from videos to a report, with its own crop."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from eulernet.datasets.clip_pictures import picture_clips
from eulernet.evaluation import read_scores
from eulernet.faces import FaceFinder, FaceSettings, crop
from eulernet.learning.checkpoint import load_any
from eulernet.learning.train_command import train
from eulernet.scoring.evaluate_command import evaluate
from eulernet.scoring.scorers import open_checkpoint

BOX_SCALE = 1.2
RECIPE = f"""
system = "cdcn"
[data]
label = "depth"
clips_per_video = 2
[peer]
input_px = 32
width_factor = 0.0625
box_scale = {BOX_SCALE}
[optimizer]
epochs = 2
batch_size = 4
"""


@pytest.fixture(scope="module")
def run(portrait: np.ndarray, write_shifted: Callable[..., None], face_models: Path, tmp_path_factory) -> Path:
    """A folder with a manifest, own.csv, and a finished run of its videos, `run`."""
    folder = tmp_path_factory.mktemp("peer")
    rows = [("path", "label", "instrument", "subject", "split")]
    for split in ("train", "dev", "test"):
        for label, moving in (("live", True), ("attack", False)):
            name = f"{split}_{label}.mp4"
            write_shifted(folder / name, portrait, 2 * moving)
            rows.append((name, label, "" if label == "live" else "print", f"{split} person", split))
    with (folder / "own.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    (folder / "recipe.toml").write_text(RECIPE)
    done = CliRunner().invoke(
        train, [str(folder / "recipe.toml"), "--out", str(folder / "run"), *places(folder, face_models)]
    )
    assert done.exit_code == 0, done.output
    return folder


def places(folder: Path, face_models: Path) -> list[str]:
    data, crops = ["--data", str(folder / "own.csv")], ["--crops", str(folder / "crops")]
    return [*data, *crops, "--face-models", str(face_models), "--jobs", "1"]


def test_a_checkpoint_of_another_system_is_evaluated_on_its_own_crop(run: Path, face_models: Path) -> None:
    arguments = [
        str(run / "run" / "weights.pt"),
        "--out",
        str(run / "out"),
        "--clips",
        "2",
        "--resamples",
        "5",
        "--stress",
    ]
    done = CliRunner().invoke(evaluate, [*arguments, *places(run, face_models)])
    assert done.exit_code == 0, done.output
    report = json.loads((run / "out" / "metrics.json").read_text())
    assert report["facts"]["weights"] == '"trained"'
    assert set(report["stress"][0]["apcer"]) >= {"frozen", "moved_fast"}
    rows = {(row.video.path.name, row.start): row.liveness for row in read_scores(run / "out" / "scores" / "test.csv")}
    network = load_any(run / "run" / "weights.pt").network
    finder = FaceFinder(face_models, FaceSettings(box_scale=BOX_SCALE))
    for clip in picture_clips(run / "test_live.mp4", 2):
        face = finder.find(clip.items[0])
        assert face is not None
        pictures = np.stack([crop(each, face.box_px, 256) for each in clip.items])
        with torch.inference_mode():
            expected = float(network(torch.from_numpy(pictures)[None])[0])
        assert rows["test_live.mp4", clip.indices[0]] == pytest.approx(expected, abs=1e-6)


def test_a_still_of_a_single_frame_system_scores_its_frame(run: Path) -> None:
    model = open_checkpoint(run / "run" / "weights.pt")
    assert (model.size_px, model.box_scale, model.weights) == (256, BOX_SCALE, "trained")
    clips = np.random.default_rng(0).integers(0, 256, (2, 4, 256, 256, 3), np.uint8)
    assert model.infer(clips).shape == (2,)
    assert model.infer(clips[:, :1])[0] == pytest.approx(model.infer(clips[:, :1].repeat(4, 1))[0], abs=1e-6)
