"""The five ways, and for each the settings that its users would think of. The first one of each is the likeliest."""

from __future__ import annotations

from benchmarks.peers.bound import in_process
from benchmarks.peers.servers import clip_call, fastapi, litserve, sequences
from benchmarks.peers.ways import CORES, Setting, Way

REFERENCE = "c"  # whose scores all others must give

FASTAPI_SETTINGS = (
    Setting(
        f"1 process, {CORES} threads that score, ONNX Runtime with 1 thread each",
        {"processes": 1, "pool": CORES, "onnxruntime": 1},
    ),
    Setting(
        f"{CORES} processes, each with 1 thread that scores and ONNX Runtime with 1",
        {"processes": CORES, "pool": 1, "onnxruntime": 1},
    ),
    Setting(
        f"1 process, {CORES} threads that score, ONNX Runtime with its default of all cores",
        {"processes": 1, "pool": CORES, "onnxruntime": 0},
    ),
)
LITSERVE_SETTINGS = (
    Setting(
        f"{CORES} workers with 1 thread each, batches up to 4 clips",
        {"workers": CORES, "batch": 4, "pool": 0, "onnxruntime": 1, "fast-queue": 0},
    ),
    Setting(
        f"{CORES} workers with 1 thread each, batches up to 4 clips, ZeroMQ between the processes",
        {"workers": CORES, "batch": 4, "pool": 0, "onnxruntime": 1, "fast-queue": 1},
    ),
    Setting(
        f"1 worker with {CORES} threads, batches up to 8 clips",
        {"workers": 1, "batch": 8, "pool": CORES, "onnxruntime": 0, "fast-queue": 0},
    ),
)
BOUND_SETTINGS = (
    Setting(
        f"{CORES} threads, each with its own stages on 1 thread",
        {"kind": "threads", "workers": CORES, "engine-threads": 1},
    ),
    Setting(
        f"{CORES} processes, each with its own stages on 1 thread",
        {"kind": "processes", "workers": CORES, "engine-threads": 1},
    ),
    Setting(
        "1 thread, inference and region decode on all cores",
        {"kind": "threads", "workers": 1, "engine-threads": 0},
    ),
)
SHIPPED = (Setting("as it ships"),)

WAYS = (
    Way(
        "a",
        "FastAPI, OpenCV, ONNX Runtime",
        ("fastapi", "uvicorn", "uvloop", "httptools", "aiohttp", "onnxruntime"),
        FASTAPI_SETTINGS,
        fastapi,
        own_box=True,
    ),
    Way(
        "b",
        "LitServe with batching, the same functions",
        ("litserve", "fastapi", "uvicorn", "aiohttp", "onnxruntime"),
        LITSERVE_SETTINGS,
        litserve,
        own_box=True,
    ),
    Way("c", "ours, clip call `antispoof_clip`", (), SHIPPED, clip_call),
    Way("d", "ours, sequences `antispoof`", (), SHIPPED, sequences),
    Way("e", "ours in process, no server: the bound", (), BOUND_SETTINGS, in_process),
)
