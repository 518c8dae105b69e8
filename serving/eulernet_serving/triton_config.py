# SPDX-License-Identifier: Apache-2.0
"""Reads model configurations as Triton's own protobuf, and completes them for a GPU node."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from google.protobuf import text_format
from numpy.typing import NDArray
from tritonclient.grpc import model_config_pb2
from tritonclient.grpc.model_config_pb2 import ModelConfig

from eulernet_core.tensors import FACE_BOX

WARMUP_FOLDER = "warmup"  # Triton looks for it beside the versions
FRAME_FILE, BOX_FILE = "frame.jpg", "box.f32"


def read_config(path: Path) -> ModelConfig:
    """One configuration. Raises: ValueError naming the file if it can't be parsed."""
    try:
        return text_format.Parse(path.read_text(), ModelConfig())
    except text_format.ParseError as error:
        raise ValueError(f"{path}: {error}") from None


def config_text(config: ModelConfig, source: str) -> str:
    """As text, with a first line that names its source."""
    return f"# Made by eulernet repository from {source}.\n{text_format.MessageToString(config)}"


def complete(config: ModelConfig, plans: Mapping[str, str], profiles: int, frame: bytes) -> dict[str, bytes]:
    """Completes a production configuration for a GPU node: plans by GPU, profiles, version policy, warm-up.

    Args:
        config: changed in place.
        plans: of a TensorRT model, file names by compute capability ("9.0").
        profiles: number of optimization profiles in the plans.
        frame: a JPEG to warm up the crop stages with.
    Returns: the warm-up's data files by name.
    """
    config.version_policy.latest.num_versions = 1
    config.cc_model_filenames.update(plans)
    if profiles > 1:
        config.instance_group[0].profile.extend(map(str, range(profiles)))
    if config.backend == "dali":
        _warm_up(config, len(frame))
        box = [0, 0, 256, 256]
        frames = next(
            tensor.dims[0] if len(tensor.dims) > 1 else 1 for tensor in config.input if tensor.name == FACE_BOX
        )
        boxes: NDArray[np.float32] = np.tile(np.array(box, np.float32), frames)
        return {FRAME_FILE: frame, BOX_FILE: boxes.tobytes()}
    if config.backend == "tensorrt" and not config.sequence_batching.state:
        _warm_up(config, 0)
    # With implicit state there is no warm-up: its requests belong to no sequence, and the backend answers them with an
    # error ("unable to add state"), which fails the model. The first real frame warms it up: eulernet status sends one.
    return {}


def _warm_up(config: ModelConfig, encoded_bytes: int) -> None:
    """One full batch and one single frame, so that both profiles' kernels are loaded before the server is ready."""
    for batch in sorted({1, config.max_batch_size}, reverse=True):
        warmup = config.model_warmup.add(name=f"batch_{batch}", batch_size=batch)
        for tensor in config.input:
            data = warmup.inputs[tensor.name]
            data.data_type = tensor.data_type
            data.dims.extend(encoded_bytes if side == -1 else side for side in tensor.dims)
            if tensor.data_type == model_config_pb2.TYPE_UINT8 and -1 in tensor.dims:
                data.input_data_file = FRAME_FILE
            elif tensor.name == FACE_BOX and config.backend == "dali":
                data.input_data_file = BOX_FILE
            else:
                data.zero_data = True
