# SPDX-License-Identifier: Apache-2.0
"""`eulernet engine` without a GPU: the builder and the GPUs it chooses, and plans by TensorRT for RTX."""

import pytest
from click.testing import CliRunner

from eulernet_build import engine
from eulernet_build.engine_command import engine as command
from eulernet_build.engine_command import served_graph
from eulernet_build.gpu import Gpu, NoGpuError
from eulernet_build.rtx_plan_order import BINDINGS, CAPABILITIES, find_packages
from eulernet_core.shipped import model_repository
from eulernet_core.tensors import STEP_NETWORK_MODEL
from eulernet_core.whole_files import sha256_of
from eulernet_serving.gpu_repository import Choice, RepositoryError, assemble_gpu
from eulernet_serving.plan_records import RTX_PREFIX, plan_name, read_record


def gpu_of(monkeypatch, capability):
    """This machine has a GPU of this capability, or none."""

    def find():
        if capability is None:
            raise NoGpuError("no NVIDIA GPU")
        return Gpu("a GPU", capability, "13.0", 1, 1, 1)

    monkeypatch.setattr(engine, "find_gpu", find)


@pytest.mark.parametrize(
    ("asked", "tensorrt", "rtx", "expected"),
    [
        (None, True, True, "tensorrt"),
        (None, True, False, "tensorrt"),
        (None, False, True, "tensorrt-rtx"),
        (None, False, False, None),
        ("tensorrt-rtx", True, True, "tensorrt-rtx"),
        ("tensorrt-rtx", True, False, None),
        ("tensorrt", True, True, "tensorrt"),
    ],
)
def test_tensorrt_is_preferred(asked, tensorrt, rtx, expected, monkeypatch, tmp_path):
    monkeypatch.setattr(engine, "find_spec", lambda name: object() if tensorrt else None)
    monkeypatch.setattr(engine, "find_packages", lambda: tmp_path if rtx else None)
    if expected:
        assert engine.choose_builder(asked) == expected
    else:
        with pytest.raises(engine.EngineError, match="pip install .*tensorrt-rtx"):
            engine.choose_builder(asked)


@pytest.mark.parametrize(
    ("builder", "own", "asked", "expected"),
    [
        ("tensorrt", "9.0", [], ("9.0",)),
        ("tensorrt", "9.0", ["9.0"], ("9.0",)),
        ("tensorrt", "9.0", ["8.9"], None),
        ("tensorrt", None, ["8.9"], None),
        ("tensorrt-rtx", None, ["8.9", "12.0", "8.9"], ("8.9", "12.0")),
        ("tensorrt-rtx", "8.6", [], ("8.6",)),
        ("tensorrt-rtx", "9.0", [], None),
        ("tensorrt-rtx", None, ["9.0"], None),
        ("tensorrt-rtx", None, [], None),
    ],
)
def test_targets(builder, own, asked, expected, monkeypatch):
    gpu_of(monkeypatch, own)
    if expected:
        assert engine.choose_targets(builder, asked) == expected
    else:
        with pytest.raises(engine.EngineError):
            engine.choose_targets(builder, asked)


def test_plans_of_rtx_have_another_name():
    assert plan_name("fp16", "8.9", f"{RTX_PREFIX}1.7.1.116") == "model.fp16.sm89.rtx1.7.1.116.plan"


def test_packages_without_libraries_are_not_found(monkeypatch, tmp_path):
    (tmp_path / BINDINGS).mkdir()
    (tmp_path / BINDINGS / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    assert find_packages() is None


def test_the_command_builds_for_a_gpu_elsewhere(rtx, recorder, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(rtx)
    options = ["--builder", "tensorrt-rtx", "--target", CAPABILITIES[-1], "--level", "0", "--max-batch", "2"]
    options += ["--plugin", str(recorder), "--out", str(tmp_path)]
    result = CliRunner().invoke(command, [STEP_NETWORK_MODEL, *options])
    assert result.exit_code == 0, result.output
    (plan,) = (tmp_path / STEP_NETWORK_MODEL).glob("*.plan")
    record = read_record(plan)
    assert record.file_name == plan.name
    assert record.for_rtx
    assert (record.capability, record.difference, record.max_batch) == (CAPABILITIES[-1], None, 2)
    assert (record.plugin, record.plugin_sha256) == ("beside", sha256_of(recorder))
    graph = served_graph(STEP_NETWORK_MODEL, model_repository(), tmp_path / "again")
    assert record.graph_sha256 == sha256_of(graph)
    with pytest.raises(RepositoryError, match=f"{STEP_NETWORK_MODEL}: no plan"):
        assemble_gpu(tmp_path / "repository", tmp_path, tmp_path, Choice())


def test_the_command_names_a_gpu_that_rtx_refuses(rtx, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(rtx)
    result = CliRunner().invoke(command, ["--target", "9.0", "--builder", "tensorrt-rtx", "--out", str(tmp_path)])
    assert result.exit_code == 1
    assert "9.0" in result.output
    assert CAPABILITIES[0] in result.output
