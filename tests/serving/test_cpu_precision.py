# SPDX-License-Identifier: Apache-2.0
"""int8 on a CPU: chosen by measured error and processor, overridden, and part of the identity that clients compare."""

import re
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

from eulernet_build.parity import onnxruntime_runner
from eulernet_build.precision.int8 import calibrate, to_int8
from eulernet_build.precision.variants import CLIP, FOR_CPU, STEP, install_int8, read_graphs, record_loss
from eulernet_build.surgery import fuse
from eulernet_core.tensors import CLIP_MODEL, LIVENESS, STREAM_MODEL
from eulernet_core.weights_label import IDENTITY_PARAMETER
from eulernet_serving import cpu_precision
from eulernet_serving.cpu_precision import (
    ACER_CHANGE,
    AUTO,
    BF16,
    FP32,
    GOLDEN,
    INT8,
    INT8_GOLDEN,
    INT8_GRAPH,
    MOST_ACER_LOSS,
    NARROW,
    NEEDED_FEATURES,
    processor_runs,
)
from eulernet_serving.cpu_repository import GRAPHS, RepositoryError, assemble, assemble_cpu
from eulernet_serving.embedded_server import EmbeddedServer, Ports
from eulernet_serving.plan_records import graph_properties, precision_of, widest_weight
from eulernet_serving.repository_manifest import CPU, CPU_ONE_STAGE
from eulernet_serving.runtime import RuntimeSettings, make_runtime
from eulernet_serving.triton_config import read_config
from tests.conftest import FACE_MODELS, READY_TIMEOUT_S
from tests.model_repository.conftest import Raw

SHIPPED = Path(__file__).parents[2] / "model_repository"
SMALL_LOSS = "0.001"


def faces() -> np.ndarray:
    with np.load(SHIPPED / CLIP / "1" / "golden.npz") as golden:
        return golden["FACE"]


@pytest.fixture(scope="module")
def ranges() -> dict[str, float]:
    return calibrate(fuse(read_graphs(SHIPPED)[CLIP]), faces()[:1])


def with_int8(source: Path, ranges: dict[str, float], loss: str | None, *, narrow: bool = True) -> Path:
    """A copy of the sources with int8 graphs beside the served ones. `narrow`: weights of 7 bits, as for CPUs."""
    shutil.copytree(SHIPPED, source)
    made = {model: {FOR_CPU: to_int8(graph, ranges, narrow)} for model, graph in read_graphs(SHIPPED).items()}
    if loss is not None:
        record_loss(made, float(loss))
    files = [source / model / "1" / name for model in (STEP, CLIP) for name in (INT8_GRAPH, INT8_GOLDEN)]
    assert install_int8(made, source) == files
    return source


@pytest.fixture(scope="module")
def source(ranges: dict[str, float], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_int8(tmp_path_factory.mktemp("int8") / "source", ranges, SMALL_LOSS)


@pytest.fixture(scope="module")
def wide(ranges: dict[str, float], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """int8 graphs with weights of 8 bits."""
    return with_int8(tmp_path_factory.mktemp("wide") / "source", ranges, SMALL_LOSS, narrow=False)


@pytest.fixture
def avx2(monkeypatch: pytest.MonkeyPatch) -> None:
    """The processor has AVX2 and no VNNI, whether or not this one has."""
    monkeypatch.setattr(cpu_precision, "processor_features", lambda: frozenset({"avx2"}))


@pytest.fixture
def vnni(monkeypatch: pytest.MonkeyPatch) -> None:
    """The processor has VNNI, whether or not this one has."""
    monkeypatch.setattr(cpu_precision, "processor_features", lambda: frozenset({"avx2", "avx512_vnni"}))


@pytest.fixture
def no_features(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor without instructions for int8 and bf16."""
    monkeypatch.setattr(cpu_precision, "processor_features", lambda: frozenset({"sse4_2"}))


def precision(repository: Path) -> str:
    """Of the identity, which is the same for both ensembles."""
    configs = [read_config(repository / model / "configs" / "cpu.pbtxt") for model in (CLIP_MODEL, STREAM_MODEL)]
    (identity,) = {config.parameters[IDENTITY_PARAMETER].string_value for config in configs}
    _, found = re.fullmatch(r"([0-9a-f]{16}) (\S+)", identity).groups()
    return found


def runtimes(repository: Path) -> set[str]:
    configs = [read_config(repository / model / "configs" / "cpu.pbtxt") for model in GRAPHS]
    return {config.parameters["runtime"].string_value for config in configs}


@pytest.mark.usefixtures("avx2")
def test_int8_is_the_default_where_its_error_is_small(source, face_models, tmp_path):
    out = assemble(tmp_path / "out", source, face_models)
    assert re.fullmatch(r"int8-[0-9a-f]{8}", precision(out))
    assert runtimes(out) == {"openvino"}
    for model in GRAPHS:
        assert precision_of(onnx.load(out / model / "1" / "model.onnx")) == INT8
        served, asked = (
            np.load(folder / model / "1" / name) for folder, name in ((out, GOLDEN), (source, INT8_GOLDEN))
        )
        np.testing.assert_array_equal(served[LIVENESS], asked[LIVENESS])
        assert not list((out / model / "1").glob("*.int8.*"))
    again = assemble(tmp_path / "again", source, face_models)
    assert precision(again) == precision(out)


@pytest.mark.parametrize("loss", ["0.0051", "nan", None])
@pytest.mark.usefixtures("avx2")
def test_int8_of_a_large_or_unknown_error_serves_only_on_request(loss, ranges, face_models, tmp_path):
    source = with_int8(tmp_path / "source", ranges, loss)
    out = assemble(tmp_path / "out", source, face_models)
    assert (precision(out), runtimes(out)) == ("fp32", {"openvino"})
    assert not list(out.glob(f"*/1/{INT8_GRAPH}"))
    assert precision(assemble(tmp_path / "asked", source, face_models, INT8)).startswith("int8-")


def test_a_processor_without_the_instructions_serves_fp32(source, no_features, face_models, tmp_path):
    assert precision(assemble(tmp_path / "out", source, face_models)) == "fp32"
    for asked in (INT8, BF16):
        with pytest.raises(RepositoryError, match=f"{asked}: .*{NEEDED_FEATURES[asked][0]}.*--precision fp32"):
            assemble(tmp_path / "asked", source, face_models, asked)
    with pytest.raises(ValueError, match="avx512_vnni"):
        make_runtime(source / STEP / "1" / INT8_GRAPH, RuntimeSettings("openvino", 1))


def test_weights_whose_sums_overflow_without_vnni_serve_fp32(wide, avx2, face_models, tmp_path):
    assert precision(assemble(tmp_path / "out", wide, face_models)) == "fp32"
    message = r"int8: weights up to 127 need avx512_vnni or avx_vnni.*eulernet precision --install.*--precision fp32"
    with pytest.raises(RepositoryError, match=message):
        assemble(tmp_path / "asked", wide, face_models, INT8)
    with pytest.raises(ValueError, match=message):
        make_runtime(wide / STEP / "1" / INT8_GRAPH, RuntimeSettings("openvino", 1))


def test_weights_whose_sums_overflow_elsewhere_serve_with_vnni(wide, vnni, face_models, tmp_path):
    assert precision(assemble(tmp_path / "out", wide, face_models)).startswith("int8-")


@pytest.mark.parametrize("model", GRAPHS)
def test_every_processor_computes_the_same_sums_of_the_shipped_graph(model):
    """Those of float32, which holds them exactly: so ONNX Runtime computes without its optimizations."""
    if not processor_runs(INT8):
        pytest.skip("this processor has no AVX2")
    graph = onnx.load(SHIPPED / model / "1" / INT8_GRAPH)
    assert widest_weight(graph) == NARROW
    with np.load(SHIPPED / model / "1" / INT8_GOLDEN) as golden:
        inputs = {value.name: golden[value.name] for value in graph.graph.input}
        exact = onnxruntime_runner(graph, optimized=False)(inputs)
        np.testing.assert_allclose(golden["LOCATION_MAP"], exact["LOCATION_MAP"], atol=1e-2)
    found = make_runtime(SHIPPED / model / "1" / INT8_GRAPH, RuntimeSettings("openvino", 1))(inputs)
    # Where a value lies between two steps of the quantizer, a rounding decides.
    assert np.abs(found["LOCATION_MAP"] - exact["LOCATION_MAP"]).mean() < 5e-4
    np.testing.assert_allclose(found[LIVENESS], exact[LIVENESS], atol=1e-2)


def test_the_choice_can_be_overridden(source, face_models, tmp_path, monkeypatch):
    source = shutil.copytree(source, tmp_path / "source")
    monkeypatch.setattr(cpu_precision, "processor_features", lambda: frozenset({"avx2", "avx512_bf16"}))
    plain = assemble(tmp_path / "fp32", source, face_models, FP32)
    assert (precision(plain), runtimes(plain)) == ("fp32", {"openvino"})
    brief = assemble(tmp_path / "bf16", source, face_models, BF16)
    assert (precision(brief), runtimes(brief)) == ("bf16", {"openvino-bf16"})
    with pytest.raises(RepositoryError, match=r"int4: choose one of auto, fp32, bf16, int8"):
        assemble(tmp_path / "none", source, face_models, "int4")
    (source / STEP / "1" / INT8_GRAPH).unlink()
    with pytest.raises(RepositoryError, match=rf"{INT8_GRAPH}: missing; eulernet precision --install"):
        assemble(tmp_path / "none", source, face_models, INT8)


@pytest.mark.usefixtures("avx2")
def test_another_calibration_is_another_identity(source, ranges, face_models, tmp_path):
    wider = with_int8(tmp_path / "wider", {name: 1.1 * value for name, value in ranges.items()}, SMALL_LOSS)
    found = {precision(assemble(tmp_path / each.name, each, face_models, AUTO)) for each in (source, wider)}
    assert len(found) == 2


@pytest.mark.usefixtures("avx2")
def test_int8_of_other_weights_is_refused(source, face_models, tmp_path):
    other = shutil.copytree(source, tmp_path / "other")
    path = other / CLIP / "1" / INT8_GRAPH
    graph = onnx.load(path)
    (entry,) = (each for each in graph.metadata_props if each.key == "parameters_sha256")
    entry.value = "0" * 64
    onnx.save(graph, path)
    with pytest.raises(RepositoryError, match=f"{INT8_GRAPH}: of other weights"):
        assemble(tmp_path / "out", other, face_models, INT8)
    assert precision(assemble(tmp_path / "out", other, face_models)) == "fp32"


@pytest.mark.parametrize("model", GRAPHS)
def test_shipped_int8_graph_gives_its_golden_answers(model):
    """In ONNX Runtime on any processor, in OpenVINO where there is AVX2."""
    folder = SHIPPED / model / "1"
    graph, golden, plain = (folder / INT8_GRAPH, np.load(folder / INT8_GOLDEN), np.load(folder / GOLDEN))
    inputs = {value.name: golden[value.name] for value in onnx.load(graph).graph.input}
    for name, value in inputs.items():
        np.testing.assert_array_equal(value, plain[name])
    assert np.abs(golden[LIVENESS] - plain[LIVENESS]).max() < 0.15  # of a score of 0.6, which small steps move most
    assert np.abs(golden["LOCATION_MAP"] - plain["LOCATION_MAP"]).max() > 1e-3  # sure scores hardly differ
    labels = [graph_properties(onnx.load(each)) for each in (graph, folder / "model.onnx")]
    assert float(labels[0].pop(ACER_CHANGE)) <= MOST_ACER_LOSS
    assert labels[0] == labels[1]
    # What ONNX Runtime fuses it rounds in other places.
    answers = [(onnxruntime_runner(onnx.load(graph))(inputs), 5e-2)]
    if processor_runs(INT8):
        answers.append((make_runtime(graph, RuntimeSettings("openvino", 1))(inputs), 1e-2))
    for found, atol in answers:
        assert set(found) | set(inputs) == set(golden)
        np.testing.assert_allclose(found[LIVENESS], golden[LIVENESS], atol=atol)
        np.testing.assert_allclose(found["LOCATION_MAP"], golden["LOCATION_MAP"], atol=0.1)
        np.testing.assert_array_equal(found["FRAME_COUNT"], golden["FRAME_COUNT"])


@pytest.mark.triton
@pytest.mark.parametrize("target", [CPU, CPU_ONE_STAGE])
def test_shipped_int8_is_served(target, moving_faces, tmp_path):
    if not processor_runs(INT8):
        pytest.skip("this processor has no AVX2")
    assemble_cpu(tmp_path / "repository", FACE_MODELS, INT8, target)
    with EmbeddedServer(tmp_path / "repository", Ports(0, 0), tmp_path / "server.log") as running:
        running.wait_ready(READY_TIMEOUT_S)
        server = Raw(running)
        frames = moving_faces(4, 0)
        clip, stream = server.clip(frames), server.sequence(frames)
        running.check_running()
        running.kill()
    assert clip.count.tolist() == [1, 2, 3, 4] == [int(each.count[0]) for each in stream]
    found = [float(each.liveness[0]) for each in stream]
    np.testing.assert_allclose(found, clip.liveness, atol=0.02)  # the two graphs round at other places
    with np.load(SHIPPED / CLIP / "1" / INT8_GOLDEN) as golden:
        assert clip.location_map.shape == golden["LOCATION_MAP"].shape[1:]


def test_int8_is_not_for_bf16(vnni):
    with pytest.raises(ValueError, match="openvino-bf16"):
        make_runtime(SHIPPED / CLIP / "1" / INT8_GRAPH, RuntimeSettings("openvino-bf16", 1))
