# SPDX-License-Identifier: Apache-2.0
"""Replays a function over device tensors as CUDA graphs: one for each of a few batch sizes, smaller batches padded."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

Step = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
WARM_UPS = 3  # runs before a capture: libraries choose algorithms and take memory in the first ones


def batch_sizes(most: int) -> tuple[int, ...]:
    """1, 2, 4, … and `most`."""
    return (*(1 << bit for bit in range((most - 1).bit_length())), most)


def graph_size(sizes: Sequence[int], count: int) -> int:
    """The smallest size that takes `count` rows. Raises: ValueError if none does."""
    fitting = [size for size in sizes if size >= count]
    if not fitting:
        raise ValueError(f"a batch of {count}: at most {max(sizes)}")
    return min(fitting)


class CudaGraphs:
    """A captured function.

    Args:
        step: from inputs to outputs, by name, without synchronization; every row on its own.
        blank: inputs of a batch of n rows that change nothing, and the padding of a batch that fills no graph.
        most: rows of the largest batch.
    """

    def __init__(self, step: Step, blank: Callable[[int], dict[str, Tensor]], most: int) -> None:
        self.sizes = batch_sizes(most)
        self._padding, self._inputs, self._outputs = blank(most), {}, {}
        self._graphs: dict[int, torch.cuda.CUDAGraph] = {}
        pool = None
        for size in reversed(self.sizes):  # the largest first: the smaller ones then fit into its memory
            inputs = blank(size)
            side: torch.cuda.Stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(WARM_UPS):
                    step(inputs)
            torch.cuda.current_stream().wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=pool):
                outputs = step(inputs)
            pool = graph.pool()
            self._graphs[size], self._inputs[size], self._outputs[size] = graph, inputs, outputs

    def __call__(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Runs one batch. The outputs are valid until the next call."""
        count = len(next(iter(inputs.values())))
        size = graph_size(self.sizes, count)
        for name, static in self._inputs[size].items():
            static[:count].copy_(inputs[name])
            if count < size:
                static[count:].copy_(self._padding[name][count:size])
        self._graphs[size].replay()
        return {name: output[:count] for name, output in self._outputs[size].items()}
