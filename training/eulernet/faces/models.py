# SPDX-License-Identifier: Apache-2.0
"""The two face models as ONNX Runtime sessions: BlazeFace (Bazarevsky et al. 2019), face mesh (Kartynnik et al. 2019).

`eulernet face-models` writes their files.
"""

from pathlib import Path
from typing import Any

import onnxruntime

DETECTOR_NAME, MESH_NAME = "face_detector.onnx", "face_mesh.onnx"
MESH_SIDE_PX = 192
POINTS = 468


class FaceModelsError(RuntimeError):
    """A face model is missing, or the file is another model."""


def open_model(path: Path, inputs: set[str], outputs: set[str]) -> Any:
    """An ONNX Runtime session on one thread, whose tensors have the expected names. Raises: FaceModelsError."""
    remedy = f"write it with `eulernet face-models --out {path.parent}`"
    if not path.is_file():
        raise FaceModelsError(f"{path}: no such file; {remedy}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions have no public common base
        reason = str(error).splitlines()[0]
        raise FaceModelsError(f"{path}: not an ONNX model that can be loaded ({reason}); {remedy}") from error
    got = {each.name for each in session.get_inputs()}, {each.name for each in session.get_outputs()}
    if got[0] != inputs or not outputs <= got[1]:
        raise FaceModelsError(
            f"{path}: its tensors are {sorted(got[0] | got[1])}, not {sorted(inputs | outputs)}; {remedy}"
        )
    return session
