# SPDX-License-Identifier: Apache-2.0
"""Seeded mutations of requests: shapes, types, names, parameters, inner models, closed interfaces, ended calls."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
from numpy.random import Generator
from tritonclient.grpc import service_pb2

from benchmarks.reliability.jpeg_mutations import base_pictures, blind, structured
from benchmarks.reliability.wire import (
    HANG_S,
    Outcome,
    Request,
    Wire,
    chunk_request,
    clip_request,
    frame_request,
    in_sequence,
    judged,
    request_of,
)
from eulernet_core.clip_geometry import CLIP_FRAMES
from eulernet_core.limits import CALLER_HEADER
from eulernet_core.tensors import (
    CLIP_ENCODED,
    CLIP_MODEL,
    CLIP_NETWORK_MODEL,
    ENCODED,
    FACE,
    FACE_BOX,
    FACE_SIDE_PX,
    OUTPUTS,
    STATUS,
    STEP_NETWORK_MODEL,
    STREAM_MODEL,
)

MOST_CHANGES = 3
INNER_STAGES = ("face_crop", "clip_crop")  # of the CPU configuration
ODD_TEXTS = ("", " ", "\0", "x" * 127, "x" * 128, "x" * 129, "x" * 100_000, "ü" * 64, "😀" * 128, "../..", "%s%n", "'")
ODD_NUMBERS = (0, 1, -1, 2**31 - 1, 2**31, 2**32, 2**53, 2**62, 2**63 - 1)
ODD_SHAPES: tuple[Sequence[int], ...] = (
    (), (0,), (1,), (0, 0), (1, 0), (2, 10), (64, 10), (1, -1), (-1, 10), (1, 10, 1), (1, 2**31), (1, 2**33),
    (1, 2**62), (2**32, 2**32), (2**62, 4), (1,) * 40,
)  # fmt: skip
TYPES = ("BOOL", "UINT8", "INT8", "UINT64", "FP16", "FP32", "FP64", "BF16", "BYTES", "STRING", "", "uint8", "X" * 50)
CLOSED: Mapping[str, tuple[str, Callable[[], Any]]] = {
    "load": ("RepositoryModelLoad", lambda: service_pb2.RepositoryModelLoadRequest(model_name="eulernet")),
    "unload": ("RepositoryModelUnload", lambda: service_pb2.RepositoryModelUnloadRequest(model_name="eulernet")),
    "index": ("RepositoryIndex", lambda: service_pb2.RepositoryIndexRequest()),
    "shared memory": (
        "SystemSharedMemoryRegister",
        lambda: service_pb2.SystemSharedMemoryRegisterRequest(name="x", key="/x", byte_size=1 << 40),
    ),
    "trace": ("TraceSetting", lambda: service_pb2.TraceSettingRequest()),
    "log": ("LogSettings", lambda: service_pb2.LogSettingsRequest()),
}


@dataclass(frozen=True)
class MutatedRequest:
    """`payload`: the serialized request."""

    kind: str
    payload: bytes
    send: Callable[[Wire], Outcome]


def mutated_request(random: Generator) -> MutatedRequest:
    """One bad request, or one good one that ends badly."""
    ways: tuple[Callable[[Generator], MutatedRequest], ...] = (
        _fields, _fields, _fields, _inner, _inner, _subset, _ended, _large, _streamed, _other_interface, _chunk,
    )  # fmt: skip
    return ways[random.integers(len(ways))](random)


def _good(random: Generator) -> Request:
    frame, key = base_pictures()["baseline"], int(random.integers(1 << 40, 1 << 62))
    kind = random.random()
    if kind < 0.4:
        return clip_request([frame] * CLIP_FRAMES)
    if kind < 0.6:
        count = int(random.integers(1, 6))
        return chunk_request([frame] * count, [len(frame)] * count, key)
    return frame_request(frame, key, start=True, end=True)


def _sent(kind: str, request: Request) -> MutatedRequest:
    def send(wire: Wire) -> Outcome:
        return judged(lambda: wire.infer(request), may_fail=True)

    return MutatedRequest(kind, request.SerializeToString(), send)


def _fields(random: Generator) -> MutatedRequest:
    request, kinds = _good(random), []
    for _ in range(random.integers(1, MOST_CHANGES + 1)):
        kind = list(FIELDS)[random.integers(len(FIELDS))]
        kinds.append(kind)
        FIELDS[kind](request, random)
    return _sent(f"request: {' + '.join(kinds)}", request)


def _pick(random: Generator, choices: Sequence[Any]) -> Any:
    return choices[int(random.integers(len(choices)))]


def _model(request: Request, random: Generator) -> None:
    request.model_name = _pick(random, (*ODD_TEXTS, *INNER_STAGES, STREAM_MODEL, CLIP_MODEL, STEP_NETWORK_MODEL))


def _version(request: Request, random: Generator) -> None:
    request.model_version = _pick(random, ("1", "2", "-1", "0", "a", "9" * 30, *ODD_TEXTS))


def _request_id(request: Request, random: Generator) -> None:
    request.id = _pick(random, ODD_TEXTS)


def _parameter(request: Request, random: Generator) -> None:
    names = ("sequence_id", "sequence_start", "sequence_end", "priority", "timeout", "binary_data_output", "headers")
    name = _pick(random, (*names, "triton_enable_empty_final_response", CALLER_HEADER, *ODD_TEXTS))
    _set(request.parameters[name], random)


def _set(parameter: Any, random: Generator) -> None:
    kind = random.integers(5)
    if kind == 0:
        parameter.int64_param = _pick(random, ODD_NUMBERS)
    elif kind == 1:
        parameter.string_param = _pick(random, ODD_TEXTS)
    elif kind == 2:
        parameter.bool_param = bool(random.integers(2))
    elif kind == 3:
        parameter.uint64_param = _pick(random, (0, 1, 2**63, 2**64 - 1))
    else:
        parameter.double_param = _pick(random, (0.0, float("nan"), float("inf"), -1e300))


def _drop_input(request: Request, random: Generator) -> None:
    if request.inputs:
        at = int(random.integers(len(request.inputs)))
        del request.inputs[at]
        if random.random() < 0.5 and at < len(request.raw_input_contents):
            del request.raw_input_contents[at]


def _add_input(request: Request, random: Generator) -> None:
    if request.inputs and random.random() < 0.5:
        request.inputs.add().CopyFrom(_pick(random, request.inputs))
    else:
        name = _pick(random, (ENCODED, "CHECKED", "FACE", *ODD_TEXTS))
        request.inputs.add(name=name, datatype="UINT8", shape=[1, 4])
    if random.random() < 0.7:
        request.raw_input_contents.append(random.bytes(4))


def _input_field(request: Request, random: Generator) -> None:
    if not request.inputs:
        return
    each = _pick(random, request.inputs)
    kind = random.integers(4)
    if kind == 0:
        each.name = _pick(random, ODD_TEXTS)
    elif kind == 1:
        each.datatype = _pick(random, TYPES)
    elif kind == 2:
        del each.shape[:]
        each.shape.extend(_pick(random, ODD_SHAPES))
    else:
        name = _pick(random, ("shared_memory_region", "shared_memory_byte_size", "shared_memory_offset", "x"))
        _set(each.parameters[name], random)


def _contents(request: Request, random: Generator) -> None:
    """Raw contents that do not fit the shape, or typed ones in their place or beside them."""
    if request.raw_input_contents and random.random() < 0.6:
        at = int(random.integers(len(request.raw_input_contents)))
        raw = request.raw_input_contents[at]
        request.raw_input_contents[at] = _pick(random, (b"", raw[:-1], raw + b"\0", raw * 2, bytes(3)))
        return
    if random.random() < 0.5:
        del request.raw_input_contents[:]
    for each in request.inputs:
        each.contents.uint_contents.extend([1, 2, 300, 2**31])
        if random.random() < 0.3:
            each.contents.bytes_contents.append(random.bytes(9))
            each.contents.fp32_contents.append(float("nan"))


def _output(request: Request, random: Generator) -> None:
    output = request.outputs.add(name=_pick(random, (*OUTPUTS, STATUS, *ODD_TEXTS)))
    if random.random() < 0.5:
        name = _pick(random, ("classification", "shared_memory_region", "shared_memory_byte_size", "binary_data", "x"))
        _set(output.parameters[name], random)


FIELDS: Mapping[str, Callable[[Request, Generator], None]] = {
    "model": _model,
    "version": _version,
    "id": _request_id,
    "parameter": _parameter,
    "input left out": _drop_input,
    "input added": _add_input,
    "input field": _input_field,
    "contents": _contents,
    "output": _output,
}


def _subset(random: Generator) -> MutatedRequest:
    request = _good(random)
    wanted = [name for name in OUTPUTS if random.random() < 0.5] or [STATUS]
    for name in wanted:
        request.outputs.add(name=name)
    label = f"outputs {'+'.join(wanted)}"

    def send(wire: Wire) -> Outcome:
        return judged(lambda: wire.infer(request), may_fail=False)

    return MutatedRequest(label, request.SerializeToString(), send)


def _chunk(random: Generator) -> MutatedRequest:
    """Broken pictures among good ones in a chunk, or lengths that do not fit."""
    good = base_pictures()["baseline"]
    frames = [structured(random).jpeg if random.random() < 0.3 else good for _ in range(random.integers(1, 19))]
    lengths = [len(frame) for frame in frames]
    for _ in range(random.integers(0, 3)):
        lengths[int(random.integers(len(lengths)))] = int(random.choice([-1, 0, 1, 2, 10, 1 << 20, 2**31 - 1]))
    if random.random() < 0.2:
        lengths = lengths[:-1]
    return _sent("chunk", chunk_request(frames, lengths, int(random.integers(1 << 40, 1 << 62))))


def _absurd_boxes(random: Generator, shape: tuple[int, ...]) -> Any:
    boxes = random.choice(
        np.array([np.nan, np.inf, -np.inf, -1, 0, 1, 8, 100, 65_535, 65_536, 1e9, 3e38], np.float32), shape
    )
    return boxes.astype(np.float32)


def _absurd_status(random: Generator, shape: tuple[int, ...]) -> Any:
    return random.choice(np.array([0, 1, 2, 3, 4, 8, 16, 255, 256, -1, 2**31 - 1, -(2**31)], np.int32), shape)


def _inner(random: Generator) -> MutatedRequest:
    """A model behind the first one, with values that no stage before it gives."""
    batch = int(random.choice([1, 1, 1, 2, 5]))
    model = _pick(random, (*INNER_STAGES, STEP_NETWORK_MODEL, CLIP_NETWORK_MODEL))

    def jpeg() -> Any:
        picture = structured(random) if random.random() < 0.5 else blind(random)
        data = picture.jpeg if random.random() < 0.7 else base_pictures()["baseline"]
        return np.frombuffer(data, np.uint8)[None]

    clip = model in ("clip_crop", CLIP_NETWORK_MODEL)
    frames: tuple[int, ...] = (CLIP_FRAMES,) if clip else ()
    if model in INNER_STAGES:
        inputs = {name: jpeg() for name in (CLIP_ENCODED if clip else (ENCODED,))}
        batch = 1
    else:
        inputs = {FACE: random.integers(0, 256, (batch, *frames, FACE_SIDE_PX, FACE_SIDE_PX, 3), np.uint8)}
        inputs[FACE_BOX] = _absurd_boxes(random, (batch, *frames, 4))
        inputs[STATUS] = _absurd_status(random, (batch, *(frames or (1,))))
    request = request_of(model, inputs)
    if model in ("face_crop", STEP_NETWORK_MODEL):
        key, start, end = int(random.integers(1, 1 << 62)), bool(random.random() < 0.8), bool(random.random() < 0.8)
        in_sequence(request, key, start, end)
    return _sent(f"inner model {model}", request)


def _ended(random: Generator) -> MutatedRequest:
    """A good call that its caller gives up: by a short deadline, or by cancelling it."""
    request, wait_s = _good(random), float(random.choice([0, 0.001, 0.005, 0.02, 0.1]))
    if random.random() < 0.5:

        def send_short(wire: Wire) -> Outcome:
            try:
                wire.infer(request, timeout_s=max(wait_s, 0.001))
            except grpc.RpcError as error:
                return Outcome(error.code().name)
            return Outcome("answered")

        return MutatedRequest(f"deadline {wait_s} s", request.SerializeToString(), send_short)

    def send_cancelled(wire: Wire) -> Outcome:
        call = wire.stub.ModelInfer.future(request, timeout=HANG_S)
        threading.Event().wait(wait_s)
        call.cancel()
        return Outcome("CANCELLED" if call.cancelled() else "answered")

    return MutatedRequest(f"cancelled after {wait_s} s", request.SerializeToString(), send_cancelled)


def _large(random: Generator) -> MutatedRequest:
    size = int(random.choice([1 << 20, 3 << 20, 5 << 20]))
    frame = base_pictures()["baseline"]
    content = frame + bytes(size) if random.random() < 0.5 else random.bytes(size)
    request = frame_request(content, int(random.integers(1 << 40, 1 << 62)), start=True, end=True)
    made = _sent(f"{size >> 20} MiB", request)
    return MutatedRequest(made.kind, made.payload[:4096], made.send)


def _streamed(random: Generator) -> MutatedRequest:
    """Several requests over one bidirectional call, bad ones among them, then its end at any point."""
    requests = [_good(random) for _ in range(random.integers(1, 5))]
    for each in requests:
        if random.random() < 0.6:
            FIELDS[list(FIELDS)[random.integers(len(FIELDS))]](each, random)
    read = int(random.integers(0, len(requests) + 1))

    def send(wire: Wire) -> Outcome:
        def call() -> None:
            answers = wire.stub.ModelStreamInfer(iter(requests), timeout=HANG_S)
            for _ in range(read):
                next(answers, None)
            answers.cancel()

        return judged(call, may_fail=True)

    return MutatedRequest("bidirectional call", b"".join(each.SerializeToString() for each in requests), send)


def _other_interface(random: Generator) -> MutatedRequest:
    """Interfaces beside inference: the closed ones must refuse, the open ones must take odd names."""
    name = _pick(random, (*CLOSED, "metadata", "config", "statistics", "ready"))
    if name in CLOSED:
        method, make = CLOSED[name]
        closed = make()

        def send_closed(wire: Wire) -> Outcome:
            return judged(
                lambda: getattr(wire.stub, method)(closed, timeout=HANG_S),
                may_fail=True,
                check=lambda _: Outcome("answered", f"{method} is not closed"),
            )

        return MutatedRequest(f"closed interface: {name}", closed.SerializeToString(), send_closed)
    fields = {"name": _pick(random, ODD_TEXTS[:-1]), "version": _pick(random, ("", "1", "-1", "x"))}
    methods = {
        "metadata": ("ModelMetadata", service_pb2.ModelMetadataRequest),
        "config": ("ModelConfig", service_pb2.ModelConfigRequest),
        "statistics": ("ModelStatistics", service_pb2.ModelStatisticsRequest),
        "ready": ("ModelReady", service_pb2.ModelReadyRequest),
    }
    method, kind = methods[name]
    asked = kind(**fields)

    def send(wire: Wire) -> Outcome:
        return judged(lambda: getattr(wire.stub, method)(asked, timeout=HANG_S), may_fail=True)

    return MutatedRequest(f"interface: {name}", asked.SerializeToString(), send)
