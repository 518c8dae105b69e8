# SPDX-License-Identifier: Apache-2.0
"""The page's ASGI application: its files, the live WebSocket, uploads with their reports, and the server's state."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket

from eulernet_client.aio import AsyncClient
from eulernet_client.batch.weights import served_model
from eulernet_client.console.live_stream import LiveStream, ReplayListener
from eulernet_client.console.page_guard import PageGuard
from eulernet_client.console.recent_samples import WINDOW_S, RecentSamples
from eulernet_client.console.report_store import MOST_FILES, FullReportError, ReportStore, UploadReport
from eulernet_client.console.server_metrics import MetricsReader
from eulernet_client.console.upload_scoring import MAX_UPLOAD_BYTES, TooLongUploadError, safe_name, score_upload
from eulernet_client.errors import EulerNetError
from eulernet_client.html_report import OPACITY, RAMP
from eulernet_core.clip_geometry import CLIP_FRAMES, FRAME_SPACING_S
from eulernet_core.jpeg import QUALITY
from eulernet_core.tensors import MAP_SIDE
from eulernet_core.weights_label import LIVE_THRESHOLD, WEIGHTS_UNKNOWN, weights_warning

STATIC = Path(__file__).parent / "static"
UPLOADS_AT_ONCE = 2
MOST_CLIPS = 20  # of one uploaded file
# A report has its style inside. It runs no script; the page that shows it may measure its height.
REPORT_POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; sandbox allow-same-origin; frame-ancestors 'self'"
)


def web_application(client: AsyncClient, metrics: Sequence[tuple[str, int]]) -> Starlette:
    """The application.

    Args:
        client: closed with the application.
        metrics: host and port of each server's metrics.
    """
    pages = Pages(client, MetricsReader(metrics))
    return Starlette(
        routes=[
            Route("/", pages.index),
            Mount("/static", StaticFiles(directory=STATIC)),
            Route("/api/settings", pages.settings),
            Route("/api/server", pages.server),
            Route("/api/metrics", pages.metrics),
            Route("/api/reports", pages.begin_report, methods=["POST"]),
            Route("/api/reports/{name}", pages.report, methods=["GET"]),
            Route("/api/reports/{name}", pages.drop_report, methods=["DELETE"]),
            Route("/api/reports/{name}/files", pages.score_file, methods=["POST"]),
            WebSocketRoute("/api/stream", pages.stream),
        ],
        middleware=[Middleware(PageGuard)],
        lifespan=pages.lifespan,
    )


class Pages:
    """The endpoints, and what they share: the client, the latest samples, the reports."""

    def __init__(self, client: AsyncClient, metrics: MetricsReader) -> None:
        self._client, self._metrics = client, metrics
        self._samples, self._reports = RecentSamples(), ReportStore()
        self._uploads = asyncio.Semaphore(UPLOADS_AT_ONCE)
        self._version = WEIGHTS_UNKNOWN

    @asynccontextmanager
    async def lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        """Listens to the client library while the application runs, and closes the client."""
        log, listener = logging.getLogger("eulernet_client"), ReplayListener()
        level = log.level
        log.addHandler(listener)
        log.setLevel(logging.INFO)
        try:
            yield
        finally:
            log.removeHandler(listener)
            log.setLevel(level)
            await self._client.close()

    async def index(self, _request: Request) -> Response:
        """The page."""
        return FileResponse(STATIC / "index.html")

    async def settings(self, _request: Request) -> Response:
        """Facts that the page shares with the client."""
        return JSONResponse(
            {
                "threshold": LIVE_THRESHOLD,
                "clip_frames": CLIP_FRAMES,
                "frame_spacing_s": FRAME_SPACING_S,
                "jpeg_quality": QUALITY / 100,
                "map_side": MAP_SIDE,
                "ramp": RAMP.tolist(),
                "opacity": OPACITY,
                "most_files": MOST_FILES,
                "most_clips": MOST_CLIPS,
                "max_upload_bytes": MAX_UPLOAD_BYTES,
                "sample_window_s": WINDOW_S,
            }
        )

    async def server(self, _request: Request) -> Response:
        """Whether the server answers, and its weights' label with its warning."""
        state: dict[str, Any] = {"urls": self._client.urls, "error": None, "weights": None, "warning": ""}
        try:
            label = (await served_model(self._client)).weights
            self._version = await self._client.server_version()
            state |= {"weights": label, "warning": weights_warning(label), "version": self._version}
        except EulerNetError as error:
            state["error"] = error.to_dict()
        return JSONResponse(state)

    async def metrics(self, _request: Request) -> Response:
        """Counters of the servers, and the latencies that this console measured."""
        time_s, reading = await self._metrics.read()
        addresses = [f"{host}:{port}" for host, port in self._metrics.addresses]
        console = self._samples.summary()
        return JSONResponse({"time_s": time_s, "addresses": addresses, "console": console, **reading.to_dict()})

    async def stream(self, socket: WebSocket) -> None:
        """A live stream."""
        await LiveStream(socket, self._client, self._samples).run()

    async def begin_report(self, _request: Request) -> Response:
        """A new empty report."""
        return JSONResponse({"name": self._reports.begin()}, 201)

    async def report(self, request: Request) -> Response:
        """A report's page, or with `?download` as a file."""
        page = self._report(request).render(self._version)
        headers = {"content-security-policy": REPORT_POLICY, "cache-control": "no-store"}
        if "download" in request.query_params:
            headers["content-disposition"] = 'attachment; filename="eulernet-report.html"'
        return HTMLResponse(page, headers=headers)

    async def drop_report(self, request: Request) -> Response:
        """Forgets a report."""
        self._reports.drop(request.path_params["name"])
        return Response(status_code=204)

    async def score_file(self, request: Request) -> Response:
        """Scores the request's body, a video named by `?name=`, and adds it to the report."""
        report, name = self._report(request), safe_name(request.query_params.get("name", ""))
        clips = request.query_params.get("clips", "1")
        if not clips.isdecimal() or not 1 <= int(clips) <= MOST_CLIPS:
            raise HTTPException(400, f"clips={clips}: give 1 to {MOST_CLIPS}")
        try:
            report.admit()
            async with self._uploads:
                scored = await score_upload(self._client, name, request.stream(), int(clips))
        except (FullReportError, TooLongUploadError) as error:
            raise HTTPException(413, str(error)) from error
        except OSError as error:
            raise HTTPException(507, f"{name}: no place for the file on this machine ({error.strerror})") from error
        if isinstance(scored, EulerNetError):
            report.add_error(name, scored)
            return JSONResponse({"path": name, "error": scored.to_dict()})
        await asyncio.to_thread(report.add, scored)
        return JSONResponse(scored.to_dict())

    def _report(self, request: Request) -> UploadReport:
        report = self._reports.find(request.path_params["name"])
        if report is None:
            raise HTTPException(404, "this report is gone: upload the files again")
        return report
