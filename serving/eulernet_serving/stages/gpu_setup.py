# SPDX-License-Identifier: Apache-2.0
"""Common code of the GPU stages: their parameters, their device, and the line in the log that says their choice."""

import functools
import json
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from eulernet_serving.face_cropping import CropSettings
from eulernet_serving.gpu_pip.device_cropping import DeviceCropper
from eulernet_serving.gpu_pip.gpu_network import Arrays, GpuNetwork
from eulernet_serving.gpu_pip.network_choice import Place, choose_network, prepare
from eulernet_serving.gpu_presence import CHOSEN, CPU, device_kind
from eulernet_serving.stages.stage import Answer, graph_path, read, respond

GOLDEN = "golden.npz"  # beside the graph
_LOG = logging.getLogger(__name__)
Result = TypeVar("Result")


@dataclass(frozen=True)
class PlanSettings:
    """`precision`: of the network: fp32, or fp16, bf16, int8 if there is such a TensorRT plan."""

    precision: str = "fp32"


@dataclass(frozen=True)
class GpuNetworkSettings(CropSettings, PlanSettings):
    """`parameters` of a stage that crops and infers."""


def device_of(args: Mapping[str, str]) -> torch.device:
    """The device of a model's instance: its GPU, or the CPU in tests."""
    return torch.device(CPU) if device_kind() == CPU else torch.device("cuda", int(args["model_instance_device_id"]))


def golden_case(args: Mapping[str, str]) -> dict[str, NDArray[Any]]:
    """The exported golden case of the model's graph."""
    with np.load(graph_path(args).with_name(GOLDEN)) as golden:
        return dict(golden)


def make_network(args: Mapping[str, str], precision: str, golden: Arrays, streams: int = 0) -> GpuNetwork:
    """Chooses the network's runtime and says so. Raises: NoNetworkError."""
    device = device_of(args)
    prepare(device)
    batch = int(json.loads(args["model_config"])["max_batch_size"])
    place = Place(graph_path(args).parent, device, precision, batch, streams)
    network, text = choose_network(place, golden)
    _LOG.info("%s%s: network by %s", CHOSEN, args["model_instance_name"], text)
    return network


def make_cropper(args: Mapping[str, str], settings: CropSettings) -> DeviceCropper:
    """Chooses how faces are cropped and says so."""
    cropper = DeviceCropper(settings, device_of(args))
    _LOG.info("%s%s: %s", CHOSEN, args["model_instance_name"], cropper.way)
    return cropper


def ends_with_its_gpu(method: Callable[..., Result]) -> Callable[..., Result]:
    """For a stage's method: ends the process if the GPU can't be used any more after an exception.

    An error such as an illegal address stays for the life of a process. The supervisor starts a server anew whose stage
    has died.
    """

    @functools.wraps(method)
    def call(self: Any, *given: Any) -> Result:
        try:
            return method(self, *given)
        except Exception as error:
            if not device_works():
                _LOG.critical("the GPU can't be used any more, this stage ends: %s", error)
                os._exit(1)
            raise

    return call


def device_works() -> bool:
    """Whether this process can still use its GPU; True without one."""
    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return True
    try:
        torch.cuda.synchronize()
    except RuntimeError:
        return False
    return True


def joined(requests: Any, name: str) -> NDArray[Any]:
    """An input of several requests, one row each."""
    return np.concatenate([read(request, name) for request in requests])


def answer_of(results: Arrays, row: int, status: str) -> Answer:
    """The response of one row; `status`: the output with the frames' STATUS."""
    part = slice(row, row + 1)
    return Answer(respond({n: value[part] for n, value in results.items()}), tuple(results[status][row].tolist()))
