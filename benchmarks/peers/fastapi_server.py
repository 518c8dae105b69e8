# SPDX-License-Identifier: Apache-2.0
"""FastAPI, uvicorn, OpenCV and ONNX Runtime: POST /score with a clip's four JPEGs as one body.

    python -m benchmarks.peers.fastapi_server --repository DIR --port N --processes P --pool T --onnxruntime T

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
from eulernet_serving.embedded_server import HOST

# uvicorn starts its worker processes from the application's name; they read their settings from the environment.
REPOSITORY, POOL, ONNXRUNTIME = "BENCH_REPOSITORY", "BENCH_POOL", "BENCH_ONNXRUNTIME"


def application() -> FastAPI:
    """The application of one process, with the settings of its environment."""
    app = FastAPI()
    scorer = Scorer(Path(os.environ[REPOSITORY]), Threads(0, int(os.environ[ONNXRUNTIME])))
    pool = ThreadPoolExecutor(int(os.environ[POOL]))

    @app.post("/score")
    async def score(request: Request) -> dict[str, list[float]]:
        body = await request.body()
        try:
            (liveness,) = await asyncio.get_running_loop().run_in_executor(pool, scorer, [unpack(body)])
        except UnscorableError as error:
            raise HTTPException(422, str(error)) from None
        return {"liveness": liveness.tolist()}

    return app


def main() -> None:
    """Serves until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repository", required=True)
    for name in ("port", "processes", "pool", "onnxruntime"):
        parser.add_argument(f"--{name}", type=int, required=True)
    given = parser.parse_args()
    os.environ |= {REPOSITORY: given.repository, POOL: str(given.pool), ONNXRUNTIME: str(given.onnxruntime)}
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
