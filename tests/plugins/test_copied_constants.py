# SPDX-License-Identifier: Apache-2.0
"""Constants that C++, CUDA or the build script repeat, compared with their Python sources."""

import re
from pathlib import Path

import pytest

from eulernet.diirf import ONNX_DOMAIN, ONNX_OP, PLUGIN_ATTRIBUTES
from eulernet.network import NetworkConfig
from eulernet_build import diirf_function, diirf_gate_function, engine
from eulernet_build.diirf_gate_function import COEFFICIENTS, GATE_ATTRIBUTES, GATE_OP
from eulernet_build.gpu_check import kernels
from eulernet_core.status import NOT_SCORED, Status

PLUGIN = Path(__file__).parents[2] / "plugins" / "diirf"
OP_FILES = {ONNX_OP: ("diirf_op.cpp", diirf_function), GATE_OP: ("gate_op.cpp", diirf_gate_function)}
ATTRIBUTES = {ONNX_OP: PLUGIN_ATTRIBUTES, GATE_OP: GATE_ATTRIBUTES}


def constant(file: str, name: str) -> str:
    """Value of a `constexpr` constant, without quotes."""
    (value,) = re.findall(rf"constexpr [\w* ]+\b{name} = ([^;]+);", (PLUGIN / file).read_text())
    return value.strip('"')


def test_status_values_are_the_pipelines() -> None:
    assert int(constant("biquad.cuh", "kRelocated")) == Status.RELOCATED
    assert int(constant("biquad.cuh", "kNotScored")) == NOT_SCORED


@pytest.mark.parametrize("op", OP_FILES)
def test_the_namespace_is_the_graphs(op: str) -> None:
    assert constant("plugin.h", "kNamespace") == ONNX_DOMAIN == ATTRIBUTES[op]["plugin_namespace"]


@pytest.mark.parametrize("op", OP_FILES)
def test_ops_have_the_function_bodies_names_and_tensors(op: str) -> None:
    file, body = OP_FILES[op]
    text = (PLUGIN / file).read_text()
    versions = re.findall(r'^const Op \w+\{"(\w+)", "(\d+)"', text, re.MULTILINE)
    assert versions == [(op, ATTRIBUTES[op]["plugin_version"])]
    assert re.findall(r'\{"(\w+)", \d, Input::Kind::\w+\}', text) == body.INPUTS
    (positions,) = re.findall(r"enum\s*\{([^}]*)\}", text)
    assert [name.strip().lower() for name in positions.split(",") if name.strip()] == body.INPUTS
    assert int(constant("plugin.h", "kOutputs")) == len(body.OUTPUTS)


def test_a_filter_has_two_states_and_the_function_bodies_coefficients() -> None:
    text = (PLUGIN / "biquad.cuh").read_text()
    ((coefficients, starts),) = re.findall(r"Real (b0[^;]+);.*const float\* starts; // (s1[^;]+);", text, re.DOTALL)
    assert [*coefficients.split(", "), *starts.split(", ")] == COEFFICIENTS
    assert int(constant("biquad.cuh", "kCoefficients")) == len(coefficients.split(", "))
    assert int(constant("biquad.cuh", "kGateCoefficients")) == len(COEFFICIENTS)
    (states,) = re.findall(r"struct State\s*\{\s*Real ([^;]+);", text)
    assert states.split(", ") == [name for name in diirf_function.INPUTS if name.startswith("h")]


def test_the_one_pass_kernels_support_the_networks_maps() -> None:
    supported = re.findall(r"a\.k == (\d+)", (PLUGIN / "dispatch.cuh").read_text())
    assert str(NetworkConfig().compressed_channels) in supported


def test_libraries_and_tensorrt_are_the_build_scripts(build) -> None:
    assert build.MIN_TENSORRT == engine.OLDEST
    root = PLUGIN.parents[1]
    targets = set(re.findall(r"add_library\((\w+) SHARED", (PLUGIN / "CMakeLists.txt").read_text()))
    for library in (engine.PLUGIN_LIBRARY, kernels.LIBRARY):
        assert root / library.parent == build.OUT
        assert library.stem.removeprefix("lib") in targets
