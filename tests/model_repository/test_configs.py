# SPDX-License-Identifier: Apache-2.0
"""The configurations, read through Triton's own protobuf: wiring, production against CPU, graphs against both."""

import shutil
from pathlib import Path

import onnx
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2
from tritonclient.grpc.model_config_pb2 import ModelConfig

from eulernet_core.limits import MAX_STREAMS, MAX_STREAMS_PER_CALLER
from eulernet_serving.embedded_server import EmbeddedServer, Ports, ServerError

REPOSITORY = Path(__file__).parents[2] / "model_repository"
MODELS = sorted(path.name for path in REPOSITORY.iterdir())
ENSEMBLES = ("antispoof", "antispoof_clip")
GRAPHS = ("eulernet", "eulernet_clip")
KINDS = PRODUCTION, CPU = ("config.pbtxt", "configs/cpu.pbtxt")
# The CPU's stages that crop locate too, with the face detector in their process: what they do beside it here.
MERGED = {"face_crop": "face_locate", "clip_crop": "clip_locate"}
MODELS_OF = {PRODUCTION: MODELS, CPU: sorted({*MODELS} - {*MERGED.values(), "face_detector"})}
MODELS_AND_KINDS = [(model, kind) for kind in KINDS for model in MODELS_OF[kind]]
PRODUCTION_BACKENDS = {
    "face_locate": "python",
    "clip_locate": "python",
    "face_detector": "tensorrt",
    "face_crop": "dali",
    "clip_crop": "dali",
    "eulernet": "tensorrt",
    "eulernet_clip": "tensorrt",
}
ONNX_TYPES = {
    onnx.TensorProto.FLOAT: model_config_pb2.TYPE_FP32,
    onnx.TensorProto.UINT8: model_config_pb2.TYPE_UINT8,
    onnx.TensorProto.INT32: model_config_pb2.TYPE_INT32,
}
Signature = dict[str, tuple[int, list[int]]]
# On a CPU a stream's request may have a chunk of frames: the first dimension of a frame's tensors, times their number.
CHUNKED = ("antispoof", "face_crop", "eulernet")
FIRST_OF_A_FRAME = {
    **dict.fromkeys(("LIVENESS", "FRAME_COUNT", "STATUS", "STATUS_OUT"), 1),
    **dict.fromkeys(("FACE_BOX", "FACE_BOX_OUT"), 4),
    "LOCATION_MAP": 32,
    "FACE": 256,
}


def load(model: str, kind: str, repository: Path = REPOSITORY) -> ModelConfig:
    return text_format.Parse((repository / model / kind).read_text(), ModelConfig())


def signature(tensors) -> Signature:
    return {each.name: (each.data_type, list(each.dims)) for each in tensors}


def of_one_frame(tensors) -> Signature:
    """The signature of a CPU's stage for streams, for requests of one frame."""
    found = signature(tensors)
    found.pop("FRAME_BYTES", None)
    for name, first in FIRST_OF_A_FRAME.items():
        if name in found:
            kind, (any_number, *others) = found[name]
            assert any_number == -1, name
            found[name] = (kind, [first, *others])
    return found


def on_a_cpu(model: str):
    """How to read the signature of a CPU's stage, so that it can be compared with that of another configuration."""
    return of_one_frame if model in CHUNKED else signature


def wiring_faults(configs: dict[str, ModelConfig], ensemble: str) -> list[str]:
    """Walks an ensemble's steps in order; every tensor must exist, be made once and before it is used, and fit."""
    faults = []
    known = signature(configs[ensemble].input)
    for step in configs[ensemble].ensemble_scheduling.step:
        if step.model_name not in configs:
            faults.append(f"{step.model_name}: no such model")
            continue
        stage = configs[step.model_name]
        inputs, outputs = signature(stage.input), signature(stage.output)
        if configs[ensemble].max_batch_size > stage.max_batch_size:
            faults.append(f"{step.model_name}: smaller batches than the ensemble")
        faults += [f"{step.model_name}.{name}: not fed" for name in inputs if name not in step.input_map]
        for name, tensor in step.input_map.items():
            if name not in inputs:
                faults.append(f"{step.model_name}.{name}: no such input")
            elif tensor not in known:
                faults.append(f"{step.model_name}.{name}: {tensor} is not there yet")
            elif known[tensor] != inputs[name]:
                faults.append(f"{step.model_name}.{name}: takes {inputs[name]}, {tensor} is {known[tensor]}")
        for name, tensor in step.output_map.items():
            if name not in outputs:
                faults.append(f"{step.model_name}.{name}: no such output")
            elif tensor in known:
                faults.append(f"{step.model_name}.{name}: {tensor} is made twice")
            else:
                known[tensor] = outputs[name]
    for name, kind in signature(configs[ensemble].output).items():
        if known.get(name) != kind:
            faults.append(f"{ensemble}.{name}: is {kind}, made as {known.get(name)}")
    return faults


def test_the_cpu_s_models_are_configured_and_no_others():
    """Triton falls back to config.pbtxt without a word where configs/cpu.pbtxt is missing."""
    assert sorted(path.parents[1].name for path in REPOSITORY.glob(f"*/{CPU}")) == MODELS_OF[CPU]


@pytest.mark.parametrize(("model", "kind"), MODELS_AND_KINDS)
def test_parses_and_is_named_as_its_folder(model, kind):
    config = load(model, kind)
    assert config.name == model
    assert config.max_batch_size > 0


@pytest.mark.parametrize("model", MODELS_OF[CPU])
def test_production_and_cpu_mean_the_same(model):
    """A stage of the CPU that locates and crops takes what production's first stage takes, and gives both results."""
    production, cpu = load(MERGED.get(model, model), PRODUCTION), load(model, CPU)
    outputs = signature(load(model, PRODUCTION).output)
    if model in MERGED:
        outputs |= {name: signature(production.output)[name] for name in ("FACE_BOX", "STATUS")}
    read = on_a_cpu(model)
    assert signature(production.input) == read(cpu.input)
    assert outputs == read(cpu.output)
    assert production.max_batch_size == cpu.max_batch_size
    assert production.WhichOneof("scheduling_choice") == cpu.WhichOneof("scheduling_choice")
    assert production.dynamic_batching.preserve_ordering == cpu.dynamic_batching.preserve_ordering
    batching = [config.sequence_batching for config in (production, cpu)]
    assert batching[0].max_sequence_idle_microseconds == batching[1].max_sequence_idle_microseconds
    assert batching[0].oldest == batching[1].oldest


@pytest.mark.parametrize("ensemble", ENSEMBLES)
def test_one_stage_is_called_like_the_ensemble(ensemble):
    one, ensembled = load(ensemble, "configs/cpu_one_stage.pbtxt"), load(ensemble, CPU)
    assert signature(one.input) == signature(ensembled.input)
    assert signature(one.output) == signature(ensembled.output)
    assert one.parameters["weights"] == ensembled.parameters["weights"]
    # It does what both stages do, with their bounds.
    first, last = (load(step.model_name, CPU) for step in ensembled.ensemble_scheduling.step)
    assert one.max_batch_size == first.max_batch_size
    assert one.dynamic_batching == first.dynamic_batching
    assert one.sequence_batching == first.sequence_batching
    for name, value in one.parameters.items():
        assert name == "weights" or value in (first.parameters[name], last.parameters[name]), name


@pytest.mark.parametrize("model", sorted(set(MODELS) - set(ENSEMBLES)))
def test_backends_and_devices(model):
    production = load(model, PRODUCTION)
    assert production.backend == PRODUCTION_BACKENDS[model]
    gpu = production.backend != "python"
    kinds = model_config_pb2.ModelInstanceGroup
    assert [group.kind for group in production.instance_group] == [kinds.KIND_GPU if gpu else kinds.KIND_CPU]
    if model in MODELS_OF[CPU]:
        cpu = load(model, CPU)
        assert (cpu.backend, [group.kind for group in cpu.instance_group]) == ("python", [kinds.KIND_CPU])


@pytest.mark.parametrize(("model", "kind"), MODELS_AND_KINDS)
def test_inputs_of_any_length_batch_with_others(model, kind):
    if model in ENSEMBLES:
        return
    for tensor in load(model, kind).input:
        assert tensor.allow_ragged_batch == (-1 in tensor.dims), tensor.name


@pytest.mark.parametrize("ensemble", ENSEMBLES)
@pytest.mark.parametrize("kind", KINDS)
def test_ensemble_is_wired(ensemble, kind):
    assert wiring_faults({model: load(model, kind) for model in MODELS_OF[kind]}, ensemble) == []


@pytest.mark.parametrize("ensemble", ENSEMBLES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_output_comes_from_the_last_step(ensemble, kind):
    """Triton skips a step whose outputs nobody requests, and then fails if a requested tensor is also its input."""
    config = load(ensemble, kind)
    *_, last = config.ensemble_scheduling.step
    assert set(last.output_map.values()) == {each.name for each in config.output}


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda c: c["antispoof"].ensemble_scheduling.step[1].input_map.pop("STATUS"), "face_crop.STATUS: not fed"),
        (lambda c: c["face_crop"].output[0].dims.__setitem__(0, 224), "eulernet.FACE: takes"),
        (lambda c: c.pop("eulernet"), "eulernet: no such model"),
        (lambda c: c["antispoof"].output[0].dims.append(2), "antispoof.LIVENESS: is"),
        (lambda c: setattr(c["eulernet"].input[1], "name", "STATE"), "eulernet.STATUS: no such input"),
        (lambda c: c["eulernet"].output[4].dims.append(4), "antispoof.FACE_BOX: is"),
        (lambda c: setattr(c["face_locate"], "max_batch_size", 0), "face_locate: smaller batches"),
    ],
)
def test_broken_wiring_is_seen(change, fault):
    configs = {model: load(model, "config.pbtxt") for model in MODELS}
    change(configs)
    assert any(each.startswith(fault) for each in wiring_faults(configs, "antispoof"))


@pytest.mark.parametrize("kind", KINDS)
def test_stages_before_the_sequence_model_keep_order(kind):
    """Either they hold one frame of a sequence at a time, or the batcher answers in order."""
    stages = [step.model_name for step in load("antispoof", kind).ensemble_scheduling.step][:-1]
    for stage in stages:
        config = load(stage, kind)
        assert config.HasField("sequence_batching") or config.dynamic_batching.preserve_ordering, stage


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("kind", KINDS)
def test_graph_fits_the_configuration(graph, kind):
    config = load(graph, kind)
    model = onnx.load(REPOSITORY / graph / "1" / "model.onnx").graph
    states = [(f"{state.input_name}", state.output_name, state) for state in config.sequence_batching.state]
    read = on_a_cpu(graph) if kind == CPU else signature
    inputs, outputs = read(config.input), read(config.output)
    if graph == "eulernet" and kind == "config.pbtxt":
        inputs |= {name: (state.data_type, list(state.dims)) for name, _, state in states}
        outputs |= {name: (state.data_type, list(state.dims)) for _, name, state in states}
    else:
        assert not states
    for tensors, expected in ((model.input, inputs), (model.output, outputs)):
        found = {each.name: each.type.tensor_type for each in tensors if kind == "config.pbtxt" or each.name[0] != "s"}
        assert {
            name: (ONNX_TYPES[kind_.elem_type], [side.dim_value for side in kind_.shape.dim][1:])
            for name, kind_ in found.items()
        } == expected
        assert all(not kind_.shape.dim[0].HasField("dim_value") for kind_ in found.values()), "the batch is fixed"


def test_states_start_at_zero_and_pair_in_order():
    """Triton pairs several states by the order of their names (server issue 8586)."""
    states = load("eulernet", "config.pbtxt").sequence_batching.state
    inputs, outputs = [each.input_name for each in states], [each.output_name for each in states]
    assert inputs == sorted(inputs)
    assert outputs == sorted(outputs)
    assert [name.removesuffix("_in") for name in inputs] == [name.removesuffix("_out") for name in outputs]
    for state in states:
        (initial,) = state.initial_state
        assert initial.zero_data
        assert (initial.data_type, initial.dims) == (state.data_type, state.dims)
        assert -1 not in initial.dims
        assert initial.name


@pytest.mark.parametrize("kind", KINDS)
def test_triton_admits_more_sequences_than_there_are_places_and_outlives_them(kind):
    """A sequence that never had a usable frame keeps Triton's slot until it is idle: it must not keep others out."""
    locate, network = load("face_locate" if kind == PRODUCTION else "face_crop", kind), load("eulernet", kind)
    places, idle_s = (locate.parameters[name].string_value for name in ("max_sequences", "max_idle_s"))
    assert int(places) == MAX_STREAMS
    assert int(locate.parameters["max_sequences_per_caller"].string_value) == MAX_STREAMS_PER_CALLER
    for config in (locate, network):
        assert config.sequence_batching.oldest.max_candidate_sequences >= 64 * int(places)
        assert config.sequence_batching.max_sequence_idle_microseconds > float(idle_s) * 1e6
    if kind == CPU:  # the locating stage refuses first, so that no later stage loses a START
        assert int(network.parameters["max_sequences"].string_value) >= 2 * int(places)
        assert network.parameters["max_idle_s"].string_value == idle_s


@pytest.mark.parametrize("graph", GRAPHS)
def test_weights_label_is_the_graph_s(graph):
    metadata = {each.key: each.value for each in onnx.load(REPOSITORY / graph / "1" / "model.onnx").metadata_props}
    for ensemble in ENSEMBLES:
        for kind in KINDS:
            assert load(ensemble, kind).parameters["weights"].string_value == metadata["weights"]


UNKNOWN_PARAMETER = ("face_crop", 'key: "full_check"', 'key: "ful_check"', "parameter ful_check: unknown")
UNKNOWN_RUNTIME = (
    "eulernet",
    'string_value: "openvino"',
    'string_value: "mnn"',
    "parameter runtime: 'mnn' is none of openvino",
)
WRONG_SHAPE = ("face_crop", "dims: [ -1, 256, 3 ]", "dims: [ -1, 128, 3 ]", "antispoof")


@pytest.mark.triton
@pytest.mark.parametrize(
    "faults", [[UNKNOWN_PARAMETER, UNKNOWN_RUNTIME], pytest.param([WRONG_SHAPE], marks=pytest.mark.slow)]
)
def test_triton_refuses_a_broken_configuration(repository, tmp_path, faults):
    broken = shutil.copytree(repository, tmp_path / "model_repository")
    for model, old, new, _ in faults:
        path = broken / model / "configs" / "cpu.pbtxt"
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))
    log = tmp_path / "server.log"
    with (
        pytest.raises(ServerError, match="tritonserver ended with status 1"),
        EmbeddedServer(broken, Ports(0, 0), log) as server,
    ):
        server.wait_ready(120)
    assert all(message in log.read_text() for *_, message in faults)
