# SPDX-License-Identifier: Apache-2.0
"""The identity of an assembled repository, which clients compare: the weights' hash and the precision."""

import shutil
from pathlib import Path

import onnx
import pytest

from eulernet_core.tensors import CLIP_MODEL, STREAM_MODEL
from eulernet_core.weights_label import IDENTITY_PARAMETER
from eulernet_serving import cpu_precision
from eulernet_serving.cpu_repository import assemble
from eulernet_serving.plan_records import graph_properties
from eulernet_serving.triton_config import read_config

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
