"""The two face models as ONNX Runtime sessions: BlazeFace (Bazarevsky et al. 2019), face mesh (Kartynnik et al. 2019).

They are files, made by `eulernet face-models`; nothing of the code that makes them is needed here.
"""

from pathlib import Path
from typing import Any

import onnxruntime

FACE_MODELS = Path("out/face_models")  # where `eulernet face-models` puts them
DETECTOR_NAME, MESH_NAME = "face_detector.onnx", "face_mesh.onnx"
DETECTOR_SIDE_PX, MESH_SIDE_PX = 128, 192
POINTS = 468


class FaceModelsError(RuntimeError):
    """A face model is missing or is not the one that this code was written for."""


def open_model(path: Path, inputs: set[str], outputs: set[str]) -> Any:
    """An ONNX Runtime session on one thread; checks that the tensors have the names expected."""
    remedy = f"write it with `eulernet face-models --out {path.parent}`"
    if not path.is_file():
        raise FaceModelsError(f"{path}: no such file; {remedy}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime has a family of exceptions without a public common base
        reason = str(error).splitlines()[0]
        raise FaceModelsError(f"{path}: not an ONNX model that can be loaded ({reason}); {remedy}") from error
    got = {each.name for each in session.get_inputs()}, {each.name for each in session.get_outputs()}
    if got[0] != inputs or not outputs <= got[1]:
        raise FaceModelsError(
            f"{path}: its tensors are {sorted(got[0] | got[1])}, not {sorted(inputs | outputs)}; {remedy}"
        )
    return session
