# SPDX-License-Identifier: Apache-2.0
"""`eulernet train` from the videos of a manifest to a checkpoint, and its errors."""

import csv
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from eulernet.learning.average_command import average
from eulernet.learning.checkpoint import load
from eulernet.learning.settings import SettingsError, find_recipe, read_settings
from eulernet.learning.train_command import train
from eulernet_core import shipped

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


@pytest.fixture(scope="module")
def manifest(portrait, write_shifted, tmp_path_factory) -> Path:
    """A live and an attack video in train and in dev each, and one file that is not a video."""
    folder = tmp_path_factory.mktemp("own")
    rows = [("path", "label", "instrument", "subject", "split")]
    for split in ("train", "dev"):
        for label, moving in (("live", True), ("attack", False)):
            name = f"{split}_{label}.mp4"
            write_shifted(folder / name, portrait, 2 * moving)
            rows.append((name, label, "" if label == "live" else "print", f"{split} person", split))
    (folder / "notes.mp4").write_text("no video")
    rows.append(("notes.mp4", "live", "", "third person", "train"))
    path = folder / "own.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


@pytest.fixture
def command(face_models, tmp_path):
    def run(config: str, data: Path, out: str = "run", *more: str):
        (tmp_path / "recipe.toml").write_text(config)
        arguments = [str(tmp_path / "recipe.toml"), "--data", str(data), "--out", str(tmp_path / out), "--jobs", "1"]
        arguments += ["--crops", str(tmp_path / "crops"), "--face-models", str(face_models), "--label", "own", *more]
        return CliRunner().invoke(train, arguments)

    return run


def test_from_videos_to_a_checkpoint(command, manifest, tmp_path):
    done = command(RECIPE, manifest)
    assert done.exit_code == 0, done.output
    assert "4 training clips, 4 development clips" in done.stdout
    assert "epoch 2/2: loss" in done.stdout
    assert "notes.mp4" in done.stderr
    checkpoint = load(tmp_path / "run" / "best.pt")
    assert checkpoint.label == "own"
    assert checkpoint.network.config.image_size == 64
    published = load(tmp_path / "run" / "weights.pt")
    assert (published.label, published.optimizer) == ("own", {})
    assert (tmp_path / "run" / "eer.png").read_bytes().startswith(b"\x89PNG")
    assert list((tmp_path / "run" / "tensorboard").glob("events.*"))
    again = command(RECIPE, manifest)
    assert again.exit_code == 0
    assert "epoch 2/2" not in again.stdout  # nothing left to train


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--protocol", "4"], "protocol 4, fold None: give a fold"),
        (["--protocol", "2", "--fold", "1"], "only protocols 3 and 4 have folds"),
        (["--fold", "1"], "only protocols 3 and 4 have folds"),
        (["--protocol", "5"], "5 is not in the range"),
    ],
)
def test_a_protocol_without_its_fold_is_refused(command, tmp_path, options, message):
    done = command(RECIPE, tmp_path, "run", *options)
    assert done.exit_code == 2
    assert message in " ".join(done.output.replace("│", " ").split())


def test_a_manifest_has_no_protocols(command, manifest):
    done = command(RECIPE, manifest, "run", "--protocol", "3", "--fold", "2")
    assert done.exit_code == 2
    assert "a manifest has no protocols" in done.output


def test_trains_a_fold_of_a_data_set_in_the_layout(command, manifest, tmp_path):
    """Phone 2 is the test phone of fold 2, so its videos are not read."""
    for split, user in (("Train", 1), ("Dev", 21)):
        folder = tmp_path / "oulu" / f"{split}_files"
        folder.mkdir(parents=True)
        for phone in (1, 2):
            for file, label in ((1, "live"), (2, "attack")):
                source = manifest.parent / f"{split.lower()}_{label}.mp4"
                (folder / f"{phone}_1_{user:02}_{file}.avi").write_bytes(source.read_bytes())
    done = command(RECIPE, tmp_path / "oulu", "run", "--protocol", "3", "--fold", "2")
    assert done.exit_code == 0, done.output
    assert "4 training clips, 4 development clips" in done.stdout
    stored = load(tmp_path / "run" / "weights.pt").settings["data"]
    assert (stored["protocol"], stored["fold"]) == (3, 2)


@pytest.mark.slow
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
    assert command(unmoved, manifest, "second", *start).exit_code == 0  # finished already
    drawn = command(unmoved, manifest, "second")
    assert drawn.exit_code == 1
    assert str(tmp_path / "second") in "".join(drawn.output.split())


def test_cuts_training_clips_from_stretches_and_adapts_earlier_weights(command, manifest, tmp_path):
    earlier = '[network]\nscore = "linear"\npole_radius = 1.0\nlongest_sequence = 0'
    linear = RECIPE.replace("[network]", earlier).replace("epochs = 2", "epochs = 1")
    assert command(linear, manifest).exit_code == 0
    assert load(tmp_path / "run" / "weights.pt").network.config.score == "linear"
    longer = RECIPE.replace("clips_per_video = 2", "clips_per_video = 1\nstretch_frames = 12\nlongest_past = 4")
    done = command(longer, manifest, "longer", "--start-from", str(tmp_path / "run" / "weights.pt"))
    assert done.exit_code == 0, done.output
    assert "2 training clips, 2 development clips" in done.stdout
    found = load(tmp_path / "longer" / "weights.pt").network.config
    assert (found.score, found.pole_radius, found.longest_sequence) == ("log", 0.9, 8)
    too_long = command(longer.replace("= 12", "= 15"), manifest, "too_long")
    assert too_long.exit_code == 1
    assert "stretch_frames = 15: no train video" in " ".join(too_long.output.split())


def test_the_mean_of_two_runs_is_normalised_anew_and_calibrated(command, manifest, face_models, tmp_path):
    assert command(RECIPE, manifest).exit_code == 0
    assert command("seed = 5\n" + RECIPE, manifest, "other").exit_code == 0
    runs = [tmp_path / name / "last.pt" for name in ("run", "other")]

    def averaged(*more: str):
        arguments = [str(tmp_path / "recipe.toml"), *map(str, runs), "--data", str(manifest), "--jobs", "1"]
        arguments += ["--crops", str(tmp_path / "crops"), "--face-models", str(face_models), "--label", "mean"]
        return CliRunner().invoke(average, [*arguments, "--out", str(tmp_path / "mean.pt"), "--batches", "3", *more])

    done = averaged("--share", "3", "--share", "1")
    assert done.exit_code == 0, done.output
    found = load(tmp_path / "mean.pt")
    assert (found.label, found.optimizer) == ("mean", {})
    first, second = (load(path).network.state_dict() for path in runs)
    for name, value in found.network.named_parameters():
        torch.testing.assert_close(value.detach(), 0.75 * first[name] + 0.25 * second[name])
    measured = found.network.state_dict()
    name = next(name for name in measured if name.endswith("running_mean"))
    assert (measured[name] - 0.75 * first[name] - 0.25 * second[name]).abs().max() > 1e-4
    assert int(measured[name.replace("running_mean", "num_batches_tracked")]) == 3
    assert float(found.network.threshold) != float(first["threshold"])
    wrong = averaged("--share", "1")
    assert wrong.exit_code == 2
    assert "give a positive one for each" in " ".join(wrong.output.split())


def test_start_that_does_not_fit(command, manifest, tmp_path):
    assert command(RECIPE, manifest).exit_code == 0
    start = ["--start-from", str(tmp_path / "run" / "weights.pt")]
    wider = command(RECIPE.replace("8, 8, 8, 8", "8, 8, 8, 16"), manifest, "wider", *start)
    assert wider.exit_code == 1
    assert "widths = (8, 8, 8, 8), wanted (8, 8, 8, 16)" in " ".join(wider.output.split())
    garbage = command(RECIPE, manifest, "garbage", "--start-from", str(tmp_path / "recipe.toml"))
    assert garbage.exit_code == 1
    assert "recipe.toml" in garbage.output


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("[optimizer]\nepoch = 1", "recipe.toml: optimizer.epoch"),
        ("[data]\nprotocol = 9", "protocol"),
        ("[data]\nlabel = 'shadow'", "label = 'shadow'"),
    ],
)
def test_wrong_recipe(command, tmp_path, config, message):
    done = command(config, tmp_path)
    assert done.exit_code == 1
    assert message in done.output.replace("\n", " ")


def test_empty_folder_is_no_data_set(command, tmp_path):
    done = command(RECIPE, tmp_path)
    assert done.exit_code == 1
    assert "wrong layout: 1" in done.output


@pytest.mark.parametrize("name", ["ablation", "default", "finetune", "gpu", "small", "small.toml"])
def test_shipped_recipes_are_found_by_name(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = find_recipe(name)
    assert found == shipped.recipes() / f"{name.removesuffix('.toml')}.toml"
    assert read_settings(found).optimizer.epochs > 0
    (tmp_path / name).write_text("seed = 7")
    assert read_settings(find_recipe(name)).seed == 7  # a file has precedence


def test_unknown_recipe_lists_the_shipped_ones(command, manifest):
    with pytest.raises(SettingsError, match=r"huge.*default, finetune, gpu, small, peers/cdcn"):
        find_recipe("huge")
    done = CliRunner().invoke(train, ["huge", "--data", str(manifest), "--out", "out"])
    assert done.exit_code == 1
    assert "huge" in done.output


def test_a_dev_set_without_attacks_stops_the_command_before_training(command, manifest, tmp_path):
    rows = [line for line in manifest.read_text().splitlines() if "dev_attack" not in line]
    (manifest.parent / "live_only.csv").write_text("\n".join(rows))
    done = command(RECIPE, manifest.parent / "live_only.csv")
    assert done.exit_code == 1
    assert "the dev set of 2 clips has no attacks" in done.output
    assert not (tmp_path / "run").exists()
