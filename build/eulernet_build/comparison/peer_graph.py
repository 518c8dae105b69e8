# SPDX-License-Identifier: Apache-2.0
"""Other systems than EulerNet as ONNX graphs: crops of a clip's frames in, its liveness out."""

from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import ModelProto
from onnxruntime import InferenceSession, SessionOptions

from eulernet.learning.checkpoint import CheckpointError, load_any
from eulernet.network import EulerNet
from eulernet.peers.peer_network import PeerNetwork, scoring_copy
from eulernet_build.diirf_function import OPSET
from eulernet_build.graphs import EXAMPLE_BATCH, IR_VERSION, strip, trace
from eulernet_build.parity import compare
from eulernet_core.clip_geometry import CLIP_FRAMES
from eulernet_core.face_box import BOX_SCALE_PARAMETER
from eulernet_core.tensors import FACE, FACE_SIDE_PX, LIVENESS
from eulernet_core.weights_label import WEIGHTS_PARAMETER
from eulernet_core.whole_files import write_whole

# Of LIVENESS, whose slope multiplies the rounding of the score; sums have up to 3,456 float32 terms.
TOLERANCE = 1e-3


def peer_graph(network: PeerNetwork, weights: str) -> ModelProto:
    """The graph of a network: FACE uint8 (N, T, 256, 256, 3), RGB, to LIVENESS (N,).

    T is any number for a system that scores single frames, whose scores it averages, and CLIP_FRAMES for one that sees
    time. The crop is `box_scale` of the metadata times the detector's box.
    """
    faces = torch.zeros(EXAMPLE_BATCH, CLIP_FRAMES, FACE_SIDE_PX, FACE_SIDE_PX, 3, dtype=torch.uint8)
    model = trace(scoring_copy(network), {FACE: faces}, [LIVENESS], any_frames=not network.temporal)
    strip(model)
    model.graph.name = network.name
    del model.functions[:], model.opset_import[:], model.metadata_props[:]
    model.opset_import.extend([onnx.helper.make_opsetid("", OPSET)])
    model.ir_version = IR_VERSION
    model.producer_name, model.producer_version = "eulernet", ""
    facts = {WEIGHTS_PARAMETER: weights, "system": network.label, BOX_SCALE_PARAMETER: str(network.config.box_scale)}
    onnx.helper.set_model_props(model, facts)
    onnx.checker.check_model(model, full_check=True)
    return model


def open_session(model: ModelProto) -> InferenceSession:
    """ONNX Runtime on one thread of the processor."""
    options = SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def export_peer(path: Path, out: Path) -> float:
    """Writes the graph of a checkpoint.

    Returns:
        The difference of LIVENESS between PyTorch and ONNX Runtime on a clip.

    Raises:
        CheckpointError: the file is not a checkpoint, or is EulerNet's.
        ParityError: the graph's score differs from PyTorch's. Nothing is written.
    """
    checkpoint = load_any(path)
    if isinstance(checkpoint.network, EulerNet):
        raise CheckpointError(f"{path}: a checkpoint of EulerNet; `eulernet export` writes its graphs")
    model = peer_graph(checkpoint.network, checkpoint.label)
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (1, CLIP_FRAMES, 16, 16, 3), np.uint8)
    faces = coarse.repeat(FACE_SIDE_PX // 16, 2).repeat(FACE_SIDE_PX // 16, 3)
    with torch.inference_mode():
        expected = checkpoint.network.eval()(torch.from_numpy(faces)).numpy()
    (found,) = open_session(model).run([LIVENESS], {FACE: faces})
    worst = compare({LIVENESS: expected}, {LIVENESS: found}, f"ONNX Runtime, {out}", TOLERANCE)
    write_whole(out, model.SerializeToString(deterministic=True))
    return worst
