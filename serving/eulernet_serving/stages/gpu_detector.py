# SPDX-License-Identifier: Apache-2.0
"""The face detector on a GPU. Its golden case is made at the start: OpenVINO's answers on the CPU."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from eulernet_core.face_box import DETECTOR_SIDE_PX
from eulernet_core.tensors import CLIP_NETWORK_MODEL, FACE
from eulernet_serving.model_parameters import read_parameters
from eulernet_serving.runtime import RuntimeSettings, make_runtime
from eulernet_serving.stages.gpu_setup import GOLDEN, PlanSettings, ends_with_its_gpu, make_network
from eulernet_serving.stages.stage import Answer, Stage, graph_path, read, respond

IMAGE = "IMAGE"


class GpuDetector(Stage):
    """IMAGE uint8 (n, 128, 128, 3) RGB -> BOX, KEYPOINTS, SCORE, SECOND_SCORE."""

    def set_up(self, args: Mapping[str, str]) -> None:
        """Loads the network."""
        parameters = read_parameters(args["model_config"], PlanSettings)
        faces = np.load(graph_path(args).parents[2] / CLIP_NETWORK_MODEL / "1" / GOLDEN)[FACE]
        step = faces.shape[-2] // DETECTOR_SIDE_PX
        inputs = {IMAGE: np.ascontiguousarray(faces.reshape(-1, *faces.shape[-3:])[:, ::step, ::step])}
        outputs = make_runtime(graph_path(args), RuntimeSettings(threads=1))(inputs)
        self.network = make_network(args, parameters.precision, {**inputs, **outputs})

    @ends_with_its_gpu
    def answer(self, requests: Sequence[Any]) -> list[Answer]:
        """Several requests, inferred as one batch."""
        images = [read(request, IMAGE) for request in requests]
        results = self.network({IMAGE: np.concatenate(images)})
        ends = np.cumsum([len(each) for each in images])
        rows = [slice(end - len(each), end) for each, end in zip(images, ends, strict=True)]
        return [Answer(respond({name: value[row] for name, value in results.items()})) for row in rows]
