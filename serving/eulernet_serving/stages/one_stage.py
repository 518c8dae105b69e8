# SPDX-License-Identifier: Apache-2.0
"""Common code of the stages that do the whole way of a frame in one process: locate, crop and infer."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import NDArray

from eulernet_core.tensors import FACE_BOX, FACE_BOX_OUT, OUTPUTS, STATUS, STATUS_OUT
from eulernet_serving.core_shares import instance_threads
from eulernet_serving.face_cropping import Cropper, CropSettings
from eulernet_serving.face_locating import Detector, LocateSettings
from eulernet_serving.row_runtime import RowRuntime
from eulernet_serving.runtime import RuntimeSettings, make_runtime
from eulernet_serving.stages.located_crops import detector_of
from eulernet_serving.stages.stage import graph_path


@dataclass(frozen=True)
class OneStageSettings(LocateSettings, CropSettings, RuntimeSettings):
    """`threads`: of an instance, for decoding and for the network, 0 for its share of the cores."""

    threads: int = 0


@dataclass(frozen=True)
class Parts:
    """What an instance runs."""

    detector: Detector
    crop: Cropper
    runtime: RowRuntime


def ensemble_outputs(results: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The network's results under the names that the ensembles give them; other results are left out."""
    named = {FACE_BOX: FACE_BOX_OUT, STATUS: STATUS_OUT}
    return {name: results[named.get(name, name)] for name in OUTPUTS}


def instances_of(args: Mapping[str, str]) -> int:
    """How many instances the model has."""
    return sum(group.get("count", 1) for group in json.loads(args["model_config"])["instance_group"])


def make_parts(args: Mapping[str, str], settings: OneStageSettings) -> Parts:
    """Loads the networks and builds the decoder of one of a model's instances."""
    settings = replace(settings, threads=instance_threads(instances_of(args), settings.threads))
    runtime = make_runtime(graph_path(args), settings)
    return Parts(detector_of(args), Cropper(settings, inspected=True), runtime)
