"""Write the served graphs: an EulerNet to ONNX, held against PyTorch before a file is written."""

import copy
import io
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from eulernet.learning.checkpoint import load
from eulernet.network import EulerNet
from onnx import ModelProto

from eulernet_build import golden, graphs
from eulernet_build.graphs import OUTPUT_NAMES
from eulernet_build.parity import ParityError, TensorMap, check_runtimes, compare, onnxruntime_runner

__all__ = ["CLIP_FOLDER", "LABELLED", "STEP_FOLDER", "ParityError", "export", "export_checkpoint"]

STEP_FOLDER = Path("eulernet/1")
CLIP_FOLDER = Path("eulernet_clip/1")
LABELLED = (Path("antispoof/config.pbtxt"), Path("antispoof_clip/config.pbtxt"))  # tell clients what the weights are
_LABEL = re.compile(r'(key: "weights" value \{ string_value: )"[^"]*"')


def export(network: EulerNet, step_folder: Path, clip_folder: Path, weights: str) -> float:
    """Write `model.onnx` and `golden.npz` of the step graph and of the clip graph.

    Args:
        network: what to export; it is left as it is.
        step_folder: where the graph of one frame a call goes.
        clip_folder: where the graph of one clip a call goes.
        weights: what the weights are called; servers and clients show it.

    Returns:
        The largest difference seen between PyTorch and any runtime.

    Raises:
        ParityError: a runtime disagrees with PyTorch, or the clip graph with the step graph. Nothing is written.
    """
    if not weights:
        raise ValueError("weights label '': give the weights a name, such as 'untrained'")
    network = copy.deepcopy(network).cpu().eval()
    step, step_golden = graphs.step_graph(network, weights), golden.step_case(network)
    worst = check_runtimes(step, step_golden, "step graph")
    clip, clip_golden = graphs.clip_graph(network, weights), golden.clip_case(network)
    worst = max(worst, check_runtimes(clip, clip_golden, "clip graph"), check_forms(step, clip_golden))
    _write_all(
        {
            step_folder / "model.onnx": step.SerializeToString(deterministic=True),
            step_folder / "golden.npz": _npz(step_golden),
            clip_folder / "model.onnx": clip.SerializeToString(deterministic=True),
            clip_folder / "golden.npz": _npz(clip_golden),
        }
    )
    return worst


def export_checkpoint(path: Path, repository: Path) -> tuple[str, float]:
    """Write the graphs of a checkpoint into a model repository, and its label into the ensembles' configurations.

    Returns:
        The label, and what `export` returns.

    Raises:
        CheckpointError: the file is no checkpoint.
        ParityError: as `export`.
    """
    checkpoint = load(path)
    worst = export(checkpoint.network, repository / STEP_FOLDER, repository / CLIP_FOLDER, checkpoint.label)
    label = "".join(letter if letter not in '"\\\n' else "'" for letter in checkpoint.label)
    configs = [repository / name for name in LABELLED if (repository / name).is_file()]
    _write_all({each: _LABEL.sub(rf'\1"{label}"', each.read_text()).encode() for each in configs})
    return checkpoint.label, worst


def check_forms(step: ModelProto, clip_golden: TensorMap) -> float:
    """Run the step graph over the clips of the golden case, frame by frame; it must say what the clip graph says."""
    run = onnxruntime_runner(step)
    faces, status = clip_golden["FACE"], clip_golden["STATUS"]
    state = {
        value.name: np.zeros(
            [len(faces), *(d.dim_value for d in value.type.tensor_type.shape.dim[1:])],
            dtype=np.int32 if value.name == step.graph.input[-1].name else np.float32,
        )
        for value in step.graph.input[2:]
    }
    worst = 0.0
    for t in range(faces.shape[1]):
        outputs = run({"FACE": faces[:, t], "STATUS": status[:, t : t + 1], **state})
        state = {name: outputs[name.replace("_in", "_out")] for name in state}
        flat = {name: outputs[name].reshape(clip_golden[name][:, t].shape) for name in OUTPUT_NAMES}
        expected = {name: clip_golden[name][:, t] for name in OUTPUT_NAMES}
        worst = max(worst, compare(expected, flat, f"step graph at frame {t} of the clip"))
    return worst


def _npz(tensors: TensorMap) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **dict(tensors))  # numpy dates every member 1980-01-01: the same bytes every time
    return buffer.getvalue()


def _write_all(files: Mapping[Path, bytes]) -> None:
    """Each file whole or not at all: written beside its place, and renamed once all of them are written."""
    written: list[tuple[Path, Path]] = []
    try:
        for path, content in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            beside = path.with_name(f".{path.name}.part")
            written.append((beside, path))
            beside.write_bytes(content)
        for beside, path in written:
            beside.replace(path)
    finally:
        for beside, _ in written:
            beside.unlink(missing_ok=True)
