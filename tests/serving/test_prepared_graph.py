# SPDX-License-Identifier: Apache-2.0
"""Graphs that were converted when the repository was assembled: the same answers, and never of another graph."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from eulernet_serving import core_shares, openvino_runtime
from eulernet_serving.graph_preparation import prepare
from eulernet_serving.prepared_graph import find_prepared, record_of
from eulernet_serving.runtime import RuntimeSettings, make_runtime

REPOSITORY = Path(__file__).parents[2] / "model_repository"


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    """The step graph, alone in a folder."""
    return Path(shutil.copy(REPOSITORY / "eulernet" / "1" / "model.onnx", tmp_path))


@pytest.fixture
def no_compilation(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """A function; once it was called, a model that is compiled is a failure."""

    def refuse(*_: object) -> None:
        raise AssertionError("compiled again")

    return lambda: monkeypatch.setattr(openvino_runtime, "_compiled", refuse)


def test_a_prepared_graph_gives_the_same_answers(graph: Path) -> None:
    golden = np.load(REPOSITORY / "eulernet" / "1" / "golden.npz")
    before = make_runtime(graph, RuntimeSettings(threads=1))
    inputs = {name: golden[name] for name in before.input_names}
    assert find_prepared(graph) is None
    assert prepare(graph) == find_prepared(graph)
    after = make_runtime(graph, RuntimeSettings(threads=1))
    assert after.input_names == before.input_names
    for name, value in before(inputs).items():
        np.testing.assert_array_equal(after(inputs)[name], value, err_msg=name)


def test_rows_are_those_of_the_batch_in_separate_memory(graph: Path) -> None:
    golden = np.load(REPOSITORY / "eulernet" / "1" / "golden.npz")
    loaded = make_runtime(graph, RuntimeSettings(threads=2))
    inputs = {name: golden[name] for name in loaded.input_names}
    together = loaded(inputs)
    count = len(next(iter(inputs.values())))
    assert count > 1
    rows = loaded.rows([{name: value[i : i + 1] for name, value in inputs.items()} for i in range(count)])
    for i, row in enumerate(rows):
        for name, value in row.items():
            expected = np.asarray(together[name][i : i + 1], np.float64)
            tolerance = 1e-5 * max(1.0, np.abs(expected).max())
            np.testing.assert_allclose(np.asarray(value, np.float64), expected, atol=tolerance, err_msg=name)
            memory = value if value.base is None else value.base
            assert memory.nbytes <= 2 * value.nbytes, f"{name} keeps the batch alive"


def test_a_replaced_graph_is_prepared_again(graph: Path) -> None:
    prepare(graph)
    assert find_prepared(graph) is not None
    model = onnx.load(graph)
    model.producer_version = "another"
    onnx.save(model, graph)
    assert find_prepared(graph) is None
    assert make_runtime(graph, RuntimeSettings(threads=1)).input_names


def test_a_record_of_another_release_is_not_used(graph: Path) -> None:
    record = record_of(prepare(graph).file)
    values = json.loads(record.read_text())
    del values["fed"]
    record.write_text(json.dumps(values))
    assert find_prepared(graph) is None
    assert make_runtime(graph, RuntimeSettings(threads=1)).input_names


@pytest.mark.parametrize("missing", ["model.xml", "model.bin", "model.xml.prepared.json"])
def test_a_part_that_is_missing_is_made_again(graph: Path, missing: str) -> None:
    prepare(graph)
    (graph.parent / missing).unlink()
    assert find_prepared(graph) is None
    assert make_runtime(graph, RuntimeSettings(threads=1)).input_names


def test_assembling_prepares_what_the_stages_name(repository: Path) -> None:
    for model, name in (("eulernet", "model"), ("eulernet_clip", "model"), ("face_crop", "face_detector")):
        prepared = find_prepared(repository / model / "1" / f"{name}.onnx")
        assert prepared is not None, model
        assert prepared.file.is_file()


LOADS = """
import json, sys
from pathlib import Path
from eulernet_serving.runtime import RuntimeSettings, make_runtime
make_runtime(Path(sys.argv[1]), RuntimeSettings(threads=1))
print(json.dumps(sorted({"onnx", "scipy", "google.protobuf"} & set(sys.modules))))
"""


def test_a_stage_loads_no_converter(repository: Path) -> None:
    graph = repository / "eulernet" / "1" / "model.onnx"
    done = subprocess.run([sys.executable, "-c", LOADS, str(graph)], check=True, capture_output=True, timeout=60)
    assert json.loads(done.stdout) == []


@pytest.mark.parametrize(("cores", "networks", "decoders"), [(1, 1, 1), (2, 2, 2), (16, 16, 16)])
def test_threads_are_shared_out_once(monkeypatch: pytest.MonkeyPatch, cores: int, networks: int, decoders: int) -> None:
    monkeypatch.setattr(core_shares, "cores", lambda: cores)
    assert (core_shares.network_threads(), core_shares.decoder_threads()) == (networks, decoders)
    assert (core_shares.network_threads(3), core_shares.decoder_threads(3)) == (3, 3)


@pytest.mark.parametrize("model", ["eulernet", "eulernet_clip"])
@pytest.mark.parametrize("name", ["model.onnx", "model.int8.onnx"])
def test_a_compiled_model_gives_the_same_answers(
    model: str, name: str, tmp_path: Path, no_compilation: Callable[[], None]
) -> None:
    graph = Path(shutil.copy(REPOSITORY / model / "1" / name, tmp_path))
    golden = np.load(REPOSITORY / model / "1" / "golden.npz")
    before = make_runtime(graph, RuntimeSettings(threads=1))
    inputs = {name: golden[name] for name in before.input_names}
    assert prepare(graph).compiled_for == openvino_runtime.compiled_for()
    no_compilation()
    for threads in (1, 2):
        after = make_runtime(graph, RuntimeSettings(threads=threads))
        for name, value in before(inputs).items():
            np.testing.assert_array_equal(after(inputs)[name], value, err_msg=name)


@pytest.mark.parametrize("fault", ["elsewhere", "garbage", "empty", "gone"])
def test_a_model_compiled_for_elsewhere_or_broken_is_compiled_anew(
    fault: str, graph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob = prepare(graph).file.with_suffix(".blob")
    if fault == "elsewhere":
        monkeypatch.setattr(openvino_runtime, "processor_features", lambda: frozenset({"avx2", "fma", "avx10"}))
        blob.write_bytes(b"of another processor")  # would be refused, and reported
    elif fault == "gone":
        blob.unlink()
    else:
        blob.write_bytes(b"garbage" if fault == "garbage" else b"")
    reported: list[str] = []
    monkeypatch.setattr(openvino_runtime._LOG, "warning", lambda text, *_: reported.append(text))
    golden = np.load(REPOSITORY / "eulernet" / "1" / "golden.npz")
    loaded = make_runtime(graph, RuntimeSettings(threads=1))
    found = loaded({name: golden[name] for name in loaded.input_names})
    np.testing.assert_allclose(found["LIVENESS"], golden["LIVENESS"], atol=1e-5)
    assert bool(reported) is (fault in ("garbage", "empty"))
