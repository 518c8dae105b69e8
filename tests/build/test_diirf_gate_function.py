# SPDX-License-Identifier: Apache-2.0
"""The function body of DIIRFGate in ONNX Runtime and OpenVINO, compared with PyTorch's FCAM."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from eulernet.fcam import FCAM
from eulernet_build.diirf_gate_function import COEFFICIENTS, GATE_ATTRIBUTES, INPUTS, OUTPUTS, diirf_gate_function
from eulernet_build.parity import TOLERANCE, Tensors, compare, onnxruntime_runner, openvino_runner
from eulernet_core.status import NOT_SCORED, Status

RUNNERS = {"ONNX Runtime": onnxruntime_runner, "OpenVINO": openvino_runner}
CHANNELS, MAPS, HEIGHT, WIDTH = 6, 3, 5, 7
FEW = ~(Status.NO_FACE | Status.TOO_LARGE)  # leaves UNDECODABLE, so that half of random frames are usable


def one_gate(frames: int, data_type: int = TensorProto.FLOAT) -> onnx.ModelProto:
    """A DIIRFGate alone in a graph."""
    features, state = ["M", CHANNELS, HEIGHT, WIDTH], ["N", MAPS, HEIGHT, WIDTH]
    inputs = [features, [MAPS, CHANNELS], state, state, [MAPS, len(COEFFICIENTS)], ["N", frames]]
    types = [data_type, *[TensorProto.FLOAT] * 4, TensorProto.INT32]
    node = helper.make_node("DIIRFGate", INPUTS, OUTPUTS, domain="eulernet", **GATE_ATTRIBUTES)
    graph = helper.make_graph(
        [node],
        "one_gate",
        [helper.make_tensor_value_info(*each) for each in zip(INPUTS, types, inputs, strict=True)],
        [
            helper.make_tensor_value_info(name, kind, shape)
            for name, kind, shape in zip(OUTPUTS, types[:1] + types[2:4], [features, state, state], strict=True)
        ],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("eulernet", 1)]
    model = helper.make_model(graph, functions=[diirf_gate_function(frames)], opset_imports=opsets, ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model


def fcam_case(frames: int, n: int) -> tuple[Tensors, Tensors]:
    """Random inputs of a DIIRFGate with every kind of status, and the outputs of PyTorch's FCAM."""
    generator = torch.Generator().manual_seed(10 * frames + n)
    module = FCAM(CHANNELS, MAPS, differential=True)
    with torch.no_grad():
        module.compress.weight.copy_(torch.randn(MAPS, CHANNELS, 1, 1, generator=generator))
        module.filter.g.copy_(torch.randn(MAPS, generator=generator))
        module.filter.r.copy_(torch.randn(MAPS, generator=generator))
        module.filter.p.copy_(torch.randn(MAPS, 2, generator=generator))
    x = torch.randn(n * frames, CHANNELS, HEIGHT, WIDTH, generator=generator)
    h1, h2 = (torch.randn(n, MAPS, HEIGHT, WIDTH, generator=generator) for _ in range(2))
    status = torch.randint(0, 256, (n, frames), generator=generator, dtype=torch.int32) & FEW
    with torch.no_grad():
        y, _, *states = module(x, h1, h2, (status & NOT_SCORED) == 0, (status & Status.RELOCATED) != 0)
        weight = module.compress.weight[:, :, 0, 0]
        coefficients = torch.cat([module.filter.coefficients(), module.filter.start()], dim=1)
    given = (x, weight, h1, h2, coefficients, status)
    return (
        {name: tensor.detach().numpy() for name, tensor in zip(INPUTS, given, strict=True)},
        {name: tensor.numpy() for name, tensor in zip(OUTPUTS, (y, *states), strict=True)},
    )


@pytest.mark.parametrize("n", [1, 5])
@pytest.mark.parametrize("frames", [1, 4])
@pytest.mark.parametrize("runtime", RUNNERS)
def test_the_body_is_fcam(runtime: str, frames: int, n: int) -> None:
    inputs, expected = fcam_case(frames, n)
    assert compare(expected, RUNNERS[runtime](one_gate(frames))(inputs), runtime) <= TOLERANCE


@pytest.mark.parametrize("runtime", RUNNERS)
def test_a_still_opens_its_gates_by_one_half(runtime: str) -> None:
    """Exactly at the first frame; afterwards up to the rounding of b0 + b1 + b2."""
    inputs, _ = fcam_case(frames=4, n=1)
    inputs["x"][1:] = inputs["x"][0]
    inputs["status"][:] = [[Status.RELOCATED, 0, 0, 0]]
    y = RUNNERS[runtime](one_gate(4))(inputs)["y"]
    np.testing.assert_array_equal(y[0], inputs["x"][0] / 2)
    np.testing.assert_allclose(y, inputs["x"] / 2, rtol=0, atol=1e-5)


def test_half_features_are_computed_in_float() -> None:
    inputs, _ = fcam_case(frames=4, n=2)
    half = inputs["x"].astype(np.float16)
    expected = onnxruntime_runner(one_gate(4))({**inputs, "x": half.astype(np.float32)})
    actual = onnxruntime_runner(one_gate(4, TensorProto.FLOAT16))({**inputs, "x": half})
    assert actual["y"].dtype == np.float16
    np.testing.assert_array_equal(actual["y"], expected["y"].astype(np.float16))
    for name in OUTPUTS[1:]:
        np.testing.assert_array_equal(actual[name], expected[name])


def test_a_nan_stays_in_its_pixel() -> None:
    inputs, expected = fcam_case(frames=1, n=2)
    inputs["x"][0, 2, 3, 4] = np.nan
    actual = onnxruntime_runner(one_gate(1))(inputs)
    assert np.argwhere(np.isnan(actual["y"]).any(axis=1)).tolist() == [[0, 3, 4]]
    rest = np.ones_like(expected["y"], bool)
    rest[0, :, 3, 4] = False
    np.testing.assert_allclose(actual["y"][rest], expected["y"][rest], atol=1e-5)


def test_no_frames_are_refused() -> None:
    with pytest.raises(ValueError, match="DIIRFGate.* 0 frames"):
        diirf_gate_function(0)
