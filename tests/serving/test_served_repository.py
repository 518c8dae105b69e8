# SPDX-License-Identifier: Apache-2.0
"""The supervisor on a repository in the layout of a GPU node.

No plan runs here, so the folder holds the embedded server's models, and the `tritonserver` on PATH is the wheel's.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from eulernet_serving.cpu_repository import assemble_cpu
from eulernet_serving.embedded_server import EmbeddedServer, Ports, ServerError
from eulernet_serving.inference_probe import WAYS
from eulernet_serving.repository_manifest import NAME, read_manifest
from eulernet_serving.served_repository import AUTOLOAD_LIBRARY, read_served, tensorrt_options
from eulernet_serving.supervisor import stages_of
from eulernet_serving.triton_wheel import TritonMissingError, install
from tests.conftest import FACE_MODELS
from tests.serving.served_process import Serving, Stream


@pytest.fixture(scope="module")
def node_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository in the layout of a GPU node: `models/`, `config.pbtxt` in place of `configs/cpu.pbtxt`."""
    source, folder = tmp_path_factory.mktemp("cpu") / "repository", tmp_path_factory.mktemp("node")
    assemble_cpu(source, FACE_MODELS)
    manifest = json.loads((source / NAME).read_text())
    for model in [path for path in source.iterdir() if path.is_dir()]:
        shutil.copytree(model, folder / "models" / model.name, ignore=shutil.ignore_patterns("configs"))
        shutil.copy(model / "configs" / "cpu.pbtxt", folder / "models" / model.name / "config.pbtxt")
    (folder / "python").mkdir()
    (folder / NAME).write_text(json.dumps(manifest | {"target": "gpu", "models": "models", "files": {}}))
    return folder


@pytest.fixture(scope="module")
def tritonserver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for PATH with a `tritonserver` that finds its backends, as an installed one does."""
    folder = tmp_path_factory.mktemp("triton")
    triton = install(folder)
    program = folder / "bin" / "tritonserver"
    program.parent.mkdir()
    libraries = triton.environment["LD_LIBRARY_PATH"]
    program.write_text(
        f'#!/bin/sh\nLD_LIBRARY_PATH={libraries} exec {triton.server} --backend-directory={triton.backends} "$@"\n'
    )
    program.chmod(0o755)
    return program.parent


def test_the_target_decides_what_is_loaded(node_folder: Path, repository: Path) -> None:
    node, embedded = read_served(node_folder), read_served(repository)
    assert (node.target, node.models, node.python) == ("gpu", node_folder / "models", node_folder / "python")
    assert not [option for option in node.options if "config-name" in option]
    assert (embedded.target, embedded.models, embedded.python) == ("cpu", repository, None)
    assert embedded.options == ("--model-config-name=cpu",)
    for way in WAYS:
        assert stages_of(node_folder, way) == stages_of(repository, way) != []


@pytest.mark.parametrize(
    ("modes", "expected"),
    [
        (["none"], []),
        (["none", "beside"], [f"--backend-config=tensorrt,plugins=/r/plugins/{AUTOLOAD_LIBRARY}"]),
        (["serialized"], ["--backend-config=tensorrt,version-compatible=true"]),
    ],
)
def test_plans_decide_the_options_of_tensorrt(modes: list[str], expected: list[str]) -> None:
    assert tensorrt_options("/r", modes) == expected


def test_a_broken_manifest_is_named(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text("{}")
    with (
        pytest.raises(ServerError, match=NAME),
        EmbeddedServer(tmp_path, Ports(0, 0), tmp_path / "server.log"),
    ):
        pass


def test_a_gpu_nodes_repository_needs_an_installed_triton(
    node_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert read_manifest(node_folder).target == "gpu"
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    with (
        pytest.raises(TritonMissingError, match="tritonserver"),
        EmbeddedServer(node_folder, Ports(0, 0), tmp_path / "server.log"),
    ):
        pass


@pytest.mark.triton
def test_the_supervisor_runs_the_installed_triton(
    node_folder: Path, tritonserver: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moving_faces
) -> None:
    path = f"{tritonserver}:/usr/bin:/bin"
    monkeypatch.setenv("PATH", path)
    serving = Serving("--repository", str(node_folder), "--drain-timeout-s", "10", cwd=tmp_path)
    try:
        serving.wait_ready()
        assert serving.get("/readyz")[0] == 200
        stream = Stream(serving.url, 7, moving_faces(1, 0)[0])
        assert stream.send(last=True) >= 0
        serving.pid_of("face_crop")
    finally:
        serving.process.terminate()
        status, _, err = serving.end()
    assert status == 0, err
    assert not serving.leftovers()
