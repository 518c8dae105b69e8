# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.runtimes` on the shipped network and an older one."""

import json

from click.testing import CliRunner

from benchmarks.runtimes.__main__ import main
from benchmarks.runtimes.network_times import OPENVINO, RUNTIMES, Network, Turn, summary
from eulernet_core import shipped
from eulernet_serving.cpu_precision import INT8, processor_runs


def test_every_runtime_is_timed_by_turns(tmp_path):
    graph = shipped.model_repository() / "eulernet_clip" / "1" / "model.onnx"
    arguments = ["--graph", str(graph), "--rounds", "1", "--seconds", "0.1", "--out", str(tmp_path)]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    rows = json.loads((tmp_path / "results.json").read_text())["rows"]
    int8 = [OPENVINO] if processor_runs(INT8) else []
    assert [row["runtime"] for row in rows] == [*RUNTIMES, *int8, *RUNTIMES]
    assert rows[0]["alone_ratio"] == [1.0, 1.0, 1.0]
    assert all(row["alone_ms"] > 0 and row["together_fps"] > 0 for row in rows)
    assert f"| {rows[0]['weights']} | fp32 | onnxruntime |" in result.output
    assert len(rows[0]["weights"]) == 8


def test_ratios_are_of_the_same_round():
    base, other = (Network(name, "fp32", OPENVINO, ()) for name in ("base", "other"))
    measured = [Turn(base, 0, 1, 2), Turn(other, 0, 2, 2), Turn(base, 1, 3, 6), Turn(other, 1, 12, 3)]
    row = summary(other, base, measured)
    assert row["alone_ratio"] == (3.0, 2.0, 4.0)
    assert row["together_ratio"] == (0.75, 0.5, 1.0)
