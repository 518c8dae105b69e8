# SPDX-License-Identifier: Apache-2.0
"""The configuration of `eulernet serve --gpu` compared with the CPU's, and the repository that is assembled from it."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from tritonclient.grpc import model_config_pb2
from tritonclient.grpc.model_config_pb2 import ModelConfig

from docs.generate.configuration_reference import configuration_page
from eulernet_core.weights_label import IDENTITY_PARAMETER
from eulernet_serving.cpu_repository import RepositoryError
from eulernet_serving.gpu_pip_repository import NETWORKS, GpuParts, assemble_gpu_pip
from eulernet_serving.gpu_presence import CPU, DEVICE_VARIABLE, GpuMissingError, check_gpu
from eulernet_serving.repository_manifest import GPU_PIP, faults, read_manifest
from eulernet_serving.serve_command import serve
from eulernet_serving.served_repository import read_served
from eulernet_serving.triton_config import read_config
from tests.conftest import FACE_MODELS
from tests.model_repository.test_configs import ENSEMBLES, REPOSITORY, on_a_cpu, signature, wiring_faults

CONFIGS = {path.parents[1].name: read_config(path) for path in sorted(REPOSITORY.glob("*/configs/gpu_pip.pbtxt"))}
BOUNDS = ("max_sequences", "max_sequences_per_caller", "max_idle_s")
KINDS = model_config_pb2.ModelInstanceGroup


def cpu_config(model: str) -> ModelConfig:
    """Of a stage that the CPU configuration has merged with another one: production's."""
    path = REPOSITORY / model / "configs" / "cpu.pbtxt"
    return read_config(path if path.is_file() else REPOSITORY / model / "config.pbtxt")


def test_every_model_but_the_crops_is_configured() -> None:
    assert set(CONFIGS) == {path.name for path in REPOSITORY.iterdir()} - {"face_crop", "clip_crop"}


@pytest.mark.parametrize("ensemble", ENSEMBLES)
def test_ensembles_are_wired_and_keep_their_inputs_and_outputs(ensemble: str) -> None:
    assert wiring_faults(CONFIGS, ensemble) == []
    assert signature(CONFIGS[ensemble].input) == on_a_cpu(ensemble)(cpu_config(ensemble).input)
    assert signature(CONFIGS[ensemble].output) == on_a_cpu(ensemble)(cpu_config(ensemble).output)


@pytest.mark.parametrize("model", sorted(set(CONFIGS) - set(ENSEMBLES)))
def test_stages_mean_the_same_as_on_the_cpu(model: str) -> None:
    gpu, cpu = CONFIGS[model], cpu_config(model)
    assert signature(gpu.output) == on_a_cpu(model)(cpu.output)
    assert gpu.max_batch_size == cpu.max_batch_size
    assert gpu.sequence_batching == cpu.sequence_batching
    assert gpu.backend == "python"
    assert [group.kind for group in gpu.instance_group] == [KINDS.KIND_GPU if model in NETWORKS else KINDS.KIND_CPU]
    assert all(tensor.allow_ragged_batch == (-1 in tensor.dims) for tensor in gpu.input)
    given, other = ({n: each.string_value for n, each in config.parameters.items()} for config in (gpu, cpu))
    assert [given.get(name) for name in BOUNDS] == [other.get(name) for name in BOUNDS]


@pytest.mark.parametrize("model", NETWORKS)
def test_the_file_of_the_stage_exists(model: str) -> None:
    assert (REPOSITORY / model / "1" / CONFIGS[model].default_model_filename).is_file()


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of plans and libraries with stand-ins for files that no CPU can make."""
    folder = tmp_path_factory.mktemp("engines")
    (folder / "eulernet").mkdir()
    (folder / "eulernet" / "model.fp16.sm90.trt10.13.3.9.plan").write_bytes(b"plan")
    (folder / "eulernet" / "model.fp16.sm90.trt10.13.3.9.plan.json").write_text("{}")
    (folder / "eulernet" / "without_record.plan").write_bytes(b"plan")
    shutil.copy(REPOSITORY / "eulernet" / "1" / "model.onnx", folder / "eulernet" / "graph.onnx")
    (folder / "libeulernet_kernels.so").write_bytes(b"library")
    return folder


def test_the_repository_holds_plans_libraries_and_a_manifest(
    engines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(DEVICE_VARIABLE, raising=False)
    out = tmp_path / "repository"
    parts = GpuParts(engines=(engines, tmp_path / "none"), plugins=engines, precision="fp16")
    assert assemble_gpu_pip(out, parts, face_models=FACE_MODELS).target == GPU_PIP
    assert {path.name for path in out.iterdir() if path.is_dir()} == set(CONFIGS)
    files = {path.name for path in (out / "eulernet" / "1").iterdir()}
    assert {"model.onnx", "graph.onnx", "golden.npz", "gpu_pip.py", "libeulernet_kernels.so"} <= files
    assert {name for name in files if ".plan" in name} == {
        "model.fp16.sm90.trt10.13.3.9.plan",
        "model.fp16.sm90.trt10.13.3.9.plan.json",
    }
    for model in NETWORKS:
        config = read_config(out / model / "configs" / "gpu_pip.pbtxt")
        assert config.parameters["precision"].string_value == "fp16"
        assert config.instance_group[0].kind == KINDS.KIND_GPU
    identity = read_config(out / "antispoof" / "configs" / "gpu_pip.pbtxt").parameters[IDENTITY_PARAMETER].string_value
    assert re.fullmatch(r"[0-9a-f]{16} fp16", identity)
    assert faults(out, read_manifest(out)) == []
    served = read_served(out)
    assert (served.embedded, served.options) == (True, ("--model-config-name=gpu_pip",))
    assert served.config("eulernet").is_file()
    (out / "eulernet" / "1" / "libeulernet_kernels.so").write_bytes(b"other")
    assert len(faults(out, read_manifest(out))) == 1


def test_on_a_cpu_no_instance_wants_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DEVICE_VARIABLE, CPU)
    assemble_gpu_pip(tmp_path / "out", GpuParts(engines=(), plugins=tmp_path), face_models=FACE_MODELS)
    configs = [read_config(path) for path in (tmp_path / "out").glob("*/configs/gpu_pip.pbtxt")]
    assert {group.kind for config in configs for group in config.instance_group} == {KINDS.KIND_CPU}


def test_a_precision_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RepositoryError, match="fp12"):
        assemble_gpu_pip(tmp_path / "out", GpuParts(precision="fp12"), face_models=FACE_MODELS)
    assert not (tmp_path / "out").exists()


def test_the_configuration_reference_has_every_parameter_and_its_meaning() -> None:
    page = configuration_page()
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \| (\S+) \| (\S+) \| (.*) \|$", page, re.MULTILINE)
    for model in NETWORKS:
        found = {parameter: meaning for name, parameter, _, _, meaning in rows if name == model}
        assert set(CONFIGS[model].parameters) <= set(found), model
        assert all(found.values()), model


def test_serve_needs_a_gpu_and_its_own_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(DEVICE_VARIABLE, raising=False)
    asked = CliRunner().invoke(serve, ["--gpu", "--repository", "out"])
    assert (asked.exit_code, "--repository" in asked.output) == (2, True)
    if shutil.which("nvidia-smi") is None:
        assert "libcuda.so.1" in CliRunner().invoke(serve, ["--gpu"]).output


@pytest.mark.parametrize("command", [["serve", "--gpu"], ["repository", "--target", "gpu"]])
def test_without_dali_the_gpu_configurations_name_the_extra(command: list[str], tmp_path: Path) -> None:
    """In an environment with the packages of `eulernet[serve,client]` alone."""
    hidden = tmp_path / "nvidia"
    hidden.mkdir()
    (hidden / "__init__.py").write_text("")
    code = [sys.executable, "-c", "from eulernet_core.command_root import main; main()", *command]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), DEVICE_VARIABLE: CPU}
    done = subprocess.run(code, capture_output=True, text=True, timeout=120, env=environment, cwd=tmp_path)
    assert done.returncode == 1
    assert "pip install 'eulernet[gpu]'" in done.stderr


def test_a_wrong_switch_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DEVICE_VARIABLE, "tpu")
    with pytest.raises(GpuMissingError, match="tpu"):
        check_gpu()
    monkeypatch.setenv(DEVICE_VARIABLE, CPU)
    check_gpu()


def test_the_manifest_is_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DEVICE_VARIABLE, CPU)
    out = tmp_path / "out"
    assemble_gpu_pip(out, GpuParts(engines=(), plugins=tmp_path), face_models=FACE_MODELS)
    assert json.loads((out / "manifest.json").read_text())["target"] == GPU_PIP
