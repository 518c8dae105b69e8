# SPDX-License-Identifier: Apache-2.0
"""The HTML report: its text, and the places of boxes and maps on the faces."""

from __future__ import annotations

import base64
import io
from datetime import datetime, timezone
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eulernet_client import FrameResult, Status, VideoResult
from eulernet_client.errors import NoFaceError
from eulernet_client.html_report import FACE_SIDE_PX, FRAME_WIDTH_PX, Report, colours, draw_box, overlay

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """Collects texts, pictures and addresses, and refuses a page with a tag that is not closed."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.texts: list[str] = []
        self.pictures: list[str] = []
        self.addresses: list[str] = []
        self.by_id: dict[str, str] = {}
        self._ids: list[str | None] = []
        self.feed(html)
        self.close()
        assert self.open == [], f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.addresses += [value or "" for key, value in attrs if key in {"src", "href"}]
        if tag == "img":
            self.pictures.append(given["src"] or "")
            assert given["alt"], "a picture without alt text"
        if tag not in VOID:
            self.open.append(tag)
            self._ids.append(given.get("id"))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        self._ids.pop()

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            return
        self.texts.append(data.strip())
        for name in filter(None, self._ids):
            self.by_id[name] = self.by_id.get(name, "") + data

    @property
    def text(self) -> str:
        return " ".join(filter(None, self.texts))


def jpeg(picture: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def result(path: str, liveness: float, weights: str = "untrained", clips: int = 1, keep: bool = True) -> VideoResult:
    picture = np.full((240, 320, 3), 128, np.uint8)
    frames = [
        FrameResult(
            index=45 + 3 * i,
            liveness=liveness,
            location_map=np.full((32, 32), liveness, np.float32),
            box=(80, 40, 240, 200),
            frame_count=i + 1,
            status=Status.OK,
            name=f"frame {45 + 3 * i}",
            clip=clip,
            jpeg=jpeg(picture) if keep else None,
        )
        for clip in range(clips)
        for i in range(4)
    ]
    return VideoResult(path, liveness, tuple(frames), weights, 0.1, ("several faces in 1 of 4 frames",))


def render(report: Report, weights: str = "untrained") -> Page:
    when = datetime(2025, 3, 9, 14, 5, tzinfo=timezone.utc)
    return Page(report.render(weights=weights, server_version="2.51.0", created=when))


def test_report_holds_results_errors_and_versions() -> None:
    report = Report()
    report.add(result("live.mp4", 0.875))
    report.add(result("attack.mp4", 0.125, clips=2))
    report.add_error("empty.mp4", NoFaceError("empty.mp4: frame 45: no face found"))
    page = render(report)
    assert page.by_id["weights"] == "weights untrained: verdicts mean nothing yet"
    for text in (
        "2 scored: 1 live, 1 attack",
        "1 not scored",
        "Triton server 2.51.0",
        "weights: untrained 2025-03-09 14:05 UTC",
        "live.mp4 live liveness 0.875 4 frames, 25.0 ms a frame",
        "attack.mp4 attack liveness 0.125 8 frames, 12.5 ms a frame",
        "several faces in 1 of 4 frames",
        "Not scored empty.mp4 NoFaceError empty.mp4: frame 45: no face found",
        "location map: 0, attack",
    ):
        assert text in page.text
    assert len(page.pictures) == 2 * (4 + 8)


@pytest.mark.parametrize(
    ("weights", "banner"),
    [
        ("oulu-p1 <7>", "weights: oulu-p1 <7>"),
        ("unknown", "weights unknown: the server does not tell which ones scored"),
        (
            "trained on simulated attacks",
            "weights trained on simulated attacks: verdicts are proven on simulated attacks only",
        ),
    ],
)
def test_banner_names_the_weights(weights: str, banner: str) -> None:
    report = Report()
    report.add(result("a.mp4", 0.5, weights))
    assert render(report, weights).by_id["weights"] == banner


def test_report_is_one_file() -> None:
    report = Report()
    report.add(result("a.mp4", 0.5))
    page = render(report)
    assert page.addresses
    for address in page.addresses:
        head, _, data = address.partition(",")
        assert head == "data:image/jpeg;base64"
        assert Image.open(io.BytesIO(base64.b64decode(data))).format == "JPEG"


def test_names_of_files_cannot_inject() -> None:
    report = Report()
    report.add(result("<script>alert(1)</script>.mp4", 0.5))
    report.add_error("<b>", NoFaceError("<img src=x onerror=alert(1)>"))
    html = report.render(weights="untrained", server_version="<i>")
    assert "<script" not in html
    assert "<img src=x" not in html
    assert "<script>alert(1)</script>.mp4" in Page(html).text


def test_empty_report_is_a_page() -> None:
    assert "Nothing was given to score." in render(Report()).text


def test_report_needs_the_pictures() -> None:
    with pytest.raises(ValueError, match="frame 45: .*keep_jpegs=True"):
        Report().add(result("a.mp4", 0.5, keep=False))


def test_report_is_written_for_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    report = Report()
    report.add(result("clip\udcff.mp4", 0.5))
    report.write(tmp_path / "r.html", weights="untrained", server_version="2")
    assert "clip?.mp4" in Page((tmp_path / "r.html").read_text(encoding="utf-8")).text


def test_report_replaces_a_file_and_is_written_through_a_link(tmp_path: Path) -> None:
    page, link = tmp_path / "r.html", tmp_path / "link.html"
    page.write_text("an earlier report")
    link.symlink_to(page)
    for path in (page, link):
        report = Report()
        report.add_error(f"{path.stem}.mp4", NoFaceError("no face"))
        report.write(path, weights="untrained", server_version="2")
        assert f"{path.stem}.mp4" in page.read_text()
    assert link.is_symlink()
    assert sorted(tmp_path.iterdir()) == [link, page], "no temporary file is left"


def test_box_is_drawn_where_the_face_is() -> None:
    small = np.asarray(draw_box(Image.new("RGB", (480, 960)), (120, 240, 360, 480)))
    assert small.shape == (480, FRAME_WIDTH_PX, 3)
    rows, columns = np.nonzero(small.sum(-1))
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == (60, 180, 120, 240)


def test_map_covers_the_face_only_and_is_upright() -> None:
    picture = np.zeros((200, 200, 3), np.uint8)
    picture[50:150, 50:150] = 200  # the face
    location_map = np.zeros((32, 32), np.float32)
    location_map[:16, 16:] = 1  # top right
    face = np.asarray(overlay(Image.fromarray(picture), (50, 50, 150, 150), location_map)).astype(int)
    assert face.shape[0] == face.shape[1]
    half = face.shape[0] // 2
    quarters = {
        (y, x): face[y * half + 20 : (y + 1) * half - 20, x * half + 20 : (x + 1) * half - 20].mean((0, 1))
        for y in (0, 1)
        for x in (0, 1)
    }
    yellow, violet = colours(np.float32([1, 0]))
    np.testing.assert_allclose(quarters[0, 1], 0.3 * 200 + 0.7 * yellow, atol=3)
    for place in ((0, 0), (1, 0), (1, 1)):
        np.testing.assert_allclose(quarters[place], 0.65 * 200 + 0.35 * violet, atol=3)


@pytest.mark.parametrize("box", [(-50.0, -50.0, 5000.0, 5000.0), (0.0, 0.0, 0.0, 0.0), (199.5, 0.0, 400.0, 400.0)])
def test_box_outside_the_picture_is_clipped(box: tuple[float, float, float, float]) -> None:
    picture = Image.new("RGB", (200, 200), (90, 90, 90))
    assert overlay(picture, box, np.zeros((32, 32), np.float32)).size == (FACE_SIDE_PX, FACE_SIDE_PX)
    assert draw_box(picture, box).width == FRAME_WIDTH_PX


def test_pictures_are_turned_upright_by_exif() -> None:
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees clockwise
    Image.new("RGB", (320, 240)).save(buffer, "JPEG", exif=exif)
    row = result("a.jpg", 0.5)
    frame = row.frames[0]
    turned = FrameResult(45, 0.5, frame.location_map, (0, 0, 240, 320), 1, Status.OK, "f", 0, buffer.getvalue())
    report = Report()
    report.add(VideoResult("a", 0.5, (turned,), "", 0.1))
    data = render(report).pictures[0].partition(",")[2]
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (240, 320)


def test_colour_scale() -> None:
    ramp = colours(np.linspace(0, 1, 50, dtype=np.float32))
    assert ramp.shape == (50, 3)
    brightness = ramp @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(brightness) > 0).all(), "a higher value is always brighter, also in grey print"
