# SPDX-License-Identifier: Apache-2.0
"""A network in device memory: a graph in the chosen runtime, and the state of streams beside it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eulernet_core.tensors import STATE_INPUT_SUFFIX, STATE_OUTPUT_SUFFIX
from eulernet_serving.gpu_pip.cuda_graphs import CudaGraphs, Step
from eulernet_serving.gpu_pip.device_states import SPARE_ROW, START_ROW, DeviceStates, Slot, rows_of
from eulernet_serving.gpu_pip.torch_graph import DeviceGraph

Arrays = Mapping[str, NDArray[Any]]
BEFORE, AFTER = "rows before", "rows after"  # index tensors beside the graph's own inputs


class GpuNetwork:
    """A graph and its streams' state, for one calling thread.

    Args:
        graph: on the device.
        device: of the graph.
        batch: rows of the largest batch.
        streams: the most with a state; 0 for a graph without state.
        captured: replay the whole step as CUDA graphs.
    """

    def __init__(self, graph: DeviceGraph, device: torch.device, batch: int, streams: int, captured: bool) -> None:
        self.device, self._graph = device, graph
        self.states = DeviceStates.of(graph.inputs, streams, batch, device)
        self.inputs = {n: kind for n, kind in graph.inputs.items() if not n.endswith(STATE_INPUT_SUFFIX)}
        self.outputs = tuple(name for name in graph.outputs if not name.endswith(STATE_OUTPUT_SUFFIX))
        self._run: Step | CudaGraphs = CudaGraphs(self._step, self._blank, batch) if captured else self._step

    def __call__(
        self,
        inputs: Mapping[str, Tensor | NDArray[Any]],
        before: Sequence[Slot] = (),
        after: Sequence[Slot] = (),
    ) -> dict[str, NDArray[Any]]:
        """Infers one batch.

        Args:
            inputs: in host or device memory.
            before: for a graph with state, the state of each row before its frame.
            after: the slots that take the state after it.
        Returns: the outputs without the states, in host memory.
        """
        given = {name: self.on_device(inputs[name]) for name in self.inputs}
        if self.states.tables:
            given |= {BEFORE: rows_of(before, self.device), AFTER: rows_of(after, self.device)}
        results = self._run(given)
        return {name: results[name].cpu().numpy() for name in self.outputs}

    def on_device(self, value: "Tensor | NDArray[Any]") -> Tensor:
        """As a tensor in device memory."""
        tensor = value if isinstance(value, Tensor) else torch.from_numpy(np.ascontiguousarray(value))
        return tensor.to(self.device)

    @torch.inference_mode()
    def _step(self, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        inputs = {name: given[name] for name in self.inputs}
        if not self.states.tables:
            return self._graph(inputs)
        results = self._graph(inputs | self.states.read(given[BEFORE]))
        self.states.write(given[AFTER], results)
        return {name: results[name] for name in self.outputs}

    def _blank(self, count: int) -> dict[str, Tensor]:
        made = {n: torch.zeros((count, *k.row), dtype=k.dtype, device=self.device) for n, k in self.inputs.items()}
        if self.states.tables:
            for name, row in ((BEFORE, START_ROW), (AFTER, SPARE_ROW)):
                made[name] = torch.full((count,), row, dtype=torch.int64, device=self.device)
        return made


def golden_difference(network: GpuNetwork, golden: Arrays) -> float:
    """Runs the golden case the way of the service, states included.

    Args:
        network: under test; its streams' state is as before afterwards.
        golden: inputs and expected outputs by name.
    Returns: the largest difference, in units of a tensor's largest value where that is above 1; infinite for a NaN.
    """
    states = network.states
    rows = len(golden[next(iter(network.inputs))])
    before: list[Slot] = []
    after: list[Slot] = []
    if states.tables:
        before, after = ([states.take() for _ in range(rows)] for _ in range(2))
        old = rows_of(before, network.device)
        given = {n + STATE_OUTPUT_SUFFIX: network.on_device(golden[n + STATE_INPUT_SUFFIX]) for n in states.tables}
        states.write(old, given)
    found: dict[str, NDArray[Any]] = dict(network({name: golden[name] for name in network.inputs}, before, after))
    if states.tables:
        new = states.read(rows_of(after, network.device))
        found |= {name + STATE_OUTPUT_SUFFIX: new[name + STATE_INPUT_SUFFIX].cpu().numpy() for name in states.tables}
    return max(_difference(value, golden[name]) for name, value in found.items())


def _difference(found: NDArray[Any], wanted: NDArray[Any]) -> float:
    if found.shape != wanted.shape or not np.isfinite(found).all():
        return float("inf")
    error = np.abs(found.astype(np.float64) - wanted).max(initial=0.0)
    return float(error / max(1.0, np.abs(wanted.astype(np.float64)).max(initial=0.0)))
