# SPDX-License-Identifier: Apache-2.0
"""The cost of a system: parameters, multiply-accumulates a frame, and time a frame in ONNX Runtime on one thread.

Times are of processor time, equal to wall-clock time on an idle machine and little affected by other load.
"""

import copy
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from onnx import ModelProto
from torch.utils.flop_counter import FlopCounterMode

from eulernet.network import EulerNet
from eulernet.peers.peer_network import scoring_copy
from eulernet.peers.systems import Network
from eulernet_build.comparison.peer_graph import open_session, peer_graph
from eulernet_build.graphs import step_graph
from eulernet_build.surgery import random_inputs
from eulernet_core.clip_geometry import CLIP_FRAMES
from eulernet_core.tensors import FACE, FACE_SIDE_PX, STATUS

MEASURED_S = 2.0  # of each graph, at least
FEWEST_CALLS = 3


@dataclass(frozen=True)
class SystemCost:
    """`frames`: that one score needs; `parameters`: of the parts that score; `giga_macs`: 1e9 multiply-accumulates of
    convolutions and linear layers a frame; `ms`: median time a frame, None if it was not measured."""

    system: str
    frames: int
    parameters: int
    giga_macs: float
    ms: float | None


def title_of(network: Network) -> str:
    """The name of a network in tables."""
    return "EulerNet" if isinstance(network, EulerNet) else network.label


def system_cost(network: Network, timed: bool = True) -> SystemCost:
    """Counts and, unless told otherwise, measures one network."""
    if isinstance(network, EulerNet):
        parameters, frames = sum(each.numel() for each in network.parameters()), CLIP_FRAMES
    else:
        parameters, frames = network.scoring_parameters(), CLIP_FRAMES if network.temporal else 1
    ms = _frame_ms(network) if timed else None
    return SystemCost(title_of(network), frames, parameters, giga_macs(network), ms)


def giga_macs(network: Network) -> float:
    """1e9 multiply-accumulates a frame, counted while the network scores a clip of its number of frames."""
    frames, size, scoring = CLIP_FRAMES, FACE_SIDE_PX, copy.deepcopy(network)
    if isinstance(network, EulerNet):
        size = network.config.image_size
    else:
        frames, scoring = CLIP_FRAMES if network.temporal else 1, scoring_copy(network)
    # Tensors without data, because a clip takes some systems seconds and a GB.
    clip = torch.zeros(1, frames, size, size, 3, dtype=torch.uint8, device="meta")
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        scoring.to("meta")(clip)
    # The counter counts a multiply-accumulate as two operations.
    return int(counter.get_total_flops()) / 2e9 / frames


def _frame_ms(network: Network) -> float:
    if isinstance(network, EulerNet):
        graph = step_graph(network, "measured")
        inputs = random_inputs(graph, rows=1)
        inputs[STATUS][:] = 0
        frames = 1
    else:
        graph = peer_graph(network, "measured")
        frames = CLIP_FRAMES if network.temporal else 1
        inputs = {FACE: torch.randint(256, (1, frames, FACE_SIDE_PX, FACE_SIDE_PX, 3)).to(torch.uint8).numpy()}
    return _call_ms(graph, lambda session: session.run(None, inputs)) / frames


def _call_ms(graph: ModelProto, call: Callable[..., object]) -> float:
    """The median processor time of a call, ms."""
    session = open_session(graph)
    call(session)
    times: list[float] = []
    while len(times) < FEWEST_CALLS or sum(times) < MEASURED_S:
        begun = time.process_time()
        call(session)
        times.append(time.process_time() - begun)
    return 1000.0 * statistics.median(times)
