# SPDX-License-Identifier: Apache-2.0
"""Liveness of clips from their cached face crops, by a checkpoint (PyTorch) or an exported clip graph (ONNX Runtime).

The liveness of a clip is the liveness of its last frame.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from eulernet.evaluation.scores import Score
from eulernet_core.clip_geometry import CLIP_FRAMES
from eulernet_core.face_box import BOX_SCALE, BOX_SCALE_PARAMETER, UNSTATED_BOX_SCALE
from eulernet_core.tensors import FACE, FACE_SIDE_PX, LIVENESS, NETWORK_INPUTS, usable_clips
from eulernet_core.weights_label import WEIGHTS_PARAMETER, WEIGHTS_UNKNOWN

if TYPE_CHECKING:
    from torch import Tensor

    from eulernet.datasets.clips import ClipDataset
    from eulernet.network import Prediction
    from eulernet.peers.systems import Network

BATCH_SIZE = 8
Infer = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


class ScorerError(Exception):
    """The model or the server can't be used; the message gives the cause."""


@dataclass(frozen=True)
class CropModel:
    """Scores crops.

    Attributes:
        infer: uint8 (N, T, S, S, 3) -> float32 (N,), N at most BATCH_SIZE.
        size_px: S.
        weights: their label.
        trained_by: OULU-NPU's protocol and fold (0 for none) in their training settings; None if unknown.
        box_scale: side of the crop to the detector's box.
    """

    infer: Infer
    size_px: int
    weights: str
    trained_by: tuple[int, int] | None = None
    box_scale: float = BOX_SCALE


def open_checkpoint(path: Path) -> CropModel:
    """A checkpoint of `eulernet train`, of any system. Raises: ScorerError."""
    import torch

    from eulernet.device import compute_device
    from eulernet.learning.checkpoint import CheckpointError, load_any

    try:
        checkpoint = load_any(path)
    except CheckpointError as error:
        raise ScorerError(str(error)) from error
    device = compute_device()
    network = checkpoint.network.eval().to(device)
    score, size_px, box_scale = _scoring(network)

    def infer(clips: NDArray[np.uint8]) -> NDArray[np.float32]:
        # With TF32, cuDNN's default, the scores would differ from the exported graphs'.
        with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            liveness = score(torch.from_numpy(clips).to(device))
        scores: NDArray[np.float32] = liveness.cpu().numpy()
        return scores

    data = checkpoint.settings.get("data")
    trained_by = (data["protocol"], data["fold"]) if data else None
    return CropModel(infer, size_px, checkpoint.label, trained_by, box_scale)


def _scoring(network: "Network") -> "tuple[Callable[[Tensor], Tensor], int, float]":
    """How a network scores clips, uint8 (N, T, S, S, 3) to float (N,); S; and the scale of its crop."""
    import torch

    from eulernet.network import EulerNet

    if isinstance(network, EulerNet):
        return lambda clips: _final(network(clips)), network.config.image_size, network.config.box_scale
    # One by one, because some systems need more than a GB for a clip.
    return (
        lambda clips: torch.cat([network(clip) for clip in clips.split(1)]),
        FACE_SIDE_PX,
        network.config.box_scale,
    )


def _final(prediction: "Prediction") -> "Tensor":
    """The liveness of clips, (N,): at the last frame at which their filters had seen a clip's frames."""
    settled = (prediction.frame_count[0] >= CLIP_FRAMES).nonzero()
    return prediction.liveness[:, int(settled[-1])]


def open_graph(path: Path) -> CropModel:
    """An exported clip graph. Raises: ScorerError."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions have no common base class
        raise ScorerError(f"{path}: not an ONNX graph that can be loaded ({error})") from error
    inputs = {each.name: each.shape for each in session.get_inputs()}
    if set(inputs) not in (set(NETWORK_INPUTS), {FACE}) or len(inputs[FACE]) != 5:
        raise ScorerError(f"{path}: takes {', '.join(inputs)}; give the clip graph, eulernet_clip/1/model.onnx")
    facts = session.get_modelmeta().custom_metadata_map
    weights = facts.get(WEIGHTS_PARAMETER, WEIGHTS_UNKNOWN)
    scale = float(facts.get(BOX_SCALE_PARAMETER, UNSTATED_BOX_SCALE))

    def infer(clips: NDArray[np.uint8]) -> NDArray[np.float32]:
        (liveness,) = session.run([LIVENESS], usable_clips(clips) if len(inputs) > 1 else {FACE: clips})
        # The graphs of other systems than EulerNet have one score for a clip.
        last: NDArray[np.float32] = liveness.reshape(len(clips), -1)[:, -1]
        return last

    return CropModel(infer, int(inputs[FACE][2]), weights, box_scale=scale)


def without_time(model: CropModel) -> CropModel:
    """The same model on still clips: the first frame in place of every frame."""
    return replace(model, infer=lambda clips: model.infer(np.repeat(clips[:, :1], clips.shape[1], axis=1)))


def score_crops(model: CropModel, dataset: "ClipDataset", batch_size: int = BATCH_SIZE) -> Iterator[Score]:
    """Scores every clip of a data set made with labelled=False."""
    for first in range(0, len(dataset), batch_size):
        indices = range(first, min(len(dataset), first + batch_size))
        clips = np.stack([dataset[i][0].numpy() for i in indices])
        for i, liveness in zip(indices, model.infer(clips), strict=True):
            yield Score(dataset.video(i), float(liveness), dataset.start(i))
