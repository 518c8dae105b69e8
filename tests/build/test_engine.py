# SPDX-License-Identifier: Apache-2.0
"""TensorRT plans: every call checked against the real Python bindings of 10.13 and 11, and all steps without a GPU."""

import ast
import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper

from eulernet_build import engine
from eulernet_build.engine_command import MODELS, golden_for, served_graph
from eulernet_build.engine_command import engine as command
from eulernet_build.gpu import DRIVER_LIBRARY
from eulernet_build.parity import ParityError, onnxruntime_runner
from eulernet_core.whole_files import sha256_of
from eulernet_serving import plan_records as plans
from eulernet_serving.plan_records import PlanError, PlanRecord, Profile

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "model_repository"
BUILD = ROOT / "build" / "eulernet_build"
CALLERS = [BUILD / "tensorrt_api.py", BUILD / "engine.py", BUILD / "gpu_check" / "engines.py"]
VERSIONS = ["10.13.3.9", "11.4.0.106"]
CACHE = ROOT / "out" / "tensorrt_bindings"
LIBRARIES = ("nvinfer", "nvinfer_plugin", "nvonnxparser")
# Functions of TensorRT's libraries that the extension module links; importing it calls none of them.
NEEDED = ("getNvOnnxParserVersion", "getBuilderPluginRegistry", "initLibNvInferPlugins")

# The bindings need TensorRT's libraries, which the package index lacks. Empty libraries with their names satisfy the
# loader; the tests examine the classes, enumerations and signatures of the bindings themselves.
DUMP = """
import json, os, sys
sys.setdlopenflags(os.RTLD_LAZY)
import tensorrt_bindings
from mypy.stubgenc import generate_stub_for_c_module
generate_stub_for_c_module("tensorrt_bindings.tensorrt", sys.argv[1], known_modules=["tensorrt_bindings.tensorrt"])
def names(value, prefix):
    for name in dir(value):
        yield prefix + name
        if isinstance(getattr(value, name), type) and name[0].isupper():
            yield from names(getattr(value, name), prefix + name + ".")
print(json.dumps(sorted(names(tensorrt_bindings, ""))))
"""

# Calls that TensorRT 11, or both versions, do not support.
WRONG = """
import tensorrt as trt
def build(builder: trt.Builder, config: trt.IBuilderConfig) -> None:
    builder.build_cuda_engine(config)
    config.set_timing_cache(cache=None)
    config.max_workspace_size = 1
    config.int8_calibrator = None
"""


@dataclasses.dataclass
class Bindings:
    """The real Python bindings of one TensorRT: their dotted names, and mypy's errors for code that uses them."""

    version: str
    names: set[str]
    errors: list[str]


@pytest.fixture(scope="module", params=VERSIONS)
def bindings(request, tmp_path_factory) -> Bindings:
    folder = tmp_path_factory.mktemp(f"trt{request.param}")
    package = unpacked_wheel(request.param, folder)
    source = folder / "empty.c"
    source.write_text("".join(f"void {name}(void) {{ __builtin_trap(); }}\n" for name in NEEDED))
    for library in LIBRARIES:
        output = folder / f"lib{library}.so.{request.param.split('.')[0]}"
        subprocess.run(["cc", "-shared", "-fPIC", "-o", output, source], check=True)
    environment = {**os.environ, "PYTHONPATH": str(package), "LD_LIBRARY_PATH": str(folder)}
    done = run([sys.executable, "-c", DUMP, folder / "module.pyi"], environment)
    assert done.returncode == 0, done.stderr
    stub = folder / "stubs" / "tensorrt" / "__init__.pyi"
    stub.parent.mkdir(parents=True)
    stub.write_text(repaired((folder / "module.pyi").read_text()))
    wrong = folder / "wrong.py"
    wrong.write_text(WRONG)
    options = ["--config-file=", "--follow-imports=skip", "--ignore-missing-imports", "--check-untyped-defs"]
    options += ["--explicit-package-bases", f"--cache-dir={CACHE / f'mypy-{request.param}'}"]
    environment = {**os.environ, "MYPYPATH": f"{folder / 'stubs'}:{ROOT / 'build'}"}
    checked = run([sys.executable, "-m", "mypy", *options, *CALLERS, wrong], environment)
    assert checked.stderr == ""
    errors = [line for line in checked.stdout.splitlines() if ": error:" in line and str(stub.name) not in line]
    return Bindings(request.param, set(json.loads(done.stdout)), errors)


def run(arguments, environment=None):
    return subprocess.run(
        list(map(str, arguments)), env=environment, cwd=ROOT, capture_output=True, text=True, check=False
    )


def unpacked_wheel(version: str, folder: Path) -> Path:
    """The bindings' wheel for this Python, downloaded the first time."""
    if shutil.which("cc") is None:
        pytest.skip("no C compiler (cc) for the empty libraries: apt-get install gcc")
    package = CACHE / f"{version}-py{sys.version_info.major}{sys.version_info.minor}"
    if not package.is_dir():
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder]
        done = run([*pip, f"tensorrt-cu13-bindings=={version}"])
        if done.returncode:
            pytest.skip(f"tensorrt-cu13-bindings {version} not available: {done.stderr.strip().splitlines()[-1]}")
        (wheel,) = folder.glob("*.whl")
        zipfile.ZipFile(wheel).extractall(folder / "wheel")
        package.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(folder / "wheel", package, dirs_exist_ok=True)
    return package


def repaired(stub: str) -> str:
    """Mends a generated stub: a missing buffer, a type with the name of Python's bool, defaults before no defaults."""
    stub = re.sub(r"^bool: DataType$", "", stub, flags=re.MULTILINE)
    buffer = "    def __buffer__(self, flags: int, /) -> memoryview: ..."
    stub = stub.replace("class IHostMemory:", f"class IHostMemory:\n{buffer}")
    lines = f"{stub}\n__version__: str\ndef nptype(trt_type: DataType) -> type[numpy.generic]: ...\n".splitlines()
    while True:
        try:
            ast.parse("\n".join(lines))
        except SyntaxError as error:
            (head,) = re.findall(r"^\s*def \w+", lines[error.lineno - 1])
            lines[error.lineno - 1] = f"{head}(self, *args: Any, **kwargs: Any) -> Any: ..."
        else:
            return "\n".join(lines) + "\n"


def chains(text: str) -> set[str]:
    """Every name `X.Y` that a module uses as `trt.X.Y`."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        names = []
        while isinstance(node, ast.Attribute):
            names.append(node.attr)
            node = node.value
        if names and isinstance(node, ast.Name) and node.id == "trt":
            found.add(".".join(reversed(names)))
    return {chain for chain in found if not chain.startswith("__version__.")}  # a string's methods


def test_every_name_of_tensorrt_exists(bindings):
    used = set().union(*(chains(path.read_text()) for path in CALLERS))
    assert {"Builder", "BuilderFlag.TF32", "OnnxParser", "NetworkDefinitionCreationFlag.STRONGLY_TYPED"} <= used
    assert used - bindings.names == set()


def test_a_removed_name_is_detected(bindings):
    used = chains("trt.Builder(trt.BuilderFlag.FP16, trt.IInt8EntropyCalibrator2, trt.BuilderFlag.FP99)")
    gone = {"BuilderFlag.FP16", "IInt8EntropyCalibrator2"} if bindings.version.startswith("11") else set()
    assert used - bindings.names == {"BuilderFlag.FP99", *gone}


def test_every_call_matches_the_real_signatures(bindings):
    assert [error for error in bindings.errors if "wrong.py" not in error] == []


def test_a_wrong_call_is_detected(bindings):
    found = "\n".join(bindings.errors)
    assert '"Builder" has no attribute "build_cuda_engine"' in found
    assert 'Missing positional argument "ignore_mismatch"' in found
    assert '"IBuilderConfig" has no attribute "max_workspace_size"' in found
    assert ('"IBuilderConfig" has no attribute "int8_calibrator"' in found) == bindings.version.startswith("11")


@pytest.mark.parametrize(
    ("max_batch", "expected"),
    [
        (1, [(1, 1, 1)]),
        (8, [(1, 8, 8)]),
        (16, [(1, 1, 8), (1, 16, 16)]),
        (64, [(1, 1, 8), (1, 64, 64)]),
    ],
)
def test_profiles_cover_every_batch(max_batch, expected):
    made = plans.profiles(max_batch)
    assert [dataclasses.astuple(each) for each in made] == expected
    for batch in range(1, max_batch + 1):
        assert any(each.least <= batch <= each.most for each in made)


@pytest.mark.parametrize("sizes", [(0, 1, 1), (1, 9, 8), (4, 3, 8)])
def test_a_profile_out_of_order_is_refused(sizes):
    with pytest.raises(ValueError, match=":".join(map(str, sizes))):
        Profile(*sizes)


def test_a_plans_name_contains_architecture_and_version():
    assert plans.plan_name("fp16", "9.0", "10.13.3.9") == "model.fp16.sm90.trt10.13.3.9.plan"
    assert plans.plan_name("int8", "12.0", "11.4.0.106") == "model.int8.sm120.trt11.4.0.106.plan"
    assert plans.architecture("8.9") == "sm89"


def record(**changes) -> PlanRecord:
    values = PlanRecord(
        model="eulernet",
        plan_sha256="",
        graph_sha256="g",
        parameters_sha256="p",
        weights="untrained",
        precision="fp32",
        tensorrt="10.13.3.9",
        capability="9.0",
        gpu="NVIDIA H100",
        max_batch=64,
        profiles=plans.profiles(64),
        plugin="beside",
        plugin_sha256="l",
        difference=1e-6,
        build_s=12.5,
    )
    return dataclasses.replace(values, **changes)


def test_a_plan_is_written_with_its_record(tmp_path):
    path, written = engine.write_plan(b"a plan", record(), tmp_path)
    assert path == tmp_path / "eulernet" / "model.fp32.sm90.trt10.13.3.9.plan"
    assert written.plan_sha256 == sha256_of(path)
    assert plans.read_record(path) == written


def test_a_plan_without_a_record_or_with_a_broken_one_is_refused(tmp_path):
    path, _ = engine.write_plan(b"a plan", record(), tmp_path)
    beside = path.with_name(path.name + ".json")
    path.write_bytes(b"another plan")
    with pytest.raises(PlanError, match=r"\.plan: .*\.plan\.json.*eulernet engine"):
        plans.read_record(path)
    path.write_bytes(b"a plan")
    beside.write_text(beside.read_text().replace('"precision"', '"precison"'))
    with pytest.raises(PlanError, match=r"plan\.json: .*precision.*eulernet engine"):
        plans.read_record(path)
    beside.unlink()
    with pytest.raises(PlanError, match=r"\.plan: .*\.plan\.json"):
        plans.read_record(path)


def small_graph(*nodes, initializer=()):
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 4]) for name in "xy")
    return helper.make_model(helper.make_graph(list(nodes), "small", [x], [y], list(initializer)))


@pytest.mark.parametrize(
    ("nodes", "precision"),
    [
        ([helper.make_node("Relu", ["x"], ["y"])], "fp32"),
        (
            [
                helper.make_node("Cast", ["x"], ["h"], to=TensorProto.FLOAT16),
                helper.make_node("Cast", ["h"], ["y"], to=TensorProto.FLOAT),
            ],
            "fp16",
        ),
        ([helper.make_node("Cast", ["x"], ["y"], to=TensorProto.BFLOAT16)], "bf16"),
        (
            [
                helper.make_node("Cast", ["x"], ["h"], to=TensorProto.FLOAT16),
                helper.make_node("QuantizeLinear", ["h", "s", "z"], ["y"]),
            ],
            "int8",
        ),
    ],
)
def test_the_graph_determines_the_precision(nodes, precision):
    assert plans.precision_of(small_graph(*nodes)) == precision


@pytest.fixture(scope="module")
def graphs(face_models, tmp_path_factory) -> dict[str, Path]:
    """The default graphs of `eulernet engine`."""
    out = tmp_path_factory.mktemp("engines")
    return {model: served_graph(model, SOURCE, out, face_models) for model in MODELS}


def test_only_the_trained_graphs_need_the_plugin(graphs):
    nodes = {model: plans.plugin_nodes(onnx.load(path)) for model, path in graphs.items()}
    assert [len(nodes[model]) for model in MODELS] == [3, 3, 0]
    for model in ("eulernet", "eulernet_clip"):
        assert plans.creators(nodes[model]) == {("DIIRFGate", "2", "eulernet")}
        assert plans.precision_of(onnx.load(graphs[model])) == "fp32"


@pytest.mark.parametrize("model", MODELS)
def test_an_equal_runtime_passes_the_golden_case(model, graphs):
    """ONNX Runtime replaces TensorRT; rows, batches and comparison are the same."""
    graph = onnx.load(graphs[model])
    golden = golden_for(model, graphs[model], None, SOURCE)
    runners = [(profile, onnxruntime_runner(graph)) for profile in (Profile(1, 1, 2), Profile(1, 5, 5))]
    assert engine.check_plan(runners, golden, plans.TOLERANCES["fp32"], model) < 1e-5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda out: out.update(LIVENESS=out["LIVENESS"] + 2e-4), "LIVENESS .*step, batch 2"),
        (lambda out: out["s0_out"].__setitem__((1, 0, 0, 0), np.nan), "s0_out .*batch 2: .*NaN"),
        (lambda out: out.pop("s3_out"), "s3_out .*batch 2"),
        (lambda out: out.update(FRAME_COUNT=out["FRAME_COUNT"] + 1), "FRAME_COUNT .*batch 2: .* 1,"),
        (lambda out: out.update(STATUS_OUT=out["STATUS_OUT"] * 0), "STATUS_OUT .*batch 2: .* 98,"),
    ],
)
def test_a_wrong_output_fails_the_golden_case(change, message, graphs):
    golden = golden_for("eulernet", graphs["eulernet"], None, SOURCE)
    right = onnxruntime_runner(onnx.load(graphs["eulernet"]))

    def wrong(inputs):
        outputs = {name: value.copy() for name, value in right(inputs).items()}
        if len(outputs["LIVENESS"]) > 1:  # only in full batches
            change(outputs)
        return outputs

    with pytest.raises(ParityError, match=message):
        engine.check_plan([(Profile(1, 1, 2), wrong)], golden, plans.TOLERANCES["fp32"], "step")


def test_a_golden_case_of_another_graph_is_refused(graphs):
    with pytest.raises(engine.EngineError, match=r"golden\.npz: .*s0_in, .*eulernet export"):
        golden_for("eulernet", graphs["eulernet"], SOURCE / "eulernet_clip" / "1" / "golden.npz", SOURCE)


def test_a_quantized_graph_is_compared_with_its_own_outputs(tmp_path):
    quantize = [("QuantizeLinear", ["x", "scale", "zero"], ["q"]), ("DequantizeLinear", ["q", "scale", "zero"], ["y"])]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in "xy"]
    constants = [
        helper.make_tensor("scale", TensorProto.FLOAT, [], [0.5]),
        helper.make_tensor("zero", TensorProto.INT8, [], [0]),
    ]
    nodes = [helper.make_node(*each) for each in quantize]
    graph = helper.make_graph(nodes, "rounded", values[:1], values[1:], constants)
    path, golden = tmp_path / "int8.onnx", tmp_path / "golden.npz"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    np.savez(golden, x=np.float32([0.3, 1.1]), y=np.float32([0.3, 1.1]))
    case = golden_for("eulernet", path, golden, SOURCE)
    assert case.inputs["x"].tolist() == np.float32([0.3, 1.1]).tolist()
    assert case.outputs["y"].tolist() == [0.5, 1.0]


@pytest.mark.parametrize(("version", "fits"), [("10.12.0.36", False), ("10.13.2.6", True), ("11.4.0.106", True)])
def test_the_oldest_tensorrt_is_10_13(version, fits):
    if fits:
        engine.check_version(version)
    else:
        with pytest.raises(engine.EngineError, match=r"10\.12\.0\.36.*10\.13"):
            engine.check_version(version)


def test_without_a_gpu_tensorrt_fails(no_gpu, tmp_path):
    result = CliRunner().invoke(command, ["eulernet", "--builder", "tensorrt", "--out", str(tmp_path)])
    assert result.exit_code == 1
    assert re.search(rf"NVIDIA GPU.*({DRIVER_LIBRARY}|nvidia-smi)", result.output)
    assert list(tmp_path.iterdir()) == []


def test_a_graph_needs_exactly_one_model():
    result = CliRunner().invoke(command, ["--graph", str(SOURCE / "eulernet" / "1" / "model.onnx")])
    assert result.exit_code == 2
    assert "--graph" in result.output
    assert "MODEL" in result.output


@pytest.mark.gpu
def test_the_driver_describes_the_gpu(gpu):
    assert re.fullmatch(r"\d+\.\d", gpu.capability)
    assert gpu.memory_bytes > 1 << 30
