# SPDX-License-Identifier: Apache-2.0
"""A graph that differs from the network is never written: deliberately wrong graphs and their errors."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from eulernet.network import EulerNet, NetworkConfig, create
from eulernet_build import graphs, parity
from eulernet_build.export import ParityError, export, write_all
from eulernet_build.parity import check_runtimes, compare

NETWORK_CONFIG = NetworkConfig(image_size=32)


def nudge_head(network: EulerNet) -> None:
    assert network.head.bias is not None
    network.head.bias += 1e-3


def nudge_filter(network: EulerNet) -> None:
    network.fcams[1].filter.coefficients[0, 4] += 1e-2


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        pytest.param(nudge_head, r"LIVENESS .*ONNX Runtime, step graph: .* 1e-05 ", marks=pytest.mark.slow),
        pytest.param(nudge_filter, r"s3_out .*ONNX Runtime, step graph: ", marks=pytest.mark.slow),
    ],
)
def test_a_wrong_graph_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[EulerNet], None], message: str
) -> None:
    right = graphs.frozen

    def wrong(network: EulerNet) -> EulerNet:
        copied = right(network)
        with torch.no_grad():
            damage(copied)
        return copied

    monkeypatch.setattr(graphs, "frozen", wrong)
    (tmp_path / "step").mkdir()
    (tmp_path / "step/model.onnx").write_bytes(b"the graph before")
    with pytest.raises(ParityError, match=message):
        export(create(config=NETWORK_CONFIG), tmp_path / "step", tmp_path / "clip", "wrong")
    assert [path.name for path in tmp_path.rglob("*")] == ["step", "model.onnx"]
    assert (tmp_path / "step/model.onnx").read_bytes() == b"the graph before"


def test_an_error_leaves_no_file(tmp_path: Path) -> None:
    (tmp_path / "clip").write_text("a file where a folder should be")
    with pytest.raises(OSError, match="clip"):
        write_all({tmp_path / "step" / "model.onnx": b"step", tmp_path / "clip" / "model.onnx": b"clip"})
    assert not list((tmp_path / "step").iterdir())


def test_weights_must_have_a_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="''"):
        export(create(config=NETWORK_CONFIG), tmp_path, tmp_path, "")


GOOD = {"y": np.linspace(0, 1, 6, dtype=np.float32).reshape(2, 3), "n": np.array([1, 2], dtype=np.int32)}


def changed(name: str, index: tuple[int, ...], value: float) -> dict[str, np.ndarray]:
    tensors = {key: tensor.copy() for key, tensor in GOOD.items()}
    tensors[name][index] = value
    return tensors


@pytest.mark.parametrize(
    ("actual", "message"),
    [
        pytest.param(changed("y", (0, 0), 2e-5), r"y from X: .* 2e-05", id="too far"),
        pytest.param(changed("n", (1,), 3), r"n from X: .* 1,", id="integers must be equal"),
        pytest.param(changed("y", (0, 0), np.nan), r"y from X: NaN", id="NaN"),
        pytest.param(changed("y", (0, 0), np.inf), r"y from X: .*infinity", id="infinity"),
        pytest.param({"n": GOOD["n"]}, r"y from X: .* n$", id="missing"),
        pytest.param({**GOOD, "y": GOOD["y"].T}, r"y from X: float32\(3, 2\).*float32\(2, 3\)", id="shape"),
        pytest.param({**GOOD, "y": GOOD["y"].astype(np.float64)}, r"y from X: float64", id="type"),
    ],
)
def test_compare_names_the_difference(actual: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(ParityError, match=message):
        compare(GOOD, actual, "X")


def test_compare_refuses_an_expected_nan() -> None:
    with pytest.raises(ParityError, match="NaN"):
        compare(changed("y", (0, 0), np.nan), changed("y", (0, 0), np.nan), "X")


def test_compare_returns_the_largest_difference() -> None:
    assert compare(GOOD, GOOD, "X") == 0.0
    assert compare(GOOD, changed("y", (0, 0), 8e-6), "X") == pytest.approx(8e-6)


def test_the_tolerance_grows_with_the_largest_value() -> None:
    large = {"s": np.array([10.0, 0.0])}
    assert compare(large, {"s": np.array([10.0, 5e-5])}, "X") == pytest.approx(5e-6)
    with pytest.raises(ParityError, match="s from X: .* 0.0002,"):
        compare(large, {"s": np.array([10.0, 2e-4])}, "X")


def test_every_runtime_must_pass_the_golden_case(monkeypatch: pytest.MonkeyPatch) -> None:
    # Sigmoid of 0 is 1/2, and the golden case claims a little more: the first runtime differs, and the second if the
    # first is replaced.
    x = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 2])
    y = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N", 2])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Sigmoid", ["x"], ["y"])], "sigmoid", [x], [y])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    inputs = {"x": np.zeros((1, 2), dtype=np.float32)}
    half = np.full((1, 2), 0.5, dtype=np.float32)
    claimed = half + np.float32(0.001)
    assert check_runtimes(model, {**inputs, "y": half}, "sigmoid") == 0.0
    with pytest.raises(ParityError, match=r"y from ONNX Runtime, sigmoid: .* 0\.001,"):
        check_runtimes(model, {**inputs, "y": claimed}, "sigmoid")
    monkeypatch.setattr(parity, "onnxruntime_runner", lambda model: lambda inputs: {"y": claimed})
    with pytest.raises(ParityError, match=r"y from OpenVINO, sigmoid: .* 0\.001,"):
        check_runtimes(model, {**inputs, "y": claimed}, "sigmoid")
