# SPDX-License-Identifier: Apache-2.0
"""Score tables: round trip, errors with file, line and column, and comparison clip by clip."""

from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from eulernet.datasets.records import Video
from eulernet.evaluation import MetricsError, Score, ScoresError, Table, read_scores, write_scores
from eulernet.evaluation.comparison import compare
from eulernet.evaluation.metrics_command import metrics

HEADER = "path,name,label,instrument,subject,phone,session,split,start,liveness\n"


def video(path: str, instrument: str = "bona_fide", subject: str = "a", **others) -> Video:
    label = "live" if instrument == "bona_fide" else "attack"
    values = {"phone": None, "session": None, "split": "test", "name": Path(path).stem} | others
    return Video(Path(path), label, instrument, subject, **values)


def test_table_comes_back_as_it_was_written(tmp_path: Path) -> None:
    scores = [
        Score(video('odd, "name"\nof two lines.avi', "print1", "Zoë", phone=3, session=1), 0.1 + 0.2, 7),
        Score(video("1_1_36_1.avi"), 1e-17, 0),
        Score(video("1_1_36_1.avi"), None),
        Score(video("b/live.avi", subject="person, second", split="dev"), 1.0, 123456),
    ]
    assert write_scores(tmp_path / "new" / "scores.csv", iter(scores)) == 4
    assert read_scores(tmp_path / "new" / "scores.csv") == scores
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["scores.csv"]
    assert (tmp_path / "new" / "scores.csv").read_text().startswith(HEADER.strip())


def test_paths_are_relative_to_the_data_set(tmp_path: Path) -> None:
    scores = [Score(video("/data/oulu/Test_files/1.avi"), 0.5, 0), Score(video("/elsewhere/2.avi"), 0.5, 0)]
    write_scores(tmp_path / "scores.csv", scores, Path("/data/oulu"))
    assert [str(each.video.path) for each in read_scores(tmp_path / "scores.csv")] == [
        "Test_files/1.avi",
        "/elsewhere/2.avi",
    ]


def test_nothing_is_written_where_a_score_is_none(tmp_path: Path) -> None:
    for wrong in (1.5, float("nan")):
        with pytest.raises(ScoresError, match="scores.csv: .*liveness"):
            write_scores(tmp_path / "scores.csv", [Score(video("1.avi"), wrong)])
    assert not list(tmp_path.iterdir())


def test_empty_cells_have_a_meaning(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text("\ufeff" + HEADER + "a/1.avi,,attack,,,,,,,0.5\n,clip 2,live,,,,,,,\n\n")
    first, second = read_scores(path, "dev")
    assert first.video == video("a/1.avi", "unknown", "a/1.avi", split="dev")
    assert (second.video.path, second.video.subject, second.liveness, second.start) == (
        Path("clip 2"),
        "/clip 2",
        None,
        None,
    )


ROW = "a.avi,a,live,bona_fide,s,1,1,test,0,0.5"


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
@pytest.mark.parametrize(("label", "instrument"), [("real", "live"), ("Bona Fide", ""), ("spoof", "print")])
def test_table_of_another_system(delimiter: str, label: str, instrument: str, tmp_path: Path) -> None:
    cells = ["a.avi", "a", label, instrument, "s", "1", "1", "Testing", "0", "0.5"]
    (tmp_path / "scores.csv").write_text(f"{HEADER.upper().replace(',', delimiter)}{delimiter.join(cells)}\n")
    (score,) = read_scores(tmp_path / "scores.csv", "test")
    assert score.video == video("a.avi", instrument if label == "spoof" else "bona_fide", "s", phone=1, session=1)
    assert score.liveness == 0.5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"scores.csv:1: .*path, name, .*path,name,"),
        (HEADER.replace("start", "begin"), r"scores.csv:1: .*start"),
        (HEADER.replace("name", "path"), r"scores.csv:1: .*name"),
        (HEADER.replace("\n", ",path\n"), r"scores.csv:1: .*path"),
        (HEADER, r"scores.csv: "),
        (f"{HEADER}{ROW}\n{ROW.replace('0.5', '1.5')}", r"scores.csv:3: liveness: 1.5"),
        (HEADER + ROW.replace("0.5", "0,5"), r"scores.csv:2: 11 .* 10"),
        (HEADER + ROW.replace("0.5", "nan"), r"scores.csv:2: liveness: nan"),
        (HEADER + ROW.replace("0.5", "high"), r"scores.csv:2: liveness: 'high'"),
        (HEADER + ROW.replace("live,", "human,"), r"scores.csv:2: label: 'human'.*live or attack"),
        (HEADER + ROW.replace("live,", "1,"), r"scores.csv:2: label: '1'.*live or attack.*number"),
        (HEADER.replace(",", ";") + ROW.replace(",", ";").replace("0.5", "0,5"), r"scores.csv:2: liveness: '0,5'"),
        (HEADER + ROW.replace("bona_fide", "print"), r"scores.csv:2: instrument: 'print'"),
        (HEADER + ROW.replace(",1,1,", ",one,1,"), r"scores.csv:2: phone: 'one'"),
        (HEADER + ROW.replace(",1,1,", ",1,1.5,"), r"scores.csv:2: session: '1.5'"),
        (HEADER + ROW.replace(",0,0.5", ",-1,0.5"), r"scores.csv:2: start: '-1'"),
        (HEADER + ROW.replace("a.avi,a,", ",,"), r"scores.csv:2: path: "),
        (HEADER + ROW.replace("test", "train"), r"scores.csv:2: split: 'train'.*test"),
        (HEADER + ROW.replace("test", "eval"), r"scores.csv:2: split: 'eval'"),
        (f'{HEADER}{ROW}\n"{ROW}', r"scores.csv:3: .*quotation mark"),
    ],
)
def test_broken_table_names_file_line_and_column(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "scores.csv").write_text(text)
    with pytest.raises(ScoresError, match=message):
        read_scores(tmp_path / "scores.csv", "test")


def test_broken_table_lists_some_of_many_problems(tmp_path: Path) -> None:
    (tmp_path / "scores.csv").write_text(HEADER + f"{ROW.replace('0.5', 'x')}\n" * 8)
    with pytest.raises(ScoresError, match=r"(?s)csv:2:.*csv:6:.*3 more"):
        read_scores(tmp_path / "scores.csv")
    (tmp_path / "scores.csv").write_bytes(HEADER.encode() + ROW.encode() + b"\nZo\xeb")
    with pytest.raises(ScoresError, match=r"scores.csv:3: .*0xeb"):
        read_scores(tmp_path / "scores.csv")
    with pytest.raises(ScoresError, match="gone.csv: "):
        read_scores(tmp_path / "gone.csv")


def test_a_video_has_the_mean_of_its_clips() -> None:
    one, other = video("1.avi"), video("2.avi", "print", "b")
    scores = [Score(one, 0.2, 0), Score(other, 0.1, 0), Score(one, 0.6, 9), Score(other, None, 9)]
    by_video, by_clip = Table.of(scores), Table.of(scores, "clip")
    assert by_video.liveness.tolist() == pytest.approx([0.4, 0.1])
    assert not by_video.unscored
    assert (by_clip.counts(), by_clip.unscored) == ({"bona_fide": 2, "print": 1}, {"print": 1})
    with pytest.raises(MetricsError, match=r"1.avi: .*subject .*'a'.*'b'"):
        Table.of([*scores, Score(replace(one, subject="b"), 0.5)])


def test_tables_are_compared_clip_by_clip() -> None:
    one = [Score(video("1.avi"), 0.5, 0), Score(video("1.avi"), 0.9, 6), Score(video("2.avi"), 0.2, 0)]
    other = [Score(video("2.avi"), 0.21, 0), Score(video("1.avi"), 0.48, 0), Score(video("3.avi"), 0.2, 0)]
    found = compare(one, [*other, Score(video("4.avi"), None)], 0.5)
    assert found.clips == 2
    assert (found.largest, found.mean) == (pytest.approx(0.02), pytest.approx(0.015))
    assert str(found.where) == "1.avi from frame 0"
    assert [*map(str, found.flipped)] == ["1.avi from frame 0"]
    assert [*map(str, found.only_one)] == ["1.avi from frame 6"]
    assert [*map(str, found.only_other)] == ["3.avi from frame 0"]
    assert not found.within(0.1)
    assert not compare(one[2:], other[:1], 0.5).within(0.001)
    assert compare(one[2:], other[:1], 0.5).within(0.011)
    assert not compare(one[:1], other[1:2], 0.49).within(0.1)  # near, but with different verdicts


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ([Score(video("2.avi"), 0.5, 0)], "1.avi from frame 0.*2.avi from frame 0"),
        ([Score(video("1.avi"), None)], "1.avi from frame 0.*none"),
        ([Score(video("1.avi"), 0.5)], "1.avi: .*start"),
        ([Score(video("1.avi"), 0.5, 0)] * 2, "1.avi from frame 0: "),
    ],
)
def test_tables_that_can_not_be_compared(other: list[Score], message: str) -> None:
    with pytest.raises(ScoresError, match=message):
        compare([Score(video("1.avi"), 0.5, 0)], other, 0.5)


def test_compare_command(tmp_path: Path) -> None:
    scores = [Score(video(f"test/{n}.avi"), n / 50, n) for n in range(50)]
    near = [replace(score, liveness=min(1.0, score.liveness + 5e-5)) for score in scores]
    for name, rows in (("a", scores), ("b", near), ("c", near[:-1])):
        write_scores(tmp_path / f"{name}.csv", rows)
    paths = [str(tmp_path / f"{name}.csv") for name in "abc"]
    done = CliRunner().invoke(metrics, ["compare", *paths[:2]])
    assert done.exit_code == 0, done.output
    assert f"{len(scores)} clips in both\n  largest difference 5e-05 (test/" in done.stdout
    assert "different verdicts: 0\nthe same within 0.0001" in done.stdout
    done = CliRunner().invoke(metrics, ["compare", *paths[:2], "--within", "1e-6"])
    assert (done.exit_code, done.stdout.splitlines()[-1]) == (1, "not the same within 1e-06")
    done = CliRunner().invoke(metrics, ["compare", *paths])
    assert done.exit_code == 1
    assert f"only in {paths[0]}: 1 (test/49.avi from frame 49)" in done.stdout
    assert CliRunner().invoke(metrics, ["compare", paths[0]]).exit_code == 2
    (tmp_path / "b.csv").write_text("a,b\n")
    done = CliRunner().invoke(metrics, ["compare", *paths[:2]])
    assert done.exit_code == 1
    assert "b.csv:1: no column" in done.output
