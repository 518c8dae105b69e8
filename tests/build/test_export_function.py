# SPDX-License-Identifier: Apache-2.0
"""The function body of `eulernet::DIIRF`, alone in a graph, compared with scipy in every runtime."""

import numpy as np
import onnx
import pytest
import scipy.signal
import torch
from onnx import TensorProto, helper

from eulernet.diirf import DIIRF
from eulernet_build.diirf_function import INPUTS, OPSET, OUTPUTS, diirf_function
from eulernet_build.parity import Runner, onnxruntime_runner, openvino_runner

RUNNERS = {"ONNX Runtime": onnxruntime_runner, "OpenVINO": openvino_runner}
K, H, W = 3, 5, 7


def one_node(frames: int, **attributes: str) -> onnx.ModelProto:
    attributes = attributes or {"plugin_namespace": "eulernet", "plugin_version": "1"}
    signal, state = ["N", frames, K, H, W], ["N", K, H, W]
    shapes = dict(zip([*INPUTS, *OUTPUTS], [signal, state, state, [K, 5], signal, state, state], strict=True))
    values = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()}
    graph = helper.make_graph(
        [helper.make_node("DIIRF", INPUTS, OUTPUTS, domain="eulernet", **attributes)],
        "one_node",
        [values[name] for name in INPUTS],
        [values[name] for name in OUTPUTS],
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("eulernet", 1)]
    return helper.make_model(graph, functions=[diirf_function(frames)], opset_imports=opsets, ir_version=10)


def stable_coefficients(seed: int) -> np.ndarray:
    layer = DIIRF(K)
    with torch.no_grad():
        layer.b.copy_(torch.randn(K, 3, generator=torch.Generator().manual_seed(seed)))
        layer.p.copy_(torch.randn(K, 2, generator=torch.Generator().manual_seed(seed + 1)))
    return layer.coefficients().detach().numpy()


def scipy_filter(x: np.ndarray, h1: np.ndarray, h2: np.ndarray, coefficients: np.ndarray) -> list[np.ndarray]:
    """y, h1_out, h2_out in float64, in the node's layout."""
    y, new = np.empty(x.shape), np.empty((2, *h1.shape))
    for k, (b0, b1, b2, a1, a2) in enumerate(coefficients.astype(np.float64)):
        state = np.stack([h1[:, k], h2[:, k]], axis=1).astype(np.float64)
        y[:, :, k], final = scipy.signal.lfilter([b0, b1, b2], [1, a1, a2], x[:, :, k], axis=1, zi=state)
        new[0, :, k], new[1, :, k] = final[:, 0], final[:, 1]
    return [y, *new]


def run_blocks(run: Runner, x: np.ndarray, h1: np.ndarray, h2: np.ndarray, c: np.ndarray, t: int) -> list[np.ndarray]:
    """Runs the node over a long signal in blocks of t frames, with its state fed back."""
    parts = []
    for start in range(0, x.shape[1], t):
        out = run({"x": x[:, start : start + t], "h1": h1, "h2": h2, "coefficients": c})
        h1, h2 = out["h1_out"], out["h2_out"]
        parts.append(out["y"])
    return [np.concatenate(parts, axis=1), h1, h2]


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("frames", [1, 4, 6])
@pytest.mark.parametrize("runtime", RUNNERS)
def test_agrees_with_scipy(runtime: str, frames: int, n: int) -> None:
    model = one_node(frames)
    onnx.checker.check_model(model, full_check=True)
    run = RUNNERS[runtime](model)
    rng = np.random.default_rng(frames)
    x = rng.standard_normal((n, 24, K, H, W), dtype=np.float32)
    h1, h2 = (rng.standard_normal((n, K, H, W), dtype=np.float32) for _ in range(2))
    coefficients = stable_coefficients(seed=n)
    expected = scipy_filter(x, h1, h2, coefficients)
    actual = run_blocks(run, x, h1, h2, coefficients, frames)
    for name, want, got in zip(OUTPUTS, expected, actual, strict=True):
        assert got.dtype == np.float32, name
        np.testing.assert_allclose(got, want, rtol=0, atol=2e-6 * np.abs(want).max(), err_msg=name)


@pytest.mark.parametrize("frames", [1, 4])
def test_the_body_has_standard_operators_and_no_loops(frames: int) -> None:
    body = diirf_function(frames)
    assert (body.domain, body.name) == ("eulernet", "DIIRF")
    assert {node.domain for node in body.node} == {""}
    assert {node.op_type for node in body.node} == {
        "Constant", "Split", "Reshape", "Squeeze", "Mul", "Add", "Sub", "Unsqueeze", "Concat",
    }  # fmt: skip
    assert sum(node.op_type == "Mul" for node in body.node) == 5 * frames


def test_no_frames_are_refused() -> None:
    with pytest.raises(ValueError, match="DIIRF.* 0 frames"):
        diirf_function(0)
