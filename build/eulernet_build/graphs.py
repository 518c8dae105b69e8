# SPDX-License-Identifier: Apache-2.0
"""EulerNet as ONNX graphs: freezes the network, traces it with torch's exporter, cleans it and adds DIIRF's body.

One network gives the same bytes on every machine and in every folder.
"""

import copy
import dataclasses
import hashlib
import logging
import warnings
from collections.abc import Mapping, Sequence

import onnx
import torch
from onnx import ModelProto
from torch import Tensor, nn

from eulernet.blocks import ConvBN
from eulernet.diirf import ONNX_DOMAIN, ONNX_OP, biquad
from eulernet.fcam import FCAM
from eulernet.network import EulerNet
from eulernet_build.diirf_function import DOMAIN_VERSION, OPSET, diirf_function
from eulernet_build.face_detail_nodes import with_degraded
from eulernet_core.clip_geometry import CLIP_FRAMES
from eulernet_core.face_box import BOX_SCALE_PARAMETER
from eulernet_core.tensors import (
    CLIP_NETWORK_MODEL,
    FACE,
    FACE_BOX,
    LONGEST_SEQUENCE_PARAMETER,
    NETWORK_OUTPUTS,
    STATUS,
    STEP_NETWORK_MODEL,
)

IR_VERSION = 10
EXAMPLE_BATCH = 2  # torch.export treats a first dimension of 1 as a constant


class StepGraph(nn.Module):
    """One frame of N sequences; the state enters as `s0_in`, `s1_in`, … and leaves as `s0_out`, `s1_out`, …

    Outputs: NETWORK_OUTPUTS, then the state.
    """

    def __init__(self, network: EulerNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, face: Tensor, status: Tensor, face_box: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        prediction, new_state = self.network.step(face, status, state)
        return *prediction, *passed_on(face, status, face_box), *new_state


class ClipGraph(nn.Module):
    """N whole clips, each from zero state. Outputs: NETWORK_OUTPUTS."""

    def __init__(self, network: EulerNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, face: Tensor, status: Tensor, face_box: Tensor) -> tuple[Tensor, ...]:
        return *self.network(face, status), *passed_on(face, status, face_box)


def passed_on(face: Tensor, status: Tensor, face_box: Tensor) -> tuple[Tensor, Tensor]:
    """STATUS_OUT, with DEGRADED where the face lacks detail, and FACE_BOX_OUT.

    FACE_BOX_OUT is a copy, because an output of a graph must have a node of its own.
    """
    return with_degraded(status, face), face_box.clone()


class _FixedDIIRF(nn.Module):
    """DIIRF with precomputed coefficients (K, 5) and start (K, 2)."""

    coefficients: Tensor
    first: Tensor

    def __init__(self, coefficients: Tensor, start: Tensor) -> None:
        super().__init__()
        self.register_buffer("coefficients", coefficients)
        self.register_buffer("first", start)

    def start(self) -> Tensor:
        return self.first

    def forward(self, x: Tensor, h1: Tensor, h2: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return biquad(x, h1, h2, self.coefficients)


def state_names(network: EulerNet, end: str) -> list[str]:
    """`s0_in`, `s1_in`, … for end = "in". Triton sorts these names to pair inputs with outputs."""
    count = len(network.initial_state(1))
    if count > 10:
        raise ValueError(f"{count} state tensors: s10 would sort before s2; use at most 10")
    return [f"s{i}_{end}" for i in range(count)]


def step_graph(network: EulerNet, weights: str) -> ModelProto:
    """The graph that scores one frame of N sequences.

    FACE uint8 (N, H, W, 3), STATUS int32 (N, 1), FACE_BOX (N, 4), s0_in, s1_in, … -> LIVENESS (N, 1), LOCATION_MAP
    (N, S, S), FRAME_COUNT int32 (N, 1), STATUS_OUT int32 (N, 1), FACE_BOX_OUT (N, 4), s0_out, s1_out, …
    """
    size = network.config.image_size
    inputs = {
        FACE: torch.zeros(EXAMPLE_BATCH, size, size, 3, dtype=torch.uint8),
        STATUS: torch.zeros(EXAMPLE_BATCH, 1, dtype=torch.int32),
        FACE_BOX: torch.zeros(EXAMPLE_BATCH, 4),
        **dict(zip(state_names(network, "in"), network.initial_state(EXAMPLE_BATCH), strict=True)),
    }
    outputs = [*NETWORK_OUTPUTS, *state_names(network, "out")]
    traced = trace(StepGraph(frozen(network)), inputs, outputs)
    return _finish(traced, STEP_NETWORK_MODEL, network, weights, frames=1)


def clip_graph(network: EulerNet, weights: str) -> ModelProto:
    """The graph that scores N clips of T = 4 frames.

    FACE uint8 (N, T, H, W, 3), STATUS int32 (N, T), FACE_BOX (N, T, 4) -> LIVENESS (N, T), LOCATION_MAP (N, T, S, S),
    FRAME_COUNT int32 (N, T), STATUS_OUT int32 (N, T), FACE_BOX_OUT (N, T, 4).
    """
    size = network.config.image_size
    inputs = {
        FACE: torch.zeros(EXAMPLE_BATCH, CLIP_FRAMES, size, size, 3, dtype=torch.uint8),
        STATUS: torch.zeros(EXAMPLE_BATCH, CLIP_FRAMES, dtype=torch.int32),
        FACE_BOX: torch.zeros(EXAMPLE_BATCH, CLIP_FRAMES, 4),
    }
    traced = trace(ClipGraph(frozen(network)), inputs, NETWORK_OUTPUTS)
    return _finish(traced, CLIP_NETWORK_MODEL, network, weights, frames=CLIP_FRAMES)


def frozen(network: EulerNet) -> EulerNet:
    """A copy for inference: batch normalisation folded into the convolutions, filter coefficients computed.

    Computes in float64 and rounds once, so that processors that differ in roots and tanh give the same bytes.
    """
    copied = copy.deepcopy(network).eval()
    for module in list(copied.modules()):
        if isinstance(module, ConvBN):
            _fold_batch_norm(module)
        elif isinstance(module, FCAM):
            exact = copy.deepcopy(module.filter).double()
            fixed = (each.detach().float() for each in (exact.coefficients(), exact.start()))
            module.filter = _FixedDIIRF(*fixed)  # type: ignore[assignment]
    return copied.requires_grad_(False)


def parameters_sha256(network: EulerNet) -> str:
    """Identifies the weights: SHA-256 of the network's configuration and of every tensor's name, type, shape and bytes.

    With the same tensors, another score or another length of a sequence gives other scores.
    """
    digest = hashlib.sha256()
    for name, value in sorted(dataclasses.asdict(network.config).items()):
        digest.update(f"{name} {value}\n".encode())
    for name, tensor in network.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _fold_batch_norm(block: ConvBN) -> None:
    bn, conv = block.bn, block.conv
    assert isinstance(bn, nn.BatchNorm2d)
    assert bn.running_mean is not None
    assert bn.running_var is not None
    scale = bn.weight.double() / torch.sqrt(bn.running_var.double() + bn.eps)
    conv.weight = nn.Parameter((conv.weight.double() * scale[:, None, None, None]).float())
    conv.bias = nn.Parameter((bn.bias.double() - bn.running_mean.double() * scale).float())
    block.bn = nn.Identity()


def trace(
    module: nn.Module, inputs: Mapping[str, Tensor], outputs: Sequence[str], any_frames: bool = False
) -> ModelProto:
    """Runs torch's exporter with a dynamic first dimension `N`; with `any_frames` also a dynamic second one, `T`."""
    batch = torch.export.Dim("N", min=1)
    axes = [{0: batch, **({1: torch.export.Dim("T", min=1)} if any_frames else {})} for _ in inputs]
    shapes = (*axes[:3], tuple(axes[3:])) if isinstance(module, StepGraph) else tuple(axes)  # *state is one argument
    registration = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = registration.level
    registration.setLevel(logging.ERROR)  # it warns that torchvision is missing, which this project does not need
    try:
        with warnings.catch_warnings():
            # Both warnings are about torch 2.13 itself: a deprecated call, and the axis name N that all inputs share.
            warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec", category=FutureWarning)
            warnings.filterwarnings("ignore", message=".*The axis name: N will not be used", category=UserWarning)
            program = torch.onnx.export(
                module.eval(),
                tuple(inputs.values()),
                dynamo=True,
                opset_version=OPSET,
                input_names=list(inputs),
                output_names=list(outputs),
                dynamic_shapes=shapes,
                external_data=False,
                verbose=False,
            )
    finally:
        registration.setLevel(level)
    assert program is not None
    model: ModelProto = program.model_proto
    return model


def _finish(model: ModelProto, name: str, network: EulerNet, weights: str, frames: int) -> ModelProto:
    """Cleans a traced graph, adds DIIRF's body and the metadata, and checks the result."""
    strip(model)
    model.graph.name = name
    _rename(model, frames)
    del model.functions[:], model.opset_import[:], model.metadata_props[:]
    # All nodes share one body, so T is 1 in the clip graph too: its status makes it filter frame by frame.
    model.functions.append(diirf_function(frames=1))
    model.opset_import.extend([onnx.helper.make_opsetid("", OPSET)])
    model.opset_import.extend([onnx.helper.make_opsetid(ONNX_DOMAIN, DOMAIN_VERSION)])
    model.ir_version = IR_VERSION
    model.producer_name, model.producer_version = "eulernet", ""
    onnx.helper.set_model_props(
        model,
        {
            "weights": weights,
            "frames": str(frames),
            "image_size": str(network.config.image_size),
            BOX_SCALE_PARAMETER: str(network.config.box_scale),
            LONGEST_SEQUENCE_PARAMETER: str(network.config.longest_sequence),
            "parameters_sha256": parameters_sha256(network),
        },
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def strip(model: ModelProto) -> None:
    """Removes the exporter's debugging notes: stack traces with this machine's paths, traced expressions."""
    graph = model.graph
    for item in [graph, *graph.node, *graph.input, *graph.output, *graph.initializer, *graph.value_info]:
        del item.metadata_props[:]
        item.ClearField("doc_string")
    del graph.value_info[:]
    model.ClearField("doc_string")


def _rename(model: ModelProto, frames: int) -> None:
    """Gives parameters their names in the network, and filters the name `fcams.<level>.filter.<frame>`."""
    prefix = "network."
    for initializer in model.graph.initializer:
        initializer.name = initializer.name.removeprefix(prefix)
    for node in model.graph.node:
        for i, name in enumerate(node.input):
            node.input[i] = name.removeprefix(prefix)
    filters = (node for node in model.graph.node if node.op_type == ONNX_OP)
    for i, node in enumerate(filters):
        node.name = f"fcams.{i // frames}.filter.{i % frames}"
