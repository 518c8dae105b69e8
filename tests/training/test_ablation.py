# SPDX-License-Identifier: Apache-2.0
"""`eulernet ablate`: the clips of its runs, their results, and resuming after a kill."""

import csv
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from eulernet.ablation.ablate_command import ablate
from eulernet.ablation.plan import BY_TAG, FULL, Run, fold_runs, variant_runs
from eulernet.ablation.results import read_rows
from eulernet.ablation.runner import Bench, Clock, Places, Watcher, measure, sweep
from eulernet.datasets.clips import ClipDataset
from eulernet.datasets.oulu import FOLDERS, PHONES, Name, protocol_names, write_protocols
from eulernet.evaluation.scores import read_scores
from eulernet.learning.checkpoint import load
from eulernet.learning.settings import read_settings
from eulernet_core.whole_files import locked

EPOCHS = 6
RECIPE = f"""
seed = 5
[data]
clips_per_video = 2
[network]
image_size = 32
widths = [8, 8, 8, 8]
pyramid_width = 8
[optimizer]
epochs = {EPOCHS}
batch_size = 8
autocast = "off"
"""
USERS = {"train": 1, "dev": 21, "test": 36}


def is_listed(name: str, protocol: int) -> bool:
    """Protocol 1 has two phones here, to shorten its runs."""
    return name[2] in "13" and name[-1] in "124" and (protocol != 1 or name[0] in "12")


@pytest.fixture(scope="module")
def data(portrait, write_shifted, tmp_path_factory) -> Path:
    """One user per split, six phones, sessions 1 and 3. Bona fide videos move, prints and replays do not. One video has
    no face, and one listed video is missing."""
    root = tmp_path_factory.mktemp("oulu")
    write_protocols(root, {split: [user] for split, user in USERS.items()})
    for path in (root / "Protocols").rglob("*.txt"):
        protocol = int(path.parent.name[-1])
        kept = [line for line in path.read_text().splitlines() if is_listed(line.split(",")[1], protocol)]
        path.write_text("\n".join(kept))
    for split, user in USERS.items():
        (root / FOLDERS[split]).mkdir()
        for file, (step, gain) in {1: (2, 1.0), 2: (0, 0.9), 4: (0, 0.6)}.items():
            names = [Name(phone, session, user, file) for phone in PHONES for session in (1, 3)]
            first = root / FOLDERS[split] / f"{names[0]}.avi"
            write_shifted(first, portrait, step, gain=gain - user / 200)
            for name in names[1:]:
                shutil.copy(first, root / FOLDERS[split] / f"{name}.avi")
    (root / "Train_files" / "2_1_01_4.avi").unlink()
    write_shifted(root / "Dev_files" / "2_1_21_2.avi", np.zeros_like(portrait), 0)
    return root


@pytest.fixture(scope="module")
def crops(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("crops")


@pytest.fixture
def recipe(tmp_path) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE)
    return path


@pytest.fixture
def arguments(recipe, data, crops, face_models, tmp_path):
    """arguments("one") are the arguments of a command with results and folders of that name."""

    def make(name: str, *more: str) -> list[str]:
        places = ["--results", str(tmp_path / f"{name}.csv"), "--out", str(tmp_path / name), "--crops", str(crops)]
        return [str(recipe), "--data", str(data), *places, "--face-models", str(face_models), "--threads", "1", *more]

    return make


def invoke(arguments):
    return CliRunner().invoke(ablate, arguments, catch_exceptions=False)


@pytest.mark.slow
def test_all_variants_see_the_same_clips_and_splits_as_the_lists_say(data, crops, face_models, tmp_path):
    runs = [*variant_runs(BY_TAG, [0]), *fold_runs([3], [FULL], [0])[:2]]
    (tmp_path / "recipe.toml").write_text(RECIPE)
    bench = Bench(read_settings(tmp_path / "recipe.toml"), Places(data, tmp_path, crops, face_models), runs, 1)
    assert "missing video" in bench.problems.summary()
    assert bench.problems.count("missing video") == 1  # though several lists name it
    assert bench.problems.count("no face") == 1
    seen = set()
    for run in runs[:6]:
        trainer = bench.trainer(run)
        sets = [[(c.video(i).path, c.start(i)) for i in range(len(c))] for c in (trainer.train_set, trainer.dev_set)]
        seen.add(str(sets))
        kind = BY_TAG[run.variant].label
        live = next(i for i in range(len(trainer.train_set)) if trainer.train_set.video(i).live)
        expected = ClipDataset(bench.clips(run, "train"), kind)[live][1]
        assert torch.equal(trainer.train_set[live][1], expected)
        assert expected.max() > 0.5
    assert len(seen) == 1
    for run in runs:
        for split in USERS:
            names = {entry.video.name for entry in bench.clips(run, split).entries}
            wanted = {str(n) for n in protocol_names(run.protocol, run.fold or None, split, [USERS[split]])}
            assert names == {name for name in wanted if is_listed(name, run.protocol)} - {"2_1_01_4"}


def lines_of(path: Path) -> list[dict]:
    with path.open(newline="") as file:
        return [{k: v for k, v in cells.items() if k != "seconds"} for cells in csv.DictReader(file)]


@pytest.mark.slow
def test_a_killed_sweep_goes_on_and_redoes_nothing(arguments, tmp_path):
    """After a SIGKILL in the second run, the resumed sweep has the figures of an uninterrupted one."""
    chosen = ("--only", "full", "--only", "C2", "--seeds", "1")
    whole = invoke(arguments("whole", *chosen))
    assert whole.exit_code == 0, whole.output
    command = [
        sys.executable,
        "-c",
        "from eulernet.ablation.ablate_command import ablate; ablate()",
        *arguments("cut", *chosen),
    ]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as process:
        for line in process.stdout:
            if line.startswith("C2, protocol 1, seed 5: epoch 2/"):
                process.send_signal(signal.SIGKILL)
                break
    assert process.returncode == -signal.SIGKILL
    finished = (tmp_path / "cut.csv").read_text()
    assert [each["variant"] for each in lines_of(tmp_path / "cut.csv")] == ["full"]
    (folder,) = (tmp_path / "cut").glob("*/C2_p1_s5")
    at = load(folder / "last.pt").epoch
    assert 2 <= at < EPOCHS
    again = invoke(arguments("cut", *chosen))
    assert again.exit_code == 0, again.output
    assert re.search(r"\b2 runs\b.*\b1 of them", again.stdout)
    epochs = [line.split(": ")[:2] for line in again.stdout.splitlines() if ": epoch " in line]
    assert epochs == [["C2, protocol 1, seed 5", f"epoch {n}/{EPOCHS}"] for n in range(at + 1, EPOCHS + 1)]
    assert (tmp_path / "cut.csv").read_text().startswith(finished)
    assert lines_of(tmp_path / "cut.csv") == lines_of(tmp_path / "whole.csv")
    third = invoke(arguments("cut", *chosen))
    assert "epoch" not in third.stdout.split("Ablation, recipe")[0]
    assert not [path for path in tmp_path.rglob(".*") if path.is_file() and path.name != ".lock"]


def test_what_a_run_leaves(arguments, recipe, data, crops, face_models, tmp_path):
    done = invoke(arguments("one", "--only", "C3", "--runs", "1", "--markdown", str(tmp_path / "table.md")))
    assert done.exit_code == 0, done.output
    assert "missing video: 1" in done.stderr
    (kept,) = read_rows(tmp_path / "one.csv")
    assert kept.run == Run("C3", 1, 0, 5)
    assert not kept.simulated
    assert kept.epochs == len(kept.dev_eer_by_epoch) == EPOCHS
    assert kept.dev_eer_by_epoch[kept.best_epoch - 1] == min(kept.dev_eer_by_epoch)
    (folder,) = (tmp_path / "one").glob("*/C3_p1_s5")
    assert folder.parent.name == f"{kept.recipe}-{kept.data}"
    network = load(folder / "best.pt").network
    assert (network.config.fcam, network.config.pyramid) == (True, False)
    scores = {split: read_scores(folder / f"scores_{split}.csv", split) for split in ("dev", "test")}
    again = measure(scores["dev"], scores["test"])
    assert {name: round(value, 6) for name, value in again.items()} == {name: getattr(kept, name) for name in again}
    assert {score.video.session for score in scores["test"]} == {3}
    bench = Bench(read_settings(recipe), Places(data, tmp_path / "one", crops, face_models), [kept.run], 1)
    assert bench.folder(kept.run) == folder
    clips = ClipDataset(bench.clips(kept.run, "test"), labelled=False)
    with torch.inference_mode():
        maps = network(torch.stack([clips[i][0] for i in range(len(clips))])).location_map[:, -1]
    assert [score.liveness for score in scores["test"]] == pytest.approx(maps.mean(dim=(1, 2)).tolist(), abs=1e-6)
    assert (folder.parent / "dev_eer.png").read_bytes().startswith(b"\x89PNG")
    assert "| C3 | location map | yes | no | 2.85 | 2.26 |" in (tmp_path / "table.md").read_text()


def test_stops_when_the_time_is_up_and_goes_on_later(arguments, tmp_path):
    """The first epoch of a run is always done, later ones only within the time limit."""
    short = invoke(arguments("timed", "--only", "full", "--seeds", "1", "--minutes", "0.0001"))
    assert short.exit_code == 0
    assert "epoch" not in short.stdout  # the crops alone took longer
    assert "Ablation, recipe" not in short.stdout
    assert read_rows(tmp_path / "timed.csv") == []


class Until(Clock):
    """A time limit that is reached after a number of calls of `has`."""

    def __init__(self, questions: int) -> None:
        super().__init__(None)
        self.questions = questions

    def has(self, seconds: float = 0.0) -> bool:
        self.questions -= 1
        return self.questions >= 0


def test_a_run_that_is_out_of_time_goes_on_from_its_epoch(data, crops, face_models, recipe, tmp_path):
    runs = variant_runs([FULL], [5])
    bench = Bench(read_settings(recipe), Places(data, tmp_path / "out", crops, face_models), runs, 1)
    told: list[str] = []
    results = tmp_path / "results.csv"
    assert sweep(bench, runs, results, Watcher(told.append), Until(3)) == 0
    assert "full, protocol 1, seed 5" in told[-1]
    assert "epoch 3" in told[-1]
    steps: list[int] = []
    watcher = Watcher(told.append, begin=lambda run, left: steps.append(left), step=lambda: steps.append(1))
    assert sweep(bench, runs, results, watcher, Clock(None)) == 1
    assert steps[0] == sum(steps[1:]) == bench.trainer(runs[0]).steps_per_epoch * (EPOCHS - 3)


def test_a_run_that_another_process_holds_is_left_to_it(data, crops, face_models, recipe, tmp_path):
    runs = variant_runs(["C2", FULL], [5])
    bench = Bench(read_settings(recipe), Places(data, tmp_path / "out", crops, face_models), runs, 1)
    told: list[str] = []
    bench.folder(runs[0]).mkdir(parents=True)
    with locked(bench.folder(runs[0])):
        assert sweep(bench, runs, tmp_path / "results.csv", Watcher(told.append), Clock(None), limit=1) == 1
    assert told[0].startswith("full, protocol 1, seed 5: skipped")
    assert [each.variant for each in read_rows(tmp_path / "results.csv")] == ["C2"]


def test_a_run_that_fails_is_named(arguments, recipe, tmp_path):
    recipe.write_text(RECIPE + "learning_rate = 1e30\n")
    done = invoke(arguments("wild", "--only", "C5"))
    assert done.exit_code == 1
    assert "C5, protocol 1, seed 5" in done.output
    assert "epoch 1: lower learning_rate" in done.output
    assert read_rows(tmp_path / "wild.csv") == []


@pytest.mark.slow
def test_folds_are_trained_and_tabled(arguments, tmp_path):
    done = invoke(arguments("folds", "--protocols", "3", "--runs", "1"))
    assert done.exit_code == 0, done.output
    rows = read_rows(tmp_path / "folds.csv")
    assert [(each.variant, each.protocol, each.fold, each.seed) for each in rows] == [
        ("full", 3, 1, 5),
    ]
    assert "1 of 6" in done.stdout
    assert "EulerNet (slides)" in done.stdout


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--only", "C6"], "'C6': choose from C1, C2, C3, C4, C5, full"),
        (["--protocols", "3;4"], "'3;4'"),
        (["--protocols", "4"], "protocol 4, fold 1, train"),
    ],
)
def test_wrong_arguments_are_named(recipe, tmp_path, more, message):
    (tmp_path / "empty").mkdir()
    done = CliRunner().invoke(ablate, [str(recipe), "--data", str(tmp_path / "empty"), *more])
    assert done.exit_code in (1, 2)
    assert message in done.output


def test_data_or_table_must_be_given():
    done = CliRunner().invoke(ablate, [])
    assert done.exit_code == 2
    assert "--data DIR" in done.output
    assert "--table" in done.output
