# SPDX-License-Identifier: Apache-2.0
"""The page Live in Chromium with a camera that plays a file: verdict, box, map, streams, backpressure."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import simplejpeg

from eulernet_client import Client, FrameResult
from eulernet_client.console.status_words import HeldVerdict
from eulernet_serving.embedded_server import EmbeddedServer
from tests.console.conftest import CAMERAS, Console, Open, Watched, there_and_back
from tests.numbered_media import write_video

pytestmark = [pytest.mark.triton, pytest.mark.timeout(600)]
TEXTS = {"live": "Live", "attack": "Attack", "gathering": "Looking…", "unscored": "No verdict"}
# Edges of what is drawn on the overlay, and whether its middle is empty.
DRAWN = """() => {
  const canvas = document.querySelector('#overlay');
  const {data, width, height} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  let [x0, y0, x1, y1] = [width, height, 0, 0];
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) if (data[4 * (y * width + x) + 3]) {
    x0 = Math.min(x0, x); y0 = Math.min(y0, y); x1 = Math.max(x1, x + 1); y1 = Math.max(y1, y + 1);
  }
  const middle = 4 * (Math.round((y0 + y1) / 2) * width + Math.round((x0 + x1) / 2)) + 3;
  return {box: [x0, y0, x1, y1], hollow: data[middle] === 0, line: 3 * width / canvas.clientWidth, width, height};
}"""


def replayed(server: EmbeddedServer, watched: Watched) -> list[FrameResult]:
    """What the client library says of the frames that the page sent and had answered."""
    jpegs = watched.sent[-1][: len(watched.scored())]
    assert len(jpegs) == len(watched.scored())
    with Client(server.url, timeout_s=60) as client, client.stream() as stream:
        return [stream.score(jpeg) for jpeg in jpegs]


def shown_verdict(watched: Watched) -> tuple[str, str]:
    """The word that the page shows, and the state of its card."""
    word, state = watched.page.evaluate(
        "() => ['#verdict', '#verdict-card'].map((each) => document.querySelector(each))"
        ".map((each, i) => (i ? each.dataset.verdict : each.textContent))"
    )
    return word, state


def assert_box_is_drawn(watched: Watched) -> None:
    drawn: dict[str, Any] = watched.page.evaluate(DRAWN)
    size = (drawn["width"], drawn["height"]) * 2
    expected = [min(max(edge, 0), most) for edge, most in zip(watched.scored()[-1]["box"], size, strict=True)]
    assert drawn["box"] == pytest.approx(expected, abs=2.5 * drawn["line"] + 1)
    assert drawn["hollow"], "a box, not a filled rectangle"


def test_a_camera_is_scored_live(
    console: Console, server: EmbeddedServer, open_page: Open, portrait_camera: Path
) -> None:
    watched = open_page(console, portrait_camera)
    watched.start_camera(frames=6)
    assert_box_is_drawn(watched)
    word, state = shown_verdict(watched)
    assert (word, state) in [(TEXTS[answer["verdict"]], answer["verdict"]) for answer in watched.scored()[-3:]]
    expected = replayed(server, watched)
    verdicts = HeldVerdict()
    for answer, frame in zip(watched.scored(), expected, strict=True):
        assert answer["liveness"] == pytest.approx(frame.liveness, abs=1e-4)
        assert (answer["verdict"], answer["held"]) == verdicts.of(frame)
    label = watched.page.inner_text("#weights")
    assert label.startswith(f"weights: {console.json('/api/server')['weights']}")

    # A second tab is a second stream, and the first one goes on.
    other = open_page(console, beside=watched)
    before = len(watched.scored())
    other.start_camera(frames=2)
    deadline = time.monotonic() + 60
    while console.json("/api/metrics")["open_streams"] < 2 or len(watched.scored()) < before + 2:
        assert time.monotonic() < deadline
        watched.page.wait_for_timeout(300)
    other.page.click("#stop")
    assert other.page.inner_text("#verdict") == "No picture"


@pytest.mark.slow
@pytest.mark.parametrize("name", CAMERAS)
def test_the_verdict_is_the_client_librarys(
    console: Console, server: EmbeddedServer, open_page: Open, cameras: dict[str, Path], name: str
) -> None:
    watched = open_page(console, cameras[name])
    watched.start_camera(frames=8)
    shown = shown_verdict(watched)
    assert_box_is_drawn(watched)
    verdicts = HeldVerdict()
    expected = [verdicts.of(frame)[0] for frame in replayed(server, watched)]
    assert [answer["verdict"] for answer in watched.scored()] == expected
    assert shown in [(TEXTS[each], each) for each in expected[3:]]
    if name != "replay":  # the weights take a display for a face in some frames of a stream: see their model card
        assert shown[1] == ("live" if name == "bona_fide" else "attack"), watched.page.inner_text("#liveness")
    warning = watched.page.locator('#warnings li[data-flag="REPEATED"]')
    assert warning.count() == (name == "frozen")


@pytest.mark.slow
def test_a_video_file_is_played_once_and_again(
    console: Console, open_page: Open, tmp_path: Path, moving_faces: Callable[[int, int], list[bytes]]
) -> None:
    pictures = there_and_back([simplejpeg.decode_jpeg(jpeg) for jpeg in moving_faces(12, 3)])
    video = write_video(tmp_path / "long.mp4", 100, rate=10, picture=lambda number: pictures[number % len(pictures)])
    watched = open_page(console)
    watched.page.set_input_files("#video-file", video)
    watched.page.wait_for_selector("#again", state="visible")
    assert watched.page.inner_text("#status-words").startswith("The video has ended. The last verdict was ")
    assert watched.scored()
    watched.page.click("#again")
    watched.wait_frames(1)
    assert len(watched.answers) == 2

    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    watched.page.set_input_files("#video-file", broken)
    watched.page.wait_for_selector("#notice[data-kind=problem]")
    assert "broken.mp4" in watched.page.inner_text("#notice")


@pytest.mark.slow
def test_a_slow_server_drops_frames_in_the_page(console: Console, open_page: Open, portrait_camera: Path) -> None:
    watched = open_page(console, portrait_camera)
    # The socket's answers reach the page late, as from a slow server.
    watched.page.add_init_script(
        "const send = WebSocket.prototype.send; window.most = 0; let waiting = 0;"
        "WebSocket.prototype.send = function (data) {"
        "  waiting += 1; window.most = Math.max(window.most, waiting);"
        "  this.addEventListener('message', () => (waiting = 0), {once: true});"
        "  setTimeout(() => send.call(this, data), 1000); };"
    )
    watched.page.reload()
    watched.start_camera(frames=4)
    assert watched.page.evaluate("() => window.most") == 1, "one frame is on its way at most"
    assert int(watched.page.inner_text("#dropped")) >= 4


@pytest.mark.slow
def test_a_hidden_tab_pauses_and_starts_again(console: Console, open_page: Open, portrait_camera: Path) -> None:
    watched = open_page(console, portrait_camera)
    watched.start_camera(frames=2)
    hide = (
        "(hidden) => { Object.defineProperty(document, 'hidden', {value: hidden, configurable: true});"
        " document.dispatchEvent(new Event('visibilitychange')); }"
    )
    watched.page.evaluate(hide, True)
    assert watched.page.inner_text("#verdict") == "Paused"
    watched.page.evaluate(hide, False)
    watched.wait_frames(1)
    assert "started again" in watched.page.inner_text("#notice")
    assert len(watched.answers) == 2
