# SPDX-License-Identifier: Apache-2.0
"""Exports the served graphs: converts an EulerNet to ONNX, compares it with PyTorch and writes the files."""

import copy
import io
import re
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from onnx import ModelProto
from onnx.helper import tensor_dtype_to_np_dtype

from eulernet.learning.checkpoint import CheckpointError, load
from eulernet.network import EulerNet
from eulernet_build import golden, graphs
from eulernet_build.parity import ParityError, TensorMap, check_runtimes, compare, onnxruntime_runner
from eulernet_core.face_box import BOX_SCALE, other_crops
from eulernet_core.tensors import (
    CLIP_MODEL,
    CLIP_NETWORK_MODEL,
    FACE,
    FACE_BOX,
    NETWORK_INPUTS,
    NETWORK_OUTPUTS,
    STATUS,
    STEP_NETWORK_MODEL,
    STREAM_MODEL,
)
from eulernet_core.whole_files import replacing

__all__ = ["CLIP_FOLDER", "LABELLED", "STEP_FOLDER", "ParityError", "export", "export_checkpoint", "npz", "write_all"]

STEP_FOLDER = Path(STEP_NETWORK_MODEL, "1")
CLIP_FOLDER = Path(CLIP_NETWORK_MODEL, "1")
LABELLED = tuple(Path(model, "config.pbtxt") for model in (STREAM_MODEL, CLIP_MODEL))  # give clients the weights' label
_LABEL = re.compile(r'(key: "weights" value \{ string_value: )"[^"]*"')


def export(network: EulerNet, step_folder: Path, clip_folder: Path, weights: str) -> float:
    """Writes `model.onnx` and `golden.npz` of the step graph and of the clip graph.

    Args:
        network: exported as a copy.
        step_folder: for the graph that computes one frame per call.
        clip_folder: for the graph that computes one clip per call.
        weights: label of the weights, which servers and clients show.

    Returns:
        The largest difference between PyTorch and any runtime.

    Raises:
        ParityError: a runtime differs from PyTorch, or the clip graph from the step graph. Nothing is written.
    """
    if not weights:
        raise ValueError("weights label '': needs a name, such as 'untrained'")
    network = copy.deepcopy(network).cpu().eval()
    step, step_golden = graphs.step_graph(network, weights), golden.step_case(network)
    worst = check_runtimes(step, step_golden, "step graph")
    clip, clip_golden = graphs.clip_graph(network, weights), golden.clip_case(network)
    worst = max(worst, check_runtimes(clip, clip_golden, "clip graph"), check_forms(step, clip_golden))
    write_all(
        {
            step_folder / "model.onnx": step.SerializeToString(deterministic=True),
            step_folder / "golden.npz": npz(step_golden),
            clip_folder / "model.onnx": clip.SerializeToString(deterministic=True),
            clip_folder / "golden.npz": npz(clip_golden),
        }
    )
    return worst


def export_checkpoint(path: Path, repository: Path) -> tuple[str, float]:
    """Writes the graphs of a checkpoint into a model repository, and its label into the ensembles' configurations.

    Returns:
        The label, and the largest difference between PyTorch and any runtime.

    Raises:
        CheckpointError: the file is not a checkpoint, or its network learned from other crops than the service cuts.
        ParityError: as in `export`.
    """
    checkpoint = load(path)
    scale = checkpoint.network.config.box_scale
    if scale != BOX_SCALE:
        raise CheckpointError(f"{path}: {other_crops(scale)}")
    worst = export(checkpoint.network, repository / STEP_FOLDER, repository / CLIP_FOLDER, checkpoint.label)
    label = "".join(letter if letter not in '"\\\n' else "'" for letter in checkpoint.label)
    configs = [path for name in LABELLED for path in sorted((repository / name).parent.rglob("*.pbtxt"))]
    write_all({each: _LABEL.sub(rf'\1"{label}"', each.read_text()).encode() for each in configs})
    return checkpoint.label, worst


def check_forms(step: ModelProto, clip_golden: TensorMap) -> float:
    """Runs the step graph over the golden case's clips, frame by frame, and compares it with the clip graph.

    Returns: the largest difference.
    Raises: ParityError.
    """
    run = onnxruntime_runner(step)
    faces, status, boxes = (clip_golden[name] for name in (FACE, STATUS, FACE_BOX))
    state = {
        value.name: np.zeros(
            [len(faces), *(d.dim_value for d in value.type.tensor_type.shape.dim[1:])],
            dtype=tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type),
        )
        for value in step.graph.input
        if value.name not in NETWORK_INPUTS
    }
    worst = 0.0
    for t in range(faces.shape[1]):
        outputs = run({FACE: faces[:, t], STATUS: status[:, t : t + 1], FACE_BOX: boxes[:, t], **state})
        state = {name: outputs[name.replace("_in", "_out")] for name in state}
        flat = {name: outputs[name].reshape(clip_golden[name][:, t].shape) for name in NETWORK_OUTPUTS}
        expected = {name: clip_golden[name][:, t] for name in NETWORK_OUTPUTS}
        worst = max(worst, compare(expected, flat, f"step graph at frame {t} of the clip"))
    return worst


def npz(tensors: TensorMap) -> bytes:
    """A compressed NumPy file: the same bytes for the same tensors."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **dict(tensors))  # numpy dates every member 1980-01-01, so the bytes never change
    return buffer.getvalue()


def write_all(files: Mapping[Path, bytes]) -> None:
    """Writes all files under temporary names, then renames them: after an error no file has changed."""
    with ExitStack() as stack:
        temporaries = {path: stack.enter_context(replacing(path)) for path in files}
        for path, content in files.items():
            temporaries[path].write_bytes(content)
