# SPDX-License-Identifier: Apache-2.0
"""The ablation's plan, its results file, its figures and tables: by hand."""

import csv
import dataclasses
import json
import multiprocessing
from pathlib import Path

import pytest
from click.testing import CliRunner

from eulernet.ablation.ablate_command import ablate
from eulernet.ablation.identity import data_identity, recipe_digest
from eulernet.ablation.plan import BY_TAG, FULL, VARIANTS, Run, fold_runs, variant_runs
from eulernet.ablation.results import COLUMNS, ResultsError, Row, append_row, read_rows
from eulernet.ablation.runner import measure
from eulernet.ablation.tables import by_origin, compare, curves, markdown, text
from eulernet.datasets import Video
from eulernet.datasets.oulu import FOLDERS, protocol_names, protocol_path, write_protocols
from eulernet.evaluation.scores import Score
from eulernet.learning.settings import OptimizerSettings, Settings, read_settings
from eulernet.network import NetworkConfig

ROOT = Path(__file__).parents[2]
USERS = {"train": 1, "dev": 21, "test": 36}


def row(variant=FULL, protocol=1, fold=0, seed=0, **values) -> Row:
    rates = dict.fromkeys(
        ("dev_eer", "dev_acer", "apcer", "apcer_kind", "bpcer", "acer", "acer_kind", "hter", "eer"), 0.1
    )
    given = {"recipe": "r", "data": "d", "simulated": True, "threshold": 0.25, "auc": 0.9, **rates}
    given |= {"epochs": 2, "best_epoch": 2, "seconds": 1.5, "dev_eer_by_epoch": (0.5, 0.1), **values}
    return Row(variant, protocol, fold, seed, **given)


def test_variants_are_the_slides_table():
    switches = {v.tag: (v.label, v.fcam, v.pyramid) for v in VARIANTS}
    assert switches == {
        "C1": ("mask", True, True),
        "C2": ("depth", False, False),
        "C3": ("location", True, False),
        "C4": ("location", False, True),
        "C5": ("depth", True, True),
        "full": ("location", True, True),
    }
    # The differences that the slides' text states.
    gaps = {tag: round(BY_TAG[tag].slides_test - BY_TAG[FULL].slides_test, 2) for tag in ("C4", "C3", "C5", "C1")}
    assert gaps == {"C4": 0.34, "C3": 0.38, "C5": 0.18, "C1": 0.96}


def test_variants_go_seed_by_seed_and_folds_are_all_there():
    runs = variant_runs(BY_TAG, range(2))
    assert [run.variant for run in runs] == ["full", "C1", "C2", "C3", "C4", "C5"] * 2
    assert [run.seed for run in runs] == [0] * 6 + [1] * 6
    folds = fold_runs([4, 1, 3, 2], [FULL], [0])
    assert [(run.protocol, run.fold) for run in folds] == [
        (1, 0),
        (2, 0),
        *((k, i) for k in (3, 4) for i in range(1, 7)),
    ]
    assert folds[0] == runs[0]  # trained once for both tables


def test_a_run_changes_the_recipe_only_where_it_must():
    recipe = Settings(seed=9, network=NetworkConfig(image_size=64), optimizer=OptimizerSettings(epochs=3))
    settings = Run("C4", 3, 2, 11).settings(recipe)
    assert (settings.seed, settings.data.protocol, settings.data.fold) == (11, 3, 2)
    assert (settings.data.label, settings.network.fcam, settings.network.pyramid) == ("location", False, True)
    assert settings.optimizer == recipe.optimizer
    assert settings.network.image_size == 64
    digests = {recipe_digest(Run(v.tag, 4, 1, 3).settings(recipe)) for v in VARIANTS}
    assert digests == {recipe_digest(recipe)}
    other = dataclasses.replace(recipe, optimizer=dataclasses.replace(recipe.optimizer, epochs=4))
    assert recipe_digest(other) != recipe_digest(recipe)


def test_data_is_known_by_what_it_is_not_by_where_it_lies(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    for root in (one, two):
        write_protocols(root, {split: [user] for split, user in USERS.items()})
        for split in FOLDERS:
            (root / FOLDERS[split]).mkdir()
            for name in protocol_names(2, None, split, [USERS[split]]):
                (root / FOLDERS[split] / f"{name}.avi").write_bytes(b"video")
    assert data_identity(one) == data_identity(two)
    assert not data_identity(one).simulated
    (two / "Train_files" / "1_1_01_1.avi").unlink()
    assert data_identity(one) != data_identity(two)  # half copied
    (two / "Train_files" / "1_1_01_1.avi").write_bytes(b"video")
    listed = protocol_path(two, 3, 4, "dev")
    listed.write_text(listed.read_text().replace("+1,1_1_21_1\n", ""))
    assert data_identity(one) != data_identity(two)
    for root, seed in ((one, 1), (two, 2)):
        (root / "simulated.json").write_text(json.dumps({"simulated": True, "seed": seed}))
    assert data_identity(one).simulated
    assert data_identity(one) != data_identity(two)


def test_results_are_read_back_as_written(tmp_path):
    path = tmp_path / "deep" / "results.csv"
    assert read_rows(path) == []
    rows = [row(), row("C3", 3, 2, 1, acer=1 / 3, dev_eer_by_epoch=(0.5, 0.25, 1 / 3))]
    for each in rows:
        append_row(path, each)
    first, second = read_rows(path)
    assert first == rows[0]
    assert second == dataclasses.replace(rows[1], acer=0.333333, dev_eer_by_epoch=(0.5, 0.25, 0.333333))
    assert path.read_text().splitlines()[0] == ",".join(COLUMNS)
    append_row(path, dataclasses.replace(rows[0], acer=0.2))
    assert [each.acer for each in read_rows(path)] == [0.2, 0.333333]  # of two rows of one run the last
    assert [each.name for each in path.parent.iterdir()] == ["results.csv"]


def _append(path: Path, seed: int) -> None:
    for fold in range(1, 7):
        append_row(path, row(protocol=3, fold=fold, seed=seed))


def test_processes_that_append_at_once_lose_nothing(tmp_path):
    context = multiprocessing.get_context("fork")
    path = tmp_path / "results.csv"
    processes = [context.Process(target=_append, args=(path, seed)) for seed in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert {(each.seed, each.fold) for each in read_rows(path)} == {(s, f) for s in range(4) for f in range(1, 7)}


@pytest.mark.parametrize(
    ("column", "cell", "message"),
    [
        ("acer", "much", r"results.csv:2: acer: .*'much'"),
        ("variant", "C9", r"results.csv:2: variant: 'C9'.* C1, C2, C3, C4, C5, full"),
        ("simulated", "perhaps", r"results.csv:2: simulated: .*'perhaps'"),
        ("dev_eer_by_epoch", "0.5;0.1", r"results.csv:2: dev_eer_by_epoch: .*'0.5;0.1'"),
    ],
)
def test_results_that_can_not_be_used_are_named(tmp_path, column, cell, message):
    path = tmp_path / "results.csv"
    append_row(path, row())
    with path.open(newline="") as file:
        cells = next(csv.DictReader(file)) | {column: cell}
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerow(cells)
    with pytest.raises(ResultsError, match=message):
        read_rows(path)
    path.write_text("a,b\n1,2\n")
    with pytest.raises(ResultsError, match=r"results.csv:1: not the columns of this version"):
        read_rows(path)


def test_rates_by_hand():
    """Dev: bona fide videos at 0.8 and 0.5, attacks at 0.6, 0.2, 0.1 and 0. At 0.35, the middle of 0.5 and 0.2, the
    pooled APCER is 1/4 and BPCER 0; no other threshold has both nearer to each other and small."""

    def scores(split, values):
        for name, (instrument, clips) in values.items():
            label = "live" if instrument == "bona_fide" else "attack"
            video = Video(Path(name), label, instrument, name, 1, 1, split, name)
            yield from (Score(video, clip) for clip in clips)

    dev = {
        "a": ("bona_fide", [0.7, 0.9]),
        "b": ("bona_fide", [0.6, 0.4]),
        "c": ("print1", [0.6]),
        "d": ("print1", [0.2]),
        "e": ("replay1", [0.1]),
        "f": ("replay1", [0.0]),
    }
    test = {
        "g": ("bona_fide", [0.9]),
        "h": ("bona_fide", [0.3, 0.3]),
        "i": ("print1", [0.8]),
        "j": ("print2", [0.1]),
        "k": ("replay1", [0.3, 0.1]),
    }
    found = measure(list(scores("dev", dev)), list(scores("test", test)))
    assert found["threshold"] == pytest.approx(0.35)
    assert found["dev_acer"] == pytest.approx((1 / 2 + 0) / 2)
    assert (found["apcer"], found["apcer_kind"], found["bpcer"]) == (1.0, 0.5, 0.5)
    assert (found["acer"], found["acer_kind"]) == (0.75, 0.5)
    assert found["hter"] == pytest.approx((1 / 3 + 1 / 2) / 2)
    assert found["auc"] == pytest.approx((3 + 2) / 6)


@pytest.fixture
def finished() -> list[Row]:
    """Two seeds of all variants but C5, which has one; ACER in percent."""
    acers = {"C1": (3, 5), "C2": (2, 2), "C3": (1.5, 2.5), "C4": (0.5, 1.5), "C5": (9,), "full": (1, 2)}
    rows = [row(tag, seed=s, acer=a / 100, dev_acer=a / 50) for tag, each in acers.items() for s, a in enumerate(each)]
    return [*rows, row(acer=0.5, recipe="stale")]


def test_table_by_hand(finished):
    fresh, stale = (compare(each) for each in by_origin(finished).values())
    assert fresh.title == "Ablation, recipe r, data set d (simulated data)"
    (grid,) = fresh.grids
    cells = {line[0]: line[1:] for line in grid.rows}
    assert list(cells) == ["C1", "C2", "C3", "C4", "C5", "full"]
    structure = ("location map", "yes", "yes")
    assert cells["full"] == (*structure, "2.48", "1.88", "–", "3.00 ± 1.41", "1.50 ± 0.71", "–", "2")
    structure = ("depth map", "no", "no")
    assert cells["C2"] == (*structure, "3.62", "2.57", "+0.69", "4.00 ± 0.00", "2.00 ± 0.00", "+0.50 ± 0.71", "2")
    assert cells["C4"][5:] == ("+0.34", "2.00 ± 1.41", "1.00 ± 0.71", "-0.50 ± 0.00", "2")  # as it came out
    assert cells["C5"][6:8] == ("18.00", "9.00")
    # Over seed 0, which alone has all six.
    assert "ours: C4 0.50 < full 1.00 < C3 1.50 < C2 2.00 < C1 3.00 < C5 9.00" in fresh.findings
    assert "slides: full 1.88 < C5 2.06 < C4 2.22 < C3 2.26 < C2 2.57 < C1 2.84" in fresh.findings
    assert "Our full model's mean test ACER: lower than C1, C2, C3, C5; not lower than C4." in fresh.findings
    assert "Test ACER by adding FCAM (C4 to full): slides -0.34, ours +0.50 points." in fresh.findings
    assert stale.grids[0].rows[-1][7:9] == ("10.00", "50.00")
    assert stale.findings == ("No seed has all six variants yet (missing: C1, C2, C3, C4, C5): no order.",)


def test_full_below_all_and_ties():
    rows = [row(tag, acer=0.02 if tag != FULL else 0.01) for tag in BY_TAG]
    findings = compare(rows).findings
    assert "Our full model's mean test ACER: lower than C1, C2, C3, C4, C5." in findings
    assert "ours: full 1.00 < C1 2.00 = C2 2.00 = C3 2.00 = C4 2.00 = C5 2.00" in findings


def test_protocols_table_by_hand():
    rows = [row(protocol=4, fold=i, acer=i / 100, bpcer=0.04) for i in range(1, 7)]
    rows += [row(protocol=4, fold=6, seed=1, acer=0.12), row("C1")]
    ablation, protocols = compare(rows).grids
    assert ablation.rows[0][-1] == "1"
    assert [line[:2] for line in protocols.rows][-2:] == [("4", "EulerNet (slides)"), ("4", "ours, full, simulated")]
    assert protocols.rows[-2][2:] == ("1.8 ± 1.9", "4.3 ± 2.4", "–", "3.1 ± 0.9", "–")
    # Folds 1, 2, 3, 4, 5 and the mean of 6 and 12.
    assert protocols.rows[-1][2:] == ("10.00 ± 0.00", "4.50 ± 1.22", "4.00 ± 2.83", "10.00 ± 0.00", "6 of 6")
    assert {line[0] for line in protocols.rows} == {"4"}


def test_text_and_markdown_say_simulated(finished):
    real = [dataclasses.replace(each, simulated=False, data="real") for each in finished[:2]]
    pages = [markdown([compare(rows)]) + text(compare(rows)) for rows in (finished[:3], real)]
    assert pages[0].count("simulated") >= 4
    assert "simulated" not in pages[1]
    table = [line for line in pages[0].splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in table}) == 1


def test_curves_are_means_over_seeds():
    rows = [row(seed=0, dev_eer_by_epoch=(0.5, 0.1)), row(seed=1, dev_eer_by_epoch=(0.3, 0.2)), row("C2", protocol=2)]
    found = curves(rows)
    assert list(found) == ["full: location map (2 seeds)"]
    assert [each["epoch"] for each in found["full: location map (2 seeds)"]] == [1, 2]
    assert [each["dev_eer"] for each in found["full: location map (2 seeds)"]] == pytest.approx([0.4, 0.15])


def test_table_alone_needs_no_data(finished, tmp_path):
    for each in finished:
        append_row(tmp_path / "results.csv", each)
    shown = CliRunner().invoke(
        ablate, ["--table", "--results", str(tmp_path / "results.csv"), "--out", str(tmp_path / "out")]
    )
    assert shown.exit_code == 0, shown.output
    assert "Ablation, recipe r, data set d (simulated data)" in shown.stdout
    assert "Ablation, recipe stale" in shown.stdout
    assert (tmp_path / "out" / "r-d" / "dev_eer.png").is_file()


def test_shipped_recipe_leaves_the_runs_their_part():
    recipe = read_settings(ROOT / "training" / "recipes" / "small.toml")
    assert Run(FULL, 1, 0, recipe.seed).settings(recipe) == recipe


def test_the_committed_results_are_complete():
    """Those of the network and simulator before the present ones, as the documentation says, and those of today."""
    by_recipe = {}
    for row in read_rows(ROOT / "training" / "results" / "ablation.csv"):
        by_recipe.setdefault(row.recipe, set()).add(row.run)
    of_today = recipe_digest(read_settings(ROOT / "training" / "recipes" / "ablation.toml"))
    assert by_recipe.pop(of_today) == {*variant_runs(BY_TAG, range(3))}
    assert list(by_recipe.values()) == [{*variant_runs(BY_TAG, range(3)), *fold_runs([3, 4], [FULL], [0])}]


def test_the_committed_tables_are_made_from_the_committed_results():
    """After a change of the tables: `eulernet ablate --table --markdown training/results/ablation.md`."""
    rows = read_rows(ROOT / "training" / "results" / "ablation.csv")
    written = markdown([compare(each) for each in by_origin(rows).values()])
    assert (ROOT / "training" / "results" / "ablation.md").read_text(encoding="utf-8") == written
