# SPDX-License-Identifier: Apache-2.0
"""The rule by which a GPU stage chooses its network's runtime. It is stated here and nowhere else.

In this order, the first that loads and reproduces the golden case:

1. a plan of TensorRT, 2. a plan of TensorRT for RTX, each of the configured precision, for this GPU, of the served
   weights, large enough, and with its runtime installed in the plan's version;
3. for fp32, torch with this project's CUDA kernels, 4. torch alone. On a GPU both replay CUDA graphs.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import onnx
import torch

from eulernet_serving.gpu_pip.filter_kernels import FilterKernels
from eulernet_serving.gpu_pip.gpu_network import Arrays, GpuNetwork, golden_difference
from eulernet_serving.gpu_pip.plan_graph import PlanGraph
from eulernet_serving.gpu_pip.torch_graph import DeviceGraph, TorchGraph
from eulernet_serving.kernel_library import KERNEL_LIBRARY, PLUGIN_LIBRARY
from eulernet_serving.plan_records import FUSED_GRAPH, TOLERANCES, PlanError, PlanRecord, graph_properties, read_record

GRAPH = "model.onnx"
TORCH_PRECISION = "fp32"
_LOG = logging.getLogger(__name__)


class NoNetworkError(Exception):
    """No runtime serves the network; the message gives the reason of each."""


@dataclass(frozen=True)
class Place:
    """What is asked of a network.

    Attributes:
        folder: version folder of the model: graphs, plans and libraries.
        device: cuda, or cpu in tests.
        precision: of the plans: fp32, fp16, bf16 or int8.
        batch: rows of the largest batch.
        streams: the most with a state; 0 for a graph without state.
    """

    folder: Path
    device: torch.device
    precision: str
    batch: int
    streams: int = 0


@dataclass(frozen=True)
class Candidate:
    """One runtime. `captured`: its steps are replayed as CUDA graphs."""

    name: str
    make: Callable[[], DeviceGraph]
    captured: bool = False


def choose_network(place: Place, golden: Arrays) -> tuple[GpuNetwork, str]:
    """Chooses by the rule.

    Args:
        place: what is asked.
        golden: inputs and expected outputs of the graph.
    Returns: the network, and a text that names its runtime and its difference from the golden case.
    Raises: NoNetworkError.
    """
    reasons: list[str] = []
    tolerance = TOLERANCES[place.precision]
    for candidate in candidates(place, reasons.append):
        try:
            network = GpuNetwork(candidate.make(), place.device, place.batch, place.streams, candidate.captured)
            difference = golden_difference(network, golden)
        except Exception as error:  # whatever a runtime raises, the next one may work
            reasons.append(f"{candidate.name}: {type(error).__name__}: {error}")
            continue
        if difference <= tolerance:
            for reason in reasons:
                _LOG.info("not chosen: %s", reason)
            return network, f"{candidate.name}, {place.precision}, {difference:.1e} from the golden case"
        reasons.append(f"{candidate.name}: {difference:.1e} from the golden case, at most {tolerance:g} is allowed")
    raise NoNetworkError(f"{place.folder.parent.name}: no runtime serves {place.precision}: {'; '.join(reasons)}")


def candidates(place: Place, refuse: Callable[[str], None]) -> Iterator[Candidate]:
    """The candidates in the rule's order; `refuse` is told why a plan is none."""
    if place.device.type == "cuda":
        for plan, record in _plans(place, refuse):
            library = place.folder / PLUGIN_LIBRARY
            yield Candidate(f"plan {plan.name}", partial(PlanGraph, plan, record, library, place.device))
    if place.precision != TORCH_PRECISION:
        return
    on_gpu = place.device.type == "cuda"
    fused = place.folder / FUSED_GRAPH
    graph = fused if fused.is_file() else place.folder / GRAPH
    if on_gpu and (place.folder / KERNEL_LIBRARY).is_file():
        yield Candidate(
            f"torch {torch.__version__} with the project's CUDA kernels on {graph.name}",
            lambda: TorchGraph(graph, place.device, FilterKernels(place.folder / KERNEL_LIBRARY).operators()),
            captured=True,
        )
    name = f"torch {torch.__version__} on {graph.name} ({place.device.type})"
    yield Candidate(name, lambda: TorchGraph(graph, place.device), captured=on_gpu)


def _plans(place: Place, refuse: Callable[[str], None]) -> Iterator[tuple[Path, PlanRecord]]:
    """The plans that fit; TensorRT's before those of TensorRT for RTX."""
    found = []
    for path in sorted(place.folder.glob("*.plan")):
        try:
            record = read_record(path)
        except PlanError as error:
            refuse(str(error))
            continue
        reason = unfit(record, place)
        if reason:
            refuse(f"{path.name}: {reason}")
        else:
            found.append((path, record))
    yield from sorted(found, key=lambda each: each[1].for_rtx)


def unfit(record: PlanRecord, place: Place) -> str:
    """Why a plan is no candidate; empty if it is one."""
    own = ".".join(map(str, torch.cuda.get_device_capability(place.device)))
    weights = graph_properties(onnx.load(place.folder / GRAPH)).get("parameters_sha256", record.parameters_sha256)
    if record.precision != place.precision:
        return f"of {record.precision}, {place.precision} is configured"
    if record.capability != own:
        return f"for compute capability {record.capability}, this GPU has {own}"
    if record.parameters_sha256 != weights:
        return "built from other weights than the served graph's; eulernet engine builds it again"
    if record.max_batch < place.batch:
        return f"takes batches up to {record.max_batch}, {place.batch} are configured"
    return ""


def prepare(device: torch.device) -> None:
    """Sets torch up for a stage: one CPU thread, and float32 without TF32, whose rounding the golden case refuses."""
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    if device.type == "cuda":
        torch.cuda.set_device(device)
