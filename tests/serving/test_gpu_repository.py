# SPDX-License-Identifier: Apache-2.0
"""Assembled repositories: a GPU node's files, the manifest, and every fault that verification must find.

Plans and plugin libraries are files of any content here: assembling never looks inside them.
"""

import dataclasses
import json
import shutil
import subprocess
import sys
import time
from importlib.metadata import packages_distributions
from pathlib import Path

import numpy as np
import onnx
import pytest
import simplejpeg
from click.testing import CliRunner
from skimage.data import astronaut

from eulernet_build import engine
from eulernet_build.export import LABELLED
from eulernet_core.status import NOT_SCORED
from eulernet_core.tensors import CLIP_MODEL, STREAM_MODEL
from eulernet_core.weights_label import IDENTITY_PARAMETER
from eulernet_core.whole_files import sha256_of
from eulernet_serving import crop_pipelines
from eulernet_serving import gpu_repository as assemble
from eulernet_serving import plan_records as plans
from eulernet_serving import repository_manifest as manifest
from eulernet_serving.cpu_repository import RepositoryError
from eulernet_serving.embedded_server import EmbeddedServer, Ports
from eulernet_serving.face_cropping import Cropper, CropSettings
from eulernet_serving.gpu_repository import AUTOLOAD_LIBRARY, NODE_PACKAGES, PLUGIN_LIBRARY, Choice, assemble_gpu
from eulernet_serving.plan_records import PlanError, PlanRecord
from eulernet_serving.repository_command import repository as command
from eulernet_serving.repository_manifest import ManifestError, faults, read_manifest
from eulernet_serving.triton_config import complete, config_text, read_config

SOURCE = Path(__file__).parents[2] / "model_repository"
BATCHES = {"eulernet": 64, "eulernet_clip": 16, "face_detector": 64}
SERVED = plans.graph_properties(onnx.load(SOURCE / "eulernet" / "1" / "model.onnx"))
PARAMETERS, LABEL = SERVED["parameters_sha256"], SERVED["weights"]


def write_plan(engines: Path, model: str, plugins: Path, capability: str = "9.0", **changes) -> Path:
    trained = model != "face_detector"
    values = PlanRecord(
        model=model,
        plan_sha256="",
        graph_sha256="g",
        parameters_sha256=PARAMETERS if trained else "",
        weights=LABEL,
        precision="fp32",
        tensorrt="10.13.3.9",
        capability=capability,
        gpu="a GPU",
        max_batch=BATCHES[model],
        profiles=plans.profiles(BATCHES[model]),
        plugin="beside" if trained else "none",
        plugin_sha256=sha256_of(plugins / PLUGIN_LIBRARY) if trained else "",
        difference=1e-6,
        build_s=1.0,
    )
    path, _ = engine.write_plan(f"{model} {capability}".encode(), dataclasses.replace(values, **changes), engines)
    return path


@dataclasses.dataclass
class Parts:
    """What `eulernet engine` and `make plugin` leave behind."""

    engines: Path
    plugins: Path

    def plan(self, model: str, **changes) -> Path:
        return write_plan(self.engines, model, self.plugins, **changes)


def make_parts(folder: Path) -> Parts:
    """Plans of all models for one kind of GPU, and the libraries."""
    made = Parts(folder / "engines", folder / "plugins")
    made.plugins.mkdir()
    for name in (PLUGIN_LIBRARY, AUTOLOAD_LIBRARY):
        (made.plugins / name).write_text(name)
    for model in BATCHES:
        made.plan(model)
    return made


@pytest.fixture
def parts(tmp_path) -> Parts:
    return make_parts(tmp_path)


@pytest.fixture(scope="module")
def assembled(tmp_path_factory) -> Path:
    """A GPU node's folder with plans for two kinds of GPU."""
    folder = tmp_path_factory.mktemp("gpu")
    made = make_parts(folder)
    for model in BATCHES:
        made.plan(model, capability="8.9")
    assemble_gpu(folder / "out", made.engines, made.plugins, node_path="/srv/eulernet")
    return folder / "out"


@pytest.fixture
def copy(assembled, tmp_path) -> Path:
    """The same, to be spoilt."""
    return shutil.copytree(assembled, tmp_path / "copy")


def test_a_gpu_node_gets_what_its_backends_load_and_nothing_else(assembled):
    names = {str(path.relative_to(assembled)) for path in assembled.rglob("*") if path.is_file()}
    plan = "model.fp32.{}.trt10.13.3.9.plan"
    expected = {
        "manifest.json",
        "requirements.txt",
        f"plugins/{AUTOLOAD_LIBRARY}",
        *(f"models/{path.parent.name}/config.pbtxt" for path in SOURCE.glob("*/config.pbtxt")),
        *(f"models/{model}/1/{plan.format(sm)}" for model in BATCHES for sm in ("sm90", "sm89")),
        *(
            f"models/{model}/{name}"
            for model in ("face_crop", "clip_crop")
            for name in ("1/model.dali", "warmup/box.f32")
        ),
        *(f"models/{model}/warmup/frame.jpg" for model in ("face_crop", "clip_crop")),
        *(f"models/{model}/1/model.py" for model in ("face_locate", "clip_locate")),
    }
    vendored = {name for name in names if name.startswith("python/")}
    assert names - vendored == expected
    assert vendored == {
        f"python/{path.relative_to(parent)}"
        for package in assemble.PACKAGES
        for folder in package.__path__
        for parent in [Path(folder).parent]
        for path in Path(folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    for ensemble in LABELLED:
        assert (assembled / "models" / ensemble.parent / "1").is_dir()


IMPORT_STAGES = """
import json, sys, types
started_with = set(sys.modules)
sys.path.insert(0, sys.argv[1])
sys.modules["triton_python_backend_utils"] = types.ModuleType("stands for the module that Triton brings")
import eulernet_serving.stages.stream_locate, eulernet_serving.stages.clip_locate
import eulernet_serving, eulernet_core
assert eulernet_serving.__file__.startswith(sys.argv[1]) and eulernet_core.__file__.startswith(sys.argv[1])
print(json.dumps(sorted({name.split(".")[0] for name in set(sys.modules) - started_with})))
"""


def test_python_models_import_their_code_from_the_folder_and_listed_packages_only(assembled):
    done = subprocess.run(
        [sys.executable, "-B", "-c", IMPORT_STAGES, str(assembled / "python")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    distributions = packages_distributions()
    imported = {each for name in json.loads(done.stdout) for each in distributions.get(name, ())} - {"eulernet"}
    assert {"numpy", "opencv-python-headless"} <= imported <= set(NODE_PACKAGES)
    pinned = (assembled / "requirements.txt").read_text().splitlines()
    assert [line.split("==")[0] for line in pinned] == list(NODE_PACKAGES)


@pytest.mark.parametrize("model", sorted(path.name for path in SOURCE.iterdir()))
def test_configurations_only_gain_what_a_node_needs(assembled, model):
    before = read_config(SOURCE / model / "config.pbtxt")
    after = read_config(assembled / "models" / model / "config.pbtxt")
    assert after.version_policy.latest.num_versions == 1
    if model in BATCHES:
        assert dict(after.cc_model_filenames) == {
            "9.0": "model.fp32.sm90.trt10.13.3.9.plan",
            "8.9": "model.fp32.sm89.trt10.13.3.9.plan",
        }
        assert list(after.instance_group[0].profile) == ["0", "1"]
    for added in ("version_policy", "cc_model_filenames", "model_warmup"):
        after.ClearField(added)
    for group in after.instance_group:
        group.ClearField("profile")
    if model in (CLIP_MODEL, STREAM_MODEL):
        assert after.parameters.pop(IDENTITY_PARAMETER).string_value == f"{PARAMETERS[:16]} fp32"
    assert after == before


def test_identity_has_every_precision_of_the_networks(parts):
    parts.plan("eulernet", precision="fp16", capability="8.9")
    parts.plan("eulernet_clip", precision="fp32", capability="8.9")
    parts.plan("face_detector", precision="int8", capability="8.9")
    out = parts.engines.parent / "out"
    assemble_gpu(out, parts.engines, parts.plugins)
    for ensemble in (CLIP_MODEL, STREAM_MODEL):
        parameters = read_config(out / "models" / ensemble / "config.pbtxt").parameters
        assert parameters[IDENTITY_PARAMETER].string_value == f"{PARAMETERS[:16]} fp16 fp32"


def test_warm_up_is_full_and_single_frames_but_not_for_implicit_state(assembled):
    warm = {}
    for path in (assembled / "models").glob("*/config.pbtxt"):
        config = read_config(path)
        warm[path.parent.name] = [each.batch_size for each in config.model_warmup]
        for each in config.model_warmup:
            assert set(each.inputs) == {tensor.name for tensor in config.input}
            files = {data.input_data_file for data in each.inputs.values() if data.input_data_file}
            assert all((path.parent / "warmup" / name).is_file() for name in files), path.parent.name
    assert {model: batches for model, batches in warm.items() if batches} == {
        "face_crop": [64, 1],
        "clip_crop": [16, 1],
        "face_detector": [64, 1],
        "eulernet_clip": [16, 1],
    }


def test_the_command_names_the_folder_as_the_node_sees_it(assembled):
    text = read_manifest(assembled).command
    assert text.startswith(
        "PYTHONPATH=/srv/eulernet/python${PYTHONPATH:+:$PYTHONPATH} \\\n  tritonserver \\\n"
        "  --model-repository=/srv/eulernet/models \\\n"
    )
    assert f"--backend-config=tensorrt,plugins=/srv/eulernet/plugins/{AUTOLOAD_LIBRARY}" in text
    assert "version-compatible" not in text
    assert "--allow-http=false" in text
    assert {"--grpc-address=127.0.0.1", "--metrics-address=127.0.0.1"} <= set(text.replace("\\\n", " ").split())


@pytest.mark.parametrize(
    ("modes", "flags"),
    [
        (["none"], []),
        (["serialized", "none"], ["version-compatible=true"]),
        (["beside"], [f"plugins=/x/plugins/{AUTOLOAD_LIBRARY}"]),
    ],
)
def test_the_command_has_the_switches_that_the_plans_need(modes, flags):
    text = assemble.tritonserver_command("/x", modes)
    assert [line.split("tensorrt,")[1].rstrip(" \\") for line in text.splitlines() if "backend-config" in line] == flags


def test_the_manifest_says_what_the_repository_is_made_of(assembled):
    made = read_manifest(assembled)
    assert (made.target, made.weights) == ("gpu", LABEL)
    assert set(made.files) == {str(p.relative_to(assembled)) for p in assembled.rglob("*") if p.is_file()} - {
        "manifest.json"
    }
    assert made.graphs["eulernet"].sha256 == sha256_of(SOURCE / "eulernet" / "1" / "model.onnx")
    assert made.versions["tensorrt"] == "10.13.3.9"
    assert {plan.capability for plan in made.plans["eulernet_clip"]} == {"9.0", "8.9"}
    assert faults(assembled, made) == []


def spoil_config(folder: Path, model: str, old: str, new: str) -> None:
    """Changes a configuration and its checksum, as a hand that means well would."""
    path = folder / "models" / model / "config.pbtxt"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    edit(folder, lambda values: values["files"].update({f"models/{model}/config.pbtxt": sha256_of(path)}))


def edit(folder: Path, change) -> None:
    path = folder / "manifest.json"
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


PLAN = "models/eulernet/1/model.fp32.sm90.trt10.13.3.9.plan"


def first_plan(values, model="eulernet"):
    return next(plan for plan in values["plans"][model] if plan["capability"] == "9.0")


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (lambda f: (f / PLAN).unlink(), f"{PLAN}: missing"),
        (lambda f: (f / PLAN).write_bytes(b"another"), f"{PLAN}: changed, sha256 is "),
        (
            lambda f: (f / "models" / "old_model").mkdir() or (f / "models/old_model/config.pbtxt").touch(),
            "models/old_model/config.pbtxt: not in the manifest",
        ),
        (lambda f: (f / "plugins" / AUTOLOAD_LIBRARY).unlink(), f"plugins/{AUTOLOAD_LIBRARY}: missing"),
        (lambda f: (f / "models/face_crop/1/model.dali").write_bytes(b""), "models/face_crop/1/model.dali: changed"),
        (
            lambda f: spoil_config(f, "antispoof", f'"{LABEL}"', '"best"'),
            f"models/antispoof/config.pbtxt: says weights 'best', the graphs' are {LABEL!r}",
        ),
        (lambda f: spoil_config(f, "eulernet", "sm90", "sm80"), "eulernet: config.pbtxt names "),
        (
            lambda f: spoil_config(f, "eulernet", "max_batch_size: 64", "max_batch_size: 128"),
            f"{PLAN}: takes batches up to 64, config.pbtxt says 128",
        ),
        (
            lambda f: edit(f, lambda v: v["graphs"]["eulernet"].update(parameters_sha256="0")),
            "eulernet, eulernet_clip: their graphs have different parameters",
        ),
        (
            lambda f: edit(f, lambda v: v["graphs"]["eulernet_clip"].update(weights="w")),
            "eulernet_clip: its graph's weights are 'w'",
        ),
        (
            lambda f: edit(f, lambda v: first_plan(v).update(parameters_sha256="0")),
            f"{PLAN}: built from other weights than the graph's",
        ),
        (
            lambda f: edit(f, lambda v: first_plan(v).update(tensorrt="11.4.0.106")),
            "plans of TensorRT 10.13.3.9, 11.4.0.106: a server has one version only",
        ),
        (
            lambda f: edit(f, lambda v: first_plan(v).update(plugin_sha256="0")),
            f"{PLAN}: built with another plugin library",
        ),
        (lambda f: edit(f, lambda v: v["plans"]["eulernet"].pop()), "eulernet: no plan for compute capability"),
    ],
)
def test_verify_names_what_is_wrong_and_ends_with_1(copy, spoil, fault):
    spoil(copy)
    result = CliRunner().invoke(command, ["--verify", str(copy)])
    assert result.exit_code == 1
    assert any(line.startswith(fault) for line in result.output.splitlines()), result.output


def test_verify_finds_nothing_in_a_whole_one_even_after_python_ran_from_it(copy):
    cache = copy / "models" / "face_locate" / "1" / "__pycache__"
    cache.mkdir()
    (cache / "model.cpython-312.pyc").write_bytes(b"x")
    result = CliRunner().invoke(command, ["--verify", str(copy)])
    assert result.exit_code == 0
    assert "0 faults" in result.output


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.unlink(), "manifest.json: missing; eulernet repository --out"),
        (lambda path: path.write_text("{"), "manifest.json: no manifest"),
        (lambda path: path.write_text('{"format": 99}'), "no manifest .format 99, this version reads 1"),
        (lambda path: path.write_text("[]"), "manifest.json: no manifest"),
    ],
)
def test_a_folder_without_a_manifest_can_not_be_verified(copy, spoil, message):
    spoil(copy / "manifest.json")
    with pytest.raises(ManifestError, match=message):
        read_manifest(copy)
    assert CliRunner().invoke(command, ["--verify", str(copy)]).exit_code == 1


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda p: shutil.rmtree(p.engines / "eulernet"), RepositoryError, "eulernet: no plan; eulernet engine builds"),
        (lambda p: (p.plugins / AUTOLOAD_LIBRARY).unlink(), RepositoryError, "autoload.so: missing, .*make plugin"),
        (lambda p: p.plan("eulernet", tensorrt="11.4.0.106"), RepositoryError, "choose with --tensorrt"),
        (lambda p: p.plan("eulernet", precision="fp16"), RepositoryError, "are for one GPU; choose with --precision"),
        (lambda p: p.plan("eulernet", capability="8.9"), RepositoryError, "face_detector: no plan for .* 8.9"),
        (lambda p: p.plan("eulernet", parameters_sha256="0"), RepositoryError, "built from other weights"),
        (lambda p: p.plan("eulernet", max_batch=8), RepositoryError, "takes batches up to 8, config.pbtxt says 64"),
        (
            lambda p: (p.plugins / PLUGIN_LIBRARY).write_text("new"),
            RepositoryError,
            "built with another plugin library",
        ),
        (lambda p: next(p.engines.glob("eulernet/*.json")).unlink(), PlanError, "is not beside it"),
    ],
)
def test_parts_that_do_not_fit_are_not_assembled(parts, tmp_path, change, error, message):
    change(parts)
    with pytest.raises(error, match=message):
        assemble_gpu(tmp_path / "out", parts.engines, parts.plugins)
    assert {path.name for path in tmp_path.iterdir()} == {"engines", "plugins"}  # and nothing is left behind


def test_one_of_several_plans_is_chosen(parts, tmp_path):
    for precision in ("fp16", "int8"):
        for model in ("eulernet", "eulernet_clip"):
            parts.plan(model, precision=precision)
    made = assemble_gpu(tmp_path / "out", parts.engines, parts.plugins, Choice(precision="int8"))
    assert {model: [plan.precision for plan in each] for model, each in made.plans.items()} == {
        "eulernet": ["int8"],
        "eulernet_clip": ["int8"],
        "face_detector": ["fp32"],  # the only one
    }


def test_assembling_again_replaces_what_was_there(parts, tmp_path):
    out = tmp_path / "out"
    assemble_gpu(out, parts.engines, parts.plugins)
    (out / "stray").touch()
    first = read_manifest(out)
    assert assemble_gpu(out, parts.engines, parts.plugins) == first
    assert not (out / "stray").exists()


def test_the_embedded_server_s_repository_has_a_manifest_too(tmp_path):
    out = tmp_path / "model_repository"
    face_models = Path(__file__).parents[2] / "out" / "face_models"
    result = CliRunner().invoke(command, ["--out", str(out), "--face-models", str(face_models)])
    assert result.exit_code == 0, result.output
    assert result.output.splitlines() == [str(out), f"eulernet serve --repository {out}"]
    assert CliRunner().invoke(command, ["--verify", str(out)]).exit_code == 0
    (out / "eulernet" / "1" / "model.onnx").write_bytes(b"")
    result = CliRunner().invoke(command, ["--verify", str(out)])
    assert result.exit_code == 1
    assert "eulernet/1/model.onnx: changed" in result.output


def test_labelled_ensembles_are_the_export_s():
    assert {str(path.parent) for path in LABELLED} == set(manifest.LABELLED)


@pytest.mark.parametrize("model", assemble.PIPELINES)
def test_a_serialized_pipeline_decodes_on_the_gpu_and_takes_the_configuration_s_inputs(assembled, model):
    content = (assembled / "models" / model / "1" / "model.dali").read_bytes()
    for tensor in read_config(SOURCE / model / "config.pbtxt").input:
        assert tensor.name.encode() in content
    assert content.count(b"decoders__ImageSlice") == content.count(b"mixed") > 0
    assert content.count(b"gpu") > 0


BOXES = [[150, 40, 406, 296], [0, 0, 0, 0], [200, 60, 300, 160], [300, 200, 420, 320]]
# The first face is small, the second is not found; the fourth frame is broken, and it has the last frame's box.
STATUS = [32, 4, 3, 8]


def frames_and_placeholders():
    whole = np.frombuffer(simplejpeg.encode_jpeg(np.ascontiguousarray(astronaut())), np.uint8)
    placeholder = np.frombuffer(simplejpeg.encode_jpeg(np.zeros((16, 16, 3), np.uint8)), np.uint8)
    return [placeholder if status & NOT_SCORED else whole for status in STATUS]


def run(pipeline, inputs):
    pipeline.build()
    for name, value in inputs.items():
        pipeline.feed_input(name, value)
    return [np.array(each.as_array()) for each in pipeline.run()]


@pytest.mark.parametrize("model", assemble.PIPELINES)
def test_the_gpu_s_pipeline_crops_as_the_cpu_s_model_does(model):
    """The same definition with the decoder and the resize on the CPU; a frame's neighbours may be of any status."""
    encoded, boxes = frames_and_placeholders(), np.array(BOXES, np.float32)
    made = getattr(crop_pipelines, assemble.PIPELINES[model])(
        batch_size=4, num_threads=1, device_id=None, decoder="cpu"
    )
    if model == "face_crop":
        flags = [np.array([status], np.int32) for status in STATUS]
        faces, status = run(made, {"CHECKED": encoded, "FACE_BOX": list(boxes), "STATUS": flags})
    else:
        clip = {f"CHECKED_{t}": [frame] for t, frame in enumerate(encoded)}
        faces, status = run(made, {**clip, "FACE_BOX": [boxes], "STATUS": [np.array(STATUS, np.int32)]})
        faces = faces[0]
    expected = Cropper(CropSettings())(encoded, boxes, np.array(STATUS, np.int32))
    assert status.ravel().tolist() == STATUS
    assert faces.shape == expected.shape
    difference = np.abs(faces.astype(int) - expected)[(np.array(STATUS) & NOT_SCORED) == 0]
    assert difference.max() <= 4
    assert difference.mean() < 0.5


class Partial(EmbeddedServer):
    """The real server with two of its models, which saves the others' start."""

    models: tuple[str, ...] = ()

    def _arguments(self, triton):
        chosen = [f"--load-model={model}" for model in self.models]
        return [*super()._arguments(triton), "--model-control-mode=explicit", *chosen]


@pytest.mark.slow
@pytest.mark.triton
@pytest.mark.parametrize(("models", "whole"), [(("eulernet_clip",), True), (("face_crop", "eulernet_clip"), False)])
def test_triton_runs_the_warm_up(repository, tmp_path, monkeypatch, models, whole):
    """A GPU model's warm-up data on the CPU's model: half of it is refused, so accepted data was read."""
    monkeypatch.setattr(Partial, "models", models)
    out = shutil.copytree(repository, tmp_path / "model_repository")
    for model in Partial.models:
        config = read_config(SOURCE / model / "config.pbtxt")
        data = complete(config, {}, 1, assemble.golden_frame(SOURCE))
        path = out / model / "configs" / "cpu.pbtxt"
        cpu = read_config(path)
        cpu.model_warmup.MergeFrom(config.model_warmup)
        path.write_text(config_text(cpu, "a test"))
        for name, content in data.items():
            (out / model / "warmup").mkdir(exist_ok=True)
            (out / model / "warmup" / name).write_bytes(content if whole else content[: len(content) // 2])
    log = tmp_path / "server.log"
    with Partial(out, Ports(0, 0), log) as server:
        deadline_s = time.monotonic() + 120
        while server.exit_status() is None and "Started GRPCInferenceService" not in log.read_text():
            assert time.monotonic() < deadline_s, server.log_tail()
            time.sleep(0.2)
        running = server.exit_status() is None
    assert running == whole, log.read_text()
    assert ("warmup setting expects" in log.read_text()) == (not whole)
