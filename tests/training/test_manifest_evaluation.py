# SPDX-License-Identifier: Apache-2.0
"""`eulernet evaluate` and `eulernet train` on manifests: what is missing, kept or incomplete is said."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from skimage import data

from eulernet.evaluation import read_scores
from eulernet.evaluation.completeness import INCOMPLETE
from eulernet.evaluation.metrics_command import metrics
from eulernet.learning.checkpoint import Checkpoint, save
from eulernet.learning.train_command import train
from eulernet.network import NetworkConfig, create
from eulernet.scoring.evaluate_command import evaluate
from eulernet_core.weights_label import LIVE_THRESHOLD

LIVE = "live1.mp4;bona_fide;;anna;{0}\nlive2.mp4;real;;bert;{0}\n"
ATTACKS = "print1.mp4;spoof;print1;anna;{0}\nprint2.mp4;attack;print1;cleo;{0}\n"
NO_FACE = "mask1.mp4;attack;mask;dora;{0}\n"


@pytest.fixture(scope="module")
def videos(portrait: np.ndarray, write_shifted: Callable[..., None], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Short videos of a moving photograph, a mask's without a face, and a small network."""
    folder = tmp_path_factory.mktemp("videos")
    for number, name in enumerate(("live1", "live2", "print1", "print2", "mask1")):
        picture = data.coffee() if name == "mask1" else portrait
        write_shifted(folder / f"{name}.mp4", picture, number % 3, -20 - number)
    save(folder / "small.pt", Checkpoint(create(1, NetworkConfig(image_size=64, widths=(8, 8, 8, 8))), label="small"))
    return folder


@pytest.fixture(scope="module")
def run(videos: Path, face_models: Path) -> Callable[..., Result]:
    """run(rows, out) is `eulernet evaluate` on a manifest of these rows."""

    def evaluated(rows: str, out: Path) -> Result:
        manifest = videos / "own.csv"
        manifest.write_text(f"path;label;instrument;subject;split\n{rows}")
        arguments = [
            str(videos / "small.pt"),
            "--data",
            str(manifest),
            "--out",
            str(out),
            "--clips",
            "1",
            "--jobs",
            "1",
        ]
        arguments += ["--resamples", "5", "--crops", str(videos / "crops"), "--face-models", str(face_models)]
        return CliRunner().invoke(evaluate, arguments)

    return evaluated


def content(out: Path) -> dict:
    return json.loads((out / "metrics.json").read_text())


def test_only_test_rows_are_evaluated_at_the_threshold_of_the_weights(run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run((LIVE + ATTACKS).format("test"), out)
    assert done.exit_code == 0, done.output
    assert f"threshold {LIVE_THRESHOLD:.6f}, given" in done.stdout
    (fold,) = content(out)["protocols"][0]["folds"]
    assert (fold["threshold"], fold["threshold_from"], fold["dev"]) == (LIVE_THRESHOLD, "given", None)
    assert any("no dev videos" in each for each in content(out)["warnings"])
    assert sorted(path.name for path in (out / "scores").iterdir()) == ["about.json", "test.csv"]
    again = CliRunner().invoke(
        metrics, ["report", str(out / "scores"), "--out", str(tmp_path / "again"), "--resamples", "5"]
    )
    assert again.exit_code == 0, again.output
    assert content(tmp_path / "again") == content(out)


def test_dev_rows_of_one_class_set_no_threshold(run, tmp_path: Path) -> None:
    rows = (LIVE + ATTACKS).format("test").replace("live2.mp4;real;;bert;test", "live2.mp4;real;;bert;dev")
    done = run(rows, tmp_path)
    assert done.exit_code == 0, done.output
    assert any("no dev attacks" in each for each in content(tmp_path)["warnings"])
    assert content(tmp_path)["protocols"][0]["folds"][0]["dev"]["presentations"]["scored"] == {"bona_fide": 1}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ((LIVE + ATTACKS).format("dev"), "no row has the split test (rows: 4 dev)"),
        (LIVE.format("test"), "2 usable test videos have no attacks"),
        (LIVE.format("holdout"), "2 without a known split"),
        ("gone.mp4;live;;anna;dev\n" + (LIVE + ATTACKS).format("test"), "gone.mp4: no such file"),
    ],
)
def test_what_can_not_be_evaluated_has_a_reason(rows: str, message: str, run, tmp_path: Path) -> None:
    done = run(rows, tmp_path / "out")
    assert done.exit_code == 1
    assert message in done.output
    assert not (tmp_path / "out").exists()


def test_instrument_without_a_face_is_in_the_headline(run, tmp_path: Path) -> None:
    done = run((LIVE + ATTACKS + NO_FACE).format("test"), tmp_path)
    assert done.exit_code == 0, done.output
    (headline,) = [line for line in done.stdout.splitlines() if line.startswith("  APCER, highest of the instruments")]
    assert INCOMPLETE in headline
    figures = content(tmp_path)["protocols"][0]["summary"]["figures"]
    assert (figures["apcer_max"]["complete"], figures["bpcer"]["complete"]) == (False, True)
    assert INCOMPLETE in (tmp_path / "metrics.html").read_text()


def test_kept_and_left_out_are_what_they_are_said_to_be(run, tmp_path: Path) -> None:
    rows = "live1.mp4;live;;anna;train\nlive2.mp4;live;;anna;test\nlive2.mp4;live;;bert;test\n" + ATTACKS.format("test")
    done = run(rows, tmp_path)
    assert done.exit_code == 0, done.output
    names = [score.video.name for score in read_scores(tmp_path / "scores" / "test.csv")]
    assert sorted(names) == ["live2", "print1", "print2"]
    warnings = content(tmp_path)["warnings"]
    (left_out,) = [each for each in warnings if "left out" in each]
    assert "listed twice: 1" in left_out
    assert "several splits" not in left_out
    (kept,) = [each for each in warnings if "subject in several splits" in each]
    assert "anna: train in line 2; test in lines 3, 5" in kept


def test_training_without_its_splits_has_a_reason(videos: Path, face_models: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "own.csv"
    manifest.write_text("path,label,instrument,subject,split\n" + f"{videos}/live1.mp4,real,,anna,test\n")
    arguments = ["small", "--data", str(manifest), "--out", str(tmp_path / "run"), "--crops", str(videos / "crops")]
    done = CliRunner().invoke(train, [*arguments, "--face-models", str(face_models)])
    assert done.exit_code == 1
    assert "no row has the split train (rows: 1 test)" in done.output
