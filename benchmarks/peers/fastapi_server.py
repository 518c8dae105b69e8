# SPDX-License-Identifier: Apache-2.0
"""FastAPI, uvicorn, OpenCV and ONNX Runtime: POST /score with a clip's four JPEGs as one body.

    python -m benchmarks.peers.fastapi_server --detector FILE --network FILE --port N --processes P --pool T …

With --silent-face DIR in place of --network it scores by MiniFASNet, and with --retinaface DIR in place of --detector
it finds faces with that method's own detector.

uvloop and httptools are uvicorn's fastest event loop and parser. Scoring runs in threads: OpenCV and ONNX Runtime
release the interpreter's lock.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import uvicorn
from fastapi import FastAPI, HTTPException, Request

from benchmarks.peers.body import UnscorableError, unpack
from benchmarks.peers.scorer import Scorer, Threads
from benchmarks.peers.silent_face_scorer import OwnDetector, SharedDetector, SilentFaceScorer
from eulernet_serving.embedded_server import HOST

# uvicorn starts its worker processes from the application's name; they read their settings from the environment.
VARIABLE = "BENCH_{}"
PATHS, NUMBERS = ("detector", "network", "silent-face", "retinaface"), ("port", "processes", "pool", "onnxruntime")


def application() -> FastAPI:
    """The application of one process, with the settings of its environment."""
    app = FastAPI()
    detector, network, silent_face, retinaface = (Path(_variable(name)) for name in PATHS)
    threads = Threads(0, int(_variable("onnxruntime")))
    scorer: Scorer | SilentFaceScorer
    if _variable("silent-face"):
        own = bool(_variable("retinaface"))
        boxes = OwnDetector(retinaface) if own else SharedDetector(detector, threads.onnxruntime)
        scorer = SilentFaceScorer(boxes, silent_face, threads)
    else:
        scorer = Scorer(detector, network, threads)
    pool = ThreadPoolExecutor(int(_variable("pool")))

    @app.post("/score")
    async def score(request: Request) -> dict[str, list[float]]:
        body = await request.body()
        try:
            (liveness,) = await asyncio.get_running_loop().run_in_executor(pool, scorer, [unpack(body)])
        except UnscorableError as error:
            raise HTTPException(422, str(error)) from None
        return {"liveness": liveness.tolist()}

    return app


def _variable(name: str) -> str:
    return os.environ[VARIABLE.format(name)]


def main() -> None:
    """Serves until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in PATHS:
        parser.add_argument(f"--{name}", default="")
    for name in NUMBERS:
        parser.add_argument(f"--{name}", type=int, required=True)
    given = parser.parse_args()
    if not (given.detector or given.retinaface) or not (given.network or given.silent_face):
        parser.error("needs --detector or --retinaface, and --network or --silent-face")
    os.environ |= {VARIABLE.format(name): str(getattr(given, name.replace("-", "_"))) for name in (*PATHS, *NUMBERS)}
    uvicorn.run(
        f"{__spec__.name if __spec__ else __name__}:application",
        factory=True,
        host=HOST,
        port=given.port,
        workers=given.processes,
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
    )


if __name__ == "__main__":
    main()
