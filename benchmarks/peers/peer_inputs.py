# SPDX-License-Identifier: Apache-2.0
"""Makes or finds what single ways need: the int8 graph, MiniFASNet's graphs, an earlier tree. Names what is missing."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import onnx

from benchmarks.pages import say
from benchmarks.peers.earlier_tree import HOW_TO_UNPACK, check_tree
from benchmarks.peers.errors import BenchError
from benchmarks.peers.results import STREAMS
from benchmarks.peers.ways import Inputs
from eulernet_core import shipped
from eulernet_core.tensors import CLIP_NETWORK_MODEL
from eulernet_serving.cpu_precision import FP32, INT8, INT8_GRAPH, VNNI, has_vnni
from eulernet_serving.cpu_repository import assemble, assemble_cpu
from eulernet_serving.plan_records import precision_of
from eulernet_serving.repository_manifest import CPU_ONE_STAGE

FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_bf16", "amx_int8")  # for the page
NO_VNNI = f"This processor has no VNNI ({' or '.join(VNNI)}): int8 gains less here."


@dataclass(frozen=True)
class Wanted:
    """Options of the command. `before`: an earlier tree; `int8_graph`: the clip network's, the repository's by default;
    `minifasnet`: folder of its published weights, random ones by default."""

    before: Path | None = None
    int8_graph: Path | None = None
    minifasnet: Path | None = None


def prepare(
    repository: Path, out: Path, keys: Collection[str], wanted: Wanted, sizes: Collection[tuple[int, int]]
) -> Inputs:
    """The inputs of the ways `keys`.

    Args:
        repository: the served one.
        out: folder for what is made.
        sizes: width and height in px of the frames.
    Raises: BenchError for an option that names something else; RepositoryError, FetchError.
    """
    absent: dict[str, str] = {}
    notes: list[str] = []
    served = onnx.load(repository / CLIP_NETWORK_MODEL / "1" / "model.onnx")
    int8, earlier, graphs, one_stage = None, None, None, None
    if "a8" in keys:
        int8, absent["a8"] = _int8_graph(wanted.int8_graph)
        if int8 is not None and not has_vnni():
            notes.append(NO_VNNI)
    if "c0" in keys:
        earlier, absent["c0"] = wanted.before, "" if wanted.before else f"needs an earlier tree: {HOW_TO_UNPACK}"
    if earlier is not None:
        check_tree(earlier)
        notes.append("(c0) has the weights and the network of its own commit.")
        shutil.rmtree(out / "earlier_repository", ignore_errors=True)  # may be of another tree
    if {"f", "fo"} & set(keys):
        graphs = _silent_face_graphs(out / "silent_face", wanted.minifasnet, out / "retinaface", sizes)
        weights = "the published weights" if wanted.minifasnet else "random weights, so that the scores mean nothing"
        notes.append(
            f"Silent-Face's way has {weights}. It detects every frame, as that project does: (f) with the detector of "
            "(a), which costs less than that project's own, (fo) with that one's shape and random weights."
        )
    if {"c1", *STREAMS["c1"]} & set(keys):
        one_stage = out / "one_stage_repository"
        assemble_cpu(one_stage, target=CPU_ONE_STAGE)
    return Inputs(
        fp32=assemble(out / "fp32_repository", precision=FP32),
        one_stage=one_stage,
        int8=int8,
        silent_face=graphs,
        retinaface=out / "retinaface",
        earlier=earlier,
        earlier_repository=out / "earlier_repository",
        absent={key: reason for key, reason in absent.items() if reason},
        notes=tuple(notes),
        served_int8=precision_of(served) == INT8,
    )


def _int8_graph(given: Path | None) -> tuple[Path | None, str]:
    """The graph, or None and the reason. Raises: BenchError for a given file that is none."""
    path = given or shipped.model_repository() / CLIP_NETWORK_MODEL / "1" / INT8_GRAPH
    if given is None and not path.is_file():
        vnni = "" if has_vnni() else f" {NO_VNNI}"
        return None, (
            f"the repository has no {INT8_GRAPH}; `eulernet precision --install` puts it there, or name what "
            f"`eulernet precision` wrote, such as --int8-graph out/precision/{CLIP_NETWORK_MODEL}/model.int8.cpu.onnx."
            f"{vnni}"
        )
    if not path.is_file() or precision_of(onnx.load(path)) != INT8:
        raise BenchError(
            f"--int8-graph {path}: not an int8 graph; `eulernet precision` writes one for the clip network"
        )
    return path, ""


def _silent_face_graphs(out: Path, weights: Path | None, detectors: Path, sizes: Collection[tuple[int, int]]) -> Path:
    """Writes the graphs in a program of its own. Raises: BenchError."""
    say("graphs of MiniFASNet")
    shutil.rmtree(out, ignore_errors=True)
    given = [] if weights is None else ["--weights", str(weights)]
    given += ["--detectors", str(detectors), "--frames", *(f"{width}x{height}" for width, height in sizes)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.peers.silent_face_graphs", "--out", str(out), *given],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BenchError(f"MiniFASNet's graphs: {done.stderr.strip()[-1000:]}")
    return out
