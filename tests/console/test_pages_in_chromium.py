# SPDX-License-Identifier: Apache-2.0
"""The pages Files and Server in Chromium, every width, the keyboard, foreign pages, and the magnification's numbers."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eulernet_serving.embedded_server import EmbeddedServer
from tests.console.conftest import Console, Open

pytestmark = [pytest.mark.triton, pytest.mark.slow, pytest.mark.timeout(600)]
WIDTHS_PX = (390, 768, 1280)  # a phone, a tablet, a laptop


def test_files_are_scored_into_a_report(console: Console, open_page: Open, demo_clips: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    watched = open_page(console, at="files")
    page = watched.page
    page.set_input_files("#files-input", [demo_clips / "bona_fide.mp4", demo_clips / "print.mp4", broken])
    page.wait_for_function("() => document.querySelectorAll('#uploads progress').length === 0")
    rows = page.locator("#uploads li")
    states = {rows.nth(i).locator(".name").inner_text(): rows.nth(i).get_attribute("data-state") for i in range(3)}
    assert states == {"bona_fide.mp4": "live", "print.mp4": "attack", "broken.mp4": "failed"}

    report = page.frame_locator("#report-frame")
    report.locator("section.source").nth(1).wait_for()
    assert report.locator("section.source").count() == 2
    assert report.locator("section.error").count() == 1
    with page.expect_download() as started:
        page.click("#report-download")
    saved = tmp_path / "saved.html"
    started.value.save_as(saved)
    assert saved.read_text().count("data:image/jpeg;base64,") == 2 * 8
    page.click("#report-clear")
    page.wait_for_selector("#report-box", state="hidden")


def test_files_may_be_dropped(console: Console, open_page: Open, demo_clips: Path) -> None:
    page = open_page(console, at="files").page
    page.wait_for_selector("#files")  # is shown once it listens
    page.evaluate(
        """(bytes) => {
          const data = new DataTransfer();
          const content = Uint8Array.from(atob(bytes), (each) => each.charCodeAt(0));
          for (const name of ['one.mp4', 'two.mp4']) data.items.add(new File([content], name));
          const options = {dataTransfer: data, bubbles: true, cancelable: true};
          document.querySelector('#drop').dispatchEvent(new DragEvent('drop', options));
        }""",
        base64.b64encode((demo_clips / "print.mp4").read_bytes()).decode(),
    )
    page.wait_for_function("() => document.querySelectorAll('#uploads progress').length === 0")
    rows = page.locator("#uploads li")
    assert rows.locator(".name").all_inner_texts() == ["one.mp4", "two.mp4"]
    assert [rows.nth(i).get_attribute("data-state") for i in range(2)] == ["attack", "attack"]


def test_the_server_page_follows_the_metrics(
    console: Console, server: EmbeddedServer, open_page: Open, portrait_camera: Path
) -> None:
    watched = open_page(console, portrait_camera)
    watched.start_camera(frames=2)
    page = watched.page
    page.click('nav a[href="#server"]')
    page.wait_for_selector('#stages [data-name="face_crop"]')
    page.wait_for_function(
        "() => document.querySelector('[data-name=\"Open streams\"] .tile-value').textContent >= '1'"
    )
    page.wait_for_function(
        "() => Number(document.querySelector('[data-name=\"Frames/s\"] .tile-value').textContent) > 0"
    )
    assert page.inner_text('[data-name="p99 latency"] .tile-value').endswith("ms")
    assert page.locator("#shares li").count() >= 1
    assert page.locator("#stages .line").first.get_attribute("d")
    page.click('nav a[href="#live"]')
    page.click("#stop")


def test_every_width_shows_everything(console: Console, open_page: Open) -> None:
    page = open_page(console, reduced_motion="reduce").page
    page.wait_for_selector("#server-state[data-state=up]")
    assert not page.is_checked("#magnify"), "magnified motion is motion"
    for name in ("live", "files", "server"):
        page.click(f'nav a[href="#{name}"]')
        page.wait_for_selector(f"#{name}", state="visible")
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            assert low_contrast(page) == [], (name, scheme)
        for width in WIDTHS_PX:
            page.set_viewport_size({"width": width, "height": 844})
            assert page.evaluate("() => document.documentElement.scrollWidth") <= width, (name, width)
            assert page.is_visible("#weights")
            small = page.evaluate(
                "() => [...document.querySelectorAll('button, .button, nav a')].filter((one) => one.checkVisibility())"
                ".filter((one) => one.getBoundingClientRect().height < 24).map((one) => one.textContent)"
            )
            assert small == [], (name, width)


def low_contrast(page: Any) -> list[str]:
    """Texts whose contrast with what is behind them is below 4.5 to 1 (WCAG 2.2, level AA)."""
    found: list[str] = page.evaluate(
        """() => {
          const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
          const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
            .map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
            .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
          const behind = (one) => {
            for (let at = one; at; at = at.parentElement) {
              const colour = numbers(getComputedStyle(at).backgroundColor);
              if (colour.length < 4 || colour[3] === 1) return colour;
            }
            return [255, 255, 255];
          };
          const texts = [...document.querySelectorAll('body *')].filter((each) => each.checkVisibility() &&
            !each.disabled && !each.closest('option') &&
            [...each.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.textContent.trim()));
          return texts.filter((each) => {
            const [a, b] = [light(numbers(getComputedStyle(each).color)), light(behind(each))].sort((x, y) => y - x);
            return (a + 0.05) / (b + 0.05) < 4.5;
          }).map((each) => each.textContent.trim());
        }"""
    )
    return found


def test_everything_is_reached_by_keyboard(console: Console, open_page: Open) -> None:
    page = open_page(console, at="").page  # with a fragment, the browser would begin there
    page.wait_for_selector("#camera", state="visible")
    wanted = ["#content", "#live", "#files", "#server", "camera", "video-file", "magnify"]
    reached = []
    for _ in wanted:
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate("() => document.activeElement.id || document.activeElement.getAttribute('href') || ''")
        )
    assert reached == wanted


@pytest.fixture
def foreign_page() -> Iterator[str]:
    """The address of a page of another origin on this machine."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<title>foreign</title>")

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://localhost:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_foreign_page_reaches_nothing(console: Console, open_page: Open, foreign_page: str) -> None:
    watched = open_page(console)
    page = watched.page
    page.goto(foreign_page)
    outcome = page.evaluate(
        """async (console) => {
          const socket = new WebSocket(console.replace('http', 'ws') + '/api/stream');
          const opened = await new Promise((resolve) => {
            socket.onopen = () => resolve(true);
            socket.onclose = () => resolve(false);
          });
          const read = await fetch(console + '/api/settings').then(() => true, () => false);
          const begun = await fetch(console + '/api/reports', {method: 'POST'}).then(() => true, () => false);
          const frame = document.createElement('iframe');
          frame.src = console;
          document.body.append(frame);
          await new Promise((resolve) => (frame.onload = resolve));
          let framed = true;
          try { framed = frame.contentDocument !== null; } catch { framed = false; }
          return {opened, read, begun, framed};
        }""",
        console.address,
    )
    assert outcome == {"opened": False, "read": False, "begun": False, "framed": False}
    watched.errors.clear()  # the refusals


def test_the_magnification_is_the_one_of_the_training_package(console: Console, open_page: Open) -> None:
    from eulernet.magnification import Magnifier, MagnifierSettings

    side, rate_fps = 160, 10.0
    random = np.random.default_rng(1)
    base = random.uniform(60, 190, (side, side, 3))
    wave = np.sin(np.arange(side) / 9.0)[None, :, None]
    frames = [np.clip(base + 4 * wave * np.sin(t), 0, 255).astype(np.uint8) for t in range(8)]
    page = open_page(console).page
    settings = page.evaluate("async () => (await import('/static/magnifier.js')).LIVE_MOTION")
    magnifier = Magnifier(MagnifierSettings("laplacian", **settings), rate_fps)
    expected = [magnifier(frame) for frame in frames]
    opaque = np.full((side, side), 255, np.uint8)
    rgba = [base64.b64encode(np.dstack([frame, opaque]).tobytes()).decode() for frame in frames]
    found = page.evaluate(
        """async ([frames, side, rate]) => {
          const {Magnifier} = await import('/static/magnifier.js');
          const magnifier = new Magnifier(side, rate);
          return frames.map((frame) => {
            const pixels = Uint8ClampedArray.from(atob(frame), (each) => each.charCodeAt(0));
            magnifier.magnify(pixels);
            return btoa(Array.from(pixels, (each) => String.fromCharCode(each)).join(''));
          });
        }""",
        [rgba, side, rate_fps],
    )
    for number, (pixels, wanted) in enumerate(zip(found, expected, strict=True)):
        ours = np.frombuffer(base64.b64decode(pixels), np.uint8).reshape(side, side, 4)[..., :3]
        assert np.abs(ours.astype(int) - wanted).max() <= 1, number
    assert np.abs(expected[-1].astype(int) - frames[-1]).max() > 5, "there is something to magnify"
