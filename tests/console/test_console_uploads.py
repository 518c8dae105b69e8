# SPDX-License-Identifier: Apache-2.0
"""Uploads: the scores of the client library, the report of `eulernet score`, and nothing left on the disk."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlencode

import pytest
import simplejpeg

from eulernet_client import Client
from eulernet_client.console.report_store import MOST_FILES, MOST_REPORTS, FullReportError, ReportStore, UploadReport
from eulernet_client.console.upload_scoring import LONGEST_NAME, safe_name
from eulernet_serving.embedded_server import EmbeddedServer
from tests.console.conftest import Console
from tests.numbered_media import write_video


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("selfie.mp4", "selfie.mp4"),
        ("../../etc/passwd", "passwd"),
        ("C:\\videos\\clip 1.mov", "clip 1.mov"),
        ("..", "upload"),
        ("", "upload"),
        (".hidden.mp4", "hidden.mp4"),
        ("a\x00b\n.mp4", "a_b_.mp4"),
        ("é" * 300 + ".webm", "é" * 100 + ".webm"),
    ],
)
def test_names_stay_in_their_folder(given: str, name: str) -> None:
    assert safe_name(given) == name
    assert len(safe_name(given)) <= LONGEST_NAME


def test_reports_are_few_and_bounded() -> None:
    store = ReportStore()
    names = [store.begin() for _ in range(MOST_REPORTS + 1)]
    assert list(store) == names[1:]
    assert store.find(names[0]) is None
    store.drop(names[1])
    assert store.find(names[1]) is None
    report = UploadReport()
    for _ in range(MOST_FILES):
        report.admit()
    with pytest.raises(FullReportError):
        report.admit()


def upload(console: Console, report: str, path: Path, **query: str) -> dict[str, object]:
    """Uploads a file as the page does."""
    given = urlencode({"name": path.name, **query})
    answer: dict[str, object] = console.json(f"/api/reports/{report}/files?{given}", path.read_bytes(), "POST")
    return answer


@pytest.fixture
def face_video(tmp_path: Path, moving_faces: Callable[[int, int], list[bytes]]) -> Path:
    """A video of a face, 1 s."""
    pictures = [simplejpeg.decode_jpeg(jpeg) for jpeg in moving_faces(30, 5)]
    return write_video(tmp_path / "selfie.mp4", 30, picture=pictures.__getitem__)


@pytest.mark.triton
def test_an_upload_is_scored_as_by_the_library(
    console: Console, server: EmbeddedServer, face_video: Path, tmp_path: Path
) -> None:
    report = console.json("/api/reports", b"", "POST")["name"]
    before = set(Path(tempfile.gettempdir()).glob("eulernet-console-*"))
    scored = upload(console, report, face_video, clips="2")
    with Client(server.url, timeout_s=60) as client:
        expected = client.score(face_video, clips=2)
    assert scored["path"] == "selfie.mp4"
    assert scored["liveness"] == pytest.approx(expected.liveness, abs=1e-4)
    assert scored["frames_used"] == 8

    broken = tmp_path / "<b>broken.mp4"
    broken.write_bytes(b"no video")
    refused = upload(console, report, broken)
    assert refused["error"] == {"type": "NotAVideoError", "message": refused["error"]["message"]}  # type: ignore[index]
    assert tempfile.gettempdir() not in str(refused)
    assert set(Path(tempfile.gettempdir()).glob("eulernet-console-*")) <= before

    status, headers, page = console.request(f"/api/reports/{report}?download=1")
    assert status == 200
    assert "attachment" in headers["content-disposition"]
    assert "sandbox" in headers["content-security-policy"]
    text = page.decode()
    assert text.count("data:image/jpeg;base64,") == 2 * 8
    assert "selfie.mp4" in text
    assert "&lt;b&gt;broken.mp4" in text
    assert "<b>broken" not in text

    assert console.request(f"/api/reports/{report}", method="DELETE")[0] == 204
    assert console.request(f"/api/reports/{report}")[0] == 404


def test_wrong_requests_are_refused(lonely_console: Console, tmp_path: Path) -> None:
    report = lonely_console.json("/api/reports", b"", "POST")["name"]
    for clips in ("0", "99", "x"):
        assert lonely_console.request(f"/api/reports/{report}/files?clips={clips}", b"x", "POST")[0] == 400
    assert lonely_console.request("/api/reports/unknown/files", b"x", "POST")[0] == 404
    video = write_video(tmp_path / "numbers.mp4", 30)
    down = upload(lonely_console, report, video)
    assert down["error"]["type"] == "ServerUnavailableError"  # type: ignore[index]
