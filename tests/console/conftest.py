# SPDX-License-Identifier: Apache-2.0
"""The console as a process of its own, and Debian's Chromium with a camera that plays a file."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
from numpy.typing import NDArray

from eulernet_serving.embedded_server import EmbeddedServer

COMMAND = "from eulernet_client.console.console_command import console; console()"
START_S = 120
BROWSER_MS = 120_000  # for what a page shows on a busy machine
ANSWERED = "() => Number(document.querySelector('#frames-used').textContent) >= {}"


class Console:
    """`eulernet console` in a process. `address`: of its page, such as http://127.0.0.1:43211."""

    def __init__(self, url: str, metrics_port: int, port: int = 0, *, timeout_s: float = 20) -> None:
        arguments = ["--url", url, "--metrics", f"127.0.0.1:{metrics_port}", "--port", str(port)]
        arguments += ["--timeout-s", str(timeout_s)]
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", COMMAND, *arguments], stderr=subprocess.PIPE, text=True
        )
        assert self.process.stderr is not None
        timer = threading.Timer(START_S, self.process.kill)
        timer.start()
        line = self.process.stderr.readline()
        timer.cancel()
        found = re.search(r"(http://127\.0\.0\.1:(\d+))/", line)
        if not found:
            pytest.fail(f"the console did not start: {line}{self.process.communicate(timeout=60)[1]}")
        self.address, self.port = found[1], int(found[2])

    def request(
        self, path: str, body: bytes | None = None, method: str = "GET", **headers: str
    ) -> tuple[int, Any, bytes]:
        """Status, headers and body of an answer. A body comes from the page's own origin unless told otherwise."""
        given = {"Origin": self.address} if method != "GET" else {}
        request = urllib.request.Request(self.address + path, body, {**given, **headers}, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=START_S) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers, error.read()

    def json(self, path: str, body: bytes | None = None, method: str = "GET") -> Any:
        """An answer's JSON, which must be a success."""
        status, _, text = self.request(path, body, method)
        assert status < 300, text
        return json.loads(text)

    def stop(self) -> str:
        """Ends the process with SIGTERM; returns what it printed since its start."""
        self.process.terminate()
        _, printed = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, printed
        return printed or ""


@contextmanager
def running_console(server: EmbeddedServer, port: int = 0) -> Iterator[Console]:
    """The console of a server."""
    console = Console(server.url, server.ports.metrics, port)
    try:
        yield console
    finally:
        printed = console.stop()
    assert "Traceback" not in printed, printed


@pytest.fixture(scope="session")
def console(server: EmbeddedServer) -> Iterator[Console]:
    """The console of the shared server."""
    with running_console(server) as running:
        yield running


@pytest.fixture(scope="session")
def lonely_console() -> Iterator[Console]:
    """A console whose server does not exist: port 9, the discard port, is closed."""
    console = Console("127.0.0.1:9", 9, timeout_s=1)
    yield console
    assert "Traceback" not in console.stop()


def write_camera(path: Path, pictures: list[NDArray[np.uint8]]) -> Path:
    """A file that Chromium's fake camera plays in a loop, 30 frames/s. pictures: uint8 (H, W, 3) RGB, even sides."""
    path.write_bytes(b"".join(simplejpeg.encode_jpeg(np.ascontiguousarray(each), quality=97) for each in pictures))
    return path


def there_and_back(pictures: list[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
    """A loop without a jump: forwards, then backwards."""
    return [*pictures, *pictures[-2:0:-1]]


@dataclass
class Watched:
    """A page of the console, what its streams sent and were answered, and what went wrong in it."""

    page: Any
    sent: list[list[bytes]] = field(default_factory=list)
    answers: list[list[dict[str, Any]]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def watch(self) -> Watched:
        """Listens from now on."""
        self.page.on("websocket", self._stream)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda each: self.errors.append(each.text) if each.type == "error" else None)
        return self

    def start_camera(self, frames: int = 8) -> None:
        """Starts the camera and waits until the filter has seen some frames."""
        self.page.click("#camera")
        self.wait_frames(frames)

    def wait_frames(self, frames: int) -> None:
        """Waits until the filter has seen some frames."""
        self.page.wait_for_function(ANSWERED.format(frames), timeout=BROWSER_MS)

    def scored(self) -> list[dict[str, Any]]:
        """The answered frames of the latest stream."""
        return [each for each in self.answers[-1] if each["type"] == "frame"]

    def _stream(self, socket: Any) -> None:
        sent: list[bytes] = []
        answers: list[dict[str, Any]] = []
        self.sent.append(sent)
        self.answers.append(answers)
        socket.on("framesent", lambda payload: sent.append(payload))
        socket.on("framereceived", lambda payload: answers.append(json.loads(payload)))


@pytest.fixture(scope="session")
def playwright() -> Iterator[Any]:
    """Playwright's driver; it brings no browser."""
    if shutil.which("chromium") is None:
        pytest.skip("no `chromium` on PATH: install Debian's package chromium")
    api = pytest.importorskip("playwright.sync_api", reason="playwright is missing: pip install playwright")
    with api.sync_playwright() as driver:
        yield driver


Open = Callable[..., Watched]


@pytest.fixture
def open_page(playwright: Any) -> Iterator[Open]:
    """`open_page(console, camera=None, **context)`: a page in a browser of its own; further pages with `beside=page`.

    The test fails at its end if a page logged an error, unless it emptied the page's `errors`.
    """
    with ExitStack() as stack:
        pages: list[Watched] = []

        def launch(camera: Path | None) -> Any:
            options = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream", "--disable-gpu"]
            options += [f"--use-file-for-fake-video-capture={camera}"] if camera else []
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=options, chromium_sandbox=False, timeout=BROWSER_MS
            )
            stack.callback(browser.close)
            return browser

        def open_one(
            console: Console,
            camera: Path | None = None,
            *,
            beside: Watched | None = None,
            at: str = "live",
            **context: Any,
        ) -> Watched:
            where = beside.page.context if beside else launch(camera).new_context(**context)
            watched = Watched(where.new_page()).watch()
            pages.append(watched)
            watched.page.set_default_timeout(BROWSER_MS)
            watched.page.goto(f"{console.address}/#{at}")
            return watched

        yield open_one
        errors = [error for page in pages for error in page.errors]
    assert errors == []


@pytest.fixture(scope="session")
def portrait_camera(moving_faces: Callable[[int, int], list[bytes]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A camera before a photographed face that drifts, 640x480."""
    path = tmp_path_factory.mktemp("camera") / "portrait.mjpeg"
    pictures = [simplejpeg.decode_jpeg(jpeg) for jpeg in moving_faces(12, 3)]
    return write_camera(path, there_and_back(pictures))


CAMERAS = ("bona_fide", "print", "replay", "frozen")


@pytest.fixture(scope="session")
def cameras(demo_clips: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Cameras before the simulated clips, and one that is frozen at a bona fide frame."""
    from eulernet_core.video import read_frames, upright

    folder = tmp_path_factory.mktemp("cameras")
    files = {}
    for name in CAMERAS[:3]:
        pictures = list(read_frames(demo_clips / f"{name}.mp4", upright))
        files[name] = write_camera(folder / f"{name}.mjpeg", there_and_back(pictures))
        if name == "bona_fide":
            files["frozen"] = write_camera(folder / "frozen.mjpeg", pictures[20:21])
    return files
