# SPDX-License-Identifier: Apache-2.0
"""The ways and their plausible settings, the most likely one first."""

from __future__ import annotations

from functools import partial

from benchmarks.peers.bench_loads import CHUNKED_STREAMS, LONG_STREAMS, PIPELINED_STREAMS
from benchmarks.peers.bound import in_process
from benchmarks.peers.earlier_tree import earlier_clip_call
from benchmarks.peers.servers import (
    clip_call,
    fastapi,
    fastapi_int8,
    litserve,
    one_stage_clip_call,
    one_stage_sequences,
    sequences,
    silent_face,
    silent_face_own_detector,
)
from benchmarks.peers.ways import CORES, Agreement, Setting, Way

REFERENCE = "c"  # with the fp32 graphs; others must give its scores
OFFERED_BY = "a"  # its throughput decides the rate of the loads at random times

FASTAPI_SETTINGS = (
    Setting(
        f"1 process, {CORES} scoring threads, ONNX Runtime with 1 thread each",
        {"processes": 1, "pool": CORES, "onnxruntime": 1},
    ),
    Setting(
        f"{CORES} processes, each with 1 scoring thread and ONNX Runtime with 1",
        {"processes": CORES, "pool": 1, "onnxruntime": 1},
    ),
    Setting(
        f"1 process, {CORES} scoring threads, ONNX Runtime with its default of all cores",
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
        f"{CORES} threads, each with separate stages on 1 thread",
        {"kind": "threads", "workers": CORES, "runtime-threads": 1},
    ),
    Setting(
        f"{CORES} processes, each with separate stages on 1 thread",
        {"kind": "processes", "workers": CORES, "runtime-threads": 1},
    ),
    Setting(
        "1 thread, inference and region decode on all cores",
        {"kind": "threads", "workers": 1, "runtime-threads": 0},
    ),
)
SHIPPED = (Setting("as shipped"),)
LONG = f"sequences of {LONG_STREAMS.frames} frames"
CHUNKED = f"sequences of {CHUNKED_STREAMS.frames} frames, {CHUNKED_STREAMS.chunk} in a request"
PIPELINED = f"sequences of {PIPELINED_STREAMS.frames} frames, {PIPELINED_STREAMS.in_flight} in flight"

FASTAPI_PACKAGES = ("fastapi", "uvicorn", "uvloop", "httptools", "aiohttp", "onnxruntime")

# OFFERED_BY comes first in each round.
WAYS = (
    Way("a", "FastAPI, OpenCV, ONNX Runtime", FASTAPI_PACKAGES, FASTAPI_SETTINGS, fastapi, own_box=True),
    Way(
        "a8",
        "the same with the int8 graph",
        FASTAPI_PACKAGES,
        FASTAPI_SETTINGS[:2],
        fastapi_int8,
        own_box=True,
        agreement=Agreement.SHOWN,
    ),
    Way(
        "b",
        "LitServe with batching, the same functions",
        ("litserve", "fastapi", "uvicorn", "aiohttp", "onnxruntime"),
        LITSERVE_SETTINGS,
        litserve,
        own_box=True,
    ),
    Way(
        "f",
        "Silent-Face's way: FastAPI, two MiniFASNets for every frame, ONNX Runtime",
        (*FASTAPI_PACKAGES, "torch", "onnxscript"),
        FASTAPI_SETTINGS[:2],
        silent_face,
        agreement=Agreement.NONE,
        extra="bench,build",
    ),
    Way(
        "fo",
        "the same with that method's own face detector, RetinaFace in OpenCV's DNN module",
        (*FASTAPI_PACKAGES, "torch", "onnxscript"),
        FASTAPI_SETTINGS[:2],
        silent_face_own_detector,
        agreement=Agreement.NONE,
        extra="bench,build",
    ),
    Way("c0", "EulerNet, clip call of an earlier commit", (), SHIPPED, earlier_clip_call, agreement=Agreement.SHOWN),
    Way("c", "EulerNet, clip call `antispoof_clip`", (), SHIPPED, clip_call, served=True),
    Way("d", "EulerNet, sequences `antispoof` of four frames", (), SHIPPED, sequences, served=True),
    Way("d48", f"EulerNet, {LONG}", (), SHIPPED, partial(sequences, streams=LONG_STREAMS), served=True),
    Way("dp", f"EulerNet, {PIPELINED}", (), SHIPPED, partial(sequences, streams=PIPELINED_STREAMS), served=True),
    Way("d4", f"EulerNet, {CHUNKED}", (), SHIPPED, partial(sequences, streams=CHUNKED_STREAMS), served=True),
    Way("c1", "EulerNet with `--one-stage`, clip call", (), SHIPPED, one_stage_clip_call, served=True),
    Way("d1", "EulerNet with `--one-stage`, sequences of four frames", (), SHIPPED, one_stage_sequences, served=True),
    Way(
        "d148",
        f"EulerNet with `--one-stage`, {LONG}",
        (),
        SHIPPED,
        partial(one_stage_sequences, streams=LONG_STREAMS),
        served=True,
    ),
    Way(
        "d1p",
        f"EulerNet with `--one-stage`, {PIPELINED}",
        (),
        SHIPPED,
        partial(one_stage_sequences, streams=PIPELINED_STREAMS),
        served=True,
    ),
    Way(
        "d14",
        f"EulerNet with `--one-stage`, {CHUNKED}",
        (),
        SHIPPED,
        partial(one_stage_sequences, streams=CHUNKED_STREAMS),
        served=True,
    ),
    Way("e", "EulerNet in process, no server: the bound", (), BOUND_SETTINGS, in_process, served=True),
)
