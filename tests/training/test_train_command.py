"""`eulernet train` from videos to a checkpoint, on recordings of one's own; and what it says of wrong input."""

import csv
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from eulernet.learning.checkpoint import load
from eulernet.learning.command import train
from eulernet.learning.settings import read_settings
from eulernet_build.face_models.models import make_face_models

ROOT = Path(__file__).parents[2]
RECIPE = """
[data]
clips_per_video = 2
[network]
image_size = 64
widths = [8, 8, 8, 8]
[optimizer]
epochs = 2
batch_size = 4
"""


def write_video(path: Path, picture: np.ndarray, moving: bool) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"preset": "ultrafast"})
        stream.height, stream.width = 240, 320
        for number in range(14):
            shift = np.array([[1.2, 0, -150 + 2 * number * moving], [0, 1.2, -20]], np.float32)
            frame = cv2.warpAffine(picture, shift, (320, 240))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


@pytest.fixture(scope="module")
def manifest(portrait, tmp_path_factory) -> Path:
    """Two live and two attack videos in train and dev, and one file that is no video."""
    folder = tmp_path_factory.mktemp("own")
    rows = [("path", "label", "instrument", "subject", "split")]
    for split in ("train", "dev"):
        for label, moving in (("live", True), ("attack", False)):
            name = f"{split}_{label}.mp4"
            write_video(folder / name, portrait, moving)
            rows.append((name, label, "" if label == "live" else "print", f"{split} person", split))
    (folder / "notes.mp4").write_text("no video")
    rows.append(("notes.mp4", "live", "", "third person", "train"))
    path = folder / "own.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


@pytest.fixture
def command(tmp_path):
    models = ROOT / "out" / "face_models"
    make_face_models(models)

    def run(config: str, data: Path, out: str = "run", *more: str):
        (tmp_path / "recipe.toml").write_text(config)
        arguments = [str(tmp_path / "recipe.toml"), "--data", str(data), "--out", str(tmp_path / out), "--jobs", "1"]
        arguments += ["--crops", str(tmp_path / "crops"), "--face-models", str(models), "--label", "own", *more]
        return CliRunner().invoke(train, arguments)

    return run


def test_from_videos_to_a_checkpoint(command, manifest, tmp_path):
    done = command(RECIPE, manifest)
    assert done.exit_code == 0, done.output
    assert "4 clips to learn from, 4 to choose the epoch by" in done.stdout
    assert "epoch 2/2: loss" in done.stdout
    assert "notes.mp4" in done.stderr  # named, and the rest goes on
    checkpoint = load(tmp_path / "run" / "best.pt")
    assert checkpoint.label == "own"
    assert checkpoint.network.config.image_size == 64
    published = load(tmp_path / "run" / "weights.pt")
    assert (published.label, published.optimizer) == ("own", {})
    assert (tmp_path / "run" / "eer.png").read_bytes().startswith(b"\x89PNG")
    assert list((tmp_path / "run" / "tensorboard").glob("events.*"))
    again = command(RECIPE, manifest)
    assert again.exit_code == 0
    assert "epoch 2/2" not in again.stdout  # there was nothing left to do


def test_starts_from_a_checkpoint(command, manifest, tmp_path):
    assert command(RECIPE, manifest).exit_code == 0
    first = load(tmp_path / "run" / "weights.pt").network
    start = ["--start-from", str(tmp_path / "run" / "weights.pt")]
    unmoved = RECIPE + "learning_rate = 0.0"
    done = command(unmoved, manifest, "second", *start)
    assert done.exit_code == 0, done.output
    second = load(tmp_path / "second" / "weights.pt").network
    for (name, before), after in zip(first.named_parameters(), second.parameters(), strict=True):
        assert torch.equal(before, after), name
    assert command(unmoved, manifest, "second", *start).exit_code == 0  # done already
    drawn = command(unmoved, manifest, "second")
    assert drawn.exit_code == 1
    assert "another start" in drawn.output


def test_start_that_does_not_fit(command, manifest, tmp_path):
    assert command(RECIPE, manifest).exit_code == 0
    start = ["--start-from", str(tmp_path / "run" / "weights.pt")]
    wider = command(RECIPE.replace("8, 8, 8, 8", "8, 8, 8, 16"), manifest, "wider", *start)
    assert wider.exit_code == 1
    assert "widths = (8, 8, 8, 8), wanted (8, 8, 8, 16)" in " ".join(wider.output.split())
    garbage = command(RECIPE, manifest, "garbage", "--start-from", str(tmp_path / "recipe.toml"))
    assert garbage.exit_code == 1
    assert "not a checkpoint" in garbage.output


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("[optimizer]\nepoch = 1", r"recipe.toml: optimizer.epoch: unknown"),
        ("[data]\nprotocol = 9", "protocol"),
        ("[data]\nlabel = 'shadow'", "label = 'shadow': choose one of location, mask, depth"),
    ],
)
def test_wrong_recipe(command, tmp_path, config, message):
    done = command(config, tmp_path)
    assert done.exit_code == 1
    assert message in done.output.replace("\n", " ")


def test_empty_folder_is_no_data_set(command, tmp_path):
    done = command(RECIPE, tmp_path)
    assert done.exit_code == 1
    assert "no video can be used" in done.output


def test_shipped_recipes_are_read():
    for path in (ROOT / "training" / "recipes").glob("*.toml"):
        assert read_settings(path).optimizer.epochs > 0
