# SPDX-License-Identifier: Apache-2.0
"""A graph in the form that OpenVINO loads, beside the ONNX file it was made from.

A stage that finds it needs neither the package `onnx` nor OpenVINO's reader of ONNX: less memory, a shorter start.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eulernet_core.tensors import STATE_INPUT_SUFFIX, STATE_OUTPUT_SUFFIX, STATUS_OUT
from eulernet_core.whole_files import sha256_of

Tensor = NDArray[np.generic]
SUFFIX, WEIGHTS_SUFFIX = ".xml", ".bin"  # the two files of OpenVINO's own format
COMPILED_SUFFIX = ".blob"  # the same compiled, for one kind of processor
RECORD_SUFFIX = ".prepared.json"
GREEN = 1
STEM = "STEM"  # a rewritten graph's input: float32 (N, T, FACE_SIDE_PX, FACE_SIDE_PX, STEM_CHANNELS)
STEM_CHANNELS = 4  # red, green, blue, and the difference of green to the frame before


@dataclass(frozen=True)
class TensorSpec:
    """One row of an input or output: `dtype` by NumPy's name, `shape` without the batch dimension."""

    dtype: str
    shape: tuple[int, ...]

    def zeros(self, rows: int = 1) -> Tensor:
        """Zeros (rows, *shape)."""
        return np.zeros((rows, *self.shape), self.dtype)


@dataclass(frozen=True)
class PixelPart:
    """What a rewritten graph leaves to `StemInput`.

    Attributes:
        frames: of a row.
        centre: of the pixels' range, which the stem sees as 0.
        longest_sequence: frames until a sequence starts anew; 0: never.
        previous: state input with green of the frame before, uint8 (1, 1, S, S); "" for a graph without state.
        count: state input with the number of frames before, int32 (1, 1); "" likewise.
    """

    frames: int
    centre: float
    longest_sequence: int
    previous: str
    count: str

    @property
    def previous_out(self) -> str:
        """The state output that belongs to `previous`; "" without one."""
        return self.previous and self.previous.removesuffix(STATE_INPUT_SUFFIX) + STATE_OUTPUT_SUFFIX

    @property
    def made(self) -> set[str]:
        """The outputs that the graph no longer has."""
        return {STATUS_OUT, self.previous_out} - {""}


@dataclass(frozen=True)
class PreparedGraph:
    """A prepared file and what a runtime has to know of the graph.

    Attributes:
        file: in OpenVINO's own format, for batches of one.
        source_sha256: of the ONNX file; "" where there is none.
        precision: fp32, fp16, bf16 or int8, as the graph computes.
        widest_weight: the largest magnitude of its int8 weights; 0 without any.
        inputs, outputs: by name, in the graph's order.
        fed, given: inputs and outputs of `file`, in its order.
        pixels: what `file` leaves to `stem_input`; None: nothing.
        compiled_for: the processors and the release that the compiled file is for; "" without one.
    """

    file: Path
    source_sha256: str
    precision: str
    widest_weight: int
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    fed: tuple[str, ...]
    given: tuple[str, ...]
    pixels: PixelPart | None = None
    compiled_for: str = ""

    def write_record(self) -> None:
        """Writes the record beside the file."""
        record_of(self.file).write_text(json.dumps({**asdict(self), "file": self.file.name}, indent=1) + "\n")


def record_of(file: Path) -> Path:
    """The record's path for a prepared file."""
    return file.with_name(file.name + RECORD_SUFFIX)


def prepared_file(graph: Path) -> Path:
    """Where the prepared form of `model.onnx` lies: `model.xml`, with `model.bin`."""
    return graph.with_name(graph.stem + SUFFIX)


def find_prepared(graph: Path) -> PreparedGraph | None:
    """What `prepare` has written; None without it, of another release, or of another ONNX file."""
    file = prepared_file(graph)
    if not all(each.is_file() for each in (file, file.with_suffix(WEIGHTS_SUFFIX), record_of(file))):
        return None
    values = json.loads(record_of(file).read_text())
    of_another_release = set(values) != {each.name for each in fields(PreparedGraph)}
    if of_another_release or values["source_sha256"] != sha256_of(graph):
        return None
    specs = {
        side: {name: TensorSpec(each["dtype"], tuple(each["shape"])) for name, each in values[side].items()}
        for side in ("inputs", "outputs")
    }
    names = {side: tuple(values[side]) for side in ("fed", "given")}
    pixels = None if values["pixels"] is None else PixelPart(**values["pixels"])
    return PreparedGraph(**{**values, **specs, **names, "pixels": pixels, "file": file})
