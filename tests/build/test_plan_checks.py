# SPDX-License-Identifier: Apache-2.0
"""The checks of a parsed network and of a plan: each fault that TensorRT accepts silently is named."""

from dataclasses import replace

import pytest
from onnx import ModelProto, TensorProto, helper

from eulernet_build.plan_checks import (
    PLAN_FIELD,
    NetworkDescription,
    NetworkTensor,
    PluginLayer,
    network_faults,
    plan_faults,
)

X = NetworkTensor("x", (-1, 32, 8, 8), "HALF")
H = NetworkTensor("h", (-1, 4, 8, 8), "FLOAT")
WEIGHT = NetworkTensor("w", (4, 32), "FLOAT")
STATUS = NetworkTensor("status", (-1, 1), "INT32")
GATE = PluginLayer("gate", (X, WEIGHT, H, H, WEIGHT, STATUS), (X, H, H))
FILTER = PluginLayer("filter", (X, H, H, WEIGHT), (X, H, H))


@pytest.fixture
def graph() -> ModelProto:
    """A graph with the interface of `network`."""
    inputs = [helper.make_tensor_value_info("h", TensorProto.FLOAT, ["N", 4, 8, 8])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 4, 8, 8])]
    node = helper.make_node("Relu", ["h"], ["y"])
    return helper.make_model(helper.make_graph([node], "small", inputs, outputs))


@pytest.fixture
def network() -> NetworkDescription:
    return NetworkDescription((H,), (replace(H, name="y"),), (GATE, FILTER), 9)


def test_a_right_network_has_no_fault(network, graph):
    assert network_faults(network, graph, 2) == []


@pytest.mark.parametrize("layer", [GATE, FILTER], ids=lambda layer: layer.name)
@pytest.mark.parametrize(
    ("position", "wrong", "word"),
    [
        (0, replace(X, dtype="FLOAT"), "FLOAT"),
        (0, replace(X, shape=(-1, 32, 8)), "(-1, 32, 8)"),
        (1, replace(H, dtype="HALF"), "HALF"),
        (1, replace(H, shape=X.shape), str(X.shape)),
        (2, replace(H, dtype="HALF"), "HALF"),
        (2, replace(H, shape=(-1, 4, 8, 9)), "(-1, 4, 8, 9)"),
    ],
)
def test_a_wrong_output_of_a_plugin_is_named(layer, position, wrong, word, network, graph):
    outputs = [*layer.outputs]
    outputs[position] = replace(wrong, name="wrong")
    (fault,) = network_faults(replace(network, plugins=(replace(layer, outputs=tuple(outputs)),)), graph, 1)
    assert layer.name in fault
    assert "wrong" in fault
    assert word in fault


def test_a_plugin_of_another_interface_is_named(network, graph):
    lost = replace(GATE, inputs=GATE.inputs[:5]), replace(FILTER, outputs=FILTER.outputs[:2])
    assert len(network_faults(replace(network, plugins=lost), graph, 2)) == 2


def test_missing_plugin_layers_are_counted(network, graph):
    (fault,) = network_faults(network, graph, 3)
    assert "2 of 3" in fault


@pytest.mark.parametrize(
    "change",
    [
        {"inputs": (replace(H, name="other"),)},
        {"inputs": (replace(H, dtype="HALF"),)},
        {"outputs": (replace(H, name="y", shape=(-1, 4, 8, 9)),)},
        {"outputs": ()},
    ],
)
def test_another_interface_of_the_network_is_named(change, network, graph):
    assert len(network_faults(replace(network, **change), graph, 2)) == 1


def test_a_plan_needs_the_field_of_every_plugin():
    assert plan_faults(b"..." + PLAN_FIELD * 3, 3) == []
    assert len(plan_faults(b"..." + PLAN_FIELD * 2, 3)) == 1
    assert plan_faults(b"", 0) == []


def test_the_plugins_write_that_field(root):
    assert f'"{PLAN_FIELD.decode()}"' in (root / "plugins" / "diirf" / "plugin.h").read_text()
