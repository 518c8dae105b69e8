# SPDX-License-Identifier: Apache-2.0
"""For tests: a model repository whose networks give other scores, with a label and an identity of its own."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from eulernet_core.tensors import CLIP_MODEL, CLIP_NETWORK_MODEL, LIVENESS, STEP_NETWORK_MODEL, STREAM_MODEL
from eulernet_core.weights_label import IDENTITY_PARAMETER, WEIGHTS_PARAMETER

CANDIDATE_LABEL, CANDIDATE_IDENTITY = "candidate", "fedcba9876543210 fp32"


def make_candidate(repository: Path, out: Path, gain: float) -> Path:
    """A copy of a repository in which the liveness of every scored frame is multiplied by `gain`, at most 1."""
    shutil.copytree(repository, out)
    for network in (CLIP_NETWORK_MODEL, STEP_NETWORK_MODEL):
        path = out / network / "1" / "model.onnx"
        graph = onnx.load(path)
        _scale(graph.graph, gain)
        onnx.save(graph, path)
    for ensemble in (CLIP_MODEL, STREAM_MODEL):
        config = out / ensemble / "configs" / "cpu.pbtxt"
        text = config.read_text()
        for name, value in ((WEIGHTS_PARAMETER, CANDIDATE_LABEL), (IDENTITY_PARAMETER, CANDIDATE_IDENTITY)):
            text, found = re.subn(rf'(key: "{name}" value {{ string_value: ")[^"]*', rf"\g<1>{value}", text)
            assert found == 1, name
        config.write_text(text)
    return out


def _scale(graph: onnx.GraphProto, gain: float) -> None:
    """Puts a multiplication before the node that writes LIVENESS, which is 0 for frames without a score."""
    (last,) = [node for node in graph.node if LIVENESS in node.output]
    score = last.input[1]
    graph.initializer.append(numpy_helper.from_array(np.array(gain, np.float32), "candidate_gain"))
    place = list(graph.node).index(last)
    graph.node.insert(place, helper.make_node("Mul", [score, "candidate_gain"], ["candidate_score"]))
    last.input[1] = "candidate_score"
