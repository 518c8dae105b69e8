# SPDX-License-Identifier: Apache-2.0
"""An assembled repository: its identity, which clients compare, and what it takes from the machine; `serve` with it."""

import shutil
import signal
import time
from pathlib import Path

import onnx
import pytest

from eulernet_core.tensors import CLIP_MODEL, STREAM_MODEL
from eulernet_core.weights_label import IDENTITY_PARAMETER
from eulernet_serving import cpu_precision
from eulernet_serving.core_shares import MOST_INSTANCES
from eulernet_serving.cpu_repository import PLACES_PER_CORE, assemble
from eulernet_serving.plan_records import graph_properties
from eulernet_serving.repository_manifest import CPU, CPU_ONE_STAGE
from eulernet_serving.triton_config import read_config
from tests.serving.served_process import Serving

ROOT = Path(__file__).parents[2]


def identities(repository: Path) -> list[str]:
    """Of the two ensembles."""
    configs = [read_config(repository / model / "configs" / "cpu.pbtxt") for model in (CLIP_MODEL, STREAM_MODEL)]
    return [config.parameters[IDENTITY_PARAMETER].string_value for config in configs]


def with_runtimes(folder: Path, **runtimes: str) -> Path:
    """The sources with other runtimes."""
    source = shutil.copytree(ROOT / "model_repository", folder)
    for model, runtime in runtimes.items():
        path = source / model / "configs" / "cpu.pbtxt"
        assert '"openvino"' in path.read_text()
        path.write_text(path.read_text().replace('"openvino"', f'"{runtime}"'))
    return source


@pytest.mark.parametrize(
    ("runtimes", "precision"),
    [
        ({}, "fp32"),
        ({"eulernet": "openvino-bf16", "eulernet_clip": "openvino-bf16"}, "bf16"),
        ({"eulernet_clip": "openvino-bf16"}, "bf16 fp32"),
    ],
)
def test_identity_is_the_hash_of_the_weights_and_the_precision(face_models, tmp_path, monkeypatch, runtimes, precision):
    monkeypatch.setattr(cpu_precision, "processor_features", frozenset)  # auto: no int8
    source = with_runtimes(tmp_path / "source", **runtimes)
    graph = onnx.load(source / "eulernet" / "1" / "model.onnx")
    expected = f"{graph_properties(graph)['parameters_sha256'][:16]} {precision}"
    out = assemble(tmp_path / "out", source, face_models)
    assert identities(out) == [expected] * 2
    assert identities(assemble(tmp_path / "again", source, face_models)) == [expected] * 2


@pytest.mark.parametrize(("target", "stages"), [(CPU, ("face_crop", "eulernet")), (CPU_ONE_STAGE, (STREAM_MODEL,))])
@pytest.mark.parametrize("cores", [1, 4, 64])
def test_places_and_instances_are_for_the_cores_that_serve(face_models, tmp_path, target, stages, cores):
    """Triton takes memory for each place, used or not."""
    out = assemble(tmp_path / "out", face_models=face_models, target=target, on_cores=cores)
    for stage in stages:
        config = read_config(out / stage / "configs" / f"{target}.pbtxt")
        (group,) = config.instance_group
        assert group.count == (min(cores, MOST_INSTANCES) if target == CPU_ONE_STAGE else 1)
        places = group.count * config.sequence_batching.oldest.max_candidate_sequences
        assert places == min(cores * PLACES_PER_CORE, 65_536)


def test_serve_says_why_a_repository_can_not_be_assembled(tmp_path):
    (tmp_path / "onnx.py").write_text("raise RuntimeError('not the installed module')")
    status, _, err = Serving("--precision=int3", cwd=tmp_path).end()
    assert status == 1
    assert err == "Error: precision int3: choose one of auto, fp32, bf16, int8\n"


def test_a_signal_ends_the_assembly(tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    serving = Serving(cwd=tmp_path, scratch=scratch)
    deadline_s = time.monotonic() + 30
    while len(serving.processes()) < 2:  # the supervisor and what assembles
        assert time.monotonic() < deadline_s, serving.err
        time.sleep(0.01)
    serving.process.send_signal(signal.SIGINT)
    status, _, err = serving.end()
    assert (status, err) == (0, "stopped\n")
    assert not serving.leftovers()
    assert not list(scratch.iterdir())
