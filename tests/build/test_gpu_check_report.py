# SPDX-License-Identifier: Apache-2.0
"""The rest of `eulernet gpu-check` on a CPU: speed targets, sanitizer, polygraphy, report and exit status."""

import io
import json
import math
import re
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from rich.console import Console

from eulernet_build.gpu_check import cases, engines, judge, kernel_speed, plain, sanitizer
from eulernet_build.gpu_check import gpu_check_report as report
from eulernet_build.gpu_check.cases import Case
from eulernet_build.gpu_check.gpu_check_command import gpu_check
from eulernet_build.gpu_check.judge import FAIL, PASS, SKIPPED, Row, Timing


@pytest.mark.parametrize(
    ("changes", "full", "outcome", "missed"),
    [
        ({}, True, PASS, ""),
        ({"copy_bytes_per_s": 1.2e12}, True, FAIL, "0.83 < 0.85"),
        ({"eager_s": 2.9e-3}, True, FAIL, "2.90 < 3"),
        ({"compiled_s": 1.4e-3}, True, FAIL, "1.40 < 1.5"),
        ({"compiled_s": 1.0e-3, "eager_s": 1e-3}, False, PASS, ""),
        ({"eager_s": math.nan}, True, FAIL, "nan"),
    ],
)
def test_full_batches_must_reach_the_targets(changes, full, outcome, missed):
    timing = replace(Timing(1e-3, 3.5e-3, 1.6e-3, 10**9, 1.1e12), **changes)
    row = judge.judge_timing("a", timing, full)
    assert row.outcome == outcome
    assert missed in row.figure
    assert "1000.0 us, 1000 GB/s" in row.figure


@pytest.mark.parametrize(
    ("traffic", "l2", "sets"), [(1 << 30, 50 << 20, 2), (10 << 20, 50 << 20, 20), (1000, 50 << 20, 64)]
)
def test_buffers_are_four_times_the_cache(traffic, l2, sets):
    assert kernel_speed.buffer_sets(traffic, l2) == sets


def test_the_baseline_compiles_as_one_graph():
    """A graph break or dynamic shapes would slow the baseline down and flatter the kernel."""
    gate = Case("DIIRFGate", 2, 3, 12, 4, 5, 7)
    given = plain.tensors(gate, cases.inputs(gate), "cpu")
    arguments = [given[name] for name in ("x", "weight", "h1", "h2", "coefficients", "status")]
    compiled = torch.compile(plain.diirf_gate, dynamic=False, fullgraph=True, backend="eager")
    for got, want in zip(compiled(*arguments), plain.diirf_gate(*arguments), strict=True):
        torch.testing.assert_close(got, want)


@pytest.mark.parametrize(
    ("status", "output", "outcome"),
    [
        (0, "========= COMPUTE-SANITIZER\n========= ERROR SUMMARY: 0 errors\n", PASS),
        (77, "========= Invalid __global__ write of size 4\n========= ERROR SUMMARY: 3 errors\n", FAIL),
        (1, "Traceback\nImportError: no torch\n", FAIL),
        (0, "", FAIL),
    ],
)
def test_a_sanitizer_run_needs_a_summary_to_pass(status, output, outcome):
    row = sanitizer.judge("memcheck", status, output)
    assert row.outcome == outcome


def test_without_a_sanitizer_its_part_is_skipped(monkeypatch, tmp_path):
    monkeypatch.setattr(sanitizer, "PLACES", ())
    monkeypatch.setenv("PATH", str(tmp_path))
    (row,) = sanitizer.check(tmp_path / "lib.so")
    assert row.outcome == SKIPPED
    assert "cuda-sanitizer" in row.figure


ROWS = [
    Row("kernels", "DIIRF n1", PASS, "y: error 1e-7", {"y": {"error": 1e-7}}),
    Row("kernels", "DIIRF n2", PASS, "y: error 1e-7", {}),
    Row("kernels", "DIIRFGate n1 [odd]", FAIL, "y: 3 of 4 values are NaN or infinite", {}),
    Row("engines", "eulernet", SKIPPED, "tensorrt is not installed", {}),
]


def test_the_table_shows_failures_and_counts_passes():
    console = Console(width=140, file=io.StringIO())
    console.print(report.table(ROWS))
    text = console.file.getvalue().replace("│", " ")
    assert re.search(r"kernels +2 shapes and types +pass", text)
    assert re.search(r"kernels +DIIRFGate n1 \[odd\] +fail +y: 3 of 4", text)
    assert re.search(r"engines +eulernet +skipped +tensorrt is not installed", text)
    assert report.summary(ROWS) == "2 passed, 1 failed, 1 skipped"


@pytest.mark.parametrize(
    ("some", "failed"), [(ROWS, True), (ROWS[:2], False), ([*ROWS[:2], ROWS[3]], False), (ROWS[3:], True), ([], True)]
)
def test_a_report_without_a_pass_has_failed(some, failed):
    assert report.failed(some) == failed


def test_the_report_as_json(tmp_path):
    path = tmp_path / "a" / "gpu_check.json"
    report.write_json(path, {"name": "a GPU"}, ROWS)
    content = json.loads(path.read_text())
    assert content["machine"] == {"name": "a GPU"}
    assert content["failed"] is True
    assert [row["outcome"] for row in content["rows"]] == [PASS, PASS, FAIL, SKIPPED]
    assert content["rows"][0]["values"] == {"y": {"error": 1e-7}}


def test_polygraphy_compares_two_runners():
    """The same graph twice in ONNX Runtime, then with another bias, through the calls that compare TensorRT."""
    from polygraphy.backend.onnxrt import OnnxrtRunner, SessionFromOnnx

    def runner(bias, name):
        x, y = (onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, ["N", 2]) for n in "xy")
        constant = onnx.helper.make_tensor("b", onnx.TensorProto.FLOAT, [2], [bias, 0.0])
        node = onnx.helper.make_node("Add", ["x", "b"], ["y"])
        graph = onnx.helper.make_graph([node], "g", [x], [y], [constant])
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
        return OnnxrtRunner(SessionFromOnnx(model.SerializeToString(), providers=["cpu"]), name=name)

    given = {"x": np.ones((3, 2), np.float32)}
    same = engines.compare("small", [runner(1.0, "A"), runner(1.0, "B")], given, "fp32")
    assert same.outcome == PASS
    assert {"A", "B", "0.0001"} <= set(same.figure.split())
    other = engines.compare("small", [runner(1.0, "A"), runner(1.01, "B")], given, "fp32")
    assert other.outcome == FAIL
    assert {"A", "B", "0.0001,"} <= set(other.figure.split())
    assert engines.compare("small", [runner(1.0, "A"), runner(1.001, "B")], given, "fp16").outcome == PASS
    nan = engines.compare("small", [runner(1.0, "A"), runner(math.nan, "B")], given, "fp32")
    assert nan.outcome == FAIL


def test_without_a_gpu_the_command_fails(no_gpu, tmp_path):
    result = CliRunner().invoke(gpu_check, ["--json", str(tmp_path / "gpu.json")])
    assert result.exit_code == 1
    assert "NVIDIA GPU" in result.output
    assert not (tmp_path / "gpu.json").exists()
