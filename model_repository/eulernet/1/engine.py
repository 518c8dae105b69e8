"""Runs an ONNX graph on the CPU, any batch, with or without state tensors, by one of two runtimes.

Neither takes model-local functions, so `eulernet::DIIRF` is replaced by its own body of standard operators first.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import onnx
import onnx.inliner
from numpy.typing import NDArray

OPENVINO_PRECISIONS = {"openvino": "f32", "openvino-bf16": "bf16"}
RUNTIMES = ("mnn", *OPENVINO_PRECISIONS)


@dataclass(frozen=True)
class EngineSettings:
    """`runtime`: mnn or openvino, both in float32, or openvino-bf16, for processors that have it; `threads`: of one
    inference (openvino), or that share a batch's rows (mnn), 0 for all cores."""

    runtime: str = "openvino"
    threads: int = 0


class Engine(Protocol):
    """One graph, for one calling thread at a time. `input_names`: as the graph has them."""

    input_names: tuple[str, ...]

    def zeros(self, name: str) -> NDArray:
        """An input's value before anything was seen, for a batch of one."""

    def __call__(self, inputs: Mapping[str, NDArray]) -> dict[str, NDArray]:
        """Infers one batch. Returns the outputs by name; they are the caller's own."""


def make_engine(path: Path, settings: EngineSettings) -> Engine:
    """Loads an ONNX file.

    Raises: ValueError for a runtime that does not exist.
    """
    if settings.runtime not in RUNTIMES:
        raise ValueError(f"parameter runtime: {settings.runtime!r} is none of {', '.join(RUNTIMES)}")
    graph = onnx.inliner.inline_local_functions(onnx.load(path))
    if settings.runtime == "mnn":
        from mnn_engine import MNNEngine

        return MNNEngine(graph, settings.threads)
    from openvino_engine import OpenVINOEngine

    return OpenVINOEngine(graph, OPENVINO_PRECISIONS[settings.runtime], settings.threads)
