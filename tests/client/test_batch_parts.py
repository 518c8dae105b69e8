# SPDX-License-Identifier: Apache-2.0
"""Parts of a batch without a server: tables, journal, fingerprints, progress, usage."""

import contextlib
import csv
import fcntl
import io
import json
import os
import resource
import sys
import time

import pytest
from arro3.io import read_parquet
from click.testing import CliRunner
from rich.console import Console

from eulernet_client import AsyncClient
from eulernet_client._requests import ServedModel
from eulernet_client.batch import COLUMNS, Settings, Summary, score_batch
from eulernet_client.batch.journal import Journal, fingerprint
from eulernet_client.batch.progress import BatchProgress, rate_text
from eulernet_client.batch.row import Scored, error_row
from eulernet_client.batch.score_table import check_table, write_table
from eulernet_client.batch.table_command import summary_text
from eulernet_client.errors import JournalError, NoFaceError, OtherWeightsError, TableError
from eulernet_client.score_command import score
from eulernet_core.csv_cells import formula_safe

NOWHERE = "127.0.0.1:9"  # the discard port: closed


def rows_of(out):
    """The rows of a table in any format, with values as in the JSON Lines."""
    if out.suffix == ".jsonl":
        return [json.loads(line) for line in out.read_text().splitlines()]
    if out.suffix == ".parquet":
        table = read_parquet(out).read_all()
        columns = [table.column(name).to_pylist() for name in table.schema.names]
        return [dict(zip(table.schema.names, row, strict=True)) for row in zip(*columns, strict=True)]
    with out.open(newline="", encoding="utf-8") as file:
        return [{name: _from_csv(name, value) for name, value in row.items()} for row in csv.DictReader(file)]


FORMULAS = ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(1)", "\t=1", "\r=1", "\n=1", "＝1", "＋1", "－1", "＠1"]


def test_cells_that_a_spreadsheet_would_run_are_escaped(tmp_path):
    path = tmp_path / "t.csv"
    odd = {"liveness": -0.0, "clip_liveness": [-1.0], "box": [-3.5, 0.0, 1.0, 2.0], "warnings": ["=1"]}
    write_table(path, [row_named(text, weights=text, **odd) for text in FORMULAS])
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for text, row in zip(FORMULAS, rows, strict=True):
        assert [row["path"], row["weights"]] == [f"'{text}"] * 2
        assert row["error"].startswith(f"'{text}: ")
        assert float(row["liveness"]) == 0.0, "a number stays a number"
        assert [json.loads(row[name]) for name in ("clip_liveness", "box", "warnings")] == [[-1.0], odd["box"], ["=1"]]
    assert formula_safe("a=1") == "a=1"
    assert formula_safe("") == ""


def _from_csv(name, value):
    if COLUMNS[name] in ("texts", "numbers", "number", "count"):
        return json.loads(value) if value else None
    plain = value.removeprefix("'")
    return (plain if value == formula_safe(plain) else value) or None


def row_named(path, **changes):
    row = error_row(path, NoFaceError(f"{path}: frame 0: no face found"), None, "untrained", 0.1234)
    return {**dict.fromkeys(COLUMNS), **row, "identity": "0123456789abcdef fp32", **changes}


WEIRD = ["plain.mp4", "-dash.mp4", "=1+1.mp4", "@x.mp4", 'a "quoted", name\n.mp4', "esc\x1b[31m.mp4", "Größe/顔.mp4"]


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_tables_hold_the_given_rows(tmp_path, suffix):
    good = {"verdict": "live", "liveness": 1 / 3, "clip_liveness": [1 / 7, 0.5], "box": [1.25, 2.0, 3.0, 4.5]}
    rows = [row_named(WEIRD[0], **good, frames=8, warnings=["a, b", "c"], error=None, error_type=None)]
    rows += [row_named(path) for path in WEIRD[1:]]
    out = tmp_path / f"t{suffix}"
    write_table(out, iter([*rows, row_named("bad\udcff.mp4")]))
    assert rows_of(out) == [*rows, row_named("bad\\udcff.mp4")]
    assert list(tmp_path.iterdir()) == [out]


def test_parquet_columns_keep_their_types_without_rows_and_over_row_groups(tmp_path, monkeypatch):
    from eulernet_client.batch import score_table as table

    monkeypatch.setattr(table, "GROUP_ROWS", 100)
    types = set()
    for count in (0, 250):
        write_table(tmp_path / "t.parquet", (row_named(f"{i}.mp4") for i in range(count)))
        read = read_parquet(tmp_path / "t.parquet").read_all()
        assert read.num_rows == count
        types.add(str([(field.name, str(field.type)) for field in map(read.schema.field, read.schema.names)]))
    assert len(types) == 1
    assert rows_of(tmp_path / "t.parquet")[249]["path"] == "249.mp4"


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_table_that_fails_half_way_leaves_the_old_one(tmp_path, suffix):
    out = tmp_path / f"t{suffix}"
    write_table(out, [row_named("a.mp4")])
    before = out.read_bytes()

    def broken():
        yield row_named("b.mp4")
        raise OSError(28, "No space left on device")

    with pytest.raises(TableError, match="t.*: .*No space left on device.*--out"):
        write_table(out, broken())
    assert out.read_bytes() == before
    assert list(tmp_path.iterdir()) == [out]


@contextlib.contextmanager
def no_more_than(size):
    """The system refuses to let files grow beyond this many bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
@pytest.mark.parametrize("count", [1, 200])  # the JSON line of one row fits, its Parquet file does not
def test_table_without_space(tmp_path, suffix, count, capfd):
    out = tmp_path / f"t{suffix}"
    limit = 150 if count == 1 and suffix != ".parquet" else 1000
    with no_more_than(limit), pytest.raises(TableError, match="File too large.*--out"):
        write_table(out, (row_named(f"{i}.mp4") for i in range(count)))
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("t.xlsx", "t.xlsx: .*.parquet, .csv, .jsonl"),
        ("t", "t: .*.parquet"),
        ("no/such/t.csv", "no/such/t.csv: "),
        ("folder.csv", "folder.csv: "),
    ],
)
def test_tables_that_cannot_be_written_are_refused_first(tmp_path, name, fields):
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(TableError, match=fields):
        check_table(tmp_path / name)


def test_missing_parquet_writer_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "arro3", None)
    with pytest.raises(TableError, match=r"pip install 'eulernet\[parquet\]'.*.csv"):
        check_table(tmp_path / "t.parquet")
    check_table(tmp_path / "t.csv")


async def test_table_of_unknown_origin_is_not_replaced(tmp_path):
    (tmp_path / "t.csv").write_text("mine\n")
    async with AsyncClient(NOWHERE) as client:
        with pytest.raises(TableError, match="t.csv: .*--out"):
            await score_batch(client, [], tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_text() == "mine\n"


def journal_at(path, **changes):
    model = {"weights": "untrained", "identity": "0123456789abcdef fp32"}
    model |= {name: changes.pop(name) for name in set(changes) & set(model)}
    return Journal(path, ServedModel(**model), changes.get("clips", 1), changes.get("at_keyframes", False))


def scored(path, final=True):
    return Scored(row_named(path), "mark", final, None)


def test_journal_keeps_the_newest_row_and_drops_withdrawn_ones(tmp_path):
    with journal_at(tmp_path / "j") as journal:
        for path in ("/a", "/b\udcff", "/c", "/a"):
            journal.add(path, scored(path, final=path != "/c"))
        journal.add("/b\udcff", Scored(row_named("new"), "later", True, None))
        journal.void(["/a", "/never"])
        assert journal.row("/c")["path"] == "/c"
    with journal_at(tmp_path / "j") as journal:
        assert sorted(journal.entries) == ["/b\udcff", "/c"]
        assert journal.row("/b\udcff")["path"] == "new"
        assert [journal.entries[key].final for key in ("/b\udcff", "/c")] == [True, False]
        assert journal.entries["/b\udcff"].mark == "later"


TORN = [b"{", b'{"key": "/x", "mark": "m", "fin', b"\0" * 600, b'{"key": "/x"}\n', b"7\n", b"\n", b", \n"]


@pytest.mark.parametrize("torn", TORN)
def test_journal_cuts_off_a_broken_end(tmp_path, torn):
    with journal_at(tmp_path / "j") as journal:
        journal.add("/a", scored("/a"))
    whole = (tmp_path / "j").read_bytes()
    (tmp_path / "j").write_bytes(whole + torn)
    with journal_at(tmp_path / "j") as journal:
        journal.add("/b", scored("/b"))
    with journal_at(tmp_path / "j") as journal:
        assert [journal.row(key)["path"] for key in journal.entries] == ["/a", "/b"]
    assert (tmp_path / "j").read_bytes().startswith(whole)


@pytest.mark.parametrize(
    ("changes", "kind", "fields"),
    [
        ({"weights": "other"}, OtherWeightsError, "j: .*'untrained'.*'other'.*--out"),
        ({"identity": "0123456789abcdef int8"}, OtherWeightsError, "j: .*abcdef fp32.*abcdef int8.*--out"),
        ({"clips": 3}, JournalError, "j: .*--clips 1.*--clips 3.*--out"),
        ({"at_keyframes": True}, JournalError, "j: .*--clips 1, .*--clips 1 --at-keyframes; .*--out"),
    ],
)
def test_journal_of_other_settings_is_refused_and_untouched(tmp_path, changes, kind, fields):
    with journal_at(tmp_path / "j") as journal:
        journal.add("/a", scored("/a"))
    before = (tmp_path / "j").read_bytes()
    with pytest.raises(kind, match=fields):
        journal_at(tmp_path / "j", **changes)
    assert (tmp_path / "j").read_bytes() == before


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("my notes\n", "j: .*--out"),
        ('{"a": 1}\n', "j: .*--out"),
        ("7", "j: .*--out"),
        ('{"eulernet_journal": 99, "weights": "", "clips": 1}\n', "j: .*99.* 3 .*--out"),
        ('{"eulernet_journal": 2, "weights": "untrained", "clips": 1}\n', "j: .*format 2.* 3 .*--out"),
        ('{"eulernet_journal": 3, "weights": "untrained", "clips": 1}\n', "j: not a journal.*--out"),
        (
            '{"eulernet_journal": 3, "weights": "untrained", "identity": "0123456789abcdef fp32", "clips": 1}\n',
            "j: line 1 is damaged.*--out",
        ),
    ],
)
def test_another_kind_of_file_is_refused_and_untouched(tmp_path, text, fields):
    (tmp_path / "j").write_text(text)
    with pytest.raises(JournalError, match=fields):
        journal_at(tmp_path / "j")
    assert (tmp_path / "j").read_text() == text


def edited(text, number, change):
    lines = text.splitlines(keepends=True)
    lines[number - 1 : number] = change(lines[number - 1])
    return b"".join(lines)


CHANGES = {
    "another score": lambda line: [line.replace(b'"frames": 0', b'"frames": 9')],
    "another name": lambda line: [line.replace(b'"key": "/', b'"key": "/x')],
    "another sum": lambda line: [line[:-6] + (b"0000" if line[-6:-2] != b"0000" else b"1111") + line[-2:]],
    "bytes of zero": lambda line: [b"\0" * len(line)],
    "half a line": lambda line: [line[: len(line) // 2] + b"\n"],
    "a missing line": lambda line: [],
    "a line twice": lambda line: [line, line],
    "an added line": lambda line: [b'{"void": "/a"}\n', line],
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_line_of_a_journal_is_named_and_nothing_is_cut_off(tmp_path, change):
    path = tmp_path / "j"
    with journal_at(path) as journal:
        for name in ("/a", "/b", "/c", "/d"):
            journal.add(name, scored(name))
    whole = path.read_bytes()
    for number in (2, 3):
        path.write_bytes(edited(whole, number, CHANGES[change]))
        before = path.read_bytes()
        assert before != whole
        at = number + (change == "a line twice")
        with pytest.raises(JournalError, match=f"j: line {at} is damaged.*head -n {at - 1}"):
            journal_at(path)
        assert path.read_bytes() == before
        path.write_bytes(b"".join(before.splitlines(keepends=True)[: at - 1]))
        with journal_at(path) as journal:  # the remedy of the message
            assert len(journal.entries) == at - 2


def test_a_changed_last_line_is_not_believed(tmp_path):
    path = tmp_path / "j"
    with journal_at(path) as journal:
        for name in ("/a", "/b"):
            journal.add(name, scored(name))
    path.write_bytes(edited(path.read_bytes(), 3, CHANGES["another score"]))
    with journal_at(path) as journal:
        assert list(journal.entries) == ["/a"], "the source of the other is scored again"


def test_no_flipped_bit_is_believed(tmp_path):
    path = tmp_path / "j"
    with journal_at(path) as journal:
        for name in ("/a", "/b", "/c"):
            journal.add(name, scored(name))
        rows = {key: journal.row(key) for key in journal.entries}
    whole = path.read_bytes()
    refused = 0
    for place in range(0, len(whole), 3):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :])
        try:
            with journal_at(path) as journal:
                assert "/c" not in journal.entries
                assert all(journal.row(key) == rows[key] for key in journal.entries)
        except JournalError:
            refused += 1
    assert 0.6 < refused / len(range(0, len(whole), 3)) < 0.8, "the last line is cut off, the others are refused"


def test_a_line_of_another_journal_is_not_believed(tmp_path):
    for name in ("j", "k"):
        with journal_at(tmp_path / name, weights=name) as journal:
            for key in ("/a", "/b"):
                journal.add(key, scored(key))
    j, k = ((tmp_path / name).read_bytes().splitlines(keepends=True) for name in ("j", "k"))
    (tmp_path / "j").write_bytes(b"".join([j[0], k[1], j[2]]))
    with pytest.raises(JournalError, match="line 2"):
        journal_at(tmp_path / "j", weights="j")


def test_only_a_regular_file_is_a_journal(tmp_path):
    target = tmp_path / "precious"
    target.write_text("mine\n")
    (tmp_path / "link").symlink_to(target)
    (tmp_path / "dangling").symlink_to(tmp_path / "new")
    os.mkfifo(tmp_path / "pipe")
    for name, says in (("link", "is a link"), ("dangling", "is a link"), ("pipe", "not a regular"), (".", "directory")):
        with pytest.raises(JournalError, match=f"{says}.*--out"):
            journal_at(tmp_path / name)
    assert target.read_text() == "mine\n"
    assert not (tmp_path / "new").exists()


def test_two_runs_do_not_write_one_journal(tmp_path):
    with journal_at(tmp_path / "j"), pytest.raises(JournalError, match="j: another run"):
        journal_at(tmp_path / "j")
    with journal_at(tmp_path / "j"):
        pass


def test_journal_that_the_system_refuses(tmp_path):
    with pytest.raises(JournalError, match="j: .*No such file.*--out"):
        journal_at(tmp_path / "gone" / "j")
    with (tmp_path / "j").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        with pytest.raises(JournalError, match="another run"):
            journal_at(tmp_path / "j")


def test_journal_without_space_can_be_continued_later(tmp_path):
    with journal_at(tmp_path / "j") as journal:
        journal.add("/a", scored("/a"))
        with (
            no_more_than((tmp_path / "j").stat().st_size + 9),
            pytest.raises(JournalError, match="j: .*No space left on device"),
        ):
            journal.add("/b", scored("/b"))
    with journal_at(tmp_path / "j") as journal:
        assert list(journal.entries) == ["/a"]


def test_fingerprints_follow_the_source_and_nothing_else(tmp_path, make):
    folder = make.folder(tmp_path / "frames", [f"{i}.jpg" for i in range(10)])
    video = tmp_path / "v.mp4"
    video.write_bytes(b"x" * 9)
    marks = {fingerprint(folder), fingerprint(video)}
    for name in ("scores.csv", ".0.jpg", "a.txt"):  # a table inside the folder, and files that are not frames
        (folder / name).write_text("x")
    assert fingerprint(folder) in marks
    (folder / "0.jpg").rename(folder / "a0.jpg")
    marks.add(fingerprint(folder))
    video.write_bytes(b"x" * 10)
    marks.add(fingerprint(video))
    os.utime(video, ns=(0, 5))
    marks.add(fingerprint(video))
    assert len(marks) == 5
    assert fingerprint(tmp_path / "gone") == ""


def test_progress_without_a_terminal_is_a_line_at_intervals():
    console = Console(file=io.StringIO(), width=100)
    with BatchProgress(console, line_every_s=0) as progress:
        progress.begin(1200, 200)
        for number in range(3):
            time.sleep(0.01)
            progress.advance(failed=number == 1)
    already, *_, last = console.file.getvalue().splitlines()
    assert already.startswith("200 of 1,200 ")
    assert last.startswith("203 of 1,200 done (1 not scored), ")
    assert 0 < float(last.split(", ")[1].removesuffix("/s")) <= 100
    assert last.endswith(" left")


def test_progress_on_a_terminal_is_a_bar(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")  # nothing is drawn on a dumb one
    console = Console(file=io.StringIO(), width=100, force_terminal=True, color_system=None)
    with BatchProgress(console) as progress:
        progress.begin(12, 0)
        for _ in range(4):
            progress.advance(failed=True)
            time.sleep(0.11)
    drawn = console.file.getvalue()
    assert "4/12" in drawn
    assert "4 not scored" in drawn
    assert " left" in drawn


@pytest.mark.parametrize(("per_s", "text"), [(None, "-/s"), (0, "-/s"), (12.345, "12.3/s"), (0.05, "3.0/min")])
def test_rates(per_s, text):
    assert rate_text(per_s) == text


def test_summary_text():
    summary = Summary("t.csv", "untrained", "0123456789abcdef fp32", seconds=2.0)
    for row in [row_named("a.mp4"), row_named("b.mp4"), row_named("c.mp4", verdict="live")]:
        summary.count(row)
    assert summary_text(summary).splitlines() == [
        "weights: untrained (0123456789abcdef fp32): verdicts mean nothing yet",
        "t.csv: 3 rows: 1 live, 0 attack, 2 not scored",
        "not scored: 2 NoFaceError",
        "this run: nothing new to score",
    ]
    summary.scored_now, summary.frames_now = 1500, 6000
    assert summary_text(summary).endswith("this run: 1,500 sources in 2.0 s, 750.0 sources/s, 3000.0 frames/s")
    assert json.loads(json.dumps(summary.to_dict()))["errors"] == {"NoFaceError": 2}


@pytest.mark.parametrize("changes", [{"clips": 0}, {"jobs": 0}, {"concurrency": -1}])
def test_settings_name_the_wrong_value(changes):
    with pytest.raises(ValueError, match=f"{next(iter(changes))}=.* 1"):
        Settings(**changes)


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (["--out", "t.xlsx"], ".parquet, .csv, .jsonl"),
        (["--out", "no/such/t.csv"], "no/such/t.csv: "),
        (["--out", "t.csv", "--report", "r.html"], "--report"),
        (["--out", "t.csv", "--jobs", "0"], "--jobs"),
        (["--jobs", "2"], "--out"),
        (["--concurrency", "2"], "--out"),
    ],
)
def test_wrong_usage(arguments, field):
    result = CliRunner().invoke(score, ["a.mp4", "--url", NOWHERE, *arguments])
    assert result.exit_code == 2
    assert field in " ".join(result.output.replace("│", " ").split())


def test_errors_of_a_batch_are_one_line(tmp_path):
    result = CliRunner().invoke(score, ["a.mp4", "--url", NOWHERE, "--out", str(tmp_path / "t.csv")])
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {NOWHERE}: ")
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""
