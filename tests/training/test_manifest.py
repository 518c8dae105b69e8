# SPDX-License-Identifier: Apache-2.0
"""Manifests: their delimiters and words, and the reason and the line of each row that is left out or doubtful."""

import re
from pathlib import Path

import pytest

from eulernet.datasets import DatasetError, Reading, Split, read_manifest

HEADER = "path,label,instrument,subject,split"


def write_manifest(folder: Path, *rows: str, header: str = HEADER) -> Path:
    """A manifest, and files of one byte, because the reader does not open them."""
    path = folder / "videos.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8-sig")
    for name in ("a.mp4", "b.mp4", "sub/a.mp4", "c, d.mp4"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"x")
    (folder / "empty.mp4").write_bytes(b"")
    return path


def subjects(reading: Reading) -> list[str]:
    return [video.subject for video in reading.videos]


def test_manifest(tmp_path: Path) -> None:
    path = write_manifest(
        tmp_path, "a.mp4,live,,anna,train", 'sub/a.mp4,attack,"mask, latex",bert,test', "b.mp4,attack,,,dev"
    )
    reading = read_manifest(path)
    assert not len(reading.problems), reading.problems.summary()
    one, two, three = reading.videos
    assert (one.path, one.label, one.instrument, one.subject) == (tmp_path / "a.mp4", "live", "bona_fide", "anna")
    assert (two.path, two.instrument, two.split, two.name) == (tmp_path / "sub/a.mp4", "mask, latex", "test", "a")
    assert (three.instrument, three.phone, three.session) == ("unknown", None, None)
    assert three.subject not in ("", one.subject, two.subject)
    assert [each.name for each in read_manifest(path, "dev").videos] == ["b"]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiter_is_recognised(delimiter: str, tmp_path: Path) -> None:
    rows = ("a.mp4,live,,anna,train,,", '"c, d.mp4",attack,print,"bert, jr.",test', ",,,,", "   ")
    written = [re.sub(r',(?=(?:[^"]*"[^"]*")*[^"]*$)', lambda _: delimiter, row) for row in rows]
    path = write_manifest(tmp_path, *written, header=HEADER.replace(",", f" {delimiter}").title())
    reading = read_manifest(path)
    assert not len(reading.problems), reading.problems.summary()
    assert subjects(reading) == ["anna", "bert, jr."]
    assert reading.videos[1].path.name == "c, d.mp4"


@pytest.mark.parametrize("word", ["live", "Live", "bona_fide", "bonafide", "Bona Fide", "bona-fide", "real", "genuine"])
@pytest.mark.parametrize("instrument", ["", "bona_fide", "real"])
def test_words_for_live(word: str, instrument: str, tmp_path: Path) -> None:
    (video,) = read_manifest(write_manifest(tmp_path, f"a.mp4,{word},{instrument},anna,train")).require()
    assert (video.label, video.instrument) == ("live", "bona_fide")


@pytest.mark.parametrize("word", ["attack", "ATTACK", "spoof", "fake", "presentation attack"])
def test_words_for_an_attack(word: str, tmp_path: Path) -> None:
    (video,) = read_manifest(write_manifest(tmp_path, f"a.mp4,{word},print,anna,train")).require()
    assert (video.label, video.instrument) == ("attack", "print")


@pytest.mark.parametrize(
    ("word", "split"),
    [
        ("Train", "train"),
        ("training", "train"),
        ("val", "dev"),
        ("validation", "dev"),
        ("devel", "dev"),
        ("TEST", "test"),
    ],
)
def test_words_for_a_split(word: str, split: Split, tmp_path: Path) -> None:
    (video,) = read_manifest(write_manifest(tmp_path, f"a.mp4,live,,anna,{word}"), split).require()
    assert video.split == split


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ("b.mp4,,,bert,train", "missing label"),
        ("b.mp4,human,,bert,train", "unknown label"),
        ("b.mp4,1,,bert,train", "unknown label"),
        ("b.mp4,-1,,bert,train", "unknown label"),
        ("b.mp4", "wrong layout"),
        ("c, d.mp4,live,,bert,train", "wrong layout"),
        ("b.mp4;live;;bert;train", "wrong layout"),
        ("b.mp4,live,,bert,", "missing split"),
        ("b.mp4,live,,bert,holdout", "unknown split"),
        ("b.mp4,live,print,bert,train", "label contradicts instrument"),
        ("b.mp4,attack,bona_fide,bert,train", "label contradicts instrument"),
        ("c.mp4,live,,bert,train", "missing video"),
        (",live,,bert,train", "missing video"),
        ("sub,live,,bert,train", "missing video"),
        (f"{'x' * 300}.mp4,live,,bert,train", "unreadable video"),
        ("empty.mp4,live,,bert,train", "unreadable video"),
        ("a.mp4,live,,bert,train", "listed twice"),
        ("sub/../a.mp4,live,,bert,train", "listed twice"),
    ],
)
def test_bad_row_is_named_and_really_left_out(row: str, kind: str, tmp_path: Path) -> None:
    path = write_manifest(tmp_path, "a.mp4,live,,anna,train", row, "sub/a.mp4,attack,print,cleo,train")
    reading = read_manifest(path)
    assert subjects(reading) == ["anna", "cleo"]
    (problem,) = reading.problems
    assert (problem.kind, problem.where, problem.kept) == (kind, f"{path}:3", False)
    assert reading.listed == 3


def test_the_remedy_fits_the_fault(tmp_path: Path) -> None:
    rows = ("b.mp4,1,,bert,train", "sub\\a.mp4,live,,bert,train", "a.mp4,live,,anna,train", "a.mp4,attack,,anna,dev")
    number, slashes, repeated = read_manifest(write_manifest(tmp_path, *rows)).problems
    assert re.search("live or attack.*number", number.what)
    assert "write /" in slashes.what
    assert re.search("line 4 counts.*label and instrument and split", repeated.what)


def test_subject_in_several_splits_is_kept_and_named_with_its_lines(tmp_path: Path) -> None:
    path = write_manifest(
        tmp_path, "a.mp4,live,,anna,train", "b.mp4,live,,anna,test", "sub/a.mp4,attack,print,anna,test"
    )
    reading = read_manifest(path, "test")
    assert subjects(reading) == ["anna"] * 2
    (problem,) = reading.problems
    assert (problem.kind, problem.kept) == ("subject in several splits", True)
    assert "anna: train in line 2; test in lines 3, 4" in problem.what
    assert not len(read_manifest(path, "dev").problems)


def test_split_without_rows_says_which_there_are(tmp_path: Path) -> None:
    path = write_manifest(tmp_path, "a.mp4,live,,anna,test", "b.mp4,attack,print,bert,test", "c.mp4,live,,c,holdout")
    for split in ("train", "dev"):
        reading = read_manifest(path, split)
        assert reading.listed == 0
        with pytest.raises(DatasetError, match=rf"split {split} .*2 test, 1 without a known split") as raised:
            reading.require()
        assert str(path) in str(raised.value)
        assert "c.mp4" not in str(raised.value) or "holdout" in str(raised.value)
    path = write_manifest(tmp_path, "c.mp4,live,,anna,dev", "a.mp4,live,,anna,test")
    reading = read_manifest(path, "dev")
    assert (reading.listed, reading.lacking) == (1, "")  # one row, which can't be used
    with pytest.raises(DatasetError, match="c.mp4: no such file"):
        reading.require()
    assert not len(read_manifest(path, "test").problems)  # the other split's
    with pytest.raises(DatasetError, match="no row after the header"):
        read_manifest(write_manifest(tmp_path)).require()


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (None, "No such file"),
        (b"", "no column path"),
        (b"path,label\na,live\n", "no column instrument, subject, split"),
        (b"path,label,label,instrument,subject,split\n", "column label twice"),
        (b"\xff\xfe\x00\x01", "not UTF-8"),
        (HEADER.encode() + b"\na.mp4,live,,Zo\xeb,test\n", ":2"),
        (b"RIFF\x00\x00", "no column path"),
        # An unclosed quotation mark swallows the rows after it.
        (HEADER.encode() + b'\na.mp4,live,,anna,test\n"b.mp4,live,,bert,test\na.mp4,live,,cleo,test\n', "quotation"),
    ],
)
def test_manifest_that_is_none(content: bytes | None, what: str, tmp_path: Path) -> None:
    path = write_manifest(tmp_path)
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    reading = read_manifest(path, "test")
    assert not reading.videos
    (problem,) = reading.problems
    assert problem.kind == "wrong layout"
    assert what in problem.where + problem.what
    with pytest.raises(DatasetError, match="wrong layout: 1"):
        reading.require()
