# SPDX-License-Identifier: Apache-2.0
"""An instrument without any score, and data without dev scores: every place with a headline says so."""

import json
import re
from base64 import b64decode
from pathlib import Path

import pytest
from click.testing import CliRunner

from eulernet.datasets.records import Video
from eulernet.evaluation import Score, ScoresError, Table, write_scores
from eulernet.evaluation.completeness import INCOMPLETE, Key
from eulernet.evaluation.folder import clear, evaluate_folder, read_about, write_about
from eulernet.evaluation.metrics_command import metrics
from eulernet.evaluation.protocols import Fold, evaluate_protocol
from eulernet.evaluation.report import About, Evaluation, to_html, to_json, to_markdown
from eulernet_core.attack_detection_metrics import FIGURES
from eulernet_core.weights_label import LIVE_THRESHOLD


def presentations(rates: dict[str, list[float | None]], subject: str, phone: int | None = None) -> list[Score]:
    """A video per score, by instrument."""
    return [
        Score(
            Video(
                Path(f"{subject}/{instrument}/{number}.avi"),
                "live" if instrument == "bona_fide" else "attack",
                instrument,
                subject,
                phone,
                None,
                "test",
                str(number),
            ),
            score,
        )
        for instrument, scores in rates.items()
        for number, score in enumerate(scores)
    ]


DEV = [
    *presentations({"bona_fide": [0.6, 0.9], "print1": [0.1]}, "d1"),
    *presentations({"bona_fide": [0.8], "print1": [0.2]}, "d2"),
]
# No mask has a score; print1 has none on phone 2, print2 has.
SILENT = [
    *presentations({"bona_fide": [0.9], "print1": [0.1], "mask": [None, None]}, "t1", 1),
    *presentations({"bona_fide": [0.8], "print1": [None], "print2": [0.1]}, "t2", 2),
    *presentations({"mask": [None]}, "t3", 3),
]
COMPLETE = [
    *presentations({"bona_fide": [0.9], "print1": [0.1], "mask": [0.1]}, "t1", 1),
    *presentations({"bona_fide": [0.8], "print1": [0.3, None], "print2": [0.1], "mask": [None]}, "t2", 2),
]


def evaluation(*tests: list[Score]) -> Evaluation:
    folds = [Fold(str(number), Table.of(DEV), Table.of(test)) for number, test in enumerate(tests, 1)]
    return Evaluation(About("mine"), (evaluate_protocol(folds, resamples=3),))


def lines_with(text: str, title: str) -> list[str]:
    return [line for line in text.splitlines() if title in line]


def test_figures_that_lack_an_instrument_are_marked() -> None:
    (result,) = evaluation(SILENT).protocols
    for estimates in (result.summary, result.folds[0].test):
        marked = {key.figure for key, each in estimates.items() if not key.by and each.missing == ("mask",)}
        assert marked == set(FIGURES) - {"bpcer"}
        assert not estimates[Key("bpcer")].missing
        assert Key("apcer", "instrument", "mask") not in estimates
        assert not estimates[Key("apcer", "instrument", "print1")].missing
        assert not estimates[Key("apcer", "kind", "print")].missing
        # On phone 2 the attacks' rates lack print1, though it has scores elsewhere.
        assert estimates[Key("apcer_max", "phone", "2")].missing == ("print1",)
        assert estimates[Key("apcer_max", "phone", "1")].missing == ("mask",)
        assert not estimates[Key("bpcer", "phone", "2")].missing
    assert result.missing == ("mask",)
    assert any(re.search("test: not complete.* mask ", each) for each in result.warnings)


def test_kind_lacks_its_silent_instrument() -> None:
    test = presentations({"bona_fide": [0.9], "print1": [0.1], "print2": [None]}, "t1")
    (result,) = evaluation(test).protocols
    assert result.summary[Key("apcer", "kind", "print")].missing == ("print2",)


def test_mean_over_folds_lacks_what_one_fold_lacks() -> None:
    (result,) = evaluation(COMPLETE, SILENT).protocols
    for key in (Key("apcer_max"), Key("acer"), Key("apcer", "instrument", "mask")):
        assert result.summary[key].missing == ("mask",)
        assert not result.folds[0].test[key].missing


def test_threshold_of_dev_scores_that_lack_an_instrument_is_named() -> None:
    dev = Table.of([*DEV, *presentations({"mask": [None]}, "d1")])
    (result,) = (evaluate_protocol([Fold("1", dev, Table.of(COMPLETE))], resamples=1),)
    assert any(re.search("dev: not complete.* mask ", each) for each in result.warnings)
    assert result.folds[0].dev[Key("eer")].missing == ("mask",)


def test_no_figure_is_marked_that_has_some_score_of_all() -> None:
    whole = evaluation(COMPLETE)
    (result,) = whole.protocols
    assert not result.missing
    assert not any(each.missing for key, each in result.summary.items() if key.by != "phone")
    content = to_json(whole)["protocols"][0]
    assert content["complete"] is True
    assert all(entry["complete"] for entry in content["summary"]["figures"].values())
    markdown = to_markdown(whole)
    assert INCOMPLETE not in "".join(lines_with(markdown, "APCER, highest of the instruments"))


def test_json_says_what_is_not_complete() -> None:
    content = json.loads(json.dumps(to_json(evaluation(SILENT)), allow_nan=False))["protocols"][0]
    assert content["complete"] is False
    figures = content["summary"]["figures"]
    assert {name for name, entry in figures.items() if entry["complete"]} == {"bpcer"}
    mask = content["summary"]["slices"]["instrument"]["mask"]["apcer"]
    assert (mask["value"], mask["complete"]) == (None, False)
    assert content["folds"][0]["test"]["slices"]["instrument"]["mask"]["apcer"] == mask
    assert {"by": None, "value": None, "classes": ["mask"]} in content["without_score"]
    assert {"by": "phone", "value": "2", "classes": ["print1"]} in content["without_score"]


@pytest.mark.parametrize("tests", [(SILENT,), (COMPLETE, SILENT)])
def test_tables_say_what_is_not_complete(tests: tuple[list[Score], ...]) -> None:
    found = evaluation(*tests)
    both = Evaluation(found.about, found.protocols * 2)  # has an overview
    markdown = to_markdown(both)
    for title in ("APCER, highest of the instruments", "ACER, highest kind", "AUC |"):
        rows = [line for line in lines_with(markdown, title) if line.startswith(f"| {title}")]
        assert rows
        assert all(INCOMPLETE in row for row in rows), rows
    rows = [line for line in markdown.splitlines() if line.startswith("| Evaluation |")]
    assert rows
    assert all(row.count(INCOMPLETE) == 4 for row in rows)  # all but BPCER
    assert any(line.startswith("| mask | ") for line in markdown.splitlines())
    assert any(line.startswith("| phone 3 | ") for line in markdown.splitlines())
    assert not any(INCOMPLETE in line for line in markdown.splitlines() if line.startswith("| BPCER |"))


def test_page_and_plots_say_what_is_not_complete() -> None:
    page = to_html(evaluation(SILENT))
    assert page.count(f'<span class="tag">{INCOMPLETE}</span>') == 1  # beside the heading
    for source in re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', page):
        assert INCOMPLETE in b64decode(source).decode()  # matplotlib keeps the text as a comment


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    out = tmp_path / "scores"
    clear(out)
    write_scores(out / "test.csv", SILENT)
    return out


def report(folder: Path, *options: str) -> tuple[int, str, dict]:
    out = folder.parent / "out"
    done = CliRunner().invoke(metrics, ["report", str(folder), "--out", str(out), "--resamples", "3", *options])
    written = out / "metrics.json"
    return done.exit_code, done.output, json.loads(written.read_text()) if written.exists() else {}


def test_command_prints_headlines_that_say_so(folder: Path) -> None:
    write_scores(folder / "dev.csv", [Score(_as_dev(each.video), each.liveness) for each in DEV])
    code, text, _ = report(folder)
    assert code == 0, text
    for line in text.splitlines():
        if line.startswith(tuple(f"  {title} " for title in FIGURES.values())):
            assert (INCOMPLETE in line) == (not line.startswith("  BPCER  ")), line
    assert lines_with(text, INCOMPLETE)[0].startswith("warning: ")
    assert "mask" in lines_with(text, "Not complete")[0]


def _as_dev(video: Video) -> Video:
    return Video(video.path, video.label, video.instrument, video.subject, None, None, "dev", video.name)


def test_report_without_dev_scores_needs_a_threshold(folder: Path) -> None:
    with pytest.raises(ScoresError, match="dev.csv: missing.*--threshold"):
        evaluate_folder(folder)
    code, text, _ = report(folder)
    assert (code, "--threshold" in text) == (1, True)
    code, text, content = report(folder, "--threshold", "0.25")
    assert code == 0, text
    assert "threshold 0.250000, given" in text
    (fold,) = content["protocols"][0]["folds"]
    assert (fold["threshold"], fold["threshold_from"], fold["dev"]) == (0.25, "given", None)
    assert any("0.25 was given" in each for each in content["warnings"])
    (folder / "test.csv").unlink()
    write_scores(folder / "dev.csv", DEV[:0])
    with pytest.raises(ScoresError, match="test.csv: missing"):
        evaluate_folder(folder, threshold=0.25)


def test_threshold_of_the_scores_is_kept(folder: Path) -> None:
    write_about(folder, About("mine", threshold=LIVE_THRESHOLD))
    (fold,) = evaluate_folder(folder, resamples=1).protocols[0].folds
    assert (fold.threshold, fold.given, fold.dev, fold.dev_counts) == (LIVE_THRESHOLD, True, {}, None)
    # Dev scores of one class set no threshold; their counts are shown.
    write_scores(folder / "dev.csv", [Score(_as_dev(each.video), each.liveness) for each in DEV if each.video.live])
    (fold,) = evaluate_folder(folder, resamples=1).protocols[0].folds
    assert (fold.threshold, fold.dev, fold.dev_counts.scored) == (LIVE_THRESHOLD, {}, {"bona_fide": 3})
    about = json.loads((folder / "about.json").read_text())
    for wrong in (7, "high", "NaN"):
        (folder / "about.json").write_text(json.dumps(about | {"threshold": wrong}).replace('"NaN"', "NaN"))
        with pytest.raises(ScoresError, match=r"about\.json"):
            read_about(folder)


def test_given_threshold_leaves_dev_figures(folder: Path) -> None:
    write_scores(folder / "dev.csv", [Score(_as_dev(each.video), each.liveness) for each in DEV])
    (fold,) = evaluate_folder(folder, resamples=1, threshold=0.7).protocols[0].folds
    assert fold.dev[Key("bpcer")].value == pytest.approx(1 / 3)
    assert fold.test[Key("bpcer")].value == 0
