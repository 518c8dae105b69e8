# SPDX-License-Identifier: Apache-2.0
"""The variants of a network: its step graph and its clip graph in fp32, fp16 and int8."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto

from eulernet_build.export import CLIP_FOLDER, STEP_FOLDER, npz
from eulernet_build.parity import onnxruntime_runner
from eulernet_build.precision.half import to_half
from eulernet_build.precision.int8 import calibrate, to_int8
from eulernet_build.surgery import SurgeryError, check_fused, fuse
from eulernet_core.face_box import crop_fault
from eulernet_core.tensors import CLIP_NETWORK_MODEL, STEP_NETWORK_MODEL
from eulernet_core.whole_files import write_whole
from eulernet_serving.cpu_precision import ACER_CHANGE, GOLDEN, INT8_GOLDEN, INT8_GRAPH
from eulernet_serving.plan_records import graph_properties

STEP, CLIP = STEP_NETWORK_MODEL, CLIP_NETWORK_MODEL
FOR_CPU = "int8.cpu"

Variants = dict[str, dict[str, ModelProto]]  # by model and precision


def read_graphs(repository: Path) -> dict[str, ModelProto]:
    """The served graphs of a model repository, by model. Raises: SurgeryError if one is missing or of other crops."""
    found = {}
    for folder in (STEP_FOLDER, CLIP_FOLDER):
        path = repository / folder / "model.onnx"
        if not path.is_file():
            raise SurgeryError(f"{path}: no such file; write it with eulernet export")
        graph = found[folder.parts[0]] = onnx.load(path)
        if fault := crop_fault(graph_properties(graph)):
            raise SurgeryError(f"{path}: {fault}")
    return found


def make_variants(graphs: Mapping[str, ModelProto], clips: NDArray[np.uint8]) -> Variants:
    """Fuses both graphs, compares them with the given ones, and derives fp16 and int8.

    int8.cpu keeps the exported FCAMs, because the body of the fused op is slower on a CPU (measured: 5 to 10 %).

    Args:
        graphs: step graph and clip graph of one network, by model.
        clips: uint8 (M, T, S, S, 3), for the calibration of int8.
    Raises:
        SurgeryError: a graph can't be fused, or the graphs belong to different networks.
        ParityError: a fused graph's outputs differ from the given graph's.
    """
    prints = {name: graph_properties(graph).get("parameters_sha256") for name, graph in graphs.items()}
    if len(set(prints.values())) != 1:
        raise SurgeryError(f"{' and '.join(prints)}: graphs of different networks; export both again")
    fused = {name: fuse(graph) for name, graph in graphs.items()}
    for name, graph in fused.items():
        check_fused(graphs[name], graph, name)
    ranges = calibrate(fused[CLIP], clips)
    return {
        name: {
            "fp32": graph,
            "fp16": to_half(graph),
            "int8": to_int8(graph, ranges),
            FOR_CPU: to_int8(graphs[name], ranges, unsigned=True),
        }
        for name, graph in fused.items()
    }


def record_loss(variants: Variants, acer_change: float) -> None:
    """Writes the measured error of int8.cpu into its graphs; `eulernet serve` reads it before it prefers them."""
    for its in variants.values():
        onnx.helper.set_model_props(its[FOR_CPU], {**graph_properties(its[FOR_CPU]), ACER_CHANGE: f"{acer_change:.6f}"})


def install_int8(variants: Variants, repository: Path) -> list[Path]:
    """Puts the int8.cpu graphs beside the served ones of a model repository, each with its golden case.

    Returns: the files.
    Raises: SurgeryError if a served graph has no golden case.
    """
    files = []
    for name, its in variants.items():
        folder, graph = repository / name / "1", its[FOR_CPU]
        if not (folder / GOLDEN).is_file():
            raise SurgeryError(f"{folder / GOLDEN}: no such file; write it with eulernet export")
        with np.load(folder / GOLDEN) as served:
            inputs = {value.name: served[value.name] for value in graph.graph.input}
        case = inputs | onnxruntime_runner(graph, optimized=False)(inputs)
        write_whole(folder / INT8_GRAPH, graph.SerializeToString(deterministic=True))
        write_whole(folder / INT8_GOLDEN, npz(case))
        files += [folder / INT8_GRAPH, folder / INT8_GOLDEN]
    return files


def write_variants(variants: Variants, out: Path) -> dict[str, dict[str, Path]]:
    """Writes `out`/<model>/model.<precision>.onnx. Returns: the files, by model and precision."""
    files = {
        name: {precision: out / name / f"model.{precision}.onnx" for precision in its} for name, its in variants.items()
    }
    for name, its in variants.items():
        for precision, graph in its.items():
            write_whole(files[name][precision], graph.SerializeToString(deterministic=True))
    return files
