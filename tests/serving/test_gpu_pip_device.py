# SPDX-License-Identifier: Apache-2.0
"""The GPU configuration's parts on a real GPU: captured steps, the project's kernels in a graph, nvJPEG's crops."""

from pathlib import Path

import numpy as np
import pytest
import torch

from eulernet_serving.face_cropping import CropSettings
from eulernet_serving.gpu_pip.device_cropping import DeviceCropper
from eulernet_serving.gpu_pip.filter_kernels import FilterKernels
from eulernet_serving.gpu_pip.gpu_network import GpuNetwork, golden_difference
from eulernet_serving.gpu_pip.network_choice import prepare
from eulernet_serving.gpu_pip.torch_graph import TorchGraph
from eulernet_serving.kernel_library import KERNEL_LIBRARY

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU, or torch without CUDA"),
]
ROOT = Path(__file__).parents[2]
LIBRARY = ROOT / "out" / "plugins" / KERNEL_LIBRARY
FP32 = 1e-4


@pytest.fixture(scope="module", autouse=True)
def exact() -> None:
    prepare(torch.device("cuda", 0))


@pytest.mark.parametrize("model", ["eulernet", "eulernet_clip"])
@pytest.mark.parametrize("filters", ["torch", "kernels"])
def test_captured_steps_reproduce_the_golden_case(model: str, filters: str) -> None:
    if filters == "kernels" and not LIBRARY.is_file():
        pytest.skip(f"{LIBRARY} is missing: make plugin")
    operators = FilterKernels(LIBRARY).operators() if filters == "kernels" else {}
    folder = ROOT / "model_repository" / model / "1"
    graph = TorchGraph(folder / "model.onnx", torch.device("cuda", 0), operators)
    network = GpuNetwork(graph, torch.device("cuda", 0), batch=16, streams=32, captured=True)
    with np.load(folder / "golden.npz") as golden:
        assert golden_difference(network, dict(golden)) < FP32
        assert golden_difference(network, dict(golden)) < FP32  # the state is as before


def test_nvjpeg_crops() -> None:
    assert DeviceCropper(CropSettings(), torch.device("cuda", 0)).way.startswith("crop by DALI on cuda:0 (nvJPEG)")
