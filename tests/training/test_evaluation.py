# SPDX-License-Identifier: Apache-2.0
"""From score tables to intervals, protocols, slices and reports, with checks of the pages and tables."""

import json
import statistics
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from base64 import b64decode
from collections import defaultdict
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from eulernet.datasets.oulu import FOLDS, protocol_names
from eulernet.datasets.records import Video
from eulernet.evaluation import MetricsError, Score, ScoresError, Table, write_scores
from eulernet.evaluation.bootstrap import interval, resample
from eulernet.evaluation.completeness import Key
from eulernet.evaluation.folder import Part, clear, evaluate_folder, parts, read_about, write_about
from eulernet.evaluation.metrics_command import metrics
from eulernet.evaluation.protocols import Fold, evaluate_protocol, measure
from eulernet.evaluation.published import PUBLISHED, published
from eulernet.evaluation.report import (
    SIMULATED_WARNING,
    About,
    Evaluation,
    to_html,
    to_json,
    to_markdown,
    write_report,
)
from eulernet.evaluation.report_tables import RULES, grids
from eulernet_core.attack_detection_metrics import FIGURES, eer_threshold, figures

USERS = {"dev": range(21, 25), "test": range(36, 41)}
HEADER = "path,name,label,instrument,subject,phone,session,split,start,liveness\n"


def video(path: str, instrument: str = "bona_fide", subject: str = "a", **others) -> Video:
    label = "live" if instrument == "bona_fide" else "attack"
    values = {"phone": None, "session": None, "split": "test", "name": Path(path).stem} | others
    return Video(Path(path), label, instrument, subject, **values)


def presentations(rates: dict[str, list[float]], subject: str = "a", **others) -> list[Score]:
    """A video per score, by instrument."""
    return [
        Score(video(f"{subject}/{instrument}/{number}.avi", instrument, subject, **others), score)
        for instrument, scores in rates.items()
        for number, score in enumerate(scores)
    ]


def oulu_scores(protocol: int, fold: int | None, split: str, seed: int = 0) -> list[Score]:
    """Two clips per video, with some errors and differences between people."""
    random = np.random.default_rng(seed)
    ease = {user: random.normal(1.2, 0.6) for user in USERS[split]}
    scores = []
    for name in protocol_names(protocol, fold, split, USERS[split]):
        found = name.video(Path(f"{split}/{name}.avi"), split)
        for start in (3, 40):
            logit = ease[name.user] * (1 if found.live else -1) + random.normal(0, 0.8)
            scores.append(Score(found, float(1 / (1 + np.exp(-logit))), start))
    return scores


def oulu_folds(protocol: int) -> list[Fold]:
    numbers = FOLDS if protocol > 2 else [None]
    tables = (
        [Table.of(oulu_scores(protocol, fold, split, fold or 0)) for split in ("dev", "test")] for fold in numbers
    )
    return [Fold(str(fold or 1), *pair) for fold, pair in zip(numbers, tables, strict=True)]


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    results = tuple(evaluate_protocol(oulu_folds(protocol), protocol, resamples=40) for protocol in (1, 3))
    facts = {"model": "out/runs/p{protocol}/{fold}/best.pt"}
    return Evaluation(About("weights <b>1</b>", True, facts, ("a note | of mine",)), results)


def slow_rates(rows: list[tuple[float, str]], threshold: float) -> dict[str, float]:
    """BPCER and the highest APCER by counting."""
    by_instrument = defaultdict(list)
    for score, instrument in rows:
        by_instrument[instrument].append(score >= threshold)
    live = by_instrument.pop("bona_fide")
    return {
        "bpcer": live.count(False) / len(live),
        "apcer_max": max(accepted.count(True) / len(accepted) for accepted in by_instrument.values()),
    }


def test_bootstrap_draws_subjects_with_all_their_videos() -> None:
    scores = oulu_scores(1, None, "test")
    rows_of, threshold, resamples, seed = defaultdict(list), 0.5, 50, 7
    means = defaultdict(list)
    for score in scores:
        means[score.video].append(score.liveness)
    for found, values in means.items():
        rows_of[found.subject].append((statistics.mean(values), found.instrument))
    random, expected = np.random.default_rng(seed), defaultdict(list)
    for _ in range(resamples):
        drawn = random.integers(len(rows_of), size=len(rows_of))
        rows = [row for number in drawn for row in rows_of[sorted(rows_of)[number]]]
        for name, rate in slow_rates(rows, threshold).items():
            expected[name].append(rate)
    table = Table.of(scores)
    (found,) = resample([table], [lambda each: measure(each, threshold)], resamples, seed)
    for name, rates in expected.items():
        np.testing.assert_allclose(found[Key(name)], rates, atol=1e-12)
        assert len(set(rates)) > 3
    assert interval(found[Key("bpcer")]) == pytest.approx(np.percentile(expected["bpcer"], [2.5, 97.5]).tolist())
    (again,) = resample([table], [lambda each: measure(each, threshold)], resamples, seed)
    (other,) = resample([table], [lambda each: measure(each, threshold)], resamples, seed + 1)
    assert np.array_equal(found[Key("bpcer")], again[Key("bpcer")])
    assert not np.array_equal(found[Key("bpcer")], other[Key("bpcer")])


def test_interval_is_that_of_people_not_of_videos() -> None:
    # Of four people one is refused, in all of 100 videos: videos as units would give 25 % within 1 to 2 %.
    scores = [
        score
        for number in range(4)
        for score in presentations({"bona_fide": [0.2 if number == 0 else 0.9] * 100, "print": [0.1]}, f"p{number}")
    ]
    dev = presentations({"bona_fide": [0.9], "print": [0.1]}, "dev", split="dev")
    result = evaluate_protocol([Fold("1", Table.of(dev), Table.of(scores))], resamples=500)
    estimate = result.summary[Key("bpcer")]
    assert estimate.value == 0.25
    assert estimate.interval == (0.0, 0.75)


def test_no_interval_where_draws_have_nothing_to_count() -> None:
    assert interval(None) is None
    draws = np.arange(100.0)
    draws[:5] = np.nan
    assert interval(draws) == pytest.approx(np.percentile(draws[5:], [2.5, 97.5]).tolist())
    draws[5] = np.nan
    assert interval(draws) is None
    with pytest.raises(MetricsError, match="0 resamples"):
        resample([], [], 0)


def test_threshold_is_from_dev_alone() -> None:
    dev = Table.of(presentations({"bona_fide": [0.6, 0.8], "print": [0.2, 0.3]}, "d", split="dev"))
    good = Table.of(presentations({"bona_fide": [0.9, 0.9], "print": [0.1, 0.1]}))
    shifted = Table.of(presentations({"bona_fide": [0.4, 0.5, 0.44], "print": [0.1, 0.46], "mask": [0.3] * 4}))
    for test in (good, shifted):
        (fold,) = evaluate_protocol([Fold("1", dev, test)], resamples=1).folds
        assert fold.threshold == pytest.approx(0.45)
    # EER of the test's own scores: from 0.44 to 0.4 1 of 6 attacks is accepted, and BPCER falls from 1/3 to 0.
    names = ("bpcer", "apcer_max", "apcer_pooled", "acer", "hter", "eer")
    rates = {name: fold.test[Key(name)].value for name in names}
    expected = {"bpcer": 2 / 3, "apcer_max": 1 / 2, "apcer_pooled": 1 / 6, "acer": 7 / 12, "hter": 5 / 12, "eer": 1 / 6}
    assert rates == pytest.approx(expected)
    assert fold.test[Key("apcer", "instrument", "mask")].value == 0
    assert (fold.dev[Key("eer")].value, fold.dev[Key("bpcer")].value) == (0, 0)


def test_folds_have_mean_and_sample_deviation() -> None:
    folds = oulu_folds(3)
    result = evaluate_protocol(folds, 3, resamples=20)
    for name in FIGURES:
        values = [figures(fold.test.sample(), eer_threshold(fold.dev.sample()))[name] for fold in folds]
        estimate = result.summary[Key(name)]
        assert estimate.value == pytest.approx(statistics.mean(values))
        assert estimate.spread == pytest.approx(statistics.stdev(values))
        assert estimate.interval is not None
    # A phone is in one fold's test set only: nothing to take a spread of.
    assert result.summary[Key("bpcer", "phone", "2")].spread is None
    assert result.summary[Key("bpcer", "phone", "2")].value == result.folds[1].test[Key("bpcer")].value
    assert evaluate_protocol(folds[:1], resamples=1).summary[Key("acer")].spread is None


def test_slices_are_the_rates_of_their_rows() -> None:
    scores = oulu_scores(2, None, "test")
    (fold,) = evaluate_protocol(
        [Fold("1", Table.of(oulu_scores(2, None, "dev")), Table.of(scores))], 2, resamples=1
    ).folds
    for by, values in (("phone", range(1, 7)), ("session", range(1, 4))):
        for value in values:
            sample = Table.of([score for score in scores if getattr(score.video, by) == value]).sample()
            expected = figures(sample, fold.threshold)
            for name in ("apcer_max", "apcer_pooled", "bpcer", "acer"):
                assert fold.test[Key(name, by, str(value))].value == pytest.approx(expected[name]), (by, value, name)
    assert {key.value for key in fold.test if key.by == "instrument"} == {"print2", "replay2"}


def test_slice_without_a_class_has_the_rates_that_it_can_have() -> None:
    test = [
        *presentations({"bona_fide": [0.9, 0.1], "print": [0.2]}, "a", phone=1),
        *presentations({"print": [0.7]}, "b", phone=2),
        *presentations({"bona_fide": [0.9]}, "c"),
    ]
    found = measure(Table.of(test), 0.5)
    assert found[Key("bpcer", "phone", "1")] == 0.5
    assert found[Key("apcer_max", "phone", "2")] == 1
    assert {key.figure for key in found if key.by == "phone" and key.value == "2"} == {"apcer_max", "apcer_pooled"}
    assert {key.value for key in found if key.by == "phone"} == {"1", "2"}  # the phone of c is unknown


def test_what_makes_figures_doubtful_is_said() -> None:
    dev = presentations({"bona_fide": [0.9, 0.9], "print1": [0.1]}, "a", split="dev")
    test = presentations({"bona_fide": [0.9, 0.8, 0.7], "replay1": [0.1]}, "a")
    test += presentations({"bona_fide": [0.9, None], "mask": [None]}, "b")
    folds = [Fold(name, Table.of(dev), Table.of(test)) for name in ("1", "2")]
    warnings = "\n".join(evaluate_protocol(folds, 3, resamples=1).warnings)
    assert "protocol 3 has 6 folds" in warnings
    assert "every fold: dev: one subject" in warnings
    assert "every fold: test: only 2 subjects" in warnings
    assert "every fold: dev and test share 1 subjects (a)" in warnings
    assert "every fold: only test has replay attacks" in warnings
    assert "no score for 1 of 5 bona_fide (BPNRR 20.0 %), 1 of 1 mask (APNRR 100.0 %)" in warnings
    strangers = [Score(video(f"{n}.avi", "bona_fide" if n % 2 else "print", str(n)), n % 2) for n in range(30)]
    several = [folds[0], Fold("2", Table.of(dev), Table.of(strangers))]
    found = evaluate_protocol(several, resamples=1).warnings
    assert any(each.startswith("fold 2: test: every presentation has another subject") for each in found)
    assert any(each.startswith("fold 1: test: only 2") for each in found)


def test_what_can_not_be_evaluated() -> None:
    dev, test = (Table.of(oulu_scores(1, None, split)) for split in ("dev", "test"))
    live_only = Table.of(presentations({"bona_fide": [0.9]}))
    with pytest.raises(MetricsError, match="fold 2, dev: attacks: no instrument"):
        evaluate_protocol([Fold("1", dev, test), Fold("2", live_only, test)])
    with pytest.raises(MetricsError, match="fold 1: no dev scores"):
        evaluate_protocol([Fold("1", None, test)])
    silent = Table.of(presentations({"bona_fide": [0.9], "print": [None], "mask": [None, None]}))
    with pytest.raises(MetricsError, match="fold 1, test: attacks: .*2 of 2 mask .*1 of 1 print"):
        evaluate_protocol([Fold("1", dev, silent)])
    with pytest.raises(MetricsError, match="folds 1, 1"):
        evaluate_protocol([Fold("1", dev, test)] * 2)
    with pytest.raises(MetricsError, match="protocol 7.*1, 2, 3, 4"):
        evaluate_protocol([Fold("1", dev, test)], 7, resamples=1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Tables of protocol 1 and of two folds of protocol 3."""
    out = tmp_path / "scores"
    clear(out)
    for part in (Part(1), Part(3, 1), Part(3, 2)):
        for split in ("dev", "test"):
            write_scores(out / part.file(split), oulu_scores(*part, split))
    write_about(out, About("mine", True, {"model": "a.pt"}, ("a note",)))
    return out


def test_folder_has_its_protocols_and_folds(folder: Path) -> None:
    assert parts(folder) == [Part(1), Part(3, 1), Part(3, 2)]
    assert (folder / "protocol_3_fold_2_test.csv").is_file()
    found = evaluate_folder(folder, resamples=5)
    assert [(each.protocol, len(each.folds)) for each in found.protocols] == [(1, 1), (3, 2)]
    assert found.about == About(
        "mine", True, {"model": "a.pt", "a presentation is": "a video, with the mean of its clips"}, ("a note",)
    )
    direct = evaluate_protocol(oulu_folds(1), 1, 5)
    assert found.protocols[0].summary == direct.summary


def test_the_hardest_instrument_can_set_the_threshold_of_a_folder(folder: Path) -> None:
    """As said in about.json, unless the caller says otherwise; prints and displays differ in the dev scores."""
    for path in folder.glob("protocol_3*"):
        path.unlink()
    random = np.random.default_rng(0)
    rates = {"bona_fide": random.uniform(0.4, 1, 60), "print1": random.uniform(0, 0.2, 60)}
    dev = presentations({**rates, "replay1": random.uniform(0.2, 0.7, 60)}, "d", split="dev")
    write_scores(folder / Part(1).file("dev"), dev)
    write_about(folder, About("mine", equal_errors="highest"))
    highest, pooled = (evaluate_folder(folder, resamples=1, equal=equal) for equal in (None, "pooled"))
    sample = Table.of(dev).sample()
    for found, equal in ((highest, "highest"), (pooled, "pooled")):
        assert found.protocols[0].folds[0].threshold == eer_threshold(sample, equal)
        assert found.about.equal_errors == equal
    assert highest.protocols[0].folds[0].threshold > pooled.protocols[0].folds[0].threshold + 0.01
    assert "highest APCER" in highest.about.facts["equal errors"]
    assert "equal errors" not in pooled.about.facts
    (folder / "about.json").write_text('{"system": "mine", "equal_errors": "lowest"}')
    with pytest.raises(ScoresError, match="about.json: .*'lowest'"):
        read_about(folder)


def test_folder_says_what_is_missing(folder: Path, tmp_path: Path) -> None:
    (folder / "protocol_3_fold_2_dev.csv").unlink()
    with pytest.raises(ScoresError, match="protocol_3_fold_2_dev.csv: missing"):
        parts(folder)
    (folder / "about.json").write_text('{"names": 1}')
    with pytest.raises(ScoresError, match="about.json: .*`eulernet evaluate`"):
        read_about(folder)
    (folder / "notes.txt").write_text("kept")
    clear(folder)  # before other scores come
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]
    with pytest.raises(ScoresError, match=r"scores: .*dev.csv and test.csv"):
        parts(folder)
    assert read_about(folder) == About("scores")


@pytest.fixture(scope="module")
def written(evaluation: Evaluation, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The texts of a report's files."""
    return {path.name: path.read_text() for path in write_report(evaluation, tmp_path_factory.mktemp("out") / "new")}


def no_number(text: str) -> None:
    pytest.fail(f"{text} is not JSON")


def test_json_has_every_figure_and_curve(evaluation: Evaluation, written: dict[str, str]) -> None:
    content = json.loads(written["metrics.json"], parse_constant=no_number)
    assert content["simulated"] is True
    assert content["warnings"][0] == "a note | of mine"
    first, third = content["protocols"]
    result = evaluation.protocols[0]
    for name in FIGURES:
        entry, estimate = first["summary"]["figures"][name], result.summary[Key(name)]
        assert (entry["value"], entry["low"], entry["high"], entry["spread"]) == (
            estimate.value,
            *estimate.interval,
            None,
        )
    assert third["summary"]["figures"]["acer"]["spread"] > 0
    assert len(third["folds"]) == 6
    phones = first["summary"]["slices"]["phone"]
    assert sorted(phones) == ["1", "2", "3", "4", "5", "6"]
    (fold,) = first["folds"]
    assert fold["roc"]["threshold"][0] is None  # infinity, where all is refused
    assert fold["roc"]["apcer"][0] == 0
    assert fold["det"]["bpcer_deviate"][-1] is None
    assert fold["test"]["presentations"] == {
        "scored": {"bona_fide": 30, "print1": 30, "print2": 30, "replay1": 30, "replay2": 30},
        "unscored": {},
        "subjects": 5,
    }
    slides = {row["method"]: row for row in third["slides"]["rows"]}
    assert slides["EulerNet"]["acer"] == {"percent": 2.1, "spread": 0.5}


def test_markdown_tables_are_whole_and_marked(evaluation: Evaluation, written: dict[str, str]) -> None:
    text = written["metrics.md"]
    lines = text.splitlines()
    assert lines[0] == r"# Evaluation of weights \<b>1\</b> (simulated data)"
    assert lines[2].startswith("> **Simulated data")
    assert r"- Warning: a note \| of mine" in lines
    headings = [line for line in lines if line.startswith("## ") and "How the figures" not in line]
    assert len(headings) == 1 + sum(len(grids(result, True)) for result in evaluation.protocols)
    assert all("(simulated data)" in line for line in headings)
    for before, line in pairwise(lines):
        if line.startswith("|") and before.startswith("|"):
            assert line.replace(r"\|", "").count("|") == before.replace(r"\|", "").count("|")
    acer = evaluation.protocols[1].summary[Key("acer")]
    assert f"| ACER, highest instrument | {100 * acer.value:.2f} % | ± {100 * acer.spread:.2f} |" in text
    assert "| EulerNet (slides) | OULU-NPU | 2.6 % ± 1.3 | 1.6 % ± 0.8 | 2.1 % ± 0.5 |" in text
    assert all(rule.split(":")[0] in text for rule in RULES)


class Page(HTMLParser):
    """Links, text and tags of a page; an unmatched tag fails."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "img"):
            self.open.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_page_stands_alone_with_its_plots(written: dict[str, str]) -> None:
    text = written["metrics.html"]
    page = Page()
    page.feed(text)
    assert not page.open
    assert len(page.sources) == 4 * 2  # plots of two protocols
    kind = "data:image/svg+xml;base64,"
    for source in page.sources:
        assert source.startswith(kind)
        drawn = b64decode(source.removeprefix(kind)).decode()
        assert ElementTree.fromstring(drawn).tag.endswith("svg")
    assert "://" not in text  # nothing is fetched
    assert "weights <b>1</b>" in page.text  # shown, not obeyed
    assert SIMULATED_WARNING in page.text
    assert page.text.count("(simulated data)") > 10


def test_real_data_is_not_called_simulated() -> None:
    own = [
        Fold("1", Table.of(presentations({"bona_fide": [0.9] * 2, "$x_1$ <i>": [0.1]}, split)), Table.of(test))
        for split, test in (("d", presentations({"bona_fide": [0.9] * 2, "$x_1$ <i>": [0.1, 0.95]}, "t")),)
    ]
    evaluation = Evaluation(About("mine"), (evaluate_protocol(own, resamples=2),))
    page = to_html(evaluation)
    for text in (page, to_markdown(evaluation), json.dumps(to_json(evaluation))):
        assert "simulated data" not in text.lower()
        assert "(slides)" not in text  # they are OULU-NPU's
    assert "$x_1$ &lt;i&gt;" in page
    assert page == to_html(evaluation)  # the same bytes
    assert r"$x\_1$ \<i>" in to_markdown(evaluation)


def test_figures_need_no_torch() -> None:
    check = "import sys, eulernet.evaluation.folder; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


@pytest.mark.slow
def test_report_command(folder: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(metrics, ["report", str(folder), "--out", str(tmp_path / "out"), "--resamples", "5"])
    assert done.exit_code == 0, done.output
    assert "Protocol 1 (simulated data)" in done.stdout
    assert "warning: a note" in done.stderr
    content = json.loads((tmp_path / "out" / "metrics.json").read_text())
    acer = content["protocols"][1]["summary"]["figures"]["acer"]
    assert f"{100 * acer['value']:.2f} % ± {100 * acer['spread']:.2f}" in done.stdout
    for path in (folder / "about.json", *folder.glob("protocol_3*")):
        path.unlink()
    arguments = ["report", str(folder), "--out", str(tmp_path / "out"), "--resamples", "5", "--per", "clip"]
    done = CliRunner().invoke(metrics, [*arguments, "--system", "theirs", "--simulated"])
    content = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert (content["system"], content["simulated"]) == ("theirs", True)
    assert content["protocols"][0]["folds"][0]["test"]["presentations"]["scored"]["bona_fide"] == 60
    (folder / "protocol_1_dev.csv").write_text(HEADER + "a.avi,a,live,bona_fide,s,1,1,dev,0,x")
    done = CliRunner().invoke(metrics, arguments)
    assert done.exit_code == 1
    assert "protocol_1_dev.csv:2: liveness: 'x'" in done.output


def test_report_that_can_not_be_written(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "out" / "metrics.json").mkdir(parents=True)
    for path in folder.glob("protocol_3*"):
        path.unlink()
    done = CliRunner().invoke(metrics, ["report", str(folder), "--out", str(tmp_path / "out"), "--resamples", "1"])
    assert done.exit_code == 1
    assert "metrics.json" in done.output


def test_published_rates_are_consistent() -> None:
    methods = {"Disentangled", "FAS-SGTD", "DeepPixBiS", "CDCN", "EulerNet"}
    for protocol in (1, 2, 3, 4):
        assert {row.method for row in published(protocol)} == methods
    for row in PUBLISHED:
        # To one decimal, because all rates are rounded.
        assert row.acer.percent == pytest.approx((row.apcer.percent + row.bpcer.percent) / 2, abs=0.1001), row
        assert (row.acer.spread is None) == (row.protocol < 3)
